"""The host clock, as a value that tests can replace."""

import time
from typing import Protocol


class Clock(Protocol):
    """What the spool asks of a clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC, by the host clock."""
        ...


class HostClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000
