"""Delivering one stream, in order: send, acknowledge, next; back off, park or hold where the answer says so.

Chunk k is acknowledged durably before the upload of k+1 starts. Only the preparation of k+1 (reading and
checking its bytes, asking for its URL) happens while k is on its way.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from spool import Chunk, ChunkMoved, LeasedStream, ShardDamaged, Stream, StreamState
from uploader.destinations.base import Closed, Delivered, Destination, Ended, Refused, Ticket, TryLater
from uploader.gate import Gate
from uploader.retry import keep_trying

TICKET_MAX_AGE_S = 60.0
"""A URL asked for earlier than this may soon expire: a new one is asked for instead."""

_log = logging.getLogger(__name__)

_T = TypeVar("_T")
_Sent = Delivered | TryLater | Refused | Closed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """A chunk that can be sent at once."""

    chunk: Chunk
    body: bytes
    ticket: Ticket


class StreamDelivery:
    """Drains one leased stream; used by one thread at a time.

    Args:
        lease: the stream, held by this worker.
        destination: where it goes.
        gate: shared with the other streams of the destination.
        stopped: set when the worker is to stop.
    """

    def __init__(
        self, lease: LeasedStream, destination: Destination, gate: Gate, stopped: threading.Event
    ) -> None:
        self._lease = lease
        self._destination = destination
        self._gate = gate
        self._stopped = stopped
        self._ahead: Future[_Prepared | _Sent] | None = None
        self._ahead_idx = -1
        self._troubled_since: float | None = None
        self._tries = 0
        self._last_words: str | None = None
        self._gives_way: Callable[[], bool] = lambda: False

    def drain(self, gives_way: Callable[[], bool] = lambda: False) -> None:
        """Deliver everything that waits, then the end of the stream if it was asked for.

        Args:
            gives_way: asked between two tries; true when another stream has waited long enough for its turn.

        Raises:
            LeaseLost: another worker has the stream.
            SpoolError: the disk refused; nothing is lost, the next drain goes on from there.
        """
        stream = self._lease.stream()
        if stream.trouble is not None and self._troubled_since is None:
            self._troubled_since, self._last_words = time.monotonic(), stream.trouble
        self._gives_way = gives_way
        while (chunk := self._lease.next_waiting()) is not None:
            if self._stopped.is_set() or gives_way() or stream.held is not None:
                return
            try:
                if not self._settle(chunk, self._keep_trying(partial(self._send, stream, chunk))):
                    return
            except ChunkMoved as error:
                # A person discarded it while it was on its way: their word counts, the others go on.
                _log.warning("%s: %s", self._lease.stream_id, error)
        stream = self._lease.stream()
        if stream.state is StreamState.SEALED and not stream.tally.parked and not stream.tally.spooled:
            self._end(stream)

    # One chunk ------------------------------------------------------------------------------------------

    def _settle(self, chunk: Chunk, outcome: _Sent) -> bool:
        """Record what the tries led to; whether the stream goes on."""
        match outcome:
            case Delivered(receipt=receipt):
                self._lease.acknowledge(chunk, receipt)
                self._all_is_well()
                _log.info("%s: chunk %d acknowledged", self._lease.stream_id, chunk.chunk_idx)
                return True
            case Refused(words=words):
                self._lease.park(chunk, words)
                self._all_is_well()
                _log.error(
                    "%s: chunk %d is parked, it stays in the spool: %s. Look at it with 'framespool audit', "
                    "then 'framespool retry' or 'framespool discard'.",
                    self._lease.stream_id,
                    chunk.chunk_idx,
                    words,
                )
                return True
            case Closed(words=words):
                self._hold(words)
        return False

    def _send(self, stream: Stream, chunk: Chunk) -> _Sent:
        """One attempt: fresh URL (or the one asked for a moment ago), bytes read again, one PUT."""
        with self._gate.turn():
            if self._stopped.is_set():
                return TryLater(words="the worker is stopping")
            prepared = self._take_ahead(chunk) or self._prepare(stream, chunk)
            if not isinstance(prepared, _Prepared):
                return self._seen(prepared)
            self._lease.attempt_started(chunk)
            self._look_ahead(stream, chunk)
            outcome = self._destination.deliver(chunk, prepared.ticket, prepared.body)
            if isinstance(outcome, TryLater):
                self._lease.attempt_failed(chunk, {"words": outcome.words, "outage": outcome.outage})
            return self._seen(outcome)

    def _prepare(self, stream: Stream, chunk: Chunk) -> _Prepared | _Sent:
        try:
            body = self._lease.read(chunk)
        except ShardDamaged as error:
            return Refused(words=str(error))
        except OSError as error:
            return TryLater(words=f"the disk did not give chunk {chunk.chunk_idx}: {error}")
        ticket = self._destination.prepare(stream, chunk)
        if not isinstance(ticket, Ticket):
            return ticket
        return _Prepared(chunk=chunk, body=body, ticket=ticket)

    def _look_ahead(self, stream: Stream, chunk: Chunk) -> None:
        """Begin to prepare the chunk after this one, in a thread that nobody has to wait for."""
        following = self._lease.next_waiting(after_idx=chunk.chunk_idx)
        if following is None or self._gate.words is not None:
            return
        future: Future[_Prepared | _Sent] = Future()

        def prepare() -> None:
            try:
                future.set_result(self._prepare(stream, following))
            except Exception as error:  # noqa: BLE001 - handed over to whoever asks for the result
                future.set_exception(error)

        self._ahead, self._ahead_idx = future, following.chunk_idx
        threading.Thread(target=prepare, name="framespool-ahead", daemon=True).start()

    def _take_ahead(self, chunk: Chunk) -> _Prepared | None:
        """What was prepared for this chunk, once, if it is still fresh."""
        future, idx = self._ahead, self._ahead_idx
        self._ahead, self._ahead_idx = None, -1
        if future is None or idx != chunk.chunk_idx:
            return None
        prepared = future.result()
        # Anything but success is asked again, here and now, where its meaning counts.
        if not isinstance(prepared, _Prepared):
            return None
        return prepared if time.monotonic() - prepared.ticket.got_at_s < TICKET_MAX_AGE_S else None

    # The end --------------------------------------------------------------------------------------------

    def _end(self, stream: Stream) -> None:
        def ask() -> Ended | TryLater | Closed:
            with self._gate.turn():
                if self._stopped.is_set():
                    return TryLater(words="the worker is stopping")
                return self._seen(self._destination.finish(stream))

        match self._keep_trying(ask):
            case Ended(words=words):
                self._lease.finalize({"words": words})
                self._all_is_well()
                _log.info("%s: finalized", self._lease.stream_id)
            case Closed(words=words):
                self._hold(words)

    # Trouble --------------------------------------------------------------------------------------------

    def _keep_trying(self, attempt: Callable[[], _T]) -> _T:
        return keep_trying(
            attempt,
            tries_before=self._tries,
            sleep=self._sleep,
            stopped=lambda: self._stopped.is_set() or self._gives_way(),
            before_wait=self._say_trouble,
        )

    def _seen(self, outcome: _T) -> _T:
        """Let the gate know what one try showed about the destination."""
        if isinstance(outcome, TryLater):
            if outcome.outage and self._gate.close(outcome.words):
                _log.warning("outage: %s. Recording goes on; everything waits in the spool.", outcome.words)
        elif isinstance(outcome, Delivered | Ended):
            lasted = self._gate.open()
            if lasted is not None:
                _log.warning("the outage is over after %.0f s; delivering", lasted)
        return outcome

    def _sleep(self, seconds: float) -> None:
        (self._gate.sleep if self._gate.words is not None else self._gate.sleep_alone)(seconds)

    def _say_trouble(self, outcome: TryLater, wait_s: float) -> None:
        self._tries += 1
        _log.info("%s: %s; next try in %.1f s", self._lease.stream_id, outcome.words, wait_s)
        if outcome.words == self._last_words:
            return
        self._last_words = outcome.words
        if self._troubled_since is None:
            self._troubled_since = time.monotonic()
            detail = {"words": outcome.words, "outage": outcome.outage, "key_refused": outcome.key_refused}
            self._lease.note_trouble(outcome.words, event="trouble_began", detail=detail)
            level = logging.ERROR if outcome.key_refused else logging.WARNING
            _log.log(level, "%s: %s. Nothing is lost; trying again.", self._lease.stream_id, outcome.words)
        else:
            self._lease.note_trouble(outcome.words)

    def _all_is_well(self) -> None:
        if self._troubled_since is not None:
            detail = {"lasted_s": round(time.monotonic() - self._troubled_since, 3), "tries": self._tries}
            self._lease.note_trouble(None, event="trouble_ended", detail=detail)
        self._troubled_since, self._tries, self._last_words = None, 0, None

    def _hold(self, words: str) -> None:
        self._lease.hold(words)
        _log.error(
            "%s: nothing more is sent, because %s. What waits stays in the spool; 'framespool retry' goes on.",
            self._lease.stream_id,
            words,
        )
