"""Pictures of a result, as SVG that is readable on a light and on a dark page.

Drawn with stand-ins for the colours of text and lines, which become variables of the picture's own style sheet:
that asks the reader's system for light or dark. The same result makes the same bytes.
"""

import io
import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.bench.asked import OURS, PEER
from tools.bench.measuring import Comparison, short

_INK, _FAINT = "#010203", "#040506"  # stand-ins; nothing else has these colours
_STYLE: Final = (
    "<style>:root{--ink:#1f2328;--faint:#d0d7de}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#3d444d}}</style>"
)
# Tones that stand out on white and on black.
_OURS, _PEER = "#2f81f7", "#d1782b"
_OTHERS: Final = ("#8b949e", "#3fa35c", "#a371f7")
_BAR_INCHES, _WIDTH_INCHES = 0.27, 8.0
_SETTINGS: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "framespool",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _FAINT,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def overview(comparisons: Sequence[Comparison]) -> str:
    """How far each ratio is from its target: right of the line it is met, by the factor that the axis tells."""
    judged = [one for one in comparisons if one.ratio is not None and one.target is not None]
    with mpl.rc_context(_SETTINGS):
        figure, axes = _figure(len(judged) * _BAR_INCHES + 0.8)
        for place, one in enumerate(judged):
            assert one.ratio is not None
            assert one.target is not None
            wanted = one.target.at_least or one.target.at_most
            assert wanted is not None
            # A ratio of nought is as good as it gets; on this axis it would be nowhere.
            better = one.ratio / wanted if one.target.at_least else wanted / max(one.ratio, wanted / 100)
            axes.plot([1, better], [place, place], color=_FAINT, linewidth=1, zorder=1)
            axes.plot(better, place, marker="o" if one.met else "X", color=_OURS if one.met else _PEER, zorder=2)
        axes.axvline(1, color=_INK, linewidth=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(judged)), [f"{one.row}: {one.case}" for one in judged])
        axes.set_ylim(len(judged) - 0.5, -0.5)
        axes.set_xlabel("times better than the target (right of the line: met)")
        ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if _is_near(tick, axes.get_xlim())]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        return _svg(figure)


def row(comparisons: Sequence[Comparison]) -> str:
    """A row's contenders case by case: a bar up to the median, a line from the lowest figure to the highest."""
    names = dict.fromkeys(measured.name for one in comparisons for measured in one.contenders)
    others = (name for name in names if name not in (OURS, PEER))
    colours = {OURS: _OURS, PEER: _PEER, **dict(zip(others, cycle(_OTHERS), strict=False))}
    bars = sum(len(one.contenders) for one in comparisons)
    with mpl.rc_context(_SETTINGS):
        figure, axes = _figure((bars + 0.7 * len(comparisons)) * _BAR_INCHES + 0.7)
        place, labels = 0.0, {}
        for one in comparisons:
            labels[place + (len(one.contenders) - 1) / 2] = one.case
            for measured in one.contenders:
                axes.barh(place, measured.median, height=0.8, color=colours[measured.name])
                axes.plot([measured.low, measured.high], [place, place], color=_INK, linewidth=1)
                said = f"{measured.name}: {short(measured.median)}"
                axes.annotate(
                    said,
                    (max(measured.high, measured.median), place),
                    va="center",
                    fontsize=8,
                    xytext=(5, 0),
                    textcoords="offset points",
                )
                place += 1
            place += 0.7
        _finish(axes, labels, place, unit=comparisons[0].unit)
        return _svg(figure)


def _finish(axes: Axes, labels: Mapping[float, str], height: float, *, unit: str) -> None:
    axes.set_yticks(list(labels), list(labels.values()))
    axes.set_ylim(height - 0.9, -0.7)
    axes.set_xlim(min(0.0, axes.get_xlim()[0]), 1.35 * axes.get_xlim()[1])
    axes.set_xlabel(unit)


def _figure(height_inches: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches), layout="constrained")
    axes = figure.add_subplot()
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
    return figure, axes


def _svg(figure: Figure) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = written.getvalue().replace(_INK, "var(--ink)").replace(_FAINT, "var(--faint)")
    # Text without a colour of its own is black, whatever the page.
    text = re.sub(r'(<text style=")(?![^"]*fill)', r"\1fill: var(--ink); ", text)
    text = re.sub(r"(<svg [^>]*>)", lambda found: found[1] + _STYLE, text, count=1, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def _is_near(tick: float, limits: tuple[float, float]) -> bool:
    return limits[0] <= tick <= limits[1]
