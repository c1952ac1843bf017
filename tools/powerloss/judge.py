"""Open the spool on what a cut has left, and say what was lost."""

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spool import Limits, Spool
from spool import folder as spool_folder
from spool.testing import START_MS, FakeClock, check_invariants
from tools.powerloss import promises
from tools.powerloss.arrival import check_shares
from tools.powerloss.forgetful import small_reserve
from tools.powerloss.frames import Lost, check_frames, push_all_again
from tools.powerloss.owed import Owed
from tools.powerloss.promises import MISSING, Promised
from tools.powerloss.volume import Image

__all__ = ["Lost", "Verdict", "check_folder", "judge", "judge_rebuilt"]

LATER_MS = START_MS + 3_600_000
_STREAM = re.compile("[0-9]{8}t[0-9]{6}-[0-9a-f]{12}")
_FORMAT = [
    re.compile(pattern)
    for pattern in (
        r"index\.sqlite3(-journal)?",
        r"ledger\.jsonl(\.[0-9a-f]{32}\.aside)?",
        "reserve",
        r"limits\.json",
        r"(incoming|workers)/[0-9a-f]+\.lock",
        r"streams/[^/]+/(stream\.json|producer\.lock)",
        r"streams/[^/]+/frames\.zarr/(frames/)?zarr\.json",
        r"streams/[^/]+/frames\.zarr/frames/(c\.[0-9]+\.0\.0|\.c\..*\.aside)",
    )
]
_FAST = Path("/dev/shm")  # noqa: S108 - memory, so that thousands of images cost no disk


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an image says about the promises.

    Attributes:
        lost: the promise that was broken, in words; ``None`` when all hold.
        litter: files that no opening will ever remove, by kind: they take room, and lose nothing.
    """

    lost: str | None = None
    litter: tuple[str, ...] = ()


def judge(image: Image, owed: Owed) -> Verdict:
    """Open the spool on an image, hold what it says against the promises, and go on working with it."""
    return _verdict(image, owed, _check)


def judge_rebuilt(image: Image, owed: Owed) -> Verdict:
    """The same for an image whose index is gone: every stream and every chunk kept here must be found again."""
    return _verdict(image, owed, _check_rebuilt)


def _verdict(image: Image, owed: Owed, check: Callable[[Path, Owed], None]) -> Verdict:
    fast = _FAST if _FAST.is_dir() else None
    with small_reserve(), tempfile.TemporaryDirectory(prefix="powerloss-", dir=fast) as folder:
        _materialise(image, Path(folder))
        root = Path(folder) / "spool"
        try:
            check(root, owed)
            check_shares(root, FakeClock(LATER_MS))
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


def _check(root: Path, owed: Owed) -> None:
    check_folder(root, owed.states, head=owed.head, has_reserve=owed.has_reserve)


def check_folder(
    root: Path, allowed: list[Promised], *, head: tuple[int, str] = (0, ""), has_reserve: bool = False
) -> None:
    """Open the spool in a folder twice, hold what it says against what was promised, and push on.

    Args:
        root: the spool's folder.
        allowed: the states that may be found.
        head: the last ledger row that must be there: its number and its digest in hex.
        has_reserve: the spare bytes must be there.

    Raises:
        Lost: a promise was broken.
    """
    # The first opening recovers; the second must find nothing left to do.
    with _opened(root) as spool:
        seen = promises.observed(spool)
        if seen not in allowed:
            raise Lost(_difference(allowed[0], seen))
        _check_head(spool, head)
        _check_reserve(root, is_owed=has_reserve)
        check_invariants(spool)
        check_frames(spool)
        rows = sum(1 for _ in spool.events())
    before = _listing(root)
    with _opened(root) as spool:
        if promises.observed(spool) != seen or sum(1 for _ in spool.events()) != rows:
            raise Lost("a second opening changed the spool")
        if (now := _listing(root)) != before:
            raise Lost(f"a second opening changed files: {sorted(now ^ before)}")
        if push_all_again(spool):
            check_invariants(spool)


def _check_head(spool: Spool, head: tuple[int, str]) -> None:
    """The ledger goes on from where it was: nothing that was durable is gone from it or written anew."""
    seq, digest = head
    events = list(spool.events())
    if seq > len(events):
        raise Lost(f"the ledger had {seq} rows and has {len(events)}")
    if seq and events[seq - 1].digest.hex() != digest:
        raise Lost(f"row {seq} of the ledger, or one before it, is another one")


def _check_reserve(root: Path, *, is_owed: bool) -> None:
    """A full disk can still acknowledge."""
    path = root / "reserve"
    if path.exists():
        block = path.read_bytes()
        if len(block) != spool_folder.RESERVE_BYTES or not any(block):
            raise Lost("the reserve is there and sets nothing aside")
    elif is_owed:
        raise Lost("a chunk was accepted and the reserve is gone: a full disk could not acknowledge it")


def _check_rebuilt(root: Path, owed: Owed) -> None:
    with _opened(root) as spool:
        seen = promises.observed(spool)
        for name, stream in owed.states[0].items():
            if name not in seen:
                raise Lost(f"stream {name} is not found again")
            if stream["state"] != "open" and seen[name]["state"] == "open":
                raise Lost(f"stream {name} was {stream['state']} and is open again")
            for idx in stream["chunks"]:
                # The ledger's copy lags: a chunk may be told as waiting or parked that was moved on since, but
                # never as more than it was or what was under way has made of it.
                chunks = [state[name]["chunks"][idx] for state in owed.states]
                again = seen[name]["chunks"].get(idx, {"state": "missing"})
                is_kept = not any(map(_may_be_gone, chunks))
                if is_kept and again["state"] not in ("spooled", "parked", *(chunk["state"] for chunk in chunks)):
                    raise Lost(f"chunk {idx} of {name} is {again['state']} after the index was rebuilt")
        check_invariants(spool)
        gone = {(name, idx) for name, idx, chunk in _each_chunk(owed.states) if _may_be_gone(chunk)}
        check_frames(spool, gone)


def _each_chunk(states: list[Promised]) -> Iterator[tuple[str, int, dict[str, Any]]]:
    for state in states:
        for name, stream in state.items():
            for idx, chunk in stream["chunks"].items():
                yield name, idx, chunk


def _may_be_gone(chunk: dict[str, Any]) -> bool:
    return bool(chunk["state"] == "discarded" or chunk["pruned"] or chunk["parked"] == MISSING)


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


def _litter(root: Path) -> tuple[str, ...]:
    """What lies there with nobody using the spool, and is no part of its format."""
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() or path.is_symlink()}
    found |= {path.relative_to(root).as_posix() for path in root.glob("incoming/*") if path.is_dir()}
    strange = [name for name in found if not any(part.fullmatch(name) for part in _FORMAT)]
    return tuple(sorted({re.sub("[0-9a-f]{32}", "X", _STREAM.sub("S", name)) for name in strange}))


def _listing(root: Path) -> set[tuple[str, str]]:
    """Every file that both openings should leave alike, with its bytes' digest."""
    found = set()
    for path in root.rglob("*"):
        name = path.relative_to(root)
        if path.is_file() and name.parts[0] == "streams":
            found.add((name.as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()))
    return found
