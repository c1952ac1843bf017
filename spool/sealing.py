"""The end of a stream: asked for by its producer, by a person, or by a rule for streams that nobody records."""

import logging
import sqlite3
from functools import partial
from typing import Any

from spool import copying, ledger, rows
from spool.errors import SpoolError, StreamError
from spool.folder import SpoolFolder
from spool.model import Stream
from spool.states import StreamState

_log = logging.getLogger(__name__)


def seal(
    folder: SpoolFolder,
    ref: str,
    *,
    detail: dict[str, Any] | None = None,
    unless_heard_of_after_ms: int | None = None,
) -> bool:
    """See `Spool.seal`.

    Args:
        folder: the spool's.
        ref: the stream.
        detail: for the ledger.
        unless_heard_of_after_ms: leave the stream open if its producer gave a sign of life after that.

    Returns:
        Whether it is sealed now.
    """

    def change(db: sqlite3.Connection) -> bool:
        key, stream = rows.require_stream(db, ref)
        if stream.settings.copy_of is not None:
            raise StreamError(
                f"stream {ref} is a copy of {stream.settings.copy_of}, and ends with it",
                hint=f"End that one: {stream.settings.copy_of}.",
            )
        if stream.state != StreamState.OPEN:
            return True
        # Asked under the lock: a push may have come in just now.
        if unless_heard_of_after_ms is not None and last_sign_ms(db, key, stream) > unless_heard_of_after_ms:
            return False
        now = folder.clock.now_ms()
        for each, its in ((key, stream), *copying.copies_of(db, stream)):
            if its.state is StreamState.OPEN:
                event = rows.move_stream(db, each, "seal", sealed_at_ms=now)
                ledger.append(db, event, at_ms=now, stream_id=its.stream_id, detail=detail)
        return True

    is_sealed = folder.write("seal", change)
    if is_sealed:
        _describe_end(folder, ref)
    return is_sealed


def last_sign_ms(db: sqlite3.Connection, key: int, stream: Stream) -> int:
    """When a producer was last heard of: the stream's opening, its latest push, or when it was last resumed."""
    (pushed,) = db.execute("SELECT last_spooled_at_ms FROM streams WHERE stream_key = ?", (key,)).fetchone()
    (resumed,) = db.execute(
        "SELECT max(at_ms) FROM ledger WHERE stream_id = ? AND chunk_idx IS NULL AND event = 'resumed'",
        (stream.stream_id,),
    ).fetchone()
    return max(stream.created_at_ms, pushed or 0, resumed or 0)


def _describe_end(folder: SpoolFolder, ref: str) -> None:
    """Let the stream's own description say so too.

    So that the request outlives even the index; the promise does not rest on it. Under the write lock, so that no
    recovery takes the file being written for a leftover.
    """
    with folder.index.reading() as db:
        stream = rows.require_stream(db, ref)[1]
        ended = [stream, *(copy for _, copy in copying.copies_of(db, stream))]
    for one in ended:
        try:
            folder.write("stream_json", partial(_describe, folder, one))
        except (OSError, SpoolError) as error:
            _log.warning("stream.json of %s could not be rewritten: %s", one.stream_id, error)


def _describe(folder: SpoolFolder, stream: Stream, _db: sqlite3.Connection) -> None:
    folder.write_stream_description(stream)
