"""The host's clocks, as a value that tests can replace.

The host clock tells people's time, and anybody may set it. The monotonic clock tells no time of day, nobody sets
it, and every process of the machine reads the same, until it is booted again.
"""

import time
from dataclasses import dataclass
from typing import Protocol

from spool.boot import boot_id, since_boot_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One moment on both clocks.

    Attributes:
        at_ms: milliseconds since the Unix epoch, UTC, by the host clock.
        monotonic_ms: milliseconds on the monotonic clock; ``None`` where boots cannot be told apart.
        boot_id: of this boot.
    """

    at_ms: int
    monotonic_ms: int | None
    boot_id: str | None


class Clock(Protocol):
    """What the spool asks of a clock."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC, by the host clock."""
        ...

    def moment(self) -> Moment:
        """This moment on both clocks."""
        ...


class HostClock:
    """The machine's own clocks."""

    def now_ms(self) -> int:
        """See `Clock.now_ms`."""
        return time.time_ns() // 1_000_000

    def moment(self) -> Moment:
        """See `Clock.moment`."""
        boot = boot_id()
        monotonic_ms = None if boot is None else since_boot_ns() // 1_000_000
        return Moment(at_ms=self.now_ms(), monotonic_ms=monotonic_ms, boot_id=boot)
