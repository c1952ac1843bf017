"""The host clock against the reference clock, measured as NTP does: four time stamps, lowest delay wins."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from uploader.answers import meaning_of
from uploader.api import AtomscaleApi
from uploader.meanings import Meaning, Step

SAMPLES = 5


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


def measure(
    api: AtomscaleApi, *, samples: int = SAMPLES, now_ms: Callable[[], float] = lambda: time.time_ns() / 1e6
) -> ClockMeasurement | None:
    """Measure with a burst of requests; ``None`` when the server's clock could not be read."""
    found: list[tuple[float, float]] = []
    for _ in range(samples):
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
    if not found:
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
