"""Exhaustive: killed before every labelled step of every call, and of the recovery that follows.

The life that is lived is the one of `tools.powerloss.steps`. It is played once, and the folder copied before each
call. From each copy a child opens the spool and makes that call, killed before its first labelled step, its
second, and so on; what it leaves is opened by children that are killed in the same way; and each time a clean
opening must find a state that was promised.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spool import Disk, Limits, Spool
from spool.testing import START_MS, FakeClock
from tools.kills.dying import ChildFailed, DyingDisk, Say, play_in_child
from tools.powerloss.judge import Lost, check_folder
from tools.powerloss.promises import Promised, after, name_of, outcomes
from tools.powerloss.steps import WORKLOADS, Step, step_of
from tools.powerloss.workload import Workload

STEPS = tuple(map(step_of, WORKLOADS["life"]))
"""Two streams: dark and short chunks, pushes repeated, a gap, every move of the tables, two openings."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that died, or two: in a call (0: in none), and in the opening after it (0: not there)."""

    call: int
    at: int
    again: int
    label: str
    why: str = ""

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return f"{self.call}.{self.at}.{self.again}"


class Resumed(Workload):
    """Goes on in a folder that another process has left."""

    def __init__(self, root: Path, disk: Disk, *, calls_before: int = 0) -> None:
        super().__init__(root, disk, lambda **_words: None)
        self._clock.advance_s(calls_before)

    def open(self) -> None:
        """See `Workload.open`; and know its streams."""
        super().open()
        self._ids = {name_of(stream): stream.stream_id for stream in self.spool.streams()}

    def give_up(self) -> None:
        """Let go of the spool, if it is still open."""
        if self._spool is not None:
            self._spool.close()


class Life:
    """The life, played once.

    Args:
        folder: for the copies; ``folder/<n>`` is the spool before call ``n``.
        steps: the calls.
    """

    again_every = 1
    """Each how manyth step after a call is one to be killed at."""

    def __init__(self, folder: Path, steps: tuple[Step, ...] = STEPS) -> None:
        self._folder = folder
        self._steps = steps
        self.promised: list[Promised] = [{}]
        for step in steps:
            self.promised.append(after(self.promised[-1], step))

    def play(self) -> None:
        """Take every step, and keep a copy before each."""
        root = self._folder / "lived"
        workload = Resumed(self.spool_in(root), DyingDisk())
        for number, step in enumerate(self._steps):
            if number:
                shutil.copytree(root, self._folder / str(number))
            workload.take(step)
        shutil.rmtree(root)

    @property
    def calls(self) -> list[int]:
        """The calls that can be made in a copy: each but the openings, which every child makes."""
        return [number for number, step in enumerate(self._steps) if step.do != "open"]

    def kills(self, call: int, *, at: int = 0, again: int = -1) -> Iterator[Kill]:
        """Kill in one call, wherever that is possible, and in each opening after it.

        Args:
            call: which.
            at: only before this step; 0 for every one.
            again: only this kill of the opening after it, 0 for none; -1 for every one.
        """
        labels = self.labels(call)
        for position in (at,) if at else range(1, len(labels) + 1):
            ruin = self._folder / f"{call}.{position}"
            try:
                allowed = self.ruined(ruin, call, position)
                yield from self._openings(ruin, allowed, Kill(call, position, 0, labels[position - 1]), again)
            finally:
                shutil.rmtree(ruin, ignore_errors=True)

    def ruined(self, root: Path, call: int, at: int) -> list[Promised]:
        """Make a folder the spool that is left when one call is killed; what it may hold then."""
        self.copy_to(call, root)
        ending = play_in_child(partial(self._call, root, call, at))
        if not ending.was_killed:
            raise ChildFailed(f"call {call} has no step {at}")
        done = self.promised[call + 1]
        return [done] if "returned" in ending.said else outcomes(self.promised[call], self._steps[call])

    def spool_in(self, root: Path) -> Path:
        """Where the spool lies in a copy."""
        return root

    def goes_on(self, root: Path, disk: Disk) -> None:
        """What comes after a call that was killed."""
        _open_and_close(root, disk)

    def judged(self, root: Path, allowed: list[Promised], *, went_on: bool) -> str:
        """What a clean opening finds wrong; nothing, if all is well.

        Args:
            root: what is left.
            allowed: what the call may have left.
            went_on: it was gone on with since.
        """
        del went_on  # an opening changes nothing
        return judged(root, allowed)

    def _openings(self, ruin: Path, allowed: list[Promised], first: Kill, again: int) -> Iterator[Kill]:
        scratch = ruin.with_name(f"{ruin.name}.opened")
        # Where some steps are left out, they are others after each kill.
        every = (0, *range(1 + first.at % self.again_every, 1000, self.again_every))
        for number in (again,) if again >= 0 else every:
            try:
                shutil.copytree(ruin, scratch)
                killed, labels = True, [first.label]
                if number:
                    killed, labels = killed_while_opening(scratch, number, self.goes_on)
                if not killed:
                    return
                why = self.judged(scratch, allowed, went_on=number > 0)
                yield Kill(first.call, first.at, number, labels[-1], why=why)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def labels(self, call: int) -> list[str]:
        """The steps of a call, with those of the opening before it."""
        whole = self._folder / f"{call}.whole"
        self.copy_to(call, whole)
        ending = play_in_child(partial(self._call, whole, call, 0))
        shutil.rmtree(whole)
        return [word.removeprefix("label ") for word in ending.said if word.startswith("label ")]

    def copy_to(self, call: int, root: Path) -> None:
        """Make a folder the spool as it was before a call."""
        if call > 0:
            shutil.copytree(self._folder / str(call), root)

    def _call(self, root: Path, call: int, at: int, say: Say) -> None:
        disk = DyingDisk(at)
        workload = Resumed(self.spool_in(root), disk, calls_before=call)
        workload.open()
        spool = workload.spool
        workload.take(self._steps[call])
        say("returned")
        if self._steps[call].do != "close":
            spool.close()
        for label in disk.steps:
            say(f"label {label}")


def _open_and_close(root: Path, disk: Disk) -> None:
    open_quietly(root, disk).close()


def killed_while_opening(
    root: Path, at: int, opens: Callable[[Path, Disk], None] = _open_and_close
) -> tuple[bool, list[str]]:
    """Open a spool in a child that dies before its ``at``-th step; whether it did, and the steps up to there."""

    def play(say: Say) -> None:
        disk = DyingDisk(at)
        disk.before = _told(disk.before, say)
        opens(root, disk)

    ending = play_in_child(play)
    return ending.was_killed, ending.said


def open_quietly(root: Path, disk: Disk | None = None) -> Spool:
    """The spool, an hour later."""
    return Spool(root, limits=Limits(min_free_bytes=0), clock=FakeClock(START_MS + 3_600_000), disk=disk)


def judged(root: Path, allowed: list[Promised]) -> str:
    """What a clean opening finds wrong; nothing, if all is well."""
    try:
        check_folder(root, allowed)
    except Exception as error:  # noqa: BLE001 - whatever keeps a person from the spool is a loss
        return f"{'' if isinstance(error, Lost) else type(error).__name__ + ': '}{error}"
    return ""


def _told(before: Callable[[str, Path], None], say: Say) -> Callable[[str, Path], None]:
    def step(label: str, path: Path) -> None:
        say(label)
        before(label, path)

    return step
