"""What one input may cost: memory that does not follow from its size, and time."""

import re
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_PEAK, _NOW = re.compile(r"VmHWM:\s+(\d+) kB"), re.compile(r"VmRSS:\s+(\d+) kB")
_HANG_S = 60


class Hangs(BaseException):
    """An input was not answered in time; no ``except Exception`` may swallow it."""


class Strain:
    """What an input has cost.

    Attributes:
        grew_bytes: the most memory it held at a time, above what was held before; 0 where nobody can tell.
        cpu_s: processor time.
    """

    def __init__(self) -> None:
        self.grew_bytes = 0
        self.cpu_s = 0.0

    def why(self, *, bytes_max: int, cpu_s_max: float) -> str | None:
        """What is wrong with it, if anything."""
        if self.grew_bytes > bytes_max:
            return f"took {self.grew_bytes >> 20} MiB of memory"
        if self.cpu_s > cpu_s_max:
            return f"took {self.cpu_s:.0f} s of processor time"
        return None


@contextmanager
def strained() -> Iterator[Strain]:
    """Measure the block; one that hangs is left by `Hangs` (in the main thread, where signals arrive)."""
    strain = Strain()
    has_clock = threading.current_thread() is threading.main_thread() and hasattr(signal, "SIGALRM")
    before = signal.signal(signal.SIGALRM, _ring) if has_clock else None
    if has_clock:
        signal.alarm(_HANG_S)
    held = _forget_peak()
    began_s = time.process_time()
    try:
        yield strain
    finally:
        if has_clock:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        strain.cpu_s = time.process_time() - began_s
        strain.grew_bytes = max(0, _kilobytes(_PEAK) - held) * 1024 if held else 0


@contextmanager
def address_space(extra_bytes: int) -> Iterator[None]:
    """Let this process and those it starts grow by no more than this: a wild allocation fails at once."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + extra_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise Hangs(f"no answer within {_HANG_S} s")


def _forget_peak() -> int:
    """Let the kernel forget the peak of memory; what is held now, in kilobytes; 0 where nobody can tell."""
    try:
        _CLEAR.write_text("5", "ascii")
    except OSError:
        return 0
    return _kilobytes(_NOW)


def _kilobytes(field: re.Pattern[str]) -> int:
    found = field.search(_STATUS.read_text("ascii", "replace"))
    return int(found[1]) if found else 0
