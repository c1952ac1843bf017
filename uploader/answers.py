"""What each answer means, as one table: the only place where a status becomes a decision.

The first row that fits counts. ``docs/answers.md`` is made from this table and every row has its test.
A row never speaks about a chunk unless the server did: everything that a network, a proxy, a portal, an
expired URL or an overload can say leads to another try.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from uploader.exchange import Answer

RETRY_AFTER_MAX_S = 600.0
"""A server may ask for patience, within reason: a garbled date must not stop a stream for a year."""


class Step(StrEnum):
    """What was asked."""

    API = "api"
    """A request to the API that opens, links or looks something up."""
    PRESIGN = "presign"
    """Asking for the URL of one chunk."""
    PUT = "put"
    """Sending the bytes of one chunk."""
    END = "end"
    """Asking for the end of the stream."""


class Meaning(StrEnum):
    """What it means for us."""

    DONE = "done"
    """The step has succeeded."""
    OUTAGE = "outage"
    """The endpoint cannot be used now: every stream waits, one probe at a time."""
    LATER = "later"
    """This stream tries again; others are not concerned."""
    PAUSED = "paused"
    """The key is not accepted: everything waits for a person, with slow probes."""
    ASK = "ask"
    """The catalogue must say whether the stream or the chunk is meant."""
    REFUSED = "refused"
    """This one chunk is refused: it is parked."""


_API_STEPS = (Step.API, Step.PRESIGN, Step.END)
_ALL = tuple(Step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One signal and its meaning.

    Attributes:
        statuses: the HTTP statuses that fit, as inclusive spans; empty for none.
        fault: the break in the exchange that fits (see `Answer.fault`), or ``None``.
        html: whether it fits only when a page for people came.
        text: a word that must stand in the body.
        says: the signal, for the documentation.
        does: what we do, for the documentation and for ``status``.
    """

    steps: tuple[Step, ...]
    meaning: Meaning
    says: str
    does: str
    statuses: tuple[tuple[int, int], ...] = ()
    fault: str | None = None
    html: bool = False
    text: str = ""

    def fits(self, step: Step, answer: Answer) -> bool:
        """Whether this row speaks about the answer."""
        if step not in self.steps or answer.fault != self.fault:
            return False
        if self.fault is None and not any(low <= answer.status <= high for low, high in self.statuses):
            return False
        return (answer.is_html or not self.html) and self.text in answer.text


def _only(*statuses: int) -> tuple[tuple[int, int], ...]:
    return tuple((one, one) for one in statuses)


TABLE: tuple[Row, ...] = (
    # Nothing, or nothing whole, came back.
    Row(steps=_ALL, fault="connect", meaning=Meaning.OUTAGE, says="no connection (refused, DNS, TLS, route)",
        does="wait and probe; everything stays in the spool"),
    Row(steps=_ALL, fault="timeout", meaning=Meaning.OUTAGE, says="no answer in time",
        does="wait and probe; an upload whose answer was lost is repeated with the same bytes"),
    Row(steps=_ALL, fault="broken", meaning=Meaning.OUTAGE, says="the connection broke",
        does="wait and probe; an upload whose answer was lost is repeated with the same bytes"),
    Row(steps=_ALL, fault="oversize", meaning=Meaning.OUTAGE, says="an answer far too long to be the server's",
        does="wait and probe"),
    Row(steps=_ALL, fault="unusable", meaning=Meaning.LATER, says="an answer or URL that cannot be used",
        does="try again with a fresh URL"),
    # Answers that are not the server's own.
    Row(steps=_ALL, statuses=((200, 299),), html=True, meaning=Meaning.OUTAGE,
        says="success, but with a page for people (captive portal)",
        does="not an acknowledgement: wait and probe"),
    Row(steps=_ALL, statuses=((100, 199), (300, 399)), meaning=Meaning.OUTAGE,
        says="redirected (portal, proxy)", does="not followed: wait and probe"),
    Row(steps=_ALL, statuses=_only(407, 511), meaning=Meaning.OUTAGE, says="a proxy or network wants a login",
        does="wait and probe; log in to the network"),
    # Success.
    Row(steps=_ALL, statuses=((200, 299),), meaning=Meaning.DONE, says="success", does="go on"),
    # Overload and trouble inside the server.
    Row(steps=_ALL, statuses=_only(429), meaning=Meaning.OUTAGE, says="too many requests",
        does="wait at least as long as Retry-After asks"),
    Row(steps=(Step.END,), statuses=_only(503), meaning=Meaning.LATER, says="the first analysis still runs",
        does="ask again for the end"),
    Row(steps=_ALL, statuses=_only(502, 503, 504), meaning=Meaning.OUTAGE, says="overloaded or down",
        does="wait at least as long as Retry-After asks, then probe"),
    Row(steps=_ALL, statuses=((500, 599),), meaning=Meaning.LATER, says="an error inside the server",
        does="try again; a PUT with a fresh URL"),
    Row(steps=_ALL, statuses=_only(408, 425), meaning=Meaning.LATER, says="too slow or too early",
        does="try again"),
    # The key.
    Row(steps=_API_STEPS, statuses=_only(401, 403), meaning=Meaning.PAUSED, says="the API key is not accepted",
        does="pause loudly, keep everything, probe slowly until a key is accepted"),
    Row(steps=_API_STEPS, statuses=((400, 499),), html=True, meaning=Meaning.OUTAGE,
        says="refused with a page for people (proxy, portal)", does="not the server's own word: wait and probe"),
    # The presigned URL: nothing here speaks about the chunk.
    Row(steps=(Step.PUT,), statuses=_only(400), text="RequestTimeout", meaning=Meaning.LATER,
        says="the body stalled for about 20 s", does="fresh URL, try again"),
    Row(steps=(Step.PUT,), statuses=_only(403), meaning=Meaning.LATER, says="the URL has expired or does not fit",
        does="fresh URL, try again"),
    Row(steps=(Step.PUT,), statuses=_only(413), meaning=Meaning.REFUSED, says="the shard is too large",
        does="park this chunk"),
    Row(steps=(Step.PUT,), statuses=((400, 499),), meaning=Meaning.LATER, says="the URL was not accepted",
        does="fresh URL, try again"),
    # The stream or the chunk.
    Row(steps=(Step.PRESIGN,), statuses=_only(400, 404, 409, 410, 413, 422), meaning=Meaning.ASK,
        says="the stream or the chunk is refused",
        does="ask the catalogue: wait while paused, hold when ended, park the chunk only if the stream is active"),
    Row(steps=(Step.END,), statuses=_only(400, 404, 409, 410, 422), meaning=Meaning.ASK,
        says="the end is refused", does="ask the catalogue whether the stream has ended already"),
    Row(steps=(Step.API,), statuses=((400, 499),), meaning=Meaning.REFUSED, says="the request is refused",
        does="tell the caller"),
    Row(steps=_ALL, statuses=((0, 999),), meaning=Meaning.LATER, says="anything else",
        does="wait, tell, try again"),
)  # fmt: skip


def meaning_of(step: Step, answer: Answer) -> Row:
    """The row that speaks about this answer."""
    return next(row for row in TABLE if row.fits(step, answer))


def retry_after_s(answer: Answer, *, now: datetime | None = None) -> float:
    """How long the server asks us to wait at least, from 0 to `RETRY_AFTER_MAX_S`; garbage counts as 0."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(text)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(0.0, min(seconds, RETRY_AFTER_MAX_S))


class ServerState(StrEnum):
    """What the catalogue's ``pipeline_status`` means while chunks wait here."""

    ACTIVE = "active"
    WAIT = "wait"
    ENDED = "ended"
    ERROR = "error"
    UNKNOWN = "unknown"


_SERVER_STATES = {
    "stream_active": ServerState.ACTIVE,
    "stream_paused": ServerState.WAIT,
    "stream_interrupted": ServerState.WAIT,
    "stream_finalizing": ServerState.ENDED,
    "stream_finalized": ServerState.ENDED,
    "pending": ServerState.ENDED,
    "running": ServerState.ENDED,
    "success": ServerState.ENDED,
    "stored": ServerState.ENDED,
    "stream_error": ServerState.ERROR,
    "error": ServerState.ENDED,  # of the analysis, which follows the stream
}


def server_state(pipeline_status: object) -> ServerState:
    """The meaning of a catalogue row's status; anything unknown means wait and tell."""
    return _SERVER_STATES.get(str(pipeline_status).strip().lower().replace(" ", "_"), ServerState.UNKNOWN)
