"""What a destination is to the worker: a few requests, a small vocabulary of outcomes, and what it can do.

A destination never raises, retries or sleeps, and never touches the spool: a try ends with the first request that
fails. Its outcome says what the try led to, and whether that is for good:

========== =============================================== ========================================================
outcome    what it says                                    another try
========== =============================================== ========================================================
Delivered  it has the chunk, whole and durable             changes nothing: this is for good
Opened     it has a part for the stream                    see `Capabilities.opens_once`
Linked     the part is linked                              changes nothing
Ended      it has accepted the end of the stream           changes nothing: this is for good
Ticket     one chunk may be sent                           needs another ticket
TryLater   nothing is refused                              may work, after ``min_wait_s``; with ``outage`` nothing
                                                           else would work now either
Refused    this chunk, part or link will not do as it is   leads to the same: for good, until a person acts
Closed     the part takes no more chunks                   leads to the same: for good; another part may take them
========== =============================================== ========================================================

What was asked for may have happened although the outcome is `TryLater` (``may_be_done``): an answer that was lost
is neither success nor failure. `tests/destinations/test_conformance.py` holds every destination against all this.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from spool import Chunk, ClockReading, Receipt, Stream
from uploader.stamps import Stamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Leave to send one chunk, good for one try.

    Attributes:
        url: where to; holds a signature, so it is never logged or stored.
        got_at_s: when it was given, on the monotonic clock.
        data_id: of the part that the chunk goes to.
    """

    url: str
    got_at_s: float
    data_id: str

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
        may_be_done: what was asked may have happened all the same, although no usable answer came.
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
    may_be_done: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The destination will never take this chunk, part or link as it is: for good."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The destination has ended the stream's latest part: for good, and about no chunk in particular.

    Attributes:
        by_person: somebody wished it so; ``False`` when the destination's own rules ended it.
    """

    words: str
    by_person: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The destination has a part for the stream, and this is its id."""

    data_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Namesake:
    """A part that the destination has under a name, whoever opened it.

    Attributes:
        data_id: its id.
        is_linked: it has a sample or tags already.
    """

    data_id: str
    is_linked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """The stream's latest part is linked to everything that its settings name.

    Attributes:
        facts: to what, by the destination's own ids; for the ledger.
    """

    facts: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a destination can do; true of every stream and at any time.

    Attributes:
        opens_once: asking again for a stream's part gives the same part: then a lost answer leaves no question.
        can_list: `Destination.namesakes` tells the parts of a name; where it cannot, nobody asks.
        can_checksum: every receipt is confirmed, and a chunk of which other bytes arrived is never `Delivered`.
        creates_if_absent: what lies there is never replaced: other bytes in its place are `Refused`.
        keeps_proof: the stream's proof is kept beside the chunks, written last.
    """

    opens_once: bool
    can_list: bool
    can_checksum: bool
    creates_if_absent: bool
    keeps_proof: bool


class Destination(Protocol):
    """Where streams are delivered. Used by several threads at once, each with a stream of its own."""

    url: str
    """Its name: what `StreamSettings.destination` says."""
    capabilities: Capabilities

    def read_clock(self) -> ClockReading | None:
        """Measure the destination's clock against this host's; ``None`` when it has none, or does not answer."""
        ...

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        """The parts that exist under exactly this name; ``Refused`` where that cannot be told, now or ever."""
        ...

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        """Ask for a part that takes the stream's chunks."""
        ...

    def link(self, stream: Stream) -> Linked | TryLater | Refused:
        """Link the latest part to what the stream's settings name; doing it twice changes nothing."""
        ...

    def look(self, stream: Stream) -> TryLater | Closed | None:
        """Whether the latest part takes chunks; ``None`` when nothing speaks against it."""
        ...

    def prepare(self, stream: Stream, chunk: Chunk, stamp: Stamp) -> Ticket | TryLater | Refused | Closed:
        """Ask for leave to send a chunk; may happen while the one before is being sent.

        What has to lie beside the chunk may be stored here already, so that it comes in front of the chunk.
        """
        ...

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """Send a chunk's bytes, once: they arrive whole or not at all.

        A chunk_idx of a part has one place: what was sent again lies there once.
        """
        ...

    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        """Ask for the end of the stream, once everything is delivered; asking again is no error.

        Args:
            stream: the stream.
            proof: makes its proof, as `spool.make_proof` does; for a destination that keeps one beside the chunks.
        """
        ...

    def close(self) -> None:
        """Let go of connections; doing it twice is no error."""
        ...
