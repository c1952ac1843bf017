"""The rate of a line that several connections share, kept exactly in the long run."""

import threading
import time
from collections.abc import Callable

_CREDIT_S = 0.02
"""Who wakes late makes up for it, as a line would have gone on meanwhile; but not for longer pauses."""


class Pace:
    """Says when so many bytes have passed, one taker after the other; thread-safe.

    Args:
        now: a monotonic clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._free_at_s = float("-inf")

    def wait_s(self, nbytes: int, bytes_per_s: float) -> float:
        """Take the line for these bytes; how long to wait until they have passed, seconds."""
        with self._lock:
            now = self._now()
            self._free_at_s = max(self._free_at_s, now - _CREDIT_S) + nbytes / bytes_per_s
            return max(0.0, self._free_at_s - now)
