"""What only a person decides: to try again, or to give up. The ledger keeps who, when and why."""

import getpass
import logging
import sqlite3
from collections.abc import Sequence
from typing import Any

from spool import ledger, parting, rows
from spool.errors import SpoolError
from spool.folder import SpoolFolder

_log = logging.getLogger(__name__)


def retry(
    folder: SpoolFolder, ref: str, chunk_idxs: Sequence[int] | None, *, in_new_part: bool = False
) -> list[int]:
    """See `Spool.retry`."""

    def change(db: sqlite3.Connection) -> list[int]:
        key, stream = rows.require_stream(db, ref)
        if in_new_part and stream.held is None:
            raise SpoolError(
                f"stream {ref} is not held: what waits is on its way to where it belongs",
                hint="Only a stream that is held, because it was ended at the server, goes on in a new one.",
            )
        if stream.held is not None:
            db.execute("UPDATE streams SET held = NULL WHERE stream_key = ?", (key,))
            now = folder.clock.now_ms()
            ledger.append(db, "released", at_ms=now, stream_id=stream.stream_id, detail={"who": person()})
        if in_new_part and stream.parts and stream.parts[-1].closed_at_ms is None:
            parting.close(folder, db, key, stream, f"{person()} wished to go on in a new one")
        chosen = rows.parked(db, key) if chunk_idxs is None else sorted(set(chunk_idxs))
        _move(db, folder, ref, chosen, "retry", {"who": person()}, parked_reason=None)
        return chosen

    return folder.write("retry", change)


def hold(folder: SpoolFolder, ref: str, why: str, *, who: str) -> None:
    """See `Spool.hold`."""

    def change(db: sqlite3.Connection) -> None:
        key, stream = rows.require_stream(db, ref)
        db.execute("UPDATE streams SET held = ? WHERE stream_key = ?", (why, key))
        detail = {"why": why, "who": who}
        ledger.append(db, "held", at_ms=folder.clock.now_ms(), stream_id=stream.stream_id, detail=detail)

    folder.write("hold", change)


def discard(folder: SpoolFolder, ref: str, chunk_idxs: Sequence[int], *, why: str) -> list[int]:
    """See `Spool.discard`."""
    chosen = sorted(set(chunk_idxs))
    if not why.strip():
        raise SpoolError("a reason is needed", hint="Say why: the ledger keeps it for the auditor.")

    def change(db: sqlite3.Connection) -> str:
        _move(db, folder, ref, chosen, "discard", {"who": person(), "why": why}, disk_bytes=0)
        return rows.require_stream(db, ref)[1].stream_id

    stream_id = folder.write("discard", change)
    for idx in chosen:
        path = folder.shard_path(stream_id, idx)
        try:
            folder.disk.remove(path, label="discard")
        except OSError as error:
            _log.warning("%s could not be deleted (%s); the next opening tries again", path, error)
    return chosen


def _move(
    db: sqlite3.Connection,
    folder: SpoolFolder,
    ref: str,
    idxs: Sequence[int],
    verb: str,
    detail: dict[str, Any],
    **columns: object,
) -> None:
    key, stream = rows.require_stream(db, ref)
    now = folder.clock.now_ms()
    for idx in idxs:
        event = rows.move_chunk(db, key, idx, verb, **columns)
        ledger.append(db, event, at_ms=now, stream_id=stream.stream_id, chunk_idx=idx, detail=detail)


def person() -> str:
    """Who is at the keyboard, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
