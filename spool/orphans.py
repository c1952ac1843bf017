"""Orphans: open streams whose producer is gone.

Such a stream stays open until somebody says otherwise: a producer that goes on with it, a person who ends it, or a
rule that a person has set. The first and the last take the producer's claim before they do (`spool.producers`), so
that no stream is resumed by two, or ended in the moment in which it is resumed.
"""

import json
import sqlite3

from spool import ledger, rows, sealing
from spool.errors import StreamInUse
from spool.folder import SpoolFolder, translated
from spool.intake import require_open
from spool.model import Stream
from spool.producers import ProducerClaims, our_name
from spool.states import StreamState

_PATIENCE_S = 1.0


def resume(folder: SpoolFolder, claims: ProducerClaims, ref: str) -> Stream:
    """See `Spool.resume`."""
    with folder.index.reading() as db:
        stream = require_open(db, ref)[1]
    if claims.holds(stream.stream_id):
        return stream
    if not _take(claims, stream, patience_s=_PATIENCE_S):
        with folder.index.reading() as db:
            require_open(db, ref)  # what had the claim may have sealed the stream
            raise StreamInUse(ref, began_by=_named(db, stream))

    def change(db: sqlite3.Connection) -> Stream:
        found = require_open(db, ref)[1]
        detail = {"producer": our_name(), "next_chunk_idx": found.next_chunk_idx}
        ledger.append(db, "resumed", at_ms=folder.clock.now_ms(), stream_id=found.stream_id, detail=detail)
        return found

    try:
        return folder.write("resume", change)
    except BaseException:
        claims.release(stream.stream_id)
        raise


def seal_orphan(folder: SpoolFolder, claims: ProducerClaims, ref: str, *, silent_for_s: float, who: str) -> bool:
    """See `Spool.seal_orphan`."""
    with folder.index.reading() as db:
        stream = rows.require_stream(db, ref)[1]
    if stream.state != StreamState.OPEN or stream.settings.copy_of or claims.holds(stream.stream_id):
        return False
    if not _take(claims, stream):
        return False
    try:
        since = folder.clock.now_ms() - int(silent_for_s * 1000)
        why = f"its producer was gone, and had been silent for {silent_for_s:g} s"
        return sealing.seal(folder, ref, detail={"why": why, "who": who}, unless_heard_of_after_ms=since)
    finally:
        claims.release(stream.stream_id)


def last_sign_ms(db: sqlite3.Connection, ref: str) -> int:
    """See `Spool.last_sign_of_life_ms`."""
    key, stream = rows.require_stream(db, ref)
    return sealing.last_sign_ms(db, key, stream)


def _named(db: sqlite3.Connection, stream: Stream) -> str | None:
    """Who opened or resumed the stream last."""
    row = db.execute(
        "SELECT detail FROM ledger WHERE stream_id = ? AND chunk_idx IS NULL AND event IN ('opened', 'resumed')"
        " ORDER BY seq DESC LIMIT 1",
        (stream.stream_id,),
    ).fetchone()
    try:
        return str(json.loads(row[0])["producer"]) if row else None
    except (ValueError, TypeError, KeyError):
        return None  # the row is damaged, or of a stream that began elsewhere


def _take(claims: ProducerClaims, stream: Stream, *, patience_s: float = 0.0) -> bool:
    try:
        return claims.take(stream.stream_id, patience_s=patience_s)
    except OSError as error:
        raise translated(error, f"stream {stream.stream_id} cannot be claimed") from error
