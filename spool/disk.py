"""Every operation on disk that a promise rests on, each with a label.

* A new file is written whole, under a name nobody reads, and fsynced before it gets its own name.
* A directory is fsynced after an entry in it appears under a name that counts.
* A failed fsync is never repeated on the same file: the kernel may have marked the lost pages clean
  ("fsyncgate"), so that the second try would lie. The file is given up and the error goes to the caller.
* Windows cannot fsync a directory; there the rename itself is asked to write through
  (MOVEFILE_WRITE_THROUGH). On macOS only F_FULLFSYNC reaches the platter.

A test passes ``before`` to see each step, or to fail or kill exactly that one.
"""

import contextlib
import errno
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT} if hasattr(errno, "EDQUOT") else {errno.ENOSPC})

# A virus scanner or indexer on Windows may hold a new file open for a moment; it lets go within this time.
# Elsewhere an open file can be renamed and removed, and a refusal stays one.
_SHARING_PATIENCE_S = 2.0 if sys.platform == "win32" else 0.0
_SHARING_PAUSE_S = 0.02

_BEGIN_BYTES = 1 << 20
_COPY_BYTES = 1 << 20
_PARTS_MAX = 512
"""What every system takes in one call: POSIX promises 16, and Linux, macOS and the BSDs take 1024."""

_Step = Callable[[str, Path], None]


def _unwatched(_label: str, _path: Path) -> None:
    """Let the step pass: nobody watches in production."""


class Disk:
    """The file system, one labelled step at a time.

    Args:
        before: called with the step's label and path before the step is taken. It may raise `OSError`
            to stand for a failing disk, or end the process to stand for a crash.
    """

    def __init__(self, before: _Step = _unwatched) -> None:
        self.before = before

    def write_new(self, path: Path, pieces: Iterable[bytes | Sequence[bytes]], *, label: str) -> None:
        """Write a file that must not exist yet, whole and fsynced; on failure it is removed again.

        Args:
            path: of the file.
            pieces: its bytes in order, each piece whole or in parts that are written together.
            label: of the steps.

        Durability: on return the bytes are on stable storage, the directory entry is not.
        """
        self.before(f"{label}.create", path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        try:
            try:
                self.before(f"{label}.write", path)
                at = begun = 0
                for piece in pieces:
                    parts = [piece] if isinstance(piece, bytes) else piece
                    _write_together(fd, parts)
                    at += sum(map(len, parts))
                    if at - begun >= _BEGIN_BYTES:
                        _begin_to_store(fd, begun, at - begun)
                        begun = at
                self.before(f"{label}.fsync", path)
                _fsync(fd)
            finally:
                os.close(fd)
        except BaseException:
            # The first error is the one that counts; what is left behind is swept at the next open.
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise

    def rename(self, source: Path, target: Path, *, label: str) -> None:
        """Give a finished file its name, replacing what stood there, and make the entry durable."""
        self.before(f"{label}.rename", target)
        _when_free(lambda: _replace_through(source, target))
        self.sync_dir(target.parent, label=label)

    def link(self, source: Path, new: Path, *, label: str) -> None:
        """Give a durable file another name, under which it lives on if the first one goes; or copy it.

        Durability: on return the bytes are on stable storage, the new name is not.
        """
        self.before(f"{label}.link", new)
        try:
            os.link(source, new)
        except FileExistsError:
            raise
        except OSError:  # FAT knows no second names, and every file system has a most of them
            with source.open("rb") as file:
                self.write_new(new, iter(lambda: file.read(_COPY_BYTES), b""), label=label)

    def write_derived(self, path: Path, content: bytes, *, label: str, via: Path | None = None) -> None:
        """Replace a file that can be derived again: whole at any moment, but not durable.

        ``via`` is where it is written first: beside it, or in a folder of the spool that is swept after a crash.
        """
        self.before(f"{label}.replace", path)
        new = (via or path.parent) / f".{path.name}.{uuid.uuid4().hex}.new"
        try:
            fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            try:
                _write_all(fd, content)
            finally:
                os.close(fd)
            _when_free(lambda: new.replace(path))
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    def append(self, path: Path, content: bytes, *, at: int, label: str) -> None:
        """Write after the first ``at`` bytes of a file and drop what stood there; not durable, and may be torn."""
        self.before(f"{label}.append", path)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            os.ftruncate(fd, at)
            os.lseek(fd, at, os.SEEK_SET)
            _write_all(fd, content)
        finally:
            os.close(fd)

    def sync_file(self, path: Path, *, label: str) -> None:
        """Make the bytes of a file durable that can be derived again; a failure is not repeated."""
        self.before(f"{label}.fsync", path)
        fd = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
        try:
            _fsync(fd)
        finally:
            os.close(fd)

    def make_dir(self, path: Path, *, label: str) -> None:
        """Create a private directory, and its entry in the parent durably; parents must exist."""
        self.before(f"{label}.mkdir", path)
        path.mkdir(mode=0o700)
        self.sync_dir(path.parent, label=label)

    def sync_dir(self, path: Path, *, label: str) -> None:
        """Make the entries of a directory durable."""
        self.before(f"{label}.fsync_dir", path)
        # Not possible on Windows; NTFS journals its metadata, and renames are written through.
        if sys.platform != "win32":
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                _fsync(fd)
            finally:
                os.close(fd)

    def remove(self, path: Path, *, label: str) -> None:
        """Remove a file if it is there. Needs no space; not durable: a crash may bring it back."""
        self.before(f"{label}.unlink", path)
        _when_free(lambda: path.unlink(missing_ok=True))

    def free_bytes(self, path: Path) -> int:
        """Bytes that an ordinary user can still write to the file system of ``path``."""
        return shutil.disk_usage(path).free


def _write_all(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _write_together(fd: int, parts: Sequence[bytes]) -> None:
    """Write parts with as few calls of the system as may be."""
    if sys.platform == "win32":
        for part in parts:
            _write_all(fd, part)
    else:
        for start in range(0, len(parts), _PARTS_MAX):
            some = parts[start : start + _PARTS_MAX]
            written = os.writev(fd, some)
            for part in some:  # all of it was written, mostly
                if written < len(part):
                    _write_all(fd, part[max(0, written) :])
                written -= len(part)


def _begin_to_store(fd: int, start: int, size: int) -> None:
    """Let the kernel begin to write these bytes, so that little is left for the fsync; promises nothing.

    Linux begins with dirty pages when it is told that they are not needed soon, and keeps those under way.
    An error on the way is reported by the fsync, as any other.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a file system that takes no advice
            os.posix_fadvise(fd, start, size, os.POSIX_FADV_DONTNEED)


def _fsync(fd: int) -> None:
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - POSIX only

        try:
            fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
        except OSError as error:
            # Only where the file system does not know the request at all: any other failure is a failure.
            if error.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                raise
        else:
            return
    os.fsync(fd)


def _replace_through(source: Path, target: Path) -> None:
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - Windows only

        replace_existing, write_through = 0x1, 0x8
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        if not kernel32.MoveFileExW(str(source), str(target), replace_existing | write_through):
            raise ctypes.WinError(ctypes.get_last_error())
    else:
        source.replace(target)


def _when_free(operation: Callable[[], object]) -> None:
    """Take a step that another program may hold up for a moment."""
    deadline = time.monotonic() + _SHARING_PATIENCE_S
    while True:
        try:
            operation()
        except PermissionError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_SHARING_PAUSE_S)
        else:
            return
