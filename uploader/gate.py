"""The gate before a destination: open, or closed by an outage with one probe at a time.

Every stream's thread passes here before it sends anything. While the gate is closed one of them at a time
may probe; the first success opens it and wakes all that sleep.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_S = 0.5


class Gate:
    """Shared by all streams of one destination."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._probe = threading.Lock()
        self._change = threading.Condition()
        self._closed_since: float | None = None
        self._words = ""

    @property
    def words(self) -> str | None:
        """Why the gate is closed; ``None`` while it is open."""
        return self._words if self._closed_since is not None else None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for leave to try: none needed while the gate is open, one at a time while it is closed."""
        held = False
        while not held and self._closed_since is not None and not self._stopped.is_set():
            held = self._probe.acquire(timeout=_LOOK_S)
        try:
            yield
        finally:
            if held:
                self._probe.release()

    def close(self, words: str) -> bool:
        """An outage was seen; whether it is a new one."""
        with self._change:
            new = self._closed_since is None
            if new:
                self._closed_since = time.monotonic()
            self._words = words
            return new

    def open(self) -> float | None:
        """Something went through; how long the outage lasted in seconds, ``None`` if there was none."""
        with self._change:
            if self._closed_since is None:
                return None
            lasted = time.monotonic() - self._closed_since
            self._closed_since = None
            self._change.notify_all()
            return lasted

    def sleep(self, seconds: float) -> None:
        """Wait between two tries during an outage: shorter when the gate opens or the worker stops."""
        self._wait(seconds, lambda: self._closed_since is None)

    def sleep_alone(self, seconds: float) -> None:
        """Wait between two tries of a stream whose trouble is its own."""
        self._wait(seconds, lambda: False)

    def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + seconds
        with self._change:
            while not is_over() and not self._stopped.is_set():
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._change.wait(min(left, _LOOK_S))
