"""A camera's time stamps as the host's time.

A camera stamps each frame when it is exposed, on a steady clock that began at some moment. A frame arrives later,
by the time that exposure, transfer and the computer take: never earlier, and sometimes much later. So the smallest
difference between arrival and stamp that was seen lately is the best guess of what lies between the two clocks. It
contains the shortest way that a frame can take, which nobody can tell from the clocks' difference.

The difference is kept against the clock that nobody sets; what people set their clocks to is added at the end.
"""

from collections import deque

_WINDOW_NS = 60 * 10**9
"""Clocks drift apart by some 50 millionths: by 3 ms in this time."""


class DeviceClock:
    """One for each time that a source is started: its clock may begin anew."""

    def __init__(self, window_ns: int = _WINDOW_NS) -> None:
        self._window_ns = window_ns
        # Differences and when they were seen, rising: the first is the smallest of those still in the window.
        self._smallest: deque[tuple[int, int]] = deque()

    def captured_ns(self, device_ns: int, *, monotonic_ns: int, utc_ns: int) -> int:
        """When a frame was exposed, nanoseconds since the Unix epoch by the host's clock.

        Args:
            device_ns: its stamp.
            monotonic_ns: when it arrived, on the host's steady clock.
            utc_ns: when it arrived, on the host's clock.
        """
        difference = monotonic_ns - device_ns
        while self._smallest and self._smallest[-1][0] >= difference:
            self._smallest.pop()
        self._smallest.append((difference, monotonic_ns))
        while self._smallest[0][1] < monotonic_ns - self._window_ns:
            self._smallest.popleft()
        return utc_ns - (difference - self._smallest[0][0])
