"""Several destinations for one stream: each further one has a copy of it, a stream of this spool like any other.

A copy has its own state, position, retries, receipts, ledger and proof. Only its chunks are not pushed: they enter
with those of its original, in the same transaction, so that either all have a chunk or none has. Its files are
further names of the original's, so that a frame lies on the disk once, for as long as one of them needs it:

* pruning and discarding remove a name, and the bytes go with the last one;
* sealing the original seals its copies, in the same transaction;
* what a crash has kept apart, an opening puts together: see `catch_up`.

What one of them occupies counts for each in the spool's limits, as if it were alone.
"""

import logging
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from spool import ledger, rows, shards
from spool.errors import ShardDamaged
from spool.folder import SpoolFolder
from spool.model import Chunk, Stream
from spool.states import ChunkState, StreamState

_PAGE = 1000
_WAITING = (ChunkState.SPOOLED, ChunkState.PARKED)

_log = logging.getLogger(__name__)


def copies_of(db: sqlite3.Connection, stream: Stream) -> Iterator[tuple[int, Stream]]:
    """The copies of a stream with their keys, as far as they are in this spool: one that was unpacked has none."""
    for stream_id in stream.settings.copies:
        if (found := rows.find_stream(db, stream_id)) is not None:
            yield found


def enter(folder: SpoolFolder, db: sqlite3.Connection, stream: Stream, chunk: Chunk) -> None:
    """Give each copy a chunk that has just entered its original; part of the same transaction."""
    for key, copy in copies_of(db, stream):
        _enter(folder, db, key, copy, chunk, "spooled")


def take_back(folder: SpoolFolder, db: sqlite3.Connection, stream: Stream, chunk_idx: int) -> None:
    """Remove the names that a transaction without an end has given to the copies' files."""
    for key, copy in copies_of(db, stream):
        if rows.chunk_at(db, key, chunk_idx) is None:
            folder.disk.remove(folder.shard_path(copy.stream_id, chunk_idx), label="push_undo")
            folder.write_array_document(copy, frame_count=rows.frame_count(db, key, copy))


def restore(folder: SpoolFolder, db: sqlite3.Connection, stream: Stream, chunk: Chunk) -> None:
    """The original has the file of a chunk again: so have the copies that need it, and had it no longer."""
    for key, copy in copies_of(db, stream):
        lost = rows.chunk_at(db, key, chunk.chunk_idx)
        if lost is None or lost.state not in _WAITING or _is_whole(folder, copy, lost):
            continue
        _name(folder, copy, chunk)
        event = "restored"
        if lost.state == ChunkState.PARKED:
            event = rows.move_chunk(db, key, lost.chunk_idx, "retry", parked_reason=None)
        detail = {"why": "its file was gone or damaged, and the same frames were pushed again"}
        now = folder.clock.now_ms()
        ledger.append(db, event, at_ms=now, stream_id=copy.stream_id, chunk_idx=lost.chunk_idx, detail=detail)


def catch_up(folder: SpoolFolder, stream_id: str, *, is_rebuilt: bool) -> None:
    """Give the original and its copies what a crash, or a lost index, has left one of them alone with.

    Args:
        folder: the spool's.
        stream_id: of the original.
        is_rebuilt: its rows were lost once. Only then may each lack what another has, and the numbers be equal.
    """
    with folder.index.reading() as db:
        key, stream = rows.require_stream(db, stream_id)
        copies = list(copies_of(db, stream))
        if not is_rebuilt and all(_agree(stream, copy) for _, copy in copies):
            return
        family = [(key, stream_id), *((copy_key, copy.stream_id) for copy_key, copy in copies)]
        # The original may have been delivered, pruned and forgotten while its copies' destinations were away.
        pairs = [*((one, family[0]) for one in family[1:]), *((family[0], one) for one in family[1:])]
    for (giver_key, giver_id), (taker_key, taker_id) in pairs:
        after: int | None = -1
        while after is not None:
            with folder.index.reading() as db:
                lacking = rows.chunks_lacking(db, giver_key, taker_key, after, limit=_PAGE)
                is_open = _is_open_alone(db, giver_id, taker_id)
            if lacking or is_open:
                folder.write("recover_copy", partial(_catch_up, folder, giver_id, taker_id, lacking))
            after = lacking[-1] if len(lacking) == _PAGE else None


def _agree(stream: Stream, copy: Stream) -> bool:
    """Whether nothing suggests that one of them lacks something; their chunks come in one transaction."""
    ends = [one.state is StreamState.OPEN for one in (stream, copy)]
    return ends[0] == ends[1] and copy.tally.pushed == stream.tally.pushed


def _is_open_alone(db: sqlite3.Connection, giver_id: str, taker_id: str) -> bool:
    """Whether the giver has been asked to end, and the taker has not."""
    states = [rows.require_stream(db, one)[1].state is StreamState.OPEN for one in (giver_id, taker_id)]
    return states == [False, True]


def _catch_up(
    folder: SpoolFolder, giver_id: str, taker_id: str, lacking: list[int], db: sqlite3.Connection
) -> None:
    """Some of the chunks, then the end."""
    key, giver = rows.require_stream(db, giver_id)
    taker_key, taker = rows.require_stream(db, taker_id)
    if taker.state is StreamState.FINALIZED:
        return
    for idx in lacking:
        chunk = rows.chunk_at(db, key, idx)
        if chunk is None or rows.chunk_at(db, taker_key, idx) is not None or not chunk.disk_bytes:
            continue
        if _is_whole(folder, giver, chunk):
            _enter(folder, db, taker_key, taker, chunk, "recovered")
            _log.warning("chunk %d of %s was not in %s; now it is", idx, giver_id, taker_id)
    if len(lacking) < _PAGE and taker.state is StreamState.OPEN and giver.sealed_at_ms is not None:
        event = rows.move_stream(db, taker_key, "seal", sealed_at_ms=giver.sealed_at_ms)
        ledger.append(db, event, at_ms=giver.sealed_at_ms, stream_id=taker_id)
        folder.write_stream_description(rows.require_stream(db, taker_id)[1])


def _enter(folder: SpoolFolder, db: sqlite3.Connection, key: int, copy: Stream, chunk: Chunk, event: str) -> None:
    """Give a stream the chunk of another of the family."""
    _name(folder, copy, chunk)
    row = replace(
        chunk,
        stream_id=copy.stream_id,
        state=ChunkState.SPOOLED,
        attempts=0,
        acknowledged_at_ms=None,
        receipt=None,
        parked_reason=None,
    )
    rows.insert_chunk(db, key, row)
    facts = ledger.entry_facts(row)
    ledger.append(
        db,
        event,
        at_ms=chunk.spooled_at_ms if event == "spooled" else folder.clock.now_ms(),
        stream_id=copy.stream_id,
        chunk_idx=chunk.chunk_idx,
        detail=facts if event == "spooled" else {"what": "chunk", **facts},
    )
    _, now = rows.require_stream(db, copy.stream_id)
    folder.write_array_document(now, frame_count=rows.frame_count(db, key, now))


def _name(folder: SpoolFolder, copy: Stream, chunk: Chunk) -> None:
    """Give the file of the original's chunk its name in the copy, durably; whatever has it is set aside."""
    path = folder.shard_path(copy.stream_id, chunk.chunk_idx)
    if path.exists():
        folder.disk.rename(path, path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside"), label="copy_aside")
    # First beside it, where an opening sweeps it if we die: a name comes into being whole.
    part: Path = folder.stream_folder(copy.stream_id) / f"{uuid.uuid4().hex}.part"
    try:
        folder.disk.link(folder.shard_path(chunk.stream_id, chunk.chunk_idx), part, label="copy")
        folder.disk.rename(part, path, label="copy")
    finally:
        part.unlink(missing_ok=True)


def _is_whole(folder: SpoolFolder, stream: Stream, chunk: Chunk) -> bool:
    try:
        shards.read_wire_form(
            folder.shard_path(stream.stream_id, chunk.chunk_idx),
            n=chunk.n,
            chunk_size=stream.settings.chunk_size,
            wire_bytes=chunk.wire_bytes,
            sha256=chunk.sha256,
        )
    except (ShardDamaged, OSError):
        return False
    return True
