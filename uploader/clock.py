"""The host clock against the reference clock, measured as NTP does: four time stamps, lowest delay wins."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from spool import Clock, ClockReading, HostClock
from uploader.answers import meaning_of
from uploader.api import AtomscaleApi
from uploader.meanings import Meaning, Step

SAMPLES = 5
READ_EVERY_S = 240.0
READ_AGAIN_S = 15.0
"""The least time between two bursts, whatever the reason."""
READ_AGAIN_AFTER_FAILURE_S = 60.0
BURST_S = 3.0
"""No frame waits longer for a clock."""
SET_DURING_MS = 20
SET_MS = 100
"""The host clock was set when it moved by more than this; a clock that is steered moves less in that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMeasurement:
    """How far the reference clock is ahead of ours.

    Attributes:
        offset_ms: add it to host time to get reference time.
        uncertainty_ms: half the round trip of the best sample; the offset is within it.
        samples: how many answers it rests on.
        measured_at_ms: host time of the measurement, milliseconds UTC.
    """

    offset_ms: float
    uncertainty_ms: float
    samples: int
    measured_at_ms: float

    def reading(self, clock: Clock | None = None) -> ClockReading:
        """As the spool keeps it: tied to both of this host's clocks, at this moment."""
        now = (clock or HostClock()).moment()
        return ClockReading(
            at_ms=now.at_ms,
            monotonic_ms=now.monotonic_ms,
            boot_id=now.boot_id,
            offset_ms=self.offset_ms,
            uncertainty_ms=self.uncertainty_ms,
        )


class ClockKeeper:
    """Sees to it that a reading of the clocks is at hand when a chunk is sent; shared by all streams of a worker.

    Read again every few minutes, and at once when the host clock was set. A server that does not answer is asked
    again a little later.

    Args:
        read: measures; ``None`` when it does not work.
        clock: the host's clocks.
    """

    def __init__(self, read: Callable[[], ClockReading | None], clock: Clock | None = None) -> None:
        self._read = read
        self._clock = clock or HostClock()
        self._lock = threading.Lock()
        self._latest: ClockReading | None = None
        self._next_s = self._least_s = 0.0

    def reading(self) -> ClockReading | None:
        """The latest reading, a fresh one when it is time for it; ``None`` when there never was one."""
        # While one stream has it measured the others go on with what there is.
        if not self._lock.acquire(blocking=self._latest is None):
            return self._latest
        try:
            now = time.monotonic()
            if now >= self._next_s or (now >= self._least_s and self._was_set()):
                found = self._read()
                self._latest = found or self._latest
                self._least_s = time.monotonic() + (READ_AGAIN_S if found else READ_AGAIN_AFTER_FAILURE_S)
                self._next_s = time.monotonic() + READ_EVERY_S if found else self._least_s
            return self._latest
        finally:
            self._lock.release()

    def _was_set(self) -> bool:
        """Whether the host clock has moved against the monotonic clock since the latest reading."""
        now, latest = self._clock.moment(), self._latest
        if latest is None or latest.monotonic_ms is None or now.monotonic_ms is None:
            return False
        moved = (now.at_ms - now.monotonic_ms) - (latest.at_ms - latest.monotonic_ms)
        return abs(moved) > SET_MS


def measure(
    api: AtomscaleApi,
    *,
    samples: int = SAMPLES,
    now_ms: Callable[[], float] = lambda: time.time_ns() / 1e6,
    steady_ms: Callable[[], float] = lambda: time.monotonic_ns() / 1e6,
) -> ClockMeasurement | None:
    """Measure with a burst of requests; ``None`` when the server's clock could not be read.

    Args:
        api: a connection.
        samples: how many requests; fewer when they take too long.
        now_ms: the host clock.
        steady_ms: one that nobody sets: a burst in which the host clock was set says nothing.
    """
    found: list[tuple[float, float]] = []
    began, apart = steady_ms(), now_ms() - steady_ms()
    for _ in range(samples):
        if steady_ms() - began > BURST_S * 1000:
            break
        sent = now_ms()
        answer = api.server_time()
        received = now_ms()
        if meaning_of(Step.API, answer).meaning is not Meaning.DONE:
            break
        stamps = _stamps(answer.json())
        if stamps is None:
            break
        at_server, from_server = stamps
        delay = (received - sent) - (from_server - at_server)
        if delay >= 0:  # else a clock was set during the sample, which then says nothing
            found.append((delay, ((at_server - sent) + (from_server - received)) / 2))
    if not found or abs(now_ms() - steady_ms() - apart) > SET_DURING_MS:
        return None
    delay, offset = min(found)
    return ClockMeasurement(
        offset_ms=offset, uncertainty_ms=delay / 2, samples=len(found), measured_at_ms=now_ms()
    )


def _stamps(said: object) -> tuple[float, float] | None:
    if not isinstance(said, dict):
        return None
    stamps = said.get("receivedAtUnixMs"), said.get("transmittedAtUnixMs")
    if all(isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < 2**53 for one in stamps):
        return float(stamps[0]), float(stamps[1])  # type: ignore[arg-type] # just checked
    return None
