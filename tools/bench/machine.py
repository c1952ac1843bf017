"""What was measured on, and with what: figures mean nothing without."""

import importlib.metadata
import os
import platform
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from spool.frame_codec import ZSTD_VERSION

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("numpy", "zarr", "httpx", "click", "starlette", "uvicorn")


def describe(work: Path) -> dict[str, Any]:
    """The machine, and the file system below ``work``, as JSON."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(work),
        # What else goes on spoils every figure; measured before we add to it.
        "load": round(psutil.getloadavg()[0], 1),
    }


def versions() -> dict[str, str]:
    """Of Python, of the libraries that the figures depend on, and of this project with its commit."""
    told = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "zstd": ZSTD_VERSION}
    told |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    told["framespool"] = importlib.metadata.version("framespool")
    told["commit"] = _commit()
    return told


def version_of_peer(python: Path) -> str | None:
    """The peer's version in the environment of that Python; ``None`` when it is not there."""
    asked = "from importlib.metadata import version; print(version('atomscale'))"
    try:
        said = subprocess.run([python, "-P", "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return said.stdout.strip()


def _cpu() -> str:
    # The `platform` module knows no name on Linux, where it is told by a file.
    listed = Path("/proc/cpuinfo")
    if sys.platform == "linux" and listed.exists():
        for line in listed.read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(work: Path) -> str:
    above = {str(one) for one in (work.resolve(), *work.resolve().parents)}
    mounted = [one for one in psutil.disk_partitions(all=True) if one.mountpoint in above]
    return max(mounted, key=lambda one: len(one.mountpoint)).fstype if mounted else "unknown"


def _commit() -> str:
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return said.stdout.strip()
