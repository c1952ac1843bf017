"""The gate before a destination: open, or closed by an outage with one probe at a time.

Every stream's thread passes here before it sends anything. While the gate is closed one of them at a time
may probe; the first success opens it and wakes all that sleep.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOOK_S = 1.0
"""How soon a stop, or another need of a stream's place, is noticed: neither of them can wake who waits here."""


class Gate:
    """Shared by all streams of one destination.

    Attributes:
        key_refused: the latest try ended with a key that is not accepted.
    """

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._is_probed = False
        self._change = threading.Condition()
        self._closed_since: float | None = None
        self._words = ""
        self.key_refused = False

    @property
    def words(self) -> str | None:
        """Why the gate is closed; ``None`` while it is open."""
        return self._words if self._closed_since is not None else None

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for leave to try: none needed while the gate is open, one at a time while it is closed."""
        with self._change:
            while self._is_probed and self._closed_since is not None and not self._stopped.is_set():
                self._change.wait(_LOOK_S)
            probes = self._closed_since is not None and not self._is_probed
            self._is_probed |= probes
        try:
            yield
        finally:
            if probes:
                with self._change:
                    self._is_probed = False
                    self._change.notify_all()

    def close(self, words: str, *, key_refused: bool = False) -> bool:
        """An outage was seen; whether it is a new one."""
        with self._change:
            new = self._closed_since is None
            if new:
                self._closed_since = time.monotonic()
            self._words = words
            self.key_refused = key_refused
            return new

    def open(self) -> float | None:
        """Something went through; how long the outage lasted in seconds, ``None`` if there was none."""
        with self._change:
            self.key_refused = False
            if self._closed_since is None:
                return None
            lasted = time.monotonic() - self._closed_since
            self._closed_since = None
            self._change.notify_all()
            return lasted

    def wait(
        self, seconds: float, *, at_least_s: float, wakes_on_open: bool, is_called_off: Callable[[], bool]
    ) -> bool:
        """Wait between two tries; whether the wait was served and not called off.

        Args:
            seconds: how long, jitter included.
            at_least_s: what the destination asked for: not even an opening gate shortens it.
            wakes_on_open: the trouble was an outage, so that the gate's opening ends the jitter.
            is_called_off: asked again and again; true when the place is wanted for something else.
        """
        began = time.monotonic()
        with self._change:
            while not self._stopped.is_set() and not is_called_off():
                is_over = wakes_on_open and self._closed_since is None
                left = (at_least_s if is_over else seconds) - (time.monotonic() - began)
                if left <= 0:
                    return True
                self._change.wait(min(left, _LOOK_S))
        return False
