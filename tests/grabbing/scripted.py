"""A live source that does what a script says: the far end, which tests may fake."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spool import TakenFile
from uploader.sources.base import Frame
from uploader.sources.live import Grabbed, Notice

SHAPE = (6, 8)
Step = Grabbed | Notice | Exception | Callable[[], None] | None


def frame(number: int) -> Frame:
    return np.full(SHAPE, number % 256, dtype=np.uint8)


def numbered(*numbers: int) -> list[Step]:
    return [Grabbed(frame=frame(number), number=number) for number in numbers]


@dataclass
class Scripted:
    """Gives one step a `grab`, then is over, or falls silent; raises what ``starts`` holds when it is started."""

    steps: list[Step]
    ends: bool = True
    starts: list[Exception | None] = field(default_factory=list)
    name: str = "scripted"
    frame_rate: float | None = 30.0
    shape: tuple[int, int] = SHAPE
    started: int = 0
    stopped: int = 0
    told: list[Notice] = field(default_factory=list)
    silent: threading.Event = field(default_factory=threading.Event)

    @property
    def is_over(self) -> bool:
        return self.ends and not self.steps

    def describe(self) -> str:
        return "a script"

    def facts(self) -> Mapping[str, object]:
        return {"model": "script"}

    def start(self) -> None:
        self.started += 1
        if self.starts and (error := self.starts.pop(0)) is not None:
            raise error

    def grab(self, timeout_s: float) -> Grabbed | None:
        if not self.steps:
            self.silent.set()
            time.sleep(0 if self.ends else timeout_s)
            return None
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Notice):
            self.told.append(step)
            return None
        if callable(step):
            step()
            return None
        return step

    def stop(self) -> None:
        self.stopped += 1

    def notices(self) -> Sequence[Notice]:
        told, self.told = self.told, []
        return told


class ScriptedFiles(Scripted):
    """The same, of files."""

    def remember(self, taken: Iterable[TakenFile]) -> None:
        del taken
