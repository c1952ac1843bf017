"""The thread that takes frames from a live source: it counts what is missing, and waits for one that is away.

It never waits for the disk. Only a source whose frames lie in files is made to wait: there nothing is lost by it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spool import Loss, LossCause
from uploader.grabbing.device_clock import DeviceClock
from uploader.grabbing.ring import Ring
from uploader.sources.base import SourceError, same_shape
from uploader.sources.live import Grabbed, LiveSource, Remembering, SourceLost

_GRAB_S = 0.2
_AGAIN_S, _AGAIN_S_MAX = 0.5, 10.0
_RATE_WINDOW_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A frame on its way to a chunk.

    Attributes:
        grabbed: as the source gave it.
        captured_ns: when it was captured, nanoseconds since the Unix epoch by the host's clock.
        arrived_s: when it came, on the host's steady clock.
        losses: what was lost since the frame before.
    """

    grabbed: Grabbed
    captured_ns: int
    arrived_s: float
    losses: tuple[Loss, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """Something besides frames, for the ledger and for people.

    Attributes:
        event: the ledger's name for it; see `spool.source_story`.
        detail: of the row.
        error: what ended the recording, if this did.
    """

    event: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    error: SourceError | None = None


@dataclass(slots=True, kw_only=True)
class Figures:
    """What has happened so far; written by the grabber's thread, and read by anybody.

    Attributes:
        taken: frames that came and are, or will be, in chunks.
        lost: frames that are known to be lost, by cause.
        is_away: whether the source is gone at this moment.
        arrivals: of the latest frames, on the steady clock, a second each: how many came.
    """

    taken: int = 0
    lost: dict[LossCause, int] = field(default_factory=lambda: dict.fromkeys(LossCause, 0))
    is_away: bool = False
    began_s: float = field(default_factory=time.monotonic)
    arrivals: dict[int, int] = field(default_factory=dict)

    def came(self, at_s: float) -> None:
        """Count a frame."""
        second = int(at_s)
        if second not in self.arrivals:
            for old in [one for one in self.arrivals if one < second - _RATE_WINDOW_S - 1]:
                del self.arrivals[old]
        self.arrivals[second] = self.arrivals.get(second, 0) + 1

    def rate(self, now_s: float) -> float:
        """Frames per second over the latest whole seconds, lost ones on the way here included."""
        now = int(now_s)
        seconds = min(int(_RATE_WINDOW_S), max(1, now - int(self.began_s)))
        return sum(count for at, count in dict(self.arrivals).items() if now - seconds <= at < now) / seconds


class Grabber:
    """Takes frames until it is stopped, or the source is over or broken; then puts a last `Happened`.

    Args:
        source: not started yet.
        ring: where frames and happenings go, in order.
    """

    def __init__(self, source: LiveSource, ring: "Ring[Taken | Happened]") -> None:
        self._source = source
        self._ring = ring
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="framespool-grab", daemon=True)
        self._keeps = isinstance(source, Remembering)
        self._clock = DeviceClock()
        self._last: int | None = None
        self._lost: list[Loss] = []
        self.figures = Figures()

    def start(self) -> None:
        """Begin to take frames."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more frames. Those that were taken are still to be had; safe from a signal's function."""
        self._stopped.set()

    def join(self) -> None:
        """Wait until the source is let go."""
        self._thread.join()

    # Private, in the grabber's own thread ---------------------------------------------------------------

    def _run(self) -> None:
        error: SourceError | None = None
        try:
            self._grab_all()
        except SourceError as found:
            error = found
        except Exception as found:  # noqa: BLE001 - a driver's, of any kind: what came so far is kept all the same
            _log.exception("the source raised what no source may raise")
            error = SourceError(f"the source failed: {type(found).__name__}: {found}")
        finally:
            self._source.stop()
        self._tell_notices()
        losses = [_facts(one) for one in self._lost]
        words = {} if error is None else {"words": str(error)}
        self._ring.put(Happened(event="source_stopped", detail={**words, "losses": losses}, error=error))

    def _grab_all(self) -> None:
        self._begin(is_first=True)
        while not self._stopped.is_set():
            try:
                grabbed = self._source.grab(_GRAB_S)
            except SourceLost as error:
                self._source.stop()
                self._wait_for_it(error)
                continue
            self._tell_notices()
            if grabbed is not None:
                self._take(grabbed)
            elif self._source.is_over:
                return

    def _begin(self, *, is_first: bool = False) -> None:
        if is_first and self._stopped.is_set():
            return
        self._source.start()
        self._clock, self._last = DeviceClock(), None
        self._tell_notices()

    def _wait_for_it(self, error: SourceLost) -> None:
        """Until it is back; whatever it says then may be new."""
        self.figures.is_away = True
        self._ring.put(Happened(event="source_lost", detail={"words": str(error)}))
        wait_s = _AGAIN_S
        while not self._stopped.wait(wait_s):
            wait_s = min(2 * wait_s, _AGAIN_S_MAX)
            with contextlib.suppress(SourceLost):
                self._begin()
                self.figures.is_away = False
                self._ring.put(Happened(event="source_back", detail={"facts": dict(self._source.facts())}))
                return

    def _take(self, grabbed: Grabbed) -> None:
        utc_ns, monotonic_ns = time.time_ns(), time.monotonic_ns()
        arrived_s = monotonic_ns / 1e9
        if self._source.shape is not None:
            same_shape(grabbed.frame, self._source.shape, "the source")
        self._count(grabbed, at_ms=utc_ns // 1_000_000)
        self.figures.came(arrived_s)
        taken = Taken(
            grabbed=grabbed,
            captured_ns=self._captured_ns(grabbed, monotonic_ns=monotonic_ns, utc_ns=utc_ns),
            arrived_s=arrived_s,
            losses=tuple(self._lost),
        )
        nbytes = grabbed.frame.nbytes
        while not (is_in := self._ring.put(taken, nbytes, timeout_s=_GRAB_S if self._keeps else 0.0)):
            # A file is still there the next time; what a camera gave is not.
            if not self._keeps or self._stopped.is_set():
                break
        if is_in:
            self.figures.taken += 1
            self._lost = []
        elif not self._keeps:
            self._add_loss(LossCause.OVERFLOW, 1, at_ms=utc_ns // 1_000_000, after=self._before(grabbed))

    def _count(self, grabbed: Grabbed, *, at_ms: int) -> None:
        """Notice numbers that were skipped. One that is not above the last says nothing of what is missing."""
        number = grabbed.number
        if number is None:
            return
        if self._last is not None and number > self._last + 1:
            self._add_loss(LossCause.SOURCE, number - self._last - 1, at_ms=at_ms, after=self._last)
        self._last = number

    def _add_loss(self, cause: LossCause, frames: int, *, at_ms: int, after: int | None) -> None:
        self.figures.lost[cause] += frames
        last = self._lost[-1] if self._lost else None
        if last is not None and last.cause is cause:  # one after the other: told as one
            self._lost[-1] = Loss(cause=cause, frames=last.frames + frames, at_ms=last.at_ms, after=last.after)
        else:
            self._lost.append(Loss(cause=cause, frames=frames, at_ms=at_ms, after=after))

    def _captured_ns(self, grabbed: Grabbed, *, monotonic_ns: int, utc_ns: int) -> int:
        if grabbed.captured_at_ms is not None:
            return round(grabbed.captured_at_ms * 1e6)
        if grabbed.device_ns is not None:
            return self._clock.captured_ns(grabbed.device_ns, monotonic_ns=monotonic_ns, utc_ns=utc_ns)
        return utc_ns

    def _before(self, grabbed: Grabbed) -> int | None:
        return None if grabbed.number is None else grabbed.number - 1

    def _tell_notices(self) -> None:
        for one in self._source.notices():
            detail = {"what": one.what, "words": one.words, "detail": dict(one.detail)}
            self._ring.put(Happened(event="source_notice", detail=detail))


def _facts(loss: Loss) -> dict[str, Any]:
    return {"cause": loss.cause.value, "frames": loss.frames, "at_ms": loss.at_ms, "after": loss.after}
