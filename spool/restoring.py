"""An index that is gone, told again by ``ledger.jsonl``: the rows as they were, and the states they amount to.

What the file does not reach (it lags by a commit, and its end may be torn) is told by the shards afterwards, as
in `spool.recovery`.
"""

import logging
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from spool import ledger, rows
from spool.errors import SpoolError
from spool.folder import SpoolFolder
from spool.ledger_file import rows_that_hold
from spool.model import STREAM_ID
from spool.replay import Replay, ToldStream
from spool.states import ChunkState, StreamState

_NO_INDEX = (
    *(sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, sqlite3.DataError),
    *(OverflowError, KeyError, TypeError, ValueError, SpoolError),
)
"""What values raise that no honest row holds."""

_log = logging.getLogger(__name__)


class _Unusable(Exception):
    """The file's rows hold, but do not make an index."""


def restore_index(folder: SpoolFolder) -> None:
    """Fill an index that knows nothing from the ledger's file, if there is one; all of it, or nothing."""
    path = folder.ledger_file.path
    with folder.index.reading() as db:
        if not ledger.is_empty(db) or not path.exists():
            return
    try:
        with folder.index.writing("restore") as db:
            if ledger.is_empty(db):  # another opener may have been quicker
                _restore(folder, path, db)
    except _Unusable as error:
        _log.warning("%s cannot stand in for the index (%s); the shards tell what they can", path, error)
        folder.ledger_file.set_aside(str(error))


def _restore(folder: SpoolFolder, path: Path, db: sqlite3.Connection) -> None:
    told, count = Replay(), 0
    try:
        with closing(rows_that_hold(path)) as lines:
            for count, event in enumerate(lines, start=1):  # noqa: B007 - counted
                ledger.put(db, event)
                told.take(event)
        if told.faults:
            raise _Unusable(told.faults[0])
        if not count:
            raise _Unusable("it has no row that holds")
        for stream_id, stream in told.streams.items():
            _insert(folder, stream_id, stream, db)
    except _NO_INDEX as error:
        raise _Unusable(str(error)) from error
    now = folder.clock.now_ms()
    ledger.append(db, "recovered", at_ms=now, detail={"what": "index", "rows": count})
    _log.warning("the index was lost; %d rows of %s told it again", count, path.name)


def _insert(folder: SpoolFolder, stream_id: str, told: ToldStream, db: sqlite3.Connection) -> None:
    if not STREAM_ID.fullmatch(stream_id):
        raise _Unusable(f"{stream_id!r} is no stream_id")
    key = rows.insert_stream(db, told.as_stream(stream_id))
    for reading in told.readings:
        rows.add_reading(db, key, reading)
    for idx, chunk in sorted(told.chunks.items()):
        is_kept = folder.shard_path(stream_id, idx).exists()
        was_pruned = chunk.state is ChunkState.ACKNOWLEDGED and chunk.disk_bytes and not is_kept
        row = chunk.as_chunk(stream_id, idx)
        if was_pruned:
            # Only an acknowledged chunk's file is ever removed, and only after that was committed.
            now, detail = folder.clock.now_ms(), {"disk_bytes": chunk.disk_bytes}
            ledger.append(db, "pruned", at_ms=now, stream_id=stream_id, chunk_idx=idx, detail=detail)
            row = replace(row, disk_bytes=0, pruned_at_ms=now)
        rows.insert_chunk(db, key, row)
    rows.advance_watermark(db, key)
    seal_if_asked(folder, stream_id, db)


def seal_if_asked(folder: SpoolFolder, stream_id: str, db: sqlite3.Connection) -> None:
    """The end that ``stream.json`` knows was asked for is owed: what told the index may lag, and it does not."""
    key, stream = rows.require_stream(db, stream_id)
    sealed_at_ms = folder.asked_to_end_ms(stream_id)
    if stream.state is StreamState.OPEN and sealed_at_ms is not None:
        event = rows.move_stream(db, key, "seal", sealed_at_ms=sealed_at_ms)
        ledger.append(db, event, at_ms=sealed_at_ms, stream_id=stream_id)
