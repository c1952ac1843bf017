"""Retry and discard from the page: what may be asked for, held against what is there.

A page may be old, or lie: whatever it asks is checked as if it came from nowhere. Discarding needs the chunks one
by one, a reason, and the word that somebody has been asked; who it was is the user that the dashboard runs as, as
with the command line.
"""

from typing import Any

from spool import Spool, person
from uploader import outside
from uploader.dashboard.texts import WORDS_MAX

CHUNKS_MAX = 1000


class BadRequest(Exception):
    """The request is not one that our page makes; the message says why."""


def retry(spool: Spool, stream_id: str, asked: object) -> dict[str, Any]:
    """Let parked chunks wait again; a held stream goes on too.

    Raises:
        BadRequest: it is no such request.
        SpoolError: see `Spool.retry`; nothing was changed.
    """
    fields = _fields(asked, {"chunks"})
    chunks = None if fields["chunks"] is None else _chunk_idxs(fields["chunks"])
    return {"retried": spool.retry(stream_id, chunks)}


def discard(spool: Spool, stream_id: str, asked: object) -> dict[str, Any]:
    """Give parked chunks up for good.

    Raises:
        BadRequest: it is no such request, or one of the chunks is not parked.
        SpoolError: see `Spool.discard`; nothing was changed.
    """
    fields = _fields(asked, {"chunks", "why", "confirmed"})
    chunks = _chunk_idxs(fields["chunks"])
    why = fields["why"]
    if not isinstance(why, str) or not why.strip() or len(why) > WORDS_MAX:
        raise BadRequest(f"a reason is needed, of up to {WORDS_MAX} characters: the ledger keeps it")
    if fields["confirmed"] is not True:
        raise BadRequest("nobody has confirmed it")
    # What only waits may be on its way this moment: from a page nobody gives that up.
    unparked = sorted(set(chunks) - set(spool.parked(stream_id)))
    if unparked:
        raise BadRequest(f"chunk {unparked[0]} is not parked any more; look again")
    gone = spool.discard(stream_id, chunks, why=outside.printable(" ".join(why.split())))
    return {"discarded": gone, "who": person()}


def _fields(asked: object, names: set[str]) -> dict[str, Any]:
    if not isinstance(asked, dict) or set(asked) != names:
        raise BadRequest(f"an object with {', '.join(sorted(names))} is needed")
    return asked


def _chunk_idxs(value: object) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= CHUNKS_MAX:
        raise BadRequest(f"a list of 1 to {CHUNKS_MAX} chunks is needed")
    if not all(type(idx) is int and 0 <= idx < 2**63 for idx in value):
        raise BadRequest("a chunk is a whole number from 0")
    return value
