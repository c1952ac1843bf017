"""A process that is killed where it is told to, and what it said before."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spool import Disk
from spool.testing import die

Say = Callable[[str], None]


class DyingDisk(Disk):
    """The real disk; the process dies (``SIGKILL``) right before its ``at``-th labelled step.

    Args:
        at: counts from 1; 0 for never.
    """

    def __init__(self, at: int = 0) -> None:
        super().__init__(self._step)
        self._at = at
        self._lock = threading.Lock()  # a worker takes steps in several threads
        self.steps: list[str] = []

    def _step(self, label: str, _path: Path) -> None:
        with self._lock:
            self.steps.append(label)
            if len(self.steps) == self._at:
                die()


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended.

    Attributes:
        said: its words, in order.
        was_killed: by ``SIGKILL``; otherwise it came to its end.
    """

    said: list[str]
    was_killed: bool


class ChildFailed(AssertionError):
    """The child neither died as told nor came to its end."""


def fork(play: Callable[[Say], None]) -> tuple[int, int]:
    """Start a child that plays; its pid, and the pipe that carries its words.

    The child is forked from a warm process: no import is waited for, so that thousands can die in a minute.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        return child, reading

    def say(word: str) -> None:
        os.write(writing, f"{word}\n".encode())

    code = 1
    try:
        os.close(reading)
        play(say)
        code = 0
    except BaseException as error:  # noqa: BLE001 - the parent must hear of it
        with contextlib.suppress(OSError):  # it may be gone itself
            say(f"failed: {type(error).__name__}: {error}".replace("\n", " "))
    finally:
        os._exit(code)  # whatever happens: a child that got out of here would go on as its parent


def ending_of(child: int, reading: int, *, patience_s: float = 60.0) -> Ending:
    """Wait for a child.

    Raises:
        ChildFailed: it raised, or it hangs; then it was killed.
    """
    said, deadline = b"", time.monotonic() + patience_s
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(child, signal.SIGKILL)
        piece = os.read(reading, 1 << 16) if ready else b""
        if not piece:
            break
        said += piece
    os.close(reading)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    words = said.decode().splitlines()
    if not ready:
        raise ChildFailed(f"a child hangs; it said {words[-3:]}")
    if code not in (0, -signal.SIGKILL):
        raise ChildFailed(f"a child ended with {code}: {words[-1:]}")
    return Ending(words, code != 0)


def play_in_child(play: Callable[[Say], None]) -> Ending:
    """Fork, and wait."""
    return ending_of(*fork(play))
