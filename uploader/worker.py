"""`UploadWorker`: drains a spool for one destination, streams side by side, until told to stop or dry.

::

    lease a stream ──▶ StreamDelivery.drain ──▶ nothing left: look again a little later
          ▲                                          │
          └──────────── renew, release ──────────────┘

One worker at a time drains a spool for a destination: it holds the spool's worker lock, which the operating
system releases when it dies. Each stream is leased as well, for a limited time, so that even where such locks
do not work two workers never record for one stream.

Between two rounds it sleeps until somebody rings (`uploader.doorbell`): a producer that has pushed, or a stream
that is done for now; and looks by itself once a second.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

import uploader
from spool import (
    HostClock,
    LeasedStream,
    LeaseLost,
    ProcessLock,
    Spool,
    SpoolError,
    Stream,
    StreamState,
    make_proof,
)
from uploader.clock import ClockKeeper
from uploader.delivery import OnClosed, StreamDelivery
from uploader.destinations.base import Destination
from uploader.doorbell import Doorbell, bell_path
from uploader.gate import Gate
from uploader.json_log import about
from uploader.orphans import OrphanRule
from uploader.rate import Meter
from uploader.turns import Shares, Standing, is_live, share_out

LEASE_TTL_S = 30.0
STREAMS_AT_ONCE = 4
KEY_PAUSE_S = 5.0
"""How long the worker lock is left free after a key was refused."""
LOOK_S = 1.0
"""How often a worker looks that nobody rings for."""
_ROUND_PAUSE_S = 0.02
"""From a ring to the round that it is for: several rings are often one thing that happens."""
_CLAIM_LOOK_S = 0.1
_SETTLED_S = 1.0
_REST_S = 1.0
_REST_AFTER_BUG_S = 60.0
_TIDY_S = 30.0
_LOCK_PATIENCE_S = 3.0
_STOP_PATIENCE_S = 5.0
_CUT_PATIENCE_S = 0.5

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Served:
    """A stream in this worker's hands."""

    lease: LeasedStream
    delivery: StreamDelivery
    thread: threading.Thread | None = None
    is_at_work: bool = False
    renewed_at_s: float = 0.0
    since_s: float = 0.0


class Until(StrEnum):
    """When a worker ends by itself."""

    STOPPED = "stopped"
    """Never: a service."""
    DRY = "dry"
    """As soon as nothing is left to do."""
    ABANDONED = "abandoned"
    """Once nothing is left to do and no producer has the spool open."""


class UploadWorker:
    """Delivers what the spool holds for one destination.

    Args:
        spool: this worker's own opening of the spool.
        destination: where to deliver; streams opened for another one are left alone.
        until: when to end by itself.
        on_closed: what to do with what waits when the server has ended a stream for its silence.
        reads_clock: whether chunks are stamped by the server's clock.
        finalize_orphans_after_s: end streams whose producer has been gone for so long; ``None`` for never.
        streams_at_once: how many streams may be sent side by side.
        meter: the one that the destination takes its bytes from.
    """

    def __init__(
        self,
        spool: Spool,
        destination: Destination,
        *,
        until: Until = Until.STOPPED,
        on_closed: OnClosed = OnClosed.CONTINUE,
        reads_clock: bool = True,
        finalize_orphans_after_s: float | None = None,
        streams_at_once: int = STREAMS_AT_ONCE,
        meter: Meter | None = None,
    ) -> None:
        self._spool = spool
        self._destination = destination
        self._until = until
        self._on_closed = on_closed
        self._clock = ClockKeeper(destination.read_clock) if reads_clock else None
        self._stopped = threading.Event()
        self._gate = Gate(self._stopped)
        self._bell = Doorbell(bell_path(spool, destination.url))
        self._served: dict[str, _Served] = {}
        self._places = streams_at_once
        self._meter = meter or Meter()
        self._turns: dict[str, int] = {}
        self._turn = 0
        self._live_in_a_row = 0
        self._crowded = False
        self._leaving = False
        self._next_tidy_s = 0.0
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._orphans = OrphanRule(spool, destination.url, after_s=finalize_orphans_after_s, who=self.name)

    def stop(self) -> None:
        """Ask the worker to end soon; safe from a signal's function and from any thread."""
        self._stopped.set()
        self._bell.ring()

    def run(self) -> bool:
        """Deliver until stopped, or dry; whether this worker had its turn.

        ``False`` means that another live worker drains this spool for this destination already.
        """
        lock = self._spool.worker_lock(self._destination.url)
        had_its_turn = False
        while self._claim(lock):
            try:
                self._say_hello(again=had_its_turn)
                had_its_turn = True
                self._bell.hang()
                self._look_after_streams()
                self._let_go(keep_leases=self._gate.key_refused)
            finally:
                self._bell.take_down()
                lock.release()
            if self._gate.key_refused:
                # While the lock is free, a worker with a better key can take over. The leases are kept: if none
                # does, this one goes on by itself as soon as a key is accepted.
                self._stopped.wait(KEY_PAUSE_S)
            elif self._stopped.is_set() or not self._anything_to_do():
                # Asked once more after the lock was free: who pushed before that saw us and started nobody.
                break
        self._let_go()
        if had_its_turn:
            self._spool.record("worker_stopped", worker=self.name)
        return had_its_turn

    def _claim(self, lock: ProcessLock) -> bool:
        patience, is_told = time.monotonic() + _LOCK_PATIENCE_S, False
        while not self._stopped.is_set():
            if lock.acquire():
                return True
            if not is_told:
                _log.warning(
                    "another worker delivers %s to %s already; this one waits for its turn",
                    self._spool.root,
                    self._destination.url,
                )
                is_told = True
            is_patient = time.monotonic() <= patience
            if self._until is not Until.STOPPED and not is_patient:
                return False
            self._stopped.wait(_CLAIM_LOOK_S if is_patient else LOOK_S)
        return False

    def _say_hello(self, *, again: bool) -> None:
        self._gate.key_refused = False
        self._leaving = False
        for served in self._served.values():
            served.delivery.not_before_s = 0.0  # the pause was the wait
        if not again:
            self._spool.record(
                "worker_started", worker=self.name, pid=os.getpid(), destination=self._destination.url
            )
            root, url = str(self._spool.root), self._destination.url
            facts = about("worker_started", worker=self.name, spool=root, destination=url)
            _log.info("worker %s delivers %s to %s", self.name, root, url, extra=facts)

    # The rounds -----------------------------------------------------------------------------------------

    def _look_after_streams(self) -> None:
        while not self._stopped.is_set() and not self._gate.key_refused:
            # Asked before the round, so that what a producer pushed last is still seen in it.
            is_last = self._until is Until.DRY or (
                self._until is Until.ABANDONED and not self._spool.has_live_producers()
            )
            try:
                busy = self._round()
            except SpoolError as error:
                _log.error("the spool refuses: %s. %s", error, error.hint)
                busy = True
                self._stopped.wait(_REST_S)
            except Exception:  # noqa: BLE001 - see the next line
                # Whatever it is, the worker must not end and leave the spool undrained.
                _log.exception("an unexpected error; the worker goes on in a moment")
                busy = True
                self._stopped.wait(_REST_S)
            if is_last and not busy:
                return
            if self._bell.wait(LOOK_S):
                self._stopped.wait(_ROUND_PAUSE_S)

    def _round(self) -> bool:
        """Look once at every stream; whether anything is being or can be done."""
        self._orphans.look()
        now = time.monotonic()
        todo = self._streams_with_work()
        shares = self._share_out(todo, now)
        for stream_id in shares.serve:
            self._serve(stream_id, now)
        self._crowded = bool(shares.wait)
        for stream_id in shares.give_way & self._served.keys():
            self._served[stream_id].delivery.give_way()
        self._renew(now)
        if now >= self._next_tidy_s:
            self._next_tidy_s = now + _TIDY_S
            self._spool.keep_within_limits()
        return bool(todo) or self._at_work() > 0

    def _share_out(self, todo: Sequence[Stream], now: float) -> Shares:
        standings = [self._standing(stream, now) for stream in todo]
        self._meter.let_ahead(frozenset(one.stream_id for one in standings if one.is_live))
        # Those that have just done their last work still have their places.
        ending = self._at_work() - sum(one.is_at_work for one in standings)
        shares = share_out(standings, self._places - ending, self._live_in_a_row)
        self._live_in_a_row = shares.live_in_a_row
        return shares

    def _standing(self, stream: Stream, now: float) -> Standing:
        stream_id = stream.stream_id
        last = None
        if stream.state is StreamState.OPEN:
            last = self._spool.chunk(stream_id, stream.next_chunk_idx - 1)
        served = self._served.get(stream_id)
        return Standing(
            stream_id=stream_id,
            is_live=is_live(stream, last, HostClock().now_ms()),
            is_at_work=self._is_at_work(stream_id),
            is_settled=served is not None and now - served.since_s >= _SETTLED_S,
            is_resting=served is not None and served.delivery.not_before_s > now,
            last_turn=self._turns.get(stream_id, 0),
        )

    def _anything_to_do(self) -> bool:
        try:
            return bool(self._streams_with_work())
        except SpoolError:
            return False

    def _streams_with_work(self) -> list[Stream]:
        return [stream for stream in self._spool.streams(unfinished_only=True) if self._has_work(stream)]

    def _has_work(self, stream: Stream) -> bool:
        if stream.settings.destination != self._destination.url:
            return False
        if stream.held is not None:
            return False
        if stream.tally.spooled or not stream.parts or stream.asked_part is not None:
            return True
        return stream.state is StreamState.SEALED and not stream.tally.parked

    def _is_at_work(self, stream_id: str) -> bool:
        served = self._served.get(stream_id)
        return served is not None and served.is_at_work

    def _at_work(self) -> int:
        return sum(map(self._is_at_work, list(self._served)))

    def _serve(self, stream_id: str, now: float) -> None:
        served = self._served.get(stream_id)
        if served is None:
            lease = self._spool.lease(stream_id, self.name, ttl_s=LEASE_TTL_S, take_over=True)
            assert lease is not None
            delivery = StreamDelivery(
                lease,
                self._destination,
                self._gate,
                self._stopped,
                proof=partial(make_proof, self._spool, stream_id, made_by=uploader.MADE_BY),
                clock=self._clock,
                on_closed=self._on_closed,
            )
            served = self._served[stream_id] = _Served(lease=lease, delivery=delivery, renewed_at_s=now)
        self._turn += 1
        self._turns[stream_id], served.since_s = self._turn, now
        served.thread = threading.Thread(
            target=self._drain,
            args=(stream_id, served),
            name="framespool-deliver",
            daemon=True,
        )
        served.is_at_work = True
        try:
            served.thread.start()
        except BaseException:
            served.is_at_work = False
            raise

    def _drain(self, stream_id: str, served: _Served) -> None:
        try:
            served.delivery.drain(lambda: self._crowded or self._leaving)
        except LeaseLost as error:
            _log.warning("%s", error)
            self._served.pop(stream_id, None)
        except SpoolError as error:
            # A disk that refuses now may not later; the spool is as it was.
            facts = about("spool_refused", stream_id=stream_id)
            _log.error("%s: %s. %s", stream_id, error, error.hint, extra=facts)
            self._stopped.wait(_REST_S)
        except Exception:  # noqa: BLE001 - a bug must not stop the other streams, nor this one for good
            _log.exception("%s: an unexpected error; the stream is tried again in a minute", stream_id)
            self._stopped.wait(_REST_AFTER_BUG_S)
        finally:
            # Not whether the thread lives: the round that it rings for may come before its last breath.
            served.is_at_work = False
            self._bell.ring()

    def _renew(self, now: float) -> None:
        for stream_id, served in list(self._served.items()):
            if now - served.renewed_at_s < LEASE_TTL_S / 3:
                continue
            served.renewed_at_s = now
            try:
                if self._is_at_work(stream_id) or served.delivery.not_before_s > now:
                    served.lease.renew()
                else:
                    served.lease.release()
                    self._served.pop(stream_id, None)
            except LeaseLost:
                self._served.pop(stream_id, None)

    def _let_go(self, *, keep_leases: bool = False) -> None:
        """Give the uploads under way a moment, then release every lease, unless this is only a pause.

        An upload that is cut off here is repeated by the next worker, with the same bytes.
        """
        self._leaving = True
        self._wait_for_uploads(_STOP_PATIENCE_S)
        if keep_leases:
            return
        if self._stopped.is_set():
            # What still waits for its share of the line waits in vain.
            self._meter.end()
            self._wait_for_uploads(_CUT_PATIENCE_S)
        for served in list(self._served.values()):
            served.lease.release()
        self._served.clear()

    def _wait_for_uploads(self, seconds: float) -> None:
        patience = time.monotonic() + seconds
        for served in list(self._served.values()):
            if served.thread is not None:
                served.thread.join(max(0.0, patience - time.monotonic()))
