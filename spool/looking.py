"""Parts of an audit by themselves, for whoever looks at one chunk, or at the outages only.

Pure reading, through the spool's public methods; it costs the same however long the stream is.
"""

from spool.attempts import History, Outage
from spool.audit import AuditedChunk
from spool.model import Event
from spool.spool import Spool


def audit_chunk(spool: Spool, ref: str, chunk_idx: int) -> tuple[AuditedChunk, list[Event]] | None:
    """One chunk with the history of its attempts, and all that the ledger tells of it.

    Args:
        spool: an open spool.
        ref: the stream's stream_id or data_id.
        chunk_idx: which one.

    Returns:
        Both from its latest thousand rows of the ledger; ``None`` if that index was never pushed.

    Raises:
        UnknownStream: there is no such stream.
    """
    chunk = spool.chunk(ref, chunk_idx)
    if chunk is None:
        return None
    events = spool.chunk_events(ref, chunk_idx)
    history = History()
    for event in events:
        history.add(event)
    return AuditedChunk(chunk=chunk, attempt_history=tuple(history.attempts.get(chunk_idx, ()))), events


def outages_of(spool: Spool, ref: str) -> tuple[Outage, ...]:
    """The times in which a stream could not be delivered, oldest first; the last may still go on.

    Raises:
        UnknownStream: there is no such stream.
    """
    history = History()
    for event in spool.stream_events(ref):
        history.add(event)
    return tuple(history.outages)
