"""Every kill of a plan, by as many processes as there are cores."""

import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tools.kills import crowd, damage
from tools.kills.delivering import Delivery, FanOut
from tools.kills.steps import Kill, Life
from tools.powerloss.forgetful import small_reserve

_FAST = Path("/dev/shm")  # noqa: S108 - memory: what a kill leaves behind is the same there as on a disk
_lives: dict[str, Life] = {}
_mine: Path | None = None
TO_FOLDERS: dict[str, type[Delivery]] = {"folder": Delivery, "folders": FanOut}
"""The first word of a part on the way to a folder, or to two."""


@dataclass(slots=True)
class Figures:
    """What a campaign has done and found."""

    kills: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {"kills": self.kills, "labels": dict(sorted(self.labels.items())), "losses": self.losses}


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for spools that die."""
    folder = Path(tempfile.mkdtemp(prefix="kills-", dir=_FAST if _FAST.is_dir() else None))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def exhaustive(calls: list[int]) -> list[str]:
    """Every step of these calls, every damage before some of them, and some damage after each of their steps."""
    damaged = calls[:: max(1, len(calls) // 6)]
    return [
        *(f"steps {call}" for call in calls),
        *(f"damage {call} {name}" for call in damaged for name in damage.DAMAGES),
        *(f"after {call} {name}" for call in calls for name in ("no_index", "hot_journal")),
    ]


def all_calls() -> list[int]:
    """The calls of the life."""
    return Life(Path()).calls


def on_the_way(kind: str) -> list[str]:
    """Every step of every call on the way to a folder or two, and some of the steps of the workers after it."""
    return [f"{kind} steps {call}" for call in TO_FOLDERS[kind](Path()).calls]


def run(plan: list[str], *, processes: int, kills_max: float, told: Callable[[Figures], None]) -> Figures:
    """Work through a plan, until it is done or so many processes have died.

    Args:
        plan: ``steps CALL[.AT.AGAIN]``, ``damage CALL[.AT] NAME``, ``after CALL NAME`` or ``crowd SEED``;
            ``folder steps …`` and ``folder crowd …`` are on the way to a folder, ``folders …`` to two.
        processes: how many at once.
        kills_max: enough.
        told: hears of it after each part.
    """
    figures = Figures()
    with scratch() as folder, multiprocessing.get_context("fork").Pool(processes, _begin, (folder,)) as pool:
        for part, kills in pool.imap_unordered(_part, plan):
            for kill in kills:
                figures.kills += 1
                figures.labels[kill.label] += 1
                if kill.why:
                    figures.losses.append(f"--only '{_again(part, kill)}' (before {kill.label}): {kill.why}")
            told(figures)
            if figures.kills >= kills_max:
                break
    return figures


def _again(part: str, kill: Kill) -> str:
    """What to ask for to see this kill again."""
    match part.split():
        case [*kind, "steps", _] if kill.at:
            return " ".join([*kind, "steps", kill.name])
        case ["after", _, name] if kill.at:
            return f"damage {kill.call}.{kill.at} {name}"
    return part


def _begin(folder: Path) -> None:
    global _mine  # noqa: PLW0603 - one for each process of the pool
    logging.disable(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # ends at once, unlike the process that keeps the folder
    small_reserve().__enter__()
    _mine = folder / str(os.getpid())
    _mine.mkdir()


def _part(part: str) -> tuple[str, list[Kill]]:
    assert _mine is not None
    kind, _ = _kind_of(part)
    if kind not in _lives and "crowd" not in part:
        made = _mine / f"life-{kind}"
        made.mkdir()
        _lives[kind] = TO_FOLDERS[kind](made) if kind else Life(made)
        _lives[kind].play()
    return part_of(part, _mine, _lives.get(kind))


def _kind_of(part: str) -> tuple[str, str]:
    """Where a part's streams go, nowhere by default; and the rest of its words."""
    kind, _, words = part.partition(" ")
    return (kind, words) if kind in TO_FOLDERS else ("", part)


def part_of(part: str, folder: Path, life: Life | None = None) -> tuple[str, list[Kill]]:
    """One part of a plan, with all that it killed.

    Args:
        part: see `run`.
        folder: to work in.
        life: already played; a crowd needs none.
    """
    kind, words = _kind_of(part)
    what, _, rest = words.partition(" ")
    try:
        if what == "crowd":
            return part, list(crowd.lives(folder, rest, shares=len(TO_FOLDERS[kind].streams) if kind else 0))
        assert life is not None
        if what in ("damage", "after"):
            place, _, name = rest.partition(" ")
            call, at = (int(number) for number in f"{place}.0".split(".")[:2])
            if what == "after":
                return part, list(damage.kills_after(life, folder, call, name))
            return part, list(damage.kills(life, folder, call, name, at=at))
        numbers = [int(number) for number in rest.split(".")]
        at, again = (*numbers[1:], *(0, -1)[len(numbers) - 1 :])
        return part, list(life.kills(numbers[0], at=at, again=again))
    except Exception as error:  # noqa: BLE001 - a child that hangs or raises is a finding like any other
        return part, [Kill(0, 0, 0, "failed", why=f"{type(error).__name__}: {error}")]
