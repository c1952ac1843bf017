"""Recorded against acknowledged over time, as an SVG: how far delivery lagged, and when it could not go on."""

from collections.abc import Iterator, Sequence
from html import escape

from spool import StreamAudit
from uploader.cli import words

WIDTH, HEIGHT = 960, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 16, 36
_POINTS_MAX = 1500
_TICKS_MAX = 8
_DAY_MS = 86_400_000
_STEPS_MS = (
    *(k * 1000 for k in (1, 2, 5, 10, 15, 30)),
    *(k * 60_000 for k in (1, 2, 5, 10, 15, 30)),
    *(k * 3_600_000 for k in (1, 2, 3, 6, 12)),
    *(k * _DAY_MS for k in (1, 2, 7, 14, 30, 90, 365)),
)
_HOUR_MS = 3_600_000

Points = list[tuple[int, int]]


def timeline(found: StreamAudit) -> tuple[str, str]:
    """The picture, and what its first line shows; both empty without chunks."""
    if not found.chunks:
        return "", ""
    begun, what = _recorded_ms(found)
    ended = sorted(
        one.chunk.acknowledged_at_ms for one in found.chunks if one.chunk.acknowledged_at_ms is not None
    )
    recorded, acknowledged = _counted(begun), _counted(ended)
    last = max(recorded[-1][0], acknowledged[-1][0] if acknowledged else 0)
    outages = [(one.began_at_ms, one.ended_at_ms or max(last, one.began_at_ms)) for one in found.outages]
    first = min([recorded[0][0], *(began for began, _ in outages)])
    last = max([last, *(until for _, until in outages), first + 1000])
    plot = _Plot(first, last, len(found.chunks))
    label = "recorded and acknowledged over time"
    parts = [f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">']
    for (began, until), one in zip(outages, found.outages, strict=True):
        title = f"<title>{escape(f'{words.moment(began)}: {words.printable(one.words)}')}</title>"
        x = plot.x(began)
        parts.append(
            f'<rect class="outage" x="{x:.1f}" y="{_TOP}" width="{max(2.0, plot.x(until) - x):.1f}"'
            f' height="{HEIGHT - _TOP - _BOTTOM}">{title}</rect>'
        )
    parts += plot.axes()
    if acknowledged:
        between = f"{plot.steps(recorded, last)}L{plot.steps(acknowledged, last, back=True)}Z"
        parts.append(f'<path class="backlog" d="{between}"/>')
        parts.append(f'<path class="acknowledged" d="{plot.steps(acknowledged, last)}"/>')
    parts.append(f'<path class="recorded" d="{plot.steps(recorded, last)}"/>')
    return "".join([*parts, "</svg>"]), what


def _recorded_ms(found: StreamAudit) -> tuple[list[int], str]:
    """When each chunk was captured; or stored, where the times of capture cannot be those of this growth."""
    captured = sorted(one.chunk.capture_start_ms_utc for one in found.chunks)
    spooled = sorted(one.chunk.spooled_at_ms for one in found.chunks)
    slack = _HOUR_MS + 10 * (spooled[-1] - spooled[0])
    if captured[0] < spooled[0] - slack or captured[-1] > spooled[-1] + slack:
        return spooled, "spooled (the times of capture are far from these)"
    return captured, "captured"


def _counted(times: Sequence[int]) -> Points:
    """How many there were by when; thinned out where there are more than anybody can see."""
    if not times:
        return []
    step = -(-len(times) // _POINTS_MAX)
    picked = [*range(0, len(times), step), len(times) - 1]
    return [(times[k], k + 1) for k in dict.fromkeys(picked)]


class _Plot:
    def __init__(self, first_ms: int, last_ms: int, count: int) -> None:
        self._first, self._last, self._count = first_ms, last_ms, count

    def x(self, at_ms: int) -> float:
        share = (at_ms - self._first) / (self._last - self._first)
        return _LEFT + share * (WIDTH - _LEFT - _RIGHT)

    def y(self, number: float) -> float:
        return HEIGHT - _BOTTOM - number / self._count * (HEIGHT - _TOP - _BOTTOM)

    def steps(self, points: Points, until_ms: int, *, back: bool = False) -> str:
        """A staircase from nothing up to each point; ``back`` walks it from its end, for a closed shape."""
        corners = [(self.x(points[0][0]), self.y(0))]
        level = 0
        for at_ms, number in points:
            corners += [(self.x(at_ms), self.y(level)), (self.x(at_ms), self.y(number))]
            level = number
        corners.append((self.x(until_ms), self.y(level)))
        drawn = [f"{x:.1f} {y:.1f}" for x, y in (reversed(corners) if back else corners)]
        return ("" if back else "M") + "L".join(drawn)

    def axes(self) -> Iterator[str]:
        for number in _round_numbers(self._count):
            y = self.y(number)
            yield f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            yield f'<text class="count" x="{_LEFT - 8}" y="{y:.1f}">{number:,}</text>'
        span = self._last - self._first
        step = next((step for step in _STEPS_MS if span / step <= _TICKS_MAX), span // _TICKS_MAX or 1)
        pattern = "%Y-%m-%d" if step >= _DAY_MS else "%m-%d %H:%M" if span > _DAY_MS else "%H:%M:%S"
        for at_ms in range(-(-self._first // step) * step, self._last + 1, step):
            x = self.x(at_ms)
            foot = HEIGHT - _BOTTOM
            yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{foot}" y2="{foot + 5}"/>'
            yield f'<text class="time" x="{x:.1f}" y="{HEIGHT - 12}">{words.moment(at_ms, pattern)}</text>'


def _round_numbers(count: int) -> list[int]:
    """A few round numbers from 0 to the top."""
    step = next(
        factor * 10**power
        for power in range(18)
        for factor in (1, 2, 5)
        if count / (factor * 10**power) <= 5  # noqa: PLR2004
    )
    return list(range(0, count + 1, step))
