"""Deleting local bytes, which only ever follows a commit that says they may go.

The index first, the file after: a crash between leaves a file that the next opening removes. The other order
could leave a row that promises bytes which are gone.
"""

import logging
import sqlite3
from functools import partial
from typing import Any

from spool import ledger, rows
from spool.errors import IllegalTransition
from spool.folder import SpoolFolder
from spool.model import Chunk

_BATCH = 64

_log = logging.getLogger(__name__)


def prune(
    folder: SpoolFolder, *, wanted_bytes: int | None = None, before_ms: int | None = None
) -> tuple[int, int]:
    """Delete the shards of acknowledged chunks, the longest acknowledged first.

    Args:
        folder: the spool.
        wanted_bytes: stop once so much is freed; ``None`` for no such limit.
        before_ms: only chunks acknowledged before this moment; ``None`` for all.

    Returns:
        How many shards and how many bytes were deleted. The index rows stay for ever.
    """
    chunks = freed = 0
    while wanted_bytes is None or freed < wanted_bytes:
        batch = folder.write("prune", partial(_release, folder, wanted_bytes, freed, before_ms))
        if not batch:
            break
        for chunk in batch:
            path = folder.shard_path(chunk.stream_id, chunk.chunk_idx)
            try:
                folder.disk.remove(path, label="prune")
            except OSError as error:
                # The commit has been made: the next opening removes the file. It frees nothing now.
                _log.warning("%s could not be deleted (%s); the next opening tries again", path, error)
            else:
                freed += chunk.disk_bytes
        chunks += len(batch)
    return chunks, freed


def prunable(folder: SpoolFolder, *, before_ms: int) -> tuple[int, int]:
    """How many shards and bytes `prune` would delete."""
    with folder.index.reading() as db:
        shards, size = db.execute(
            "SELECT count(*), coalesce(sum(disk_bytes), 0) FROM chunks"
            " WHERE state = 'acknowledged' AND disk_bytes > 0 AND acknowledged_at_ms < ?",
            (before_ms,),
        ).fetchone()
    return int(shards), int(size)


def _release(
    folder: SpoolFolder, wanted_bytes: int | None, freed: int, before_ms: int | None, db: sqlite3.Connection
) -> list[Chunk]:
    now = folder.clock.now_ms()
    oldest = rows.select_chunks(
        db,
        "c.state = 'acknowledged' AND c.disk_bytes > 0 AND c.acknowledged_at_ms < ?"
        " ORDER BY c.acknowledged_at_ms, c.stream_key, c.chunk_idx",
        (before_ms if before_ms is not None else 2**62,),
        limit=_BATCH,
    )
    batch = []
    for chunk in oldest:
        if wanted_bytes is not None and freed >= wanted_bytes:
            break
        freed += chunk.disk_bytes
        batch.append(chunk)
        _release_chunk(db, chunk, now, {})
    return batch


def note_gone(folder: SpoolFolder, chunk: Chunk) -> bool:
    """See `Spool.note_gone`."""

    def change(db: sqlite3.Connection) -> bool:
        if folder.shard_path(chunk.stream_id, chunk.chunk_idx).exists():
            return False
        _release_chunk(db, chunk, folder.clock.now_ms(), {"why": "its file was gone"})
        return True

    return folder.write("prune", change)


def _release_chunk(db: sqlite3.Connection, chunk: Chunk, now_ms: int, detail: dict[str, Any]) -> None:
    cursor = db.execute(
        "UPDATE chunks SET disk_bytes = 0, pruned_at_ms = ?"
        " WHERE chunk_idx = ? AND state = 'acknowledged' AND disk_bytes > 0"
        " AND stream_key = (SELECT stream_key FROM streams WHERE stream_id = ?)",
        (now_ms, chunk.chunk_idx, chunk.stream_id),
    )
    if cursor.rowcount != 1:
        raise IllegalTransition(f"chunk {chunk.chunk_idx} cannot be pruned: it is not acknowledged, or was pruned")
    detail = {"disk_bytes": chunk.disk_bytes, **detail}
    ledger.append(db, "pruned", at_ms=now_ms, stream_id=chunk.stream_id, chunk_idx=chunk.chunk_idx, detail=detail)
