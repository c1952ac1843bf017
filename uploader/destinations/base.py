"""What a destination is to the worker: three requests and a small vocabulary of outcomes.

A destination never retries, never sleeps and never touches the spool. It says what one try led to; the
outcome also says whether trying again can help.
"""

from dataclasses import dataclass
from typing import Protocol

from spool import Chunk, Receipt, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to send one chunk, good for one try.

    Attributes:
        url: where to; holds a signature, so it is never logged or stored.
        got_at_s: when it was given, on the monotonic clock.
    """

    url: str
    got_at_s: float

    def __repr__(self) -> str:
        return "Ticket(***)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The destination has the chunk, and this is its evidence."""

    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The destination has accepted the end of the stream."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TryLater:
    """Nothing is refused; the same thing may work later.

    Attributes:
        outage: the whole destination is concerned, not only this stream.
        key_refused: a person has to do something about the key; probes are slow.
        min_wait_s: the least time to wait.
        signal: what came back, as the table of signals says it.
        status: the HTTP status, if there was one.
        excerpt: the beginning of what came back.
        mismatch: the destination says that it has got other bytes.
    """

    words: str
    signal: str | None = None
    status: int | None = None
    excerpt: str | None = None
    mismatch: bool = False
    outage: bool = False
    key_refused: bool = False
    min_wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The destination will never take this chunk as it is: for good."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The destination has ended the stream: for good, and about no chunk in particular."""

    words: str


class Destination(Protocol):
    """Where streams are delivered. Used by several threads at once."""

    url: str
    """Its name: what `StreamSettings.destination` says."""

    def prepare(self, stream: Stream, chunk: Chunk) -> Ticket | TryLater | Refused | Closed:
        """Ask for leave to send a chunk; may happen while the one before is being sent."""
        ...

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes) -> Delivered | TryLater | Refused:
        """Send a chunk's bytes, once."""
        ...

    def finish(self, stream: Stream) -> Ended | TryLater | Closed:
        """Ask for the end of the stream, once everything is delivered."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
