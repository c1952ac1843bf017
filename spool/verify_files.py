"""Whether the files of a spool are those that its index speaks of, to the last byte."""

import contextlib
import os
import sqlite3
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from spool import folder as places
from spool import rows, shards
from spool.errors import ShardDamaged
from spool.folder import INDEX_NAME, LIMITS_NAME
from spool.ledger_file import LEDGER_NAME
from spool.model import Chunk, Stream
from spool.problems import DAMAGED, DERIVED, MISSING, UNKNOWN, Problem
from spool.producers import LOCK_NAME
from spool.retention import limits_from_text
from spool.zarr_metadata import (
    ARRAY_NAME,
    STORE_NAME,
    array_document,
    array_path,
    chunk_idx_of,
    group_document,
    shard_name,
)

_PAGE = 1000
_IDX_MAX = 2**63 - 1


@dataclass(slots=True)
class Read:
    """What was gone through.

    Attributes:
        settle_s: after so long it is looked at again, see `spool.verify.verify`.
    """

    settle_s: float
    shards: int = 0
    bytes_read: int = 0


def file_problems(
    root: Path, db: sqlite3.Connection, read: Read, progress: Callable[[int, int], None]
) -> Iterator[Problem]:
    """Every file under the spool's folder.

    Args:
        root: the folder.
        db: the index; sound.
        read: is counted up.
        progress: bytes of shards so far, and of all.
    """
    whole = rows.disk_bytes(db)
    streams = rows.all_streams(db)
    yield from _top_problems(root, {stream.stream_id for _, stream in streams})
    for key, stream in streams:
        home = root / "streams" / stream.stream_id
        if not home.is_dir():
            yield _of(stream, None, MISSING, home, root, "its folder is missing")
            continue
        yield from _stream_problems(root, home, db, key, stream, read, lambda: progress(read.bytes_read, whole))


def _top_problems(root: Path, known: set[str]) -> Iterator[Problem]:
    for name in sorted(os.listdir(root)):
        if not _is_ours(name):
            yield Problem(kind=UNKNOWN, where=name, says="no spool has such a file")
    reserve = root / "reserve"
    if reserve.exists() and reserve.read_bytes() != b"".join(places.reserve_pieces()):
        yield Problem(kind=DERIVED, where="reserve", says="it is not what a full disk needs set aside")
    noted = root / LIMITS_NAME
    if noted.exists() and limits_from_text(noted.read_text("utf-8", errors="replace")) is None:
        yield Problem(kind=DERIVED, where=LIMITS_NAME, says="it is not what a producer has noted")
    streams = root / "streams"
    for name in sorted(os.listdir(streams)) if streams.is_dir() else ():
        if name not in known:
            yield Problem(kind=UNKNOWN, where=f"streams/{name}", says="the index has no such stream")


def _is_ours(name: str) -> bool:
    folders = {"incoming", "workers", "streams"}
    known = {*folders, "reserve", LIMITS_NAME, INDEX_NAME, f"{INDEX_NAME}-journal", LEDGER_NAME}
    return name in known or name.endswith((".aside", ".log"))


def _stream_problems(
    root: Path,
    home: Path,
    db: sqlite3.Connection,
    key: int,
    stream: Stream,
    read: Read,
    progress: Callable[[], None],
) -> Iterator[Problem]:
    yield from _document_problems(root, home, db, stream, read.settle_s)
    folder = array_path(home)
    there = _Shards(folder)
    doubtful: list[Problem] = []
    for chunk in _chunks(db, key):
        path = folder / shard_name(chunk.chunk_idx)
        doubtful += _unknown(stream, root, folder, there.below(chunk.chunk_idx))
        is_there = there.take(chunk.chunk_idx)
        if chunk.disk_bytes and (is_there or path.exists()):
            read.shards += 1
            read.bytes_read += chunk.disk_bytes
            if why := _damage(path, stream, chunk):
                doubtful.append(_of(stream, chunk.chunk_idx, DAMAGED, path, root, why))
            progress()
        elif chunk.disk_bytes:
            says = f"its file is missing; the chunk is {chunk.state}"
            doubtful.append(_of(stream, chunk.chunk_idx, MISSING, path, root, says))
        elif is_there:
            says = f"it is still there, although the chunk was {'pruned' if chunk.pruned_at_ms else chunk.state}"
            doubtful.append(_of(stream, chunk.chunk_idx, UNKNOWN, path, root, says))
    doubtful += _unknown(stream, root, folder, there.rest())
    yield from _still(db, key, stream, root, doubtful, read.settle_s)
    yield from _strangers(root, home, stream)


class _Shards:
    """The shards that lie in a folder, gone through in order: eight bytes each."""

    def __init__(self, folder: Path) -> None:
        found = array("q")
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            found.extend(
                idx for entry in entries if (idx := chunk_idx_of(entry.name)) is not None and idx <= _IDX_MAX
            )
        self._idxs = array("q", sorted(found))
        self._at = 0

    def below(self, idx: int) -> Iterator[int]:
        """Those that come before one and were not taken."""
        while self._at < len(self._idxs) and self._idxs[self._at] < idx:
            self._at += 1
            yield self._idxs[self._at - 1]

    def take(self, idx: int) -> bool:
        """Whether this one is there, after all below it were asked for."""
        is_there = self._at < len(self._idxs) and self._idxs[self._at] == idx
        self._at += is_there
        return is_there

    def rest(self) -> Iterator[int]:
        """Those that were not taken."""
        return self.below(_IDX_MAX + 1)


def _unknown(stream: Stream, root: Path, folder: Path, idxs: Iterator[int]) -> Iterator[Problem]:
    says = "a shard that the index does not know"
    return (_of(stream, idx, UNKNOWN, folder / shard_name(idx), root, says) for idx in idxs)


def _still(
    db: sqlite3.Connection, key: int, stream: Stream, root: Path, doubtful: list[Problem], settle_s: float
) -> Iterator[Problem]:
    """Those that are so at a second look: the spool may be at work."""
    if doubtful:
        time.sleep(settle_s)
    for problem in doubtful:
        path = root / problem.where
        chunk = None if problem.chunk_idx is None else rows.chunk_at(db, key, problem.chunk_idx)
        is_there = path.exists()
        if chunk is None or not chunk.disk_bytes:
            if is_there:
                yield problem
        elif not is_there or _damage(path, stream, chunk):
            yield problem


def _damage(path: Path, stream: Stream, chunk: Chunk) -> str | None:
    try:
        shards.check_file(path, chunk, chunk_size=stream.settings.chunk_size, origin_id=stream.origin_id)
    except ShardDamaged as error:
        return str(error)
    return None


def _document_problems(
    root: Path, home: Path, db: sqlite3.Connection, stream: Stream, settle_s: float
) -> Iterator[Problem]:
    """The documents that are derived; twice, because a producer may just be writing one."""
    store = home / STORE_NAME
    for again in (False, True):
        key, now = rows.require_stream(db, stream.stream_id)
        wanted = {
            home / "stream.json": places.stream_description(now),
            store / "zarr.json": group_document(now),
            store / ARRAY_NAME / "zarr.json": array_document(now, frame_count=rows.frame_count(db, key, now)),
        }
        wrong = {path: why for path, document in wanted.items() if (why := _difference(path, document))}
        if not wrong:
            return
        if not again:
            time.sleep(settle_s)
    for path, why in wrong.items():
        yield _of(stream, None, DERIVED, path, root, why)


def _difference(path: Path, wanted: bytes) -> str | None:
    try:
        there = path.read_bytes()
    except FileNotFoundError:
        return "it is missing"
    if there == wanted:
        return None
    at = next((at for at, (one, other) in enumerate(zip(there, wanted, strict=False)) if one != other), None)
    return f"it is not what it should be from byte {min(len(there), len(wanted)) if at is None else at} on"


def _strangers(root: Path, home: Path, stream: Stream) -> Iterator[Problem]:
    """What lies in a stream's folder and is no part of it."""
    ours = {
        home: {"stream.json", STORE_NAME, LOCK_NAME},
        home / STORE_NAME: {"zarr.json", ARRAY_NAME},
        array_path(home): {"zarr.json"},
    }
    for folder, known in ours.items():
        found = [
            _of(stream, None, UNKNOWN, folder / name, root, says)
            for name, is_plain in _entries(folder)
            if (says := _strangeness(name, known, is_plain=is_plain, takes_shards=folder.name == ARRAY_NAME))
        ]
        yield from sorted(found, key=lambda problem: problem.where)


def _strangeness(name: str, known: set[str], *, is_plain: bool, takes_shards: bool) -> str | None:
    is_part = name in known or (takes_shards and chunk_idx_of(name) is not None)
    if not is_part and not name.endswith((".aside", ".part", ".new")):
        return "it is no part of the stream"
    if is_part and not is_plain and name not in (STORE_NAME, ARRAY_NAME):
        return "it is no plain file"
    return None


def _entries(folder: Path) -> Iterator[tuple[str, bool]]:
    """Each name in a folder, and whether it is a plain file."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.is_file(follow_symlinks=False)


def _chunks(db: sqlite3.Connection, key: int) -> Iterator[Chunk]:
    after = -1
    while True:
        page = rows.chunks_after(db, key, after, limit=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].chunk_idx


def _of(stream: Stream, idx: int | None, kind: str, path: Path, root: Path, says: str) -> Problem:
    return Problem(
        kind=kind,
        where=path.relative_to(root).as_posix(),
        says=says,
        stream_id=stream.stream_id,
        chunk_idx=idx,
    )
