"""Open the spool on what a cut has left, and say what was lost."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from spool import Chunk, ChunkConflict, Limits, Spool, Stream, StreamSealed, shards
from spool.testing import START_MS, FakeClock, check_invariants
from tools.powerloss import promises
from tools.powerloss.promises import Promised
from tools.powerloss.volume import Image

LATER_MS = START_MS + 3_600_000
_STREAM = re.compile("[0-9]{8}t[0-9]{6}-[0-9a-f]{12}")
_FORMAT = [
    re.compile(pattern)
    for pattern in (
        r"index\.sqlite3(-journal)?",
        "reserve",
        r"(incoming|workers)/[0-9a-f]+\.lock",
        r"streams/[^/]+/stream\.json",
        r"streams/[^/]+/frames\.zarr/(frames/)?zarr\.json",
        r"streams/[^/]+/frames\.zarr/frames/(c\.[0-9]+\.0\.0|\.c\..*\.aside)",
    )
]
_FAST = Path("/dev/shm")  # noqa: S108 - memory, so that thousands of images cost no disk


class Lost(AssertionError):
    """A promise was broken; the message says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an image says about the promises.

    Attributes:
        lost: the promise that was broken, in words; ``None`` when all hold.
        litter: files that no opening will ever remove, by kind: they take room, and lose nothing.
    """

    lost: str | None = None
    litter: tuple[str, ...] = ()


def judge(image: Image, allowed: list[Promised]) -> Verdict:
    """Open the spool on an image, hold what it says against the promises, and go on working with it."""
    return _verdict(image, allowed, _check)


def judge_rebuilt(image: Image, allowed: list[Promised]) -> Verdict:
    """The same for an image whose index is gone: every stream and every chunk kept here must be found again."""
    return _verdict(image, allowed, _check_rebuilt)


def without_index(image: Image) -> Image:
    """The image, its index and the index's journal gone."""
    names = {name: ino for name, ino in image.names.items() if not name.startswith("spool/index.sqlite3")}
    return Image(names=names, contents=image.contents)


def _verdict(image: Image, allowed: list[Promised], check: Callable[[Path, list[Promised]], None]) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="powerloss-", dir=_FAST if _FAST.is_dir() else None) as folder:
        _materialise(image, Path(folder))
        root = Path(folder) / "spool"
        try:
            check(root, allowed)
        except Exception as error:  # noqa: BLE001 - whatever keeps a person from the spool is a loss
            return Verdict(lost=f"{type(error).__name__}: {error}".replace(folder, "")[:2000])
        return Verdict(litter=_litter(root))


def _materialise(image: Image, folder: Path) -> None:
    first: dict[int, Path] = {}
    for name, ino in image.names.items():
        path = folder / name
        if ino is None:
            path.mkdir()
        elif ino in first:
            os.link(first[ino], path)
        else:
            first[ino] = path
            path.write_bytes(image.contents[ino])


def _check(root: Path, allowed: list[Promised]) -> None:
    # The first opening recovers; the second must find nothing left to do.
    with _opened(root) as spool:
        seen = promises.observed(spool)
        if seen not in allowed:
            raise Lost(_difference(allowed[0], seen))
        check_invariants(spool)
        _check_frames(spool)
        rows = sum(1 for _ in spool.events())
    before = _listing(root)
    with _opened(root) as spool:
        if promises.observed(spool) != seen or sum(1 for _ in spool.events()) != rows:
            raise Lost("a second opening changed the spool")
        if (now := _listing(root)) != before:
            raise Lost(f"a second opening changed files: {sorted(now ^ before)}")
        if _push_all_again(spool):
            check_invariants(spool)


def _check_rebuilt(root: Path, allowed: list[Promised]) -> None:
    with _opened(root) as spool:
        seen = promises.observed(spool)
        for name, stream in allowed[0].items():
            if name not in seen:
                raise Lost(f"stream {name} is not found again")
            if stream["state"] != "open" and seen[name]["state"] == "open":
                raise Lost(f"stream {name} was {stream['state']} and is open again")
            for idx, chunk in stream["chunks"].items():
                again = seen[name]["chunks"].get(idx, {"state": "missing"})
                is_kept = chunk["state"] != "discarded" and not chunk["pruned"]
                # What was under way may have removed it.
                later = allowed[-1][name]["chunks"][idx]
                may_go = later["state"] == "discarded" or later["pruned"]
                if is_kept and not may_go and again["state"] != "spooled":
                    raise Lost(f"chunk {idx} of {name} is {again['state']} after the index was rebuilt")
        check_invariants(spool)
        _check_frames(spool)


def _opened(root: Path) -> Spool:
    return Spool(root, limits=Limits(min_free_bytes=0), clock=FakeClock(LATER_MS))


def _difference(wanted: Promised, seen: Promised) -> str:
    flat_wanted, flat_seen = _flat(wanted), _flat(seen)
    return "; ".join(
        f"{name} is {flat_seen.get(name, 'missing')!r}, promised {flat_wanted.get(name, 'nothing')!r}"
        for name in sorted(flat_wanted.keys() | flat_seen.keys())
        if flat_wanted.get(name) != flat_seen.get(name)
    )


def _flat(state: Promised) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, stream in state.items():
        flat |= {f"{name}.{key}": value for key, value in stream.items() if key != "chunks"}
        flat |= {f"{name}.chunk {idx:03}": chunk for idx, chunk in stream["chunks"].items()}
    return flat


def _check_frames(spool: Spool) -> None:
    """What a worker would send, and what was pruned, is exactly what was pushed."""
    for stream in spool.streams():
        leased = spool.lease(stream.stream_id, "judge", ttl_s=60, take_over=True)
        assert leased is not None
        for chunk in spool.chunks(stream.stream_id):
            if chunk.sha256 != _sha256(stream.settings.name, chunk.chunk_idx):
                raise Lost(f"chunk {chunk.chunk_idx} of {stream.settings.name} has another digest")
            if chunk.disk_bytes and not _are_pushed(leased.read(chunk), stream, chunk):
                raise Lost(f"chunk {chunk.chunk_idx} of {stream.settings.name} has other frames")
        leased.release()


def _are_pushed(body: bytes, stream: Stream, chunk: Chunk) -> bool:
    # Decoding the same bytes a thousand times says nothing new.
    return _decodes_to(body, stream.settings.name, chunk.chunk_idx, (chunk.n, chunk.height, chunk.width))


@lru_cache(maxsize=256)
def _decodes_to(body: bytes, stream: str, idx: int, shape: tuple[int, int, int]) -> bool:
    n, height, width = shape
    frames = shards.decode(body, n=n, height=height, width=width)
    return np.array_equal(frames, promises.frames_of(stream, idx))


@lru_cache(maxsize=256)
def _sha256(stream: str, idx: int) -> str:
    with ThreadPoolExecutor(1) as threads:
        return shards.encode(promises.frames_of(stream, idx), threads, runs_per_chunk=1).sha256


def _litter(root: Path) -> tuple[str, ...]:
    """What lies there with nobody using the spool, and is no part of its format."""
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() or path.is_symlink()}
    found |= {path.relative_to(root).as_posix() for path in root.glob("incoming/*") if path.is_dir()}
    strange = [name for name in found if not any(part.fullmatch(name) for part in _FORMAT)]
    return tuple(sorted({re.sub("[0-9a-f]{32}", "X", _STREAM.sub("S", name)) for name in strange}))


def _push_all_again(spool: Spool) -> bool:
    """Every chunk again with the same frames, and a new one; whether any stream still takes chunks."""
    any_open = False
    for stream in spool.streams():
        name = stream.settings.name
        if stream.state != "open":
            try:
                _push(spool, stream, 90)
            except StreamSealed:
                continue
            raise Lost(f"{name} is {stream.state} and takes a chunk")
        any_open = True
        for chunk in list(spool.chunks(stream.stream_id)):
            try:
                again = _push(spool, stream, chunk.chunk_idx)
            except ChunkConflict:
                if chunk.state != "discarded":
                    raise
            else:
                if again != chunk:
                    raise Lost(f"pushing chunk {chunk.chunk_idx} of {name} again changed it")
        new = _push(spool, stream, stream.next_chunk_idx)
        if new.state != "spooled":
            raise Lost(f"the next chunk of {name} is {new.state}")
    return any_open


def _push(spool: Spool, stream: Stream, idx: int) -> Chunk:
    frames = promises.frames_of(stream.settings.name, idx)
    return spool.push(stream.stream_id, idx, frames, promises.capture_start(idx))


def _listing(root: Path) -> set[tuple[str, str]]:
    """Every file that both openings should leave alike, with its bytes' digest."""
    found = set()
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.is_file() and name.parts[0] == "streams":
            found.add((name.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()))
    return found
