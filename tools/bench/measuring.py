"""Repeats that take turns, and what is said of them: medians, spread, and a ratio held against its target.

What is compared is measured in one run and in turns, so that whatever else the machine does meets all of it. The
first repeats are dropped: they pay for memory and files that are touched for the first time.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a ratio of two medians should be.

    Attributes:
        of: the contender that is judged.
        to: what it is held against; of several, the one that is the stricter limit for what is measured.
        at_least: the ratio, where more is better; else ``None``.
        at_most: the ratio, where less is better; else ``None``.
    """

    of: str
    to: tuple[str, ...]
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        assert (self.at_least is None) != (self.at_most is None)

    def met_by(self, ratio: float) -> bool:
        """Whether that ratio is good enough."""
        if self.at_least is not None:
            return ratio >= self.at_least
        assert self.at_most is not None
        return ratio <= self.at_most

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One contender's figures, one for each repeat that counts; ``low`` and ``high`` are the extremes."""

    name: str
    figures: tuple[float, ...]
    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of the result.

    Attributes:
        row: the name that the command line knows.
        case: which of the row's conditions.
        unit: of the figures.
        ratio: of two medians; ``None`` when one of the two is absent.
        met: whether the target is; ``None`` likewise.
        absent: contenders that could not be asked, and why. Nothing is put in their place.
    """

    row: str
    case: str
    unit: str
    contenders: tuple[Measured, ...]
    target: Target | None
    ratio: float | None
    met: bool | None
    absent: tuple[str, ...]

    def contender(self, name: str) -> Measured | None:
        """The contender of that name, if it is here."""
        return next((one for one in self.contenders if one.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Comparison":
        """What `to_json` told."""
        contenders = tuple(Measured(**{**one, "figures": tuple(one["figures"])}) for one in told["contenders"])
        target = told["target"] and Target(**{**told["target"], "to": tuple(told["target"]["to"])})
        return cls(**{**told, "contenders": contenders, "target": target, "absent": tuple(told["absent"])})

    def __str__(self) -> str:
        figures = [
            f"{one.name} {short(one.median)} ({short(one.low)} … {short(one.high)})" for one in self.contenders
        ]
        said = f"{self.row}, {self.case}: {', '.join(figures)} {self.unit}"
        if self.target is not None and self.ratio is not None:
            verdict = "met" if self.met else "MISSED"
            of = f"{self.target.of} / {' or '.join(self.target.to)}"
            said += f"; {of} = {self.ratio:.2f}, wanted {self.target}: {verdict}"
        return said + "".join(f"; absent: {one}" for one in self.absent)


def in_turns(
    contenders: Mapping[str, Callable[[], _T]], *, repeats: int, warm_ups: int = 0
) -> dict[str, list[_T]]:
    """Let each contender have its turn, again and again.

    Args:
        contenders: each makes one measurement when called.
        repeats: so many that count, of each.
        warm_ups: so many before these, of each, whose results are dropped.

    Every other round goes through them backwards, so that none always profits from what the one before left.
    """
    found: dict[str, list[_T]] = {name: [] for name in contenders}
    for number in range(warm_ups + repeats):
        order = list(contenders) if number % 2 == 0 else list(contenders)[::-1]
        for name in order:
            result = contenders[name]()
            if number >= warm_ups:
                found[name].append(result)
    return found


def compare(
    row: str,
    case: str,
    unit: str,
    figures: Mapping[str, Sequence[float]],
    *,
    target: Target | None = None,
    absent: Sequence[str] = (),
) -> Comparison:
    """What the figures amount to.

    Args:
        row: its name on the command line.
        case: the condition.
        unit: of the figures.
        figures: those of each contender that is here, one for each repeat.
        target: what is wanted of the medians.
        absent: see `Comparison`.

    Raises:
        ValueError: a contender has no figures; that is a fault of the harness, not a result.
    """
    if nothing := [name for name, found in figures.items() if not found]:
        raise ValueError(f"{row}, {case}: no figures of {', '.join(nothing)}")
    measured = tuple(
        Measured(
            name=name,
            figures=tuple(found),
            median=statistics.median(found),
            low=min(found),
            high=max(found),
        )
        for name, found in figures.items()
    )
    ratio = met = None
    medians = {one.name: one.median for one in measured}
    if target is not None and target.of in medians and all(name in medians for name in target.to):
        against = [medians[name] for name in target.to]
        limit = min(against) if target.at_least is not None else max(against)
        ratio = medians[target.of] / limit
        met = target.met_by(ratio)
    return Comparison(
        row=row,
        case=case,
        unit=unit,
        contenders=measured,
        target=target,
        ratio=ratio,
        met=met,
        absent=tuple(absent),
    )


def short(figure: float) -> str:
    """The figure with about three digits."""
    return f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.3g}"  # noqa: PLR2004 - three digits
