"""Delivering one stream, in order: send, acknowledge, next; back off, park or hold where the answer says so.

Before its first chunk the stream gets a part at the destination, and another one when the destination has ended
that by its own rules. Chunk k is acknowledged durably before the upload of k+1 starts. Only the preparation of k+1
(reading and checking its bytes, asking for its URL) happens while k is on its way.
"""

import logging
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

from spool import Chunk, ChunkMoved, LeasedStream, Stream, StreamState
from uploader.clock import ClockKeeper
from uploader.destinations.base import (
    Closed,
    Delivered,
    Destination,
    Ended,
    Opened,
    Refused,
    TryLater,
)
from uploader.gate import Gate
from uploader.json_log import about
from uploader.parts import Parts
from uploader.preparing import Damaged, Prepared, Preparer
from uploader.retry import keep_trying
from uploader.trouble import Trouble, Turn

TURN_S = 10.0
"""How long a stream keeps its place while others wait for one."""
REFUSALS_BEFORE_PARKING = 3
EMPTY_PARTS_MAX = 3
"""So many parts in a row may be ended by the destination without having taken a chunk."""
LINK_TRIES_MAX = 3
"""How often a link that is owed may delay the end of the stream."""
SILENCE_HINT_S = 3600.0
"""A part without a chunk for so long is looked at before more is sent; the server ends it after two hours."""

_LOOK_S = 1.0

_log = logging.getLogger(__name__)

_T = TypeVar("_T")


class OnClosed(StrEnum):
    """What becomes of waiting chunks when the destination has ended a stream by its own rules."""

    CONTINUE = "continue"
    """They go into a further part."""
    HOLD = "hold"
    """They wait for a person."""


_Sent = Delivered | TryLater | Refused | Closed | Damaged


class StreamDelivery:
    """Drains one leased stream; used by one thread at a time.

    Args:
        lease: the stream, held by this worker.
        destination: where it goes.
        gate: shared with the other streams of the destination.
        stopped: set when the worker is to stop.
        proof: makes the stream's proof, for a destination that keeps one.
        clock: shared likewise; ``None`` when chunks are stamped by the host clock.
        on_closed: what to do when the destination has ended the stream by its own rules.
    """

    def __init__(
        self,
        lease: LeasedStream,
        destination: Destination,
        gate: Gate,
        stopped: threading.Event,
        *,
        proof: Callable[[], bytes],
        clock: ClockKeeper | None = None,
        on_closed: OnClosed = OnClosed.CONTINUE,
    ) -> None:
        self._lease = lease
        self._destination = destination
        self._gate = gate
        self._stopped = stopped
        self._proof = proof
        self._parts = Parts(lease, destination, proof)
        self._preparer = Preparer(lease, destination, clock)
        self._on_closed = on_closed
        self._heard_s: float | None = None
        self._held, self._held_until_s = False, 0.0
        self._empty_parts = 0
        self._link_tries = 0
        self._is_crowded: Callable[[], bool] = lambda: False
        self._turn_ends_s = 0.0
        self._trouble = Trouble()
        self._refusals = 0
        self._may_park = True
        self.not_before_s = 0.0

    def drain(self, is_crowded: Callable[[], bool] = lambda: False) -> None:
        """Deliver everything that waits, then the end of the stream if it was asked for.

        Returns early when another stream wants the place: after `TURN_S`, or at once while waiting between two
        tries; ``not_before_s`` then says when the wait is over, on the monotonic clock.

        Args:
            is_crowded: whether more streams have work than there are places.

        Raises:
            LeaseLost: another worker has the stream.
            SpoolError: the disk refused; nothing is lost, the next drain goes on from there.
        """
        self._is_crowded, self._turn_ends_s = is_crowded, time.monotonic() + TURN_S
        self._turn_is_over, self._held_until_s = False, 0.0
        stream = self._lease.stream()
        self._trouble.resume(stream.trouble)
        if (not stream.parts or stream.asked_part is not None) and not self._get_ready():
            return  # a stream is opened even while no chunk waits
        while (chunk := self._lease.next_waiting()) is not None:
            if self._is_to_leave() or not self._get_ready():
                return
            try:
                if not self._settle(chunk, self._keep_trying(partial(self._send, chunk))):
                    return
            except ChunkMoved as error:
                # A person discarded it while it was on its way: their word counts, the others go on.
                _log.warning("%s: %s", self._lease.stream_id, error, extra=self._about("discarded", chunk))
        stream = self._lease.stream()
        if stream.state is StreamState.SEALED and not stream.tally.parked and not stream.tally.spooled:
            self._end(stream)

    def give_way(self) -> None:
        """End this turn after the chunk under way, if the places are still wanted then."""
        self._turn_ends_s = 0.0

    # The part -------------------------------------------------------------------------------------------

    def _get_ready(self) -> bool:
        """See to it that a part takes chunks; whether one does."""
        stream = self._lease.stream()
        if stream.held is not None:
            return False
        if stream.part is None:
            match self._keep_trying(partial(self._try, lambda: self._parts.open(self._lease.stream()))):
                case Opened():
                    self._heard_s = time.monotonic()
                    self._all_is_well()
                case Refused(words=words):
                    self._hold(f"the server refuses to open it: {words}")
                    return False
                case _:
                    return False
        elif self._is_long_silent(stream):
            match self._keep_trying(partial(self._try, lambda: self._destination.look(stream))):
                case None:
                    self._heard_s = time.monotonic()
                case Closed() as closed:
                    return self._go_on_after(closed) and self._get_ready()
                case _:
                    return False
        if stream.part is None or stream.unlinked is not None:
            self._parts.link(self._lease.stream())
        return True

    def _is_long_silent(self, stream: Stream) -> bool:
        """Whether the destination may have ended the part for its silence. Only a hint: it is asked."""
        if self._heard_s is not None:
            return time.monotonic() - self._heard_s > SILENCE_HINT_S
        opened_at_ms = stream.parts[-1].opened_at_ms
        return opened_at_ms is not None and time.time() - opened_at_ms / 1000 > SILENCE_HINT_S

    def _go_on_after(self, closed: Closed) -> bool:
        """The destination has ended the part; whether what waits goes into another one."""
        if closed.by_person or self._on_closed is OnClosed.HOLD:
            self._hold(closed.words)
            return False
        if self._empty_parts >= EMPTY_PARTS_MAX:
            self._hold(f"the server ends each new stream before it takes a chunk: {closed.words}")
            return False
        self._empty_parts += 1
        self._preparer.forget()
        self._lease.part_closed(closed.words)
        say = "%s: %s; what waits goes into a further one"
        _log.warning(say, self._lease.stream_id, closed.words, extra=self._about("part_closed"))
        return True

    def _try(self, ask: Callable[[], _T]) -> _T | TryLater:
        with self._gate.turn():
            if self._stopped.is_set() or self._is_held():
                return TryLater(words="the worker is stopping, or the stream is held")
            return self._seen(ask())

    def _is_held(self) -> bool:
        """Whether a person wants nothing more to be sent; asked at most once a second."""
        if time.monotonic() > self._held_until_s:
            self._held, self._held_until_s = self._lease.stream().held is not None, time.monotonic() + _LOOK_S
        return self._held

    # One chunk ------------------------------------------------------------------------------------------

    def _settle(self, chunk: Chunk, outcome: _Sent) -> bool:
        """Record what the tries led to; whether the stream goes on."""
        match outcome:
            case Delivered(receipt=receipt):
                self._lease.acknowledge(chunk, receipt)
                self._may_park, self._refusals, self._empty_parts = True, 0, 0
                self._heard_s = time.monotonic()
                self._all_is_well()
                facts = self._about("acknowledged", chunk, confirmed=receipt.confirmed, bytes=chunk.wire_bytes)
                _log.info("%s: chunk %d acknowledged", self._lease.stream_id, chunk.chunk_idx, extra=facts)
                return True
            case Refused(words=words) | Damaged(words=words):
                self._lease.park(chunk, words)
                self._may_park, self._refusals = isinstance(outcome, Damaged), 0
                self._all_is_well()
                _log.error(
                    "%s: chunk %d is parked, it stays in the spool: %s. Look at it with 'framespool audit', "
                    "then 'framespool retry' or 'framespool discard'.",
                    self._lease.stream_id,
                    chunk.chunk_idx,
                    words,
                    extra=self._about("parked", chunk, why=words),
                )
                return True
            case Closed() as closed:
                return self._go_on_after(closed)
        return False

    def _send(self, chunk: Chunk) -> _Sent:
        """One attempt: fresh URL (or the one asked for a moment ago), bytes read again, one PUT."""
        with self._gate.turn():
            stream = self._lease.stream()
            if self._stopped.is_set() or stream.held is not None or stream.part is None:
                self._turn_is_over = True
                return TryLater(words="the worker is stopping, or a person has decided otherwise")
            is_open = self._gate.words is None
            self._preparer.read_the_clock(in_outage=not is_open)
            prepared = self._preparer.take_ahead(stream, chunk) or self._preparer.prepare(stream, chunk)
            if not isinstance(prepared, Prepared):
                return self._weighed(self._seen(prepared))
            self._lease.attempt_started(chunk, prepared.told())
            if is_open:
                self._preparer.look_ahead(stream, chunk)
            outcome = self._destination.deliver(chunk, prepared.ticket, prepared.body)
            if isinstance(outcome, TryLater):
                self._lease.attempt_failed(chunk, _failure(outcome))
            return self._weighed(self._seen(outcome))

    def _weighed(self, outcome: _Sent) -> _Sent:
        """A refusal parks a chunk only when it is repeated, and only one until another gets through.

        A server that refuses everything for a while says nothing about any one chunk.
        """
        if not isinstance(outcome, Refused):
            return outcome
        self._refusals += 1
        if self._may_park and self._refusals >= REFUSALS_BEFORE_PARKING:
            return outcome
        return TryLater(words=f"{outcome.words} (refused; tried again before it is parked)")

    # The end --------------------------------------------------------------------------------------------

    def _end(self, stream: Stream) -> None:
        def ask() -> Ended | TryLater:
            owed = self._lease.stream()
            if owed.unlinked is not None and self._link_tries < LINK_TRIES_MAX:
                self._link_tries += 1
                if isinstance(outcome := self._parts.link(owed, now=True), TryLater):
                    return outcome
            return self._destination.finish(stream, self._proof)

        match self._keep_trying(partial(self._try, ask)):
            case Ended(words=words):
                self._lease.finalize({"words": words})
                self._all_is_well()
                _log.info("%s: finalized", self._lease.stream_id, extra=self._about("finalized"))

    # Trouble --------------------------------------------------------------------------------------------

    def _is_to_leave(self) -> bool:
        if self._stopped.is_set() or self._turn_is_over:
            return True
        return self._is_crowded() and time.monotonic() > self._turn_ends_s

    def _keep_trying(self, attempt: Callable[[], _T]) -> _T | TryLater:
        called_off: list[TryLater] = []
        last: list[TryLater] = []

        def attempt_when_due() -> _T | TryLater:
            return called_off[0] if called_off else attempt()

        def sleep(seconds: float) -> None:
            trouble = last[-1]
            self.not_before_s = time.monotonic() + seconds
            is_served = self._gate.wait(
                seconds,
                at_least_s=trouble.min_wait_s,
                wakes_on_open=trouble.outage,
                is_called_off=lambda: self._is_crowded() or self._is_held(),
            )
            if not is_served:
                called_off.append(trouble)

        def say(outcome: TryLater, wait_s: float) -> None:
            last[:] = [outcome]
            self._say_trouble(outcome, wait_s)

        return keep_trying(
            attempt_when_due,
            tries_before=self._trouble.tries,
            sleep=sleep,
            stopped=lambda: bool(called_off) or self._is_to_leave() or self._is_held(),
            before_wait=say,
        )

    def _seen(self, outcome: _T) -> _T:
        """Let the gate know what one try showed about the destination."""
        if isinstance(outcome, TryLater):
            if outcome.outage and self._gate.close(outcome.words, key_refused=outcome.key_refused):
                facts = self._about("outage_began", why=outcome.words, key_refused=outcome.key_refused)
                say = "outage: %s. Recording goes on; everything waits in the spool."
                _log.warning(say, outcome.words, extra=facts)
        elif isinstance(outcome, Delivered | Ended | Opened):
            lasted = self._gate.open()
            if lasted is not None:
                facts = self._about("outage_ended", lasted_s=round(lasted, 3))
                _log.warning("the outage is over after %.0f s; delivering", lasted, extra=facts)
        return outcome

    def _say_trouble(self, outcome: TryLater, wait_s: float) -> None:
        facts = self._about("try_failed", why=outcome.words, wait_s=round(wait_s, 3), outage=outcome.outage)
        _log.info("%s: %s; next try in %.1f s", self._lease.stream_id, outcome.words, wait_s, extra=facts)
        turn = self._trouble.add(outcome.words, (outcome.outage, outcome.key_refused))
        detail = {"words": outcome.words, "outage": outcome.outage, "key_refused": outcome.key_refused}
        if turn is Turn.BEGINS:
            self._lease.note_trouble(outcome.words, event="trouble_began", detail=detail)
            level = logging.ERROR if outcome.key_refused else logging.WARNING
            facts = self._about("trouble_began", None, **detail)
            say = "%s: %s. Nothing is lost; trying again."
            _log.log(level, say, self._lease.stream_id, outcome.words, extra=facts)
        elif turn in (Turn.CHANGES, Turn.TURNS):
            event = "trouble_changed" if turn is Turn.TURNS else None
            self._lease.note_trouble(outcome.words, event=event, detail=detail)
            if outcome.key_refused:
                facts = self._about("key_refused", why=outcome.words)
                say = "%s: %s. Nothing is lost; a person has to act."
                _log.error(say, self._lease.stream_id, outcome.words, extra=facts)

    def _all_is_well(self) -> None:
        self.not_before_s = 0.0
        if self._trouble.since_s is not None:
            detail = {"lasted_s": self._trouble.lasted_s, "tries": self._trouble.tries}
            self._lease.note_trouble(None, event="trouble_ended", detail=detail)
        self._trouble = Trouble()

    def _hold(self, words: str) -> None:
        self._lease.hold(words)
        _log.error(
            "%s: nothing more is sent, because %s. What waits stays in the spool; 'framespool retry' goes on.",
            self._lease.stream_id,
            words,
            extra=self._about("held", why=words),
        )

    def _about(self, event: str, chunk: Chunk | None = None, **facts: object) -> dict[str, Any]:
        """What a line of the log is about."""
        which = {} if chunk is None else {"chunk_idx": chunk.chunk_idx}
        where = {"stream_id": self._lease.stream_id, "destination": self._destination.url}
        return about(event, **where, **which, **facts)


def _failure(outcome: TryLater) -> dict[str, object]:
    """What the ledger keeps of a failed attempt."""
    return {
        "words": outcome.words,
        "outage": outcome.outage,
        "signal": outcome.signal,
        "status": outcome.status,
        "excerpt": outcome.excerpt,
        "mismatch": outcome.mismatch,
    }
