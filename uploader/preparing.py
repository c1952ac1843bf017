"""Preparing a chunk to be sent: its bytes read and checked, its stamp computed, its URL asked for.

The chunk after the one that is on its way is prepared meanwhile, in a thread that nobody has to wait for. Whatever
comes of that but success is asked again when its turn comes, where its meaning counts.
"""

import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass

from spool import Chunk, LeasedStream, ShardDamaged, Stream
from uploader.clock import ClockKeeper
from uploader.destinations.base import Closed, Destination, Refused, Ticket, TryLater
from uploader.stamps import Stamp, stamp

TICKET_MAX_AGE_S = 60.0
"""A URL asked for earlier than this may soon expire: a new one is asked for instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """The chunk's own bytes are not what was spooled: they are not sent."""

    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A chunk that can be sent at once."""

    chunk: Chunk
    body: memoryview
    ticket: Ticket
    stamp: Stamp

    def told(self) -> dict[str, object]:
        """What the ledger keeps of its attempt: which part it goes to, and with which stamp."""
        return {
            "data_id": self.ticket.data_id,
            "start_unix_ms_utc": self.stamp.start_ms,
            "clock_offset_ms": self.stamp.offset_ms,
        }


_Outcome = Prepared | Damaged | TryLater | Refused | Closed


class Preparer:
    """Prepares the chunks of one leased stream; used by one thread at a time.

    Args:
        lease: the stream.
        destination: where it goes.
        clock: read before the first chunk; ``None`` when chunks are stamped by the host clock.
    """

    def __init__(self, lease: LeasedStream, destination: Destination, clock: ClockKeeper | None) -> None:
        self._lease = lease
        self._destination = destination
        self._clock = clock
        self._readings = lease.clock_readings()
        self._ahead: tuple[int, Future[_Outcome]] | None = None

    def prepare(self, stream: Stream, chunk: Chunk) -> _Outcome:
        """Prepare a chunk here and now."""
        try:
            body = self._lease.read(chunk)
        except ShardDamaged as error:
            return Damaged(words=str(error))
        except OSError as error:
            return TryLater(words=f"the disk did not give chunk {chunk.chunk_idx}: {error}")
        stamped = stamp(stream, chunk, self._readings)
        ticket = self._destination.prepare(stream, chunk, stamped)
        if not isinstance(ticket, Ticket):
            return ticket
        return Prepared(chunk=chunk, body=body, ticket=ticket, stamp=stamped)

    def read_the_clock(self, *, in_outage: bool) -> None:
        """Have a reading before the first chunk is stamped, and a fresh one every few minutes."""
        # In an outage it would only make each probe take longer.
        if self._clock is None or (in_outage and self._readings):
            return
        reading = self._clock.reading()
        if reading is not None and reading not in self._readings[-1:]:
            self._lease.note_clock(reading)
            self._readings = self._lease.clock_readings()

    def look_ahead(self, stream: Stream, chunk: Chunk) -> None:
        """Begin to prepare the chunk after this one."""
        following = self._lease.next_waiting(after_idx=chunk.chunk_idx)
        if following is None:
            return
        future: Future[_Outcome] = Future()

        def prepare() -> None:
            try:
                future.set_result(self.prepare(stream, following))
            except Exception as error:  # noqa: BLE001 - handed over to whoever asks for the result
                future.set_exception(error)

        threading.Thread(target=prepare, name="framespool-ahead", daemon=True).start()
        self._ahead = following.chunk_idx, future  # not if it could not be started: somebody would wait for ever

    def take_ahead(self, stream: Stream, chunk: Chunk) -> Prepared | None:
        """What was prepared for this chunk, once, if it is still fresh and goes to the part that takes chunks."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0] != chunk.chunk_idx:
            return None
        prepared = ahead[1].result()
        if not isinstance(prepared, Prepared) or prepared.ticket.data_id != stream.data_id:
            return None
        return prepared if time.monotonic() - prepared.ticket.got_at_s < TICKET_MAX_AGE_S else None

    def forget(self) -> None:
        """What was prepared is of no use: it has another place to go to now."""
        self._ahead = None

    def settle(self) -> None:
        """Wait until nothing is being prepared any more; for tests, which look at what it did."""
        if self._ahead is not None:
            self._ahead[1].exception()
