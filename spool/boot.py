"""This boot of the machine: its name, and the clock that runs since then and that nobody sets.

Two readings of that clock can be compared in any processes of one boot, and mean nothing across two; so each is
kept with the boot's name. Where a boot has no name, nothing is compared.
"""

import ctypes
import hashlib
import socket
import sys
import time
from functools import cache
from pathlib import Path

_LINUX_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_ID = Path("/etc/machine-id")
_WINDOWS_KEY = r"SYSTEM\CurrentControlSet\Control\Session Manager\Memory Management\PrefetchParameters"
_CHARS_MAX = 128


@cache
def boot_id() -> str | None:
    """What names this boot of this machine and no other; ``None`` where nothing does."""
    try:
        name = _name_of_boot().strip()
    except (OSError, AttributeError, ValueError):
        return None
    return f"{_machine()}/{name}"[:_CHARS_MAX] if name else None


def is_same_machine(one: str | None, other: str | None) -> bool:
    """Whether two boots are of one machine, as far as their names tell."""
    return one is not None and other is not None and one.partition("/")[0] == other.partition("/")[0]


def _machine() -> str:
    """What tells this machine from others: hashed, because it travels with proofs. A host name may change."""
    try:
        if sys.platform == "win32":
            import winreg  # noqa: PLC0415 - there is none elsewhere

            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
                name = str(winreg.QueryValueEx(key, "MachineGuid")[0])
        else:
            name = _MACHINE_ID.read_text("ascii")
    except (OSError, ValueError):
        name = socket.gethostname()
    return hashlib.sha256(name.strip().encode()).hexdigest()[:12]


def _name_of_boot() -> str:
    if sys.platform == "win32":
        import winreg  # noqa: PLC0415 - there is none elsewhere

        # Counted up by the system at each boot. Off on some servers: then there is no such value.
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _WINDOWS_KEY) as key:
            return str(winreg.QueryValueEx(key, "BootId")[0])
    elif sys.platform == "darwin":
        size, buffer = ctypes.c_size_t(_CHARS_MAX), ctypes.create_string_buffer(_CHARS_MAX)
        failed = ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", buffer, ctypes.byref(size), None, 0)
        return "" if failed else buffer.value.decode("ascii")
    else:
        return _LINUX_BOOT_ID.read_text("ascii")


def since_boot_ns() -> int:
    """Nanoseconds on a clock that all processes of this boot share, and that goes on while the machine sleeps."""
    if sys.platform == "win32":
        return time.perf_counter_ns()  # finer than monotonic_ns, and counts from the boot as well
    elif sys.platform == "linux":  # noqa: RET505 - so that type checkers follow each platform
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    else:
        return time.monotonic_ns()
