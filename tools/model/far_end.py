"""A destination in memory: it remembers what it got, and answers as it is told to."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from spool import Chunk, ClockReading, Receipt, Stream
from spool.testing import START_MS
from uploader.destinations.base import (
    Capabilities,
    Closed,
    Delivered,
    Ended,
    Linked,
    Namesake,
    Opened,
    Refused,
    Ticket,
    TryLater,
)
from uploader.stamps import Stamp

MODES = ("up", "away", "refuses", "loses answers", "garbles", "key refused", "closed")
"""How it answers: well; not at all; that a chunk can never be taken; after taking the bytes, not at all; with
evidence for other bytes, which is no receipt; that the key is not accepted; that the stream is over."""

_CAN = Capabilities(opens_once=False, can_list=True, can_checksum=True, creates_if_absent=False, keeps_proof=False)
_AWAY = TryLater(words="connection refused", outage=True)
_KEY = TryLater(words="HTTP 401", outage=True, key_refused=True)


@dataclass(slots=True)
class FarEnd:
    """The far end of every stream.

    Attributes:
        mode: one of `MODES`.
        refused: which chunks it refuses in that mode.
        got: the digests of what it was sent, by stream and chunk, each sending.
        order: the chunks of a stream in the order in which they arrived first.
        parts: the names of the parts that it has, by data_id.
        ended: the streams whose end it has accepted.
        watch: called with a chunk before its bytes are taken.
    """

    watch: Callable[[Chunk], None]
    url: str = "https://example.invalid"
    capabilities: Capabilities = _CAN
    mode: str = "up"
    refused: frozenset[int] = frozenset()
    got: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    order: dict[str, list[int]] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read_clock(self) -> ClockReading | None:
        """See `Destination.read_clock`."""
        return None

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        """See `Destination.namesakes`."""
        if self.mode in ("away", "key refused"):
            return _AWAY
        return [Namesake(data_id=data_id, is_linked=False) for data_id, its in self.parts.items() if its == name]

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        """See `Destination.open`."""
        if self.mode in ("away", "key refused"):
            return _AWAY
        data_id = f"{stream.stream_id}-{len(self.parts)}"
        self.parts[data_id] = name
        if self.mode == "loses answers":
            return TryLater(words="the answer was lost", outage=True)
        return Opened(data_id=data_id)

    def link(self, stream: Stream) -> Linked | TryLater | Refused:
        """See `Destination.link`."""
        return Linked(facts={"sample_id": stream.stream_id})

    def look(self, stream: Stream) -> TryLater | Closed | None:
        """See `Destination.look`."""
        del stream
        return None

    def prepare(self, stream: Stream, chunk: Chunk, stamp: Stamp) -> Ticket | TryLater | Refused | Closed:
        """See `Destination.prepare`."""
        del stamp
        match self.mode:
            case "away":
                return _AWAY
            case "key refused":
                return _KEY
            case "closed":
                return Closed(words=f"{stream.stream_id} is over", by_person=True)
            case "refuses" if chunk.chunk_idx in self.refused:
                return Refused(words="too dark")
            case _:
                assert stream.data_id is not None
                return Ticket(url="https://example.invalid/x", got_at_s=time.monotonic(), data_id=stream.data_id)

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """See `Destination.deliver`."""
        del ticket
        with self.lock:
            self.watch(chunk)
            if self.mode in ("away", "key refused"):
                return _AWAY
            key = chunk.stream_id, chunk.chunk_idx
            sent = hashlib.sha256(body).hexdigest()
            if self.mode == "garbles":
                return TryLater(words="the ETag is that of other bytes")
            if key not in self.got:
                self.order.setdefault(chunk.stream_id, []).append(chunk.chunk_idx)
            self.got.setdefault(key, []).append(sent)
        if self.mode == "loses answers":
            return TryLater(words="the answer was lost", outage=True)
        return Delivered(receipt=Receipt(status=200, etag=sent, confirmed=True, at_ms=START_MS))

    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        """See `Destination.finish`."""
        del proof
        if self.mode in ("away", "key refused"):
            return _AWAY
        self.ended.add(stream.stream_id)
        if self.mode == "loses answers":
            return TryLater(words="the answer was lost", outage=True)
        return Ended(words="accepted")

    def close(self) -> None:
        """Nothing is open."""
