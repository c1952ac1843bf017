"""A FUSE file system that hands every operation on to a folder, except those that are to fail.

The file ``.fault`` in its root is no part of it. A `Fault` that is written there is armed, and the counting
begins anew; nothing that is written there disarms it. Reading it gives what was asked for since, one line for each
operation: its kind, its path, and ``failed`` where it did.
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tools.failing_disk.faults import Fault

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

CONTROL = ".fault"
_CONTROL_FH = 0
_HANG_S = 2.0

_T = TypeVar("_T")


class FailingFileSystem:
    """The operations that mfusepy calls; one at a time.

    Args:
        behind: the folder that is handed on to.
        ready: is told ``"ready"`` once the file system is mounted.
    """

    def __init__(self, behind: Path, ready: "Connection") -> None:
        self._behind = behind
        self._ready = ready
        self._fault: Fault | None = None
        self._seen: list[str] = []
        self._failed = 0
        self._open: dict[int, str] = {}

    def _do(self, kind: str, path: str, operation: Callable[[Path], _T]) -> _T:
        """Take one operation, unless it is one that fails."""
        if self._fails(kind, path):
            assert self._fault is not None
            if self._fault.how != "hang":
                raise OSError(self._fault.errno, os.strerror(self._fault.errno))
            time.sleep(_HANG_S)
        return operation(self._behind / path.lstrip("/"))

    def _fails(self, kind: str, path: str) -> bool:
        fault = self._fault
        number = len(self._seen) + 1
        fails = (
            fault is not None and number >= fault.at and self._failed < fault.times and fault.concerns(kind, path)
        )
        self._failed += fails
        self._seen.append(f"{kind} {path}{' failed' if fails else ''}")
        return fails

    def _path(self, path: str | None, fh: int | None) -> str:
        # A file that was removed while it is open is asked for by its number only.
        return path if path is not None else self._open[fh or 0]

    # What mfusepy calls ---------------------------------------------------------------------------------

    def init(self, _path: str) -> None:
        """The mount is there."""
        self._ready.send("ready")

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        """As ``stat``."""
        if path == f"/{CONTROL}":
            return {"st_mode": 0o100600, "st_nlink": 1, "st_size": 0}
        found = self._do("getattr", self._path(path, fh), lambda real: os.fstat(fh) if fh else real.lstat())
        names = ("mode", "nlink", "size", "blocks", "uid", "gid")
        times = {f"st_{name}": getattr(found, f"st_{name}_ns") for name in ("atime", "mtime", "ctime")}
        return {f"st_{name}": getattr(found, f"st_{name}") for name in names} | times

    use_ns = True

    def readdir(self, path: str, _fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        """Names."""
        for name in [".", "..", *self._do("readdir", path, os.listdir)]:
            yield name, {}, 0

    def mkdir(self, path: str, mode: int) -> None:
        """See ``mkdir(2)``."""
        self._do("mkdir", path, lambda real: real.mkdir(mode=mode))

    def rmdir(self, path: str) -> None:
        """See ``rmdir(2)``."""
        self._do("rmdir", path, Path.rmdir)

    def unlink(self, path: str) -> None:
        """See ``unlink(2)``."""
        self._do("unlink", path, Path.unlink)

    def rename(self, old: str, new: str) -> None:
        """See ``rename(2)``."""
        self._do("rename", new, (self._behind / old.lstrip("/")).rename)

    def create(self, path: str, mode: int) -> int:
        """See ``open(2)`` with ``O_CREAT``."""
        fh = self._do("create", path, lambda real: os.open(real, os.O_RDWR | os.O_CREAT, mode))
        self._open[fh] = path
        return fh

    def open(self, path: str, flags: int) -> int:
        """See ``open(2)``."""
        if path == f"/{CONTROL}":
            return _CONTROL_FH
        fh = self._do("open", path, lambda real: os.open(real, flags & ~os.O_DIRECT))
        self._open[fh] = path
        return fh

    def read(self, path: str | None, size: int, offset: int, fh: int) -> bytes:
        """See ``pread(2)``."""
        if fh == _CONTROL_FH:
            return "\n".join(self._seen).encode()[offset : offset + size]
        if self._fault is None or self._fault.how != "flip":
            return self._do("read", self._path(path, fh), lambda _real: os.pread(fh, size, offset))
        content = bytearray(os.pread(fh, size, offset))
        if self._fails("read", self._path(path, fh)) and content:
            content[len(content) // 2] ^= 0x10
        return bytes(content)

    def write(self, path: str | None, data: bytes, offset: int, fh: int) -> int:
        """See ``pwrite(2)``."""
        if fh == _CONTROL_FH:
            self._fault = Fault.from_json(data) if data.strip() else None
            self._seen, self._failed = [], 0
            return len(data)
        return self._do("write", self._path(path, fh), lambda _real: os.pwrite(fh, data, offset))

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> None:
        """See ``ftruncate(2)``."""
        if path != f"/{CONTROL}":
            self._do("truncate", self._path(path, fh), lambda real: os.truncate(fh or real, length))

    def flush(self, path: str | None, fh: int) -> None:
        """What ``close(2)`` waits for."""
        if fh != _CONTROL_FH:
            self._do("close", self._path(path, fh), lambda _real: None)

    def release(self, _path: str | None, fh: int) -> None:
        """The last one has closed it; nobody hears of an error."""
        if self._open.pop(fh, None) is not None:
            os.close(fh)

    def fsync(self, path: str | None, _datasync: int, fh: int) -> None:
        """See ``fsync(2)``. What is behind need not be durable: here nobody cuts the power."""
        self._do("fsync", self._path(path, fh), lambda _real: None)

    def fsyncdir(self, path: str, _datasync: int, _fh: int) -> None:
        """See ``fsync(2)`` of a directory."""
        self._do("fsync_dir", path, lambda _real: None)

    def chmod(self, path: str, mode: int, _fh: int | None = None) -> None:
        """See ``chmod(2)``."""
        self._do("chmod", path, lambda real: real.chmod(mode))

    def utimens(self, path: str, times: tuple[int, int] | None = None, _fh: int | None = None) -> None:
        """See ``utimensat(2)``."""
        self._do("utimens", path, lambda real: os.utime(real, ns=times) if times else os.utime(real))

    def statfs(self, path: str) -> dict[str, int]:
        """See ``statvfs(3)``."""
        found = self._do("statfs", path, os.statvfs)
        names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "namemax")
        return {f"f_{name}": getattr(found, f"f_{name}") for name in names}


def serve(mount: str, behind: str, ready: "Connection") -> None:
    """Mount, and serve until unmounted. Runs in a process of its own."""
    import mfusepy  # type: ignore[import-untyped] # noqa: PLC0415 - only where a mount is wanted

    files = FailingFileSystem(Path(behind), ready)
    mfusepy.FUSE(
        *(files, mount),
        foreground=True, nothreads=True, hard_remove=True, fsname="failing_disk",
        # So that every operation gets here, and none is answered from memory.
        direct_io=True, attr_timeout=0, entry_timeout=0, negative_timeout=0,
    )  # fmt: skip
