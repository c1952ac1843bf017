"""What another spool tells of a stream, entered here: its beginning, its chunks one by one, and its end.

Each step is one transaction, and says first what is here already: killed anywhere and done again, the result is
the same. What the other spool says is entered as it was there, receipts and times included; that it came from
elsewhere is said by the row ``unpacked`` before it.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from spool import ledger, parting, rows
from spool.errors import ChunkConflict, SpoolError
from spool.folder import SpoolFolder
from spool.model import Chunk, ClockReading, Stream
from spool.states import ChunkState, StreamState


def take_in_stream(
    folder: SpoolFolder, stream: Stream, detail: dict[str, Any], readings: Iterable[ClockReading] = ()
) -> bool:
    """Begin a stream that another spool began, or learn its parts; whether it was not here before.

    Args:
        folder: the spool.
        stream: as it was there.
        readings: of the clocks there.
        detail: for the row ``unpacked``.

    Raises:
        SpoolError: its data_id is another stream's here; nothing was changed.
    """

    def change(db: sqlite3.Connection) -> bool:
        now = folder.clock.now_ms()
        is_new = rows.find_stream(db, stream.stream_id) is None
        if is_new:
            for data_id in (part.data_id for part in stream.parts if part.data_id is not None):
                if rows.find_stream(db, data_id):
                    raise SpoolError(
                        f"{data_id} is another stream of this spool",
                        hint="Unpack it into a spool of its own: --spool.",
                    )
            begun = replace(stream, state=StreamState.OPEN, sealed_at_ms=None, finalized_at_ms=None, held=None)
            folder.make_stream(begun)
            key = rows.insert_stream(db, begun)
            facts = {"what": "stream", **ledger.stream_facts(begun)}
            ledger.append(db, "recovered", at_ms=now, stream_id=stream.stream_id, detail=facts)
            for reading in readings:
                rows.add_reading(db, key, reading)
                measured = asdict(reading)
                ledger.append(db, "clock_measured", at_ms=now, stream_id=stream.stream_id, detail=measured)
            if stream.unlinked is not None:
                owed = {"words": stream.unlinked}
                ledger.append(db, "link_failed", at_ms=now, stream_id=stream.stream_id, detail=owed)
        else:
            key, here = rows.require_stream(db, stream.stream_id)
            parting.take_in(db, key, here, stream)
            folder.write_stream_description(rows.require_stream(db, stream.stream_id)[1])
        ledger.append(db, "unpacked", at_ms=now, stream_id=stream.stream_id, detail=detail)
        return is_new

    return folder.write("take_in", change)


def take_in_chunk(
    folder: SpoolFolder, chunk: Chunk, part: Path | None, discarded: dict[str, Any] | None = None
) -> bool:
    """Enter what another spool says of a chunk; whether that changed anything.

    Args:
        folder: the spool.
        chunk: as it was there.
        part: its shard, durable under ``incoming``; ``None`` when its bytes are nowhere.
        discarded: the detail of its row ``discarded``.

    Raises:
        ChunkConflict: the chunk here has other bytes; nothing was changed.
    """

    def change(db: sqlite3.Connection) -> bool:
        key, stream = rows.require_stream(db, chunk.stream_id)
        found = rows.select_chunks(db, "c.stream_key = ? AND c.chunk_idx = ?", (key, chunk.chunk_idx))
        if found:
            return _agreed(folder, db, key, found[0], chunk)
        _entered(folder, db, key, chunk, part, discarded)
        stream = rows.require_stream(db, chunk.stream_id)[1]
        folder.write_array_document(stream, frame_count=rows.frame_count(db, key, stream))
        return True

    return folder.write("take_in", change)


def take_in_end(folder: SpoolFolder, stream: Stream) -> None:
    """Enter the end that was asked for, or accepted, there; let go of what was held for the packing."""

    def change(db: sqlite3.Connection) -> None:
        key, here = rows.require_stream(db, stream.stream_id)
        if here.state is StreamState.OPEN and stream.sealed_at_ms is not None:
            rows.move_stream(db, key, "seal", sealed_at_ms=stream.sealed_at_ms)
            ledger.append(db, "sealed", at_ms=stream.sealed_at_ms, stream_id=stream.stream_id)
            here = rows.require_stream(db, stream.stream_id)[1]
            folder.write_stream_description(here)
        left = here.tally.spooled + here.tally.parked
        if left:
            return
        if here.state is StreamState.SEALED and stream.finalized_at_ms is not None:
            rows.move_stream(db, key, "finalize", finalized_at_ms=stream.finalized_at_ms, trouble=None)
            words = {"words": "accepted elsewhere"}
            ledger.append(db, "finalized", at_ms=stream.finalized_at_ms, stream_id=stream.stream_id, detail=words)
        if here.held is not None:
            db.execute("UPDATE streams SET held = NULL WHERE stream_key = ?", (key,))
            why = {"why": "everything was delivered elsewhere"}
            ledger.append(db, "released", at_ms=folder.clock.now_ms(), stream_id=stream.stream_id, detail=why)

    folder.write("take_in", change)


def _agreed(folder: SpoolFolder, db: sqlite3.Connection, key: int, here: Chunk, there: Chunk) -> bool:
    """A chunk that both have: what was acknowledged there is acknowledged."""
    if here.sha256 != there.sha256:
        raise ChunkConflict(f"chunk {here.chunk_idx} of {here.stream_id} has other bytes here than there")
    if there.state is not ChunkState.ACKNOWLEDGED or here.state not in (ChunkState.SPOOLED, ChunkState.PARKED):
        return False
    assert there.receipt is not None
    idx, receipt = here.chunk_idx, asdict(there.receipt)
    at_ms = there.acknowledged_at_ms or folder.clock.now_ms()
    if here.state is ChunkState.PARKED:
        event = rows.move_chunk(db, key, idx, "retry", parked_reason=None)
        detail = {"why": "it was delivered elsewhere"}
        ledger.append(db, event, at_ms=at_ms, stream_id=here.stream_id, chunk_idx=idx, detail=detail)
    event = rows.move_chunk(db, key, idx, "acknowledge", acknowledged_at_ms=at_ms, receipt=json.dumps(receipt))
    ledger.append(db, event, at_ms=at_ms, stream_id=here.stream_id, chunk_idx=idx, detail=receipt)
    rows.advance_watermark(db, key)
    return True


def _entered(
    folder: SpoolFolder,
    db: sqlite3.Connection,
    key: int,
    chunk: Chunk,
    part: Path | None,
    discarded: dict[str, Any] | None,
) -> None:
    """A chunk that is not here: with its shard, or with what became of it."""
    now = folder.clock.now_ms()
    row = replace(chunk, attempts=0)
    rest: list[tuple[str, int, dict[str, Any]]] = []
    if part is not None:
        row = replace(row, disk_bytes=part.stat().st_size)
        folder.disk.rename(part, folder.shard_path(chunk.stream_id, chunk.chunk_idx), label="take_in")
        if chunk.state is ChunkState.PARKED:
            rest = [("parked", now, {"why": chunk.parked_reason})]
    elif chunk.state is ChunkState.ACKNOWLEDGED:
        assert chunk.receipt is not None
        assert chunk.acknowledged_at_ms is not None
        row = replace(row, disk_bytes=0, pruned_at_ms=now)
        rest = [
            ("acknowledged", chunk.acknowledged_at_ms, asdict(chunk.receipt)),
            ("pruned", now, {"disk_bytes": 0, "why": "it was delivered from elsewhere"}),
        ]
    else:
        row = replace(row, disk_bytes=0)
        rest = [("discarded", now, discarded or {})]
    rows.insert_chunk(db, key, row)
    facts = {"what": "chunk", **ledger.entry_facts(row)}
    ids = {"stream_id": chunk.stream_id, "chunk_idx": chunk.chunk_idx}
    ledger.append(db, "recovered", at_ms=now, **ids, detail=facts)  # type: ignore[arg-type] # as named
    for event, at_ms, detail in rest:
        ledger.append(db, event, at_ms=at_ms, **ids, detail=detail)  # type: ignore[arg-type] # as named
    rows.advance_watermark(db, key)
