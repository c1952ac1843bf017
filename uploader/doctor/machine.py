"""Python, its packages, and the clocks of the host."""

import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version

from uploader import __version__
from uploader.doctor.findings import Finding, Subject, ok, problem, warning

PACKAGES = ("numpy", "zarr", "httpx", "filelock")
_BITS_64 = 2**32
# Windows may count in steps of 15.6 ms: too coarse to time a frame, fine enough for every wait of ours.
_COARSE_S = 0.02
_EARLIEST_YEAR = 2025


def python(_subject: Subject) -> Finding:
    """Which Python and packages these are."""
    is_64_bit = sys.maxsize > _BITS_64
    what = f"{platform.python_implementation()} {platform.python_version()}, {64 if is_64_bit else 32}-bit"
    packages = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    seen = f"framespool {__version__} on {what}, {platform.system()} {platform.release()}; {packages}"
    if not is_64_bit:
        return warning(seen, "A chunk may need more memory than 32 bits reach: install a 64-bit Python.")
    return ok(seen)


def clock(subject: Subject) -> Finding:
    """Whether the host clock can be right at all, and how fine the monotonic one is."""
    resolution_s = time.get_clock_info("monotonic").resolution
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(subject.began_wall_s))
    seen = f"{moment}; the monotonic clock moves in steps of {resolution_s * 1e3:.2g} ms"
    numbers = {"monotonic_resolution_s": resolution_s}
    if time.gmtime(subject.began_wall_s).tm_year < _EARLIEST_YEAR:
        advice = f"Capture times would be wrong, and no certificate is accepted. {setting_the_clock()}"
        return problem(f"{seen}. That is in the past", advice, **numbers)
    if resolution_s > _COARSE_S:
        advice = "Give capture_start_ms_utc with each chunk, from the camera's own clock."
        return warning(f"{seen}. That is coarse", advice, **numbers)
    return ok(seen, **numbers)


def setting_the_clock() -> str:
    """How a host clock is set right, on this system."""
    if sys.platform == "win32":
        return "Let it be set by NTP: 'w32tm /query /status', then 'w32tm /resync'."
    elif sys.platform == "darwin":  # noqa: RET505 - so that type checkers follow each platform
        return "Let it be set by NTP: 'sudo sntp -sS time.apple.com', and System Settings, Date & Time."
    else:
        return "Let it be set by NTP: 'timedatectl status', then 'sudo timedatectl set-ntp true'."


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"
