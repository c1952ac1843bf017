"""When a chunk was captured, in reference UTC: computed when it is sent, from what was recorded at its push.

A chunk carries its capture on the host clock, which anybody may set, and on the monotonic clock, which nobody
sets. A reading ties the monotonic clock to the reference clock. So a chunk that was captured before the first
reading, or between a wrong clock and its correction, still gets the right stamp, and stamps keep the order of the
captures.

::

    reference time of a chunk = its monotonic time + (reference - monotonic), at the readings nearest to it

Between two readings that difference is interpolated. Chunks of an earlier boot are corrected by the reading of
this machine that is nearest on the host clock: the best there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spool import Chunk, ClockReading, Stream, is_same_machine

DRIFT = 50e-6
"""How far a machine's monotonic clock may run off: 50 millionths, more than quartz clocks usually do."""
NOISE, NOISE_MS = 3, 50
"""A reading that is so many times less certain than the best one, and a little, is left out."""
STEP_MS = 500
"""Where no reading tells better, a host clock that moved by more than this was set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """The time stamps of one chunk.

    Attributes:
        start_ms: when its first frame was captured, milliseconds since the Unix epoch.
        offset_ms: what was added to the host clock's time for that; ``None`` when no reading stands behind it.
        uncertainty_ms: the offset is within so much; ``None`` likewise.
    """

    start_ms: int
    offset_ms: int | None = None
    uncertainty_ms: float | None = None


def stamp(stream: Stream, chunk: Chunk, readings: Sequence[ClockReading]) -> Stamp:
    """The stamp of a chunk, by all readings there are.

    Args:
        stream: the chunk's.
        chunk: as it was recorded.
        readings: of the stream, oldest first.
    """
    capture, monotonic = chunk.capture_start_ms_utc, chunk.monotonic_ms
    if monotonic is not None:
        comparable = [
            (one.monotonic_ms, one)
            for one in readings
            if one.monotonic_ms is not None and one.boot_id == chunk.boot_id
        ]
        if comparable:
            # A noisy reading must not pull stamps to and fro that a good one has pinned down.
            best = min(one.uncertainty_ms for _, one in comparable)
            comparable = [pair for pair in comparable if pair[1].uncertainty_ms <= NOISE * best + NOISE_MS]
            comparable.sort(key=lambda pair: pair[0])
            return _by_monotonic(capture, monotonic, comparable)
    same_machine = [one for one in readings if is_same_machine(one.boot_id, chunk.boot_id)]
    if same_machine:
        nearest = min(same_machine, key=lambda one: abs(one.at_ms - capture))
        return _shifted(capture, nearest.offset_ms, nearest.uncertainty_ms)
    return Stamp(start_ms=_unset(stream, capture, monotonic, chunk.boot_id))


def _by_monotonic(capture: int, monotonic: int, readings: list[tuple[int, ClockReading]]) -> Stamp:
    before = [pair for pair in readings if pair[0] <= monotonic]
    after = [pair for pair in readings if pair[0] > monotonic]
    ends = [*before[-1:], *after[:1]]
    bases = [one.at_ms + one.offset_ms - at for at, one in ends]
    uncertainty = max(one.uncertainty_ms for _, one in ends)
    if len(ends) == 2:  # noqa: PLR2004 - one on either side
        (first, _), (second, _) = ends
        share = (monotonic - first) / (second - first)
        base = bases[0] + share * (bases[1] - bases[0])
    else:
        base = bases[0]
        uncertainty += DRIFT * abs(monotonic - ends[0][0])
    return _shifted(capture, base + monotonic - capture, uncertainty)


def _shifted(capture: int, offset_ms: float, uncertainty_ms: float) -> Stamp:
    offset = round(offset_ms)
    return Stamp(start_ms=capture + offset, offset_ms=offset, uncertainty_ms=round(uncertainty_ms, 3))


def _unset(stream: Stream, capture: int, monotonic: int | None, boot_id: str | None) -> int:
    """The host clock's time, as it would have been told had nobody set it since the stream began."""
    begun = stream.created_monotonic_ms
    if monotonic is None or begun is None or boot_id != stream.boot_id:
        return capture
    steady = stream.created_at_ms + monotonic - begun
    return steady if abs(steady - capture) > STEP_MS else capture
