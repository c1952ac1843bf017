"""What became of each try since this worker began, counted on its way through a destination.

In memory only: the ledger has every try, but counting it there would mean reading all of it.
"""

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from spool import Chunk, ClockReading, Stream
from uploader.destinations.base import (
    Capabilities,
    Closed,
    Delivered,
    Destination,
    Ended,
    Linked,
    Namesake,
    Opened,
    Refused,
    Ticket,
    TryLater,
)
from uploader.stamps import Stamp

OUTCOMES = ("delivered", "failed", "refused")
Place = tuple[str, str]
"""The names of a spool and of a destination."""


class Tries:
    """Counts, from any thread.

    Attributes:
        tries: how many, by place and outcome.
        wire_bytes: of the chunks that were tried, likewise; what was not delivered may have been sent in part.
        receipts: by place and whether the destination's checksum confirms them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.tries: Counter[tuple[Place, str]] = Counter()
        self.wire_bytes: Counter[tuple[Place, str]] = Counter()
        self.receipts: Counter[tuple[Place, bool]] = Counter()

    def expect(self, place: Place) -> None:
        """From now on there is such a place: what did not happen there yet counts as zero."""
        with self._lock:
            for outcome in OUTCOMES:
                self.tries[place, outcome] += 0
                self.wire_bytes[place, outcome] += 0
            for confirmed in (True, False):
                self.receipts[place, confirmed] += 0

    def add(self, place: Place, chunk: Chunk, outcome: Delivered | TryLater | Refused) -> None:
        """One more try of a chunk."""
        match outcome:
            case Delivered():
                name = "delivered"
            case TryLater():
                name = "failed"
            case Refused():
                name = "refused"
        with self._lock:
            self.tries[place, name] += 1
            self.wire_bytes[place, name] += chunk.wire_bytes
            if isinstance(outcome, Delivered):
                self.receipts[place, outcome.receipt.confirmed] += 1


class Counted:
    """A destination whose tries are counted; otherwise the one that it is made of."""

    capabilities: Capabilities
    url: str

    def __init__(self, destination: Destination, spool: str, tries: Tries) -> None:
        self.url, self.capabilities = destination.url, destination.capabilities
        self._destination = destination
        self._place = (spool, destination.url)
        self._tries = tries
        tries.expect(self._place)

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """See `Destination`."""
        outcome = self._destination.deliver(chunk, ticket, body)
        self._tries.add(self._place, chunk, outcome)
        return outcome

    def read_clock(self) -> ClockReading | None:
        """See `Destination`."""
        return self._destination.read_clock()

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        """See `Destination`."""
        return self._destination.namesakes(name)

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        """See `Destination`."""
        return self._destination.open(stream, name)

    def link(self, stream: Stream) -> Linked | TryLater | Refused:
        """See `Destination`."""
        return self._destination.link(stream)

    def look(self, stream: Stream) -> TryLater | Closed | None:
        """See `Destination`."""
        return self._destination.look(stream)

    def prepare(self, stream: Stream, chunk: Chunk, stamp: Stamp) -> Ticket | TryLater | Refused | Closed:
        """See `Destination`."""
        return self._destination.prepare(stream, chunk, stamp)

    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        """See `Destination`."""
        return self._destination.finish(stream, proof)

    def close(self) -> None:
        """See `Destination`."""
        self._destination.close()
