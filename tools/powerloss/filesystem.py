"""A FUSE file system that logs every operation in the order it was taken.

The file ``.notes`` in its root is no part of the volume: a line written there becomes a note in the log, at
exactly that moment. It is how the program on the mount says what has returned. A line ``{"fault": ...}`` breaks
the disk: see `Fault`.
"""

import errno
import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.powerloss.volume import ROOT, Op, Volume

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

NOTES = ".notes"
_NOTES_INO = 2
_BLOCK_BYTES = 4096
_BLOCKS = 1 << 22


@dataclass(slots=True, kw_only=True)
class Fault:
    """Operations that fail, as told by the program on the mount.

    Attributes:
        kind: of `Op`.
        name: in the name of the file or directory that it is about.
        error: the errno.
        skip: so many pass first.
        times: so many fail then.
    """

    kind: str
    name: str
    error: int
    skip: int = 0
    times: int = 1


class LoggingFileSystem:
    """The operations that mfusepy calls; one at a time.

    Args:
        base: operations that build what the volume holds at the start, all of it durable.
        crash_at: kill the program that asks for the operation of this number (counting those of ``base``),
            and refuse everything from then on; ``None`` never does.
        ready: is told ``"ready"`` once the file system is mounted.
    """

    use_ns = True

    def __init__(self, base: list[Op], crash_at: int | None, ready: "Connection") -> None:
        self.log: list[Op] = []
        self._volume = Volume()
        self._now = time.time_ns()
        self._ready = ready
        self._crash_at: int | None = None
        self._fault: Fault | None = None
        self._next_ino = _NOTES_INO + 1
        for op in base:
            self._take(op)
            self._next_ino = max(self._next_ino, op.ino + 1)
        self._crash_at = crash_at

    def _take(self, op: Op) -> None:
        if self._crash_at is not None and len(self.log) >= self._crash_at:
            self._kill_caller()
            raise OSError(errno.EIO, "the power is off")
        self._fail(op)
        self._volume.apply(op)
        self.log.append(op)

    def _fail(self, op: Op) -> None:
        fault = self._fault
        if (
            fault is None
            or op.kind != fault.kind
            or not fault.times
            or fault.name not in " ".join(self._volume.paths(op))
        ):
            return
        if fault.skip:
            fault.skip -= 1
            return
        fault.times -= 1
        if op.kind == "fsync":
            failed = Op(kind="fsync_failed", ino=op.ino)
            self._volume.apply(failed)
            self.log.append(failed)
        raise OSError(fault.error, os.strerror(fault.error))

    def _note(self, text: bytes) -> None:
        said = json.loads(text)
        if "fault" in said:
            self._fault = Fault(**said["fault"]) if said["fault"] else None
        self._take(Op(kind="note", data=text))

    def _kill_caller(self) -> None:
        import mfusepy  # type: ignore[import-untyped] # noqa: PLC0415 - only where a mount is wanted

        pid = mfusepy.fuse_get_context()[2]
        if pid > 1:
            os.kill(pid, signal.SIGKILL)

    def _find(self, path: str) -> int:
        ino = ROOT
        for name in path.split("/"):
            if name:
                if ino not in self._volume.live or name not in self._volume.live[ino]:
                    raise OSError(errno.ENOENT, path)
                ino = self._volume.live[ino][name]
        return ino

    def _place(self, path: str) -> tuple[int, str]:
        parent, _, name = path.rpartition("/")
        return self._find(parent), name

    def _fresh(self) -> int:
        self._next_ino += 1
        return self._next_ino - 1

    # What mfusepy calls ---------------------------------------------------------------------------------

    def init(self, _path: str) -> None:
        """The mount is there."""
        self._ready.send("ready")

    def getattr(self, path: str | None, fh: int | None = None) -> dict[str, int]:
        """As ``stat``."""
        ino = self._number(path, fh)
        is_dir = ino in self._volume.live
        size = 0 if is_dir or ino == _NOTES_INO else len(self._volume.files[ino].live)
        return {
            "st_mode": stat.S_IFDIR | 0o700 if is_dir else stat.S_IFREG | 0o600,
            "st_ino": ino,
            "st_nlink": 2 if is_dir else 1,
            "st_size": size,
            "st_blocks": -(-size // 512),
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_atime": self._now,
            "st_mtime": self._now,
            "st_ctime": self._now,
        }

    def _number(self, path: str | None, fh: int | None) -> int:
        if fh:
            return fh
        assert path is not None
        return _NOTES_INO if path == f"/{NOTES}" else self._find(path)

    def readdir(self, path: str, _fh: int) -> Iterator[tuple[str, dict[str, int], int]]:
        """Names, without the notes. Each with its number: an entry without one is skipped by the C library."""
        names = dict(self._volume.live[self._find(path)])
        for name, ino in {".": ROOT, "..": ROOT, **names}.items():
            mode = stat.S_IFDIR if ino in self._volume.live else stat.S_IFREG
            yield name, {"st_ino": ino, "st_mode": mode}, 0

    def mkdir(self, path: str, _mode: int) -> None:
        """See ``mkdir(2)``."""
        parent, name = self._place(path)
        self._take(Op(kind="mkdir", ino=self._fresh(), parent=parent, name=name))

    def rmdir(self, path: str) -> None:
        """See ``rmdir(2)``."""
        if self._volume.live[self._find(path)]:
            raise OSError(errno.ENOTEMPTY, path)
        self.unlink(path)

    def unlink(self, path: str) -> None:
        """See ``unlink(2)``; whoever has the file open keeps it."""
        parent, name = self._place(path)
        self._take(Op(kind="remove", ino=self._find(path), parent=parent, name=name))

    def rename(self, old: str, new: str) -> None:
        """See ``rename(2)``."""
        parent, name = self._place(old)
        to_parent, to_name = self._place(new)
        ino = self._find(old)
        self._take(
            Op(kind="rename", ino=ino, parent=parent, name=name, to_parent=to_parent, to_name=to_name),
        )

    def create(self, path: str, _mode: int) -> int:
        """See ``open(2)`` with ``O_CREAT``."""
        parent, name = self._place(path)
        ino = self._fresh()
        self._take(Op(kind="create", ino=ino, parent=parent, name=name))
        return ino

    def open(self, path: str, flags: int) -> int:
        """See ``open(2)``."""
        ino = self._number(path, None)
        if flags & os.O_TRUNC:
            self.truncate(path, 0, ino)
        return ino

    def read(self, _path: str | None, size: int, offset: int, fh: int) -> bytes:
        """See ``pread(2)``."""
        return b"" if fh == _NOTES_INO else bytes(self._volume.files[fh].live[offset : offset + size])

    def write(self, _path: str | None, data: bytes, offset: int, fh: int) -> int:
        """See ``pwrite(2)``."""
        if fh == _NOTES_INO:
            self._note(bytes(data))
        else:
            self._take(Op(kind="write", ino=fh, offset=offset, data=bytes(data)))
        return len(data)

    def truncate(self, path: str | None, length: int, fh: int | None = None) -> None:
        """See ``ftruncate(2)``."""
        ino = self._number(path, fh)
        if ino != _NOTES_INO and length != len(self._volume.files[ino].live):
            self._take(Op(kind="truncate", ino=ino, offset=length))

    def fsync(self, _path: str | None, _datasync: int, fh: int) -> None:
        """See ``fsync(2)``; ``fdatasync`` too makes the size durable."""
        self._take(Op(kind="fsync", ino=fh))

    def fsyncdir(self, path: str, _datasync: int, _fh: int) -> None:
        """See ``fsync(2)`` of a directory."""
        self._take(Op(kind="fsync_dir", ino=self._find(path)))

    def chmod(self, _path: str | None, _mode: int, _fh: int | None = None) -> None:
        """Modes are not kept."""

    def utimens(self, _path: str | None, _times: tuple[int, int] | None = None, _fh: int | None = None) -> None:
        """Times are not kept."""

    def statfs(self, _path: str) -> dict[str, int]:
        """Plenty of room."""
        sizes = {"f_bsize": _BLOCK_BYTES, "f_frsize": _BLOCK_BYTES, "f_namemax": 255}
        return sizes | {"f_blocks": _BLOCKS, "f_bfree": _BLOCKS, "f_bavail": _BLOCKS}


def serve(mount: str, ready: "Connection", base: list[Op], crash_at: int | None) -> None:
    """Mount, serve until unmounted, then send the log. Runs in a process of its own."""
    import mfusepy  # noqa: PLC0415 - only where a mount is wanted

    files = LoggingFileSystem(base, crash_at, ready)
    mfusepy.FUSE(files, mount, foreground=True, nothreads=True, hard_remove=True, fsname="powerloss", use_ino=True)
    ready.send(files.log)
