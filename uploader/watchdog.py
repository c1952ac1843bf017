"""The watchdog: one thread that cuts what stands but does not move."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watch:
    """Something under watch, until it is over.

    Attributes:
        was_cut: its deadline has passed.
    """

    def __init__(self, cut: Callable[[], None], move: Callable[["Watch", float], None]) -> None:
        self._cut = cut
        self._move = move
        self.deadline_s = float("inf")  # until `give`: the watchdog may look in between
        self.was_cut = False

    def give(self, seconds: float) -> None:
        """So much time from now on, instead of what was left."""
        self._move(self, time.monotonic() + seconds)

    def cut(self) -> None:
        """End it; for the watchdog."""
        self.was_cut = True
        self._cut()


class Watchdog:
    """Cuts whatever is past its deadline. Its thread is started once there is something to watch."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at_s = 0.0
        self._closed = False

    @contextmanager
    def over(self, seconds: float, cut: Callable[[], None]) -> Iterator[Watch]:
        """Watch over what is done inside.

        Args:
            seconds: the time it has at first.
            cut: ends it, so that whoever waits for it wakes up; called in the watchdog's thread, must not raise.
        """
        watch = Watch(cut, self._move)
        with self._change:
            self._watches.add(watch)
        watch.give(seconds)
        try:
            yield watch
        finally:
            with self._change:
                self._watches.discard(watch)

    def close(self) -> None:
        """End the thread, once nothing is left to watch."""
        with self._change:
            self._closed = True
            self._change.notify()

    def _move(self, watch: Watch, deadline_s: float) -> None:
        with self._change:
            watch.deadline_s = deadline_s
            if self._thread is None or not self._thread.is_alive():
                self._wakes_at_s = deadline_s
                self._thread = threading.Thread(target=self._run, name="framespool-watchdog", daemon=True)
                self._thread.start()
            elif deadline_s < self._wakes_at_s:
                self._change.notify()

    def _run(self) -> None:
        with self._change:
            while self._watches or not self._closed:
                now = time.monotonic()
                for watch in [one for one in self._watches if one.deadline_s <= now]:
                    self._watches.discard(watch)
                    watch.cut()
                self._wakes_at_s = min((one.deadline_s for one in self._watches), default=float("inf"))
                self._change.wait(min(self._wakes_at_s - now, threading.TIMEOUT_MAX))
