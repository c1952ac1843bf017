"""What happens when a spool is opened: files, index and Zarr metadata are made to agree, without a person.

* An index that is gone is told again by ``ledger.jsonl`` as far as that reaches; see `spool.restoring`.
* A note of the limits that is torn is removed.
* Shards that a dead opener had not finished are swept: they were never accepted.
* A whole shard without an index row (its process died between the two) is adopted: its push never
  returned, but the frames may exist nowhere else, and the shard says what it is.
* A pruned or discarded shard whose file is still there is removed: the commit had been made.
* A waiting chunk whose file is gone is parked, visibly, so that the others can go on.
* Copies of a stream are given the chunks of it that they lack; see `spool.copying`.
* A stream folder without an index row is adopted from its ``stream.json``. Of such a stream a damaged shard
  is parked, and one that cannot be read at all holds the stream: the index that could tell is lost.

Everything is looked at first without a lock, and decided under the write lock: a live producer renames its
shard and commits its row under that same lock, so a file without a row is then truly left over. Running it
twice, or killing it anywhere, changes nothing about the result.
"""

import logging
import os
import shutil
import sqlite3
import uuid
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from spool import copying, ledger, rows, shards
from spool.errors import ShardDamaged, SpoolError
from spool.folder import LIMITS_NAME, SpoolFolder, stream_description
from spool.model import STREAM_ID, Chunk, Stream
from spool.restoring import restore_index, seal_if_asked
from spool.states import ChunkState, StreamState
from spool.zarr_metadata import array_document, array_path, chunk_idx_of, group_document

_PAGE = 1000
_SPREAD = 4
_IDX_END = 1 << 63  # no row can have it: SQLite's integers end here

_log = logging.getLogger(__name__)


def recover(folder: SpoolFolder) -> None:
    """Make the spool whole again; see the module's text.

    Raises:
        SpoolError: the disk refused; nothing is lost, opening again tries again.
    """
    restore_index(folder)
    _sweep_incoming(folder)
    _sweep_limits(folder)
    _adopt_streams(folder)
    with folder.index.reading() as db:
        streams = rows.all_streams(db)
    for key, stream in streams:
        _reconcile(folder, key, stream)
    for _, stream in streams:
        if stream.settings.copies:
            with folder.index.reading() as db:
                is_rebuilt = _is_rebuilt(db, stream.stream_id)
            copying.catch_up(folder, stream.stream_id, is_rebuilt=is_rebuilt)


def _sweep_incoming(folder: SpoolFolder) -> None:
    for lock in folder.incoming_locks():
        try:
            if lock.acquire(patience_s=0):
                opener = lock.path.with_suffix("")
                shutil.rmtree(opener, ignore_errors=True)
                if not opener.exists():  # else the next opening tries again
                    lock.path.unlink(missing_ok=True)
                lock.release()
        except OSError as error:
            # Only room is at stake: what is read-only can still be looked at.
            _log.warning("%s could not be swept (%s); the next opening tries again", lock.path, error)
    for opener in (folder.root / "incoming").iterdir():
        # A lock comes before its folder and goes after it, so this one's was lost with the power.
        if opener.is_dir() and not opener.with_suffix(".lock").exists():
            shutil.rmtree(opener, ignore_errors=True)


def _sweep_limits(folder: SpoolFolder) -> None:
    """A note of the limits that the power has torn tells nothing; the next producer writes it anew."""
    path = folder.root / LIMITS_NAME
    if path.exists() and folder.noted_limits() is None:
        _remove(folder, path, label="recover_limits")


def _adopt_streams(folder: SpoolFolder) -> None:
    with folder.index.reading() as db:
        known = {stream.stream_id for _, stream in rows.all_streams(db)}
    for entry in sorted(os.listdir(folder.root / "streams")):
        if entry in known or not STREAM_ID.fullmatch(entry):
            continue
        try:
            stream = folder.read_stream_description(entry)
        except FileNotFoundError:
            folder.write("recover_stream", partial(_sweep_unbegun, folder, entry))
            continue
        except (OSError, ValueError, KeyError, TypeError, SpoolError) as error:
            _log.warning("%s is left alone: its stream.json cannot be read (%s)", entry, error)
            continue
        folder.write("recover_stream", partial(_adopt_stream, folder, stream))


def _sweep_unbegun(folder: SpoolFolder, stream_id: str, db: sqlite3.Connection) -> None:
    """Remove what is left of a stream that never began: no row, no description, and so no chunk either."""
    home = folder.stream_folder(stream_id)
    if rows.find_stream(db, stream_id) or (home / "stream.json").exists():
        return  # its opener was alive and has finished meanwhile
    _remove_empty(home, why="its stream.json is gone")


def _remove_empty(home: Path, *, why: str) -> None:
    """Remove a stream's folder that no row speaks of, unless it holds a shard."""
    if any(_shards_in(home)):
        _log.warning("%s is left alone: it holds shards, but %s", home.name, why)
    else:
        shutil.rmtree(home, ignore_errors=True)


def _adopt_stream(folder: SpoolFolder, stream: Stream, db: sqlite3.Connection) -> None:
    if rows.find_stream(db, stream.stream_id):
        return  # its opener was alive and has committed it meanwhile
    for data_id in (part.data_id for part in stream.parts if part.data_id is not None):
        if rows.find_stream(db, data_id):
            # Opening it failed and could not be undone; its caller has opened another since.
            _remove_empty(folder.stream_folder(stream.stream_id), why=f"{data_id} is another stream's by now")
            return
    if _is_copy_of_nothing(folder, stream, db):
        _remove_empty(folder.stream_folder(stream.stream_id), why="the stream that it is a copy of is gone")
        return
    rows.insert_stream(db, stream)
    now = folder.clock.now_ms()
    detail = {"what": "stream", **ledger.stream_facts(stream)}
    ledger.append(db, "recovered", at_ms=now, stream_id=stream.stream_id, detail=detail)
    if stream.sealed_at_ms is not None:
        ledger.append(db, "sealed", at_ms=stream.sealed_at_ms, stream_id=stream.stream_id)
    _log.warning("stream %s had no index row; it was taken up again from its folder", stream.stream_id)


def _is_copy_of_nothing(folder: SpoolFolder, stream: Stream, db: sqlite3.Connection) -> bool:
    """Whether it is a copy whose original never began: that is made last."""
    original = stream.settings.copy_of
    if original is None or rows.find_stream(db, original):
        return False
    began = (folder.stream_folder(original) / "stream.json").exists()
    return not began and not any(_shards_in(folder.stream_folder(stream.stream_id)))


def _shards_in(home: Path) -> Iterator[Path]:
    return (path for path in home.rglob("c.*") if chunk_idx_of(path.name) is not None)


def _reconcile(folder: SpoolFolder, key: int, stream: Stream) -> None:
    on_disk, leftovers, has_array = _listed(folder, stream.stream_id)
    _settle_files(folder, key, stream, on_disk)
    _settle_missing(folder, key, stream, on_disk)
    _agree_on_the_end(folder, stream)
    if has_array and (leftovers or not _documents_are_fresh(folder, stream.stream_id)):
        folder.write("recover_zarr_json", partial(_refresh, folder, stream.stream_id, leftovers))


def _listed(folder: SpoolFolder, stream_id: str) -> tuple["array[int]", list[Path], bool]:
    """The chunk_idx of each shard that lies there, in order; files that were being written; whether all is there.

    Eight bytes a file: neither names nor rows of a large backlog are ever held.
    """
    home, store = folder.stream_folder(stream_id), folder.store_path(stream_id)
    path = array_path(home)
    leftovers = [*home.glob("*.part"), *store.glob(".zarr.json.*")]
    found = array("q")
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if (idx := chunk_idx_of(name)) is not None and idx < _IDX_END:
                    found.append(idx)
                elif name.startswith(".zarr.json."):
                    leftovers.append(path / name)
    except (FileNotFoundError, NotADirectoryError):
        return found, leftovers, False
    return array("q", sorted(found)), leftovers, True


def _settle_files(folder: SpoolFolder, key: int, stream: Stream, on_disk: "array[int]") -> None:
    """Adopt what has no row, and remove what its row has given up. Rows without a file are not even read."""
    for start in range(0, len(on_disk), _PAGE):
        page = on_disk[start : start + _PAGE]
        with folder.index.reading() as db:
            known = _known(db, key, page)
        for idx in page:
            is_gone = known.get(idx)
            if is_gone is None:
                _adopt_chunk(folder, stream.stream_id, idx)
            elif is_gone:
                _remove(folder, folder.shard_path(stream.stream_id, idx), label="recover_prune")


def _known(db: sqlite3.Connection, key: int, page: "array[int]") -> dict[int, bool]:
    """Of those chunks that have a row: whether it says that the file is given up."""
    # Not by one column alone: one that is damaged must not delete anything.
    what = (
        "SELECT chunk_idx, disk_bytes = 0 AND (state = 'discarded'"
        " OR (state = 'acknowledged' AND pruned_at_ms IS NOT NULL)) FROM chunks WHERE stream_key = ?"
    )
    if page[-1] - page[0] < _SPREAD * len(page):
        found = db.execute(f"{what} AND chunk_idx BETWEEN ? AND ?", (key, page[0], page[-1])).fetchall()
    else:  # files far apart, with perhaps a million rows between
        found = [row for idx in page for row in db.execute(f"{what} AND chunk_idx = ?", (key, idx))]
    return {idx: bool(is_gone) for idx, is_gone in found}


def _settle_missing(folder: SpoolFolder, key: int, stream: Stream, on_disk: "array[int]") -> None:
    """Park what waits and has no file."""
    after, at = -1, 0
    while True:
        with folder.index.reading() as db:
            waiting = rows.waiting_after(db, key, after, limit=_PAGE)
        at = bisect_left(on_disk, waiting[0], at) if waiting else at
        if on_disk[at : at + len(waiting)] == array("q", waiting):  # as almost always
            at += len(waiting)
        else:
            for idx in waiting:
                at = bisect_left(on_disk, idx, at)
                if at == len(on_disk) or on_disk[at] != idx:
                    folder.write("recover_missing", partial(_park_missing, folder, key, stream, idx))
        if len(waiting) < _PAGE:
            return
        after = waiting[-1]


def _agree_on_the_end(folder: SpoolFolder, stream: Stream) -> None:
    """An index older than the stream's description, as a copy may be, still owes the end that was asked for."""
    if stream.state is StreamState.OPEN and folder.asked_to_end_ms(stream.stream_id) is not None:
        folder.write("recover_seal", partial(seal_if_asked, folder, stream.stream_id))


def _remove(folder: SpoolFolder, path: Path, *, label: str) -> None:
    try:
        folder.disk.remove(path, label=label)
    except OSError as error:
        _log.warning("%s could not be deleted (%s); the next opening tries again", path, error)


def _adopt_chunk(folder: SpoolFolder, stream_id: str, idx: int) -> None:
    """Take up a shard that has no row, or set it aside: a file that no row speaks of never keeps its name."""
    aside = folder.write("recover_chunk", partial(_decide, folder, stream_id, idx))
    if aside is not None:
        path = folder.shard_path(stream_id, idx)
        try:
            folder.disk.rename(path, path.with_name(aside), label="recover_aside")
        except OSError as error:
            _log.warning("%s could not be set aside (%s); the next opening tries again", path, error)


def _decide(folder: SpoolFolder, stream_id: str, idx: int, db: sqlite3.Connection) -> str | None:
    """Under the write lock: adopt the shard, or the name under which it is set aside."""
    found = rows.find_stream(db, stream_id)
    path = folder.shard_path(stream_id, idx)
    if found is None or not path.exists():
        return None
    key, stream = found
    if rows.chunk_at(db, key, idx) is not None:
        return None  # its producer was alive and has committed it meanwhile
    now = folder.clock.now_ms()
    rebuilt = _is_rebuilt(db, stream_id)
    try:
        chunk = _described(path, stream, idx, keep_damaged=rebuilt)
    except OSError as error:
        _log.warning("%s cannot be read (%s); it is left for the next time", path, error)
        return None
    except SpoolError as error:
        aside = f".{path.name}.{uuid.uuid4().hex}.aside"
        detail = {"what": "set aside", "why": str(error), "file": aside}
        ledger.append(db, "recovered", at_ms=now, stream_id=stream_id, chunk_idx=idx, detail=detail)
        if rebuilt and stream.state != StreamState.FINALIZED:
            # The index that could have said whether it was accepted is lost: a person has to look.
            reason = f"chunk {idx} cannot be read: {error}"
            db.execute("UPDATE streams SET held = ? WHERE stream_key = ?", (reason, key))
            ledger.append(db, "held", at_ms=now, stream_id=stream_id, detail={"why": reason})
        _log.warning("chunk %d of %s has no index row and is set aside: %s", idx, stream_id, error)
        return aside
    # The rename may not have reached the disk before its process died.
    folder.disk.sync_dir(path.parent, label="recover_chunk")
    rows.insert_chunk(db, key, chunk)
    detail = {"what": "chunk", **ledger.entry_facts(chunk)}
    ledger.append(db, "recovered", at_ms=now, stream_id=stream_id, chunk_idx=idx, detail=detail)
    if chunk.state == ChunkState.PARKED:
        why = {"why": chunk.parked_reason}
        ledger.append(db, "parked", at_ms=now, stream_id=stream_id, chunk_idx=idx, detail=why)
    _log.warning("chunk %d of %s was on disk without an index row; it is %s", idx, stream_id, chunk.state)
    return None


def _is_rebuilt(db: sqlite3.Connection, stream_id: str) -> bool:
    """Whether the stream's rows were lost once, so that a missing chunk row does not mean "never accepted"."""
    row = db.execute(
        "SELECT 1 FROM ledger WHERE (stream_id = ? OR stream_id IS NULL) AND event = 'recovered'"
        " AND chunk_idx IS NULL",
        (stream_id,),
    ).fetchone()
    return row is not None


def _described(path: Path, stream: Stream, idx: int, *, keep_damaged: bool) -> Chunk:
    """The chunk that a shard says it is, checked byte by byte and against its stream.

    Raises:
        ShardDamaged: it is not a shard of this stream, or its frames are damaged and not to be kept.
    """
    settings = stream.settings
    said = shards.read_description(path, chunk_size=settings.chunk_size)
    if (said.stream_id, said.chunk_idx, said.chunk_size) != (stream.origin_id, idx, settings.chunk_size):
        raise ShardDamaged(f"it says it is chunk {said.chunk_idx} of {said.stream_id}")
    if stream.height is not None and (said.height, said.width) != (stream.height, stream.width):
        raise ShardDamaged(f"its frames are {said.height} x {said.width}, the stream's are not")
    if stream.state == StreamState.FINALIZED:
        raise ShardDamaged("the stream is finalized; no chunk can follow")
    damage = None
    try:
        shards.read_wire_form(
            path, n=said.n, chunk_size=settings.chunk_size, wire_bytes=said.wire_bytes, sha256=said.sha256
        )
    except ShardDamaged as error:
        if not keep_damaged:
            raise
        damage = str(error)
    chunk = shards.described_chunk(said, disk_bytes=path.stat().st_size, damage=damage)
    return replace(chunk, stream_id=stream.stream_id)


def _park_missing(folder: SpoolFolder, key: int, stream: Stream, idx: int, db: sqlite3.Connection) -> None:
    chunk = rows.chunk_at(db, key, idx)
    if chunk is None or chunk.state != ChunkState.SPOOLED or folder.shard_path(stream.stream_id, idx).exists():
        return
    reason = "its file is missing from the spool"
    event = rows.move_chunk(db, key, idx, "park", parked_reason=reason)
    ledger.append(
        db,
        event,
        at_ms=folder.clock.now_ms(),
        stream_id=stream.stream_id,
        chunk_idx=idx,
        detail={"why": reason},
    )
    _log.error("chunk %d of %s is parked: %s", idx, stream.stream_id, reason)


def _documents_are_fresh(folder: SpoolFolder, stream_id: str) -> bool:
    with folder.index.reading() as db:
        key, stream = rows.require_stream(db, stream_id)
        frame_count = rows.frame_count(db, key, stream)
    store = folder.store_path(stream_id)
    wanted = {
        folder.stream_folder(stream_id) / "stream.json": stream_description(stream),
        store / "zarr.json": group_document(stream),
        array_path(folder.stream_folder(stream_id)) / "zarr.json": array_document(stream, frame_count=frame_count),
    }
    try:
        return all(path.read_bytes() == document for path, document in wanted.items())
    except OSError:
        return False


def _refresh(folder: SpoolFolder, stream_id: str, leftovers: list[Path], db: sqlite3.Connection) -> None:
    # Under the write lock, so that no producer's newer document, nor the one it is writing, is lost.
    key, stream = rows.require_stream(db, stream_id)
    for path in leftovers:
        _remove(folder, path, label="recover_zarr_json")
    try:
        folder.write_stream_description(stream)
    except OSError as error:
        _log.warning("stream.json of %s could not be rewritten: %s", stream_id, error)
    folder.write_group_document(stream)
    folder.write_array_document(stream, frame_count=rows.frame_count(db, key, stream))
