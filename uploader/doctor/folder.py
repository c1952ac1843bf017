"""The spool's folder: whether it is there, ours and private; and a place beside the data to try things in."""

import errno
import os
import shutil
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spool import ProcessLock, file_system_of, objection
from uploader.doctor.findings import Finding, Subject, ok, problem, warning

_ADVICE = {
    errno.EROFS: "The file system is read-only, often after an error of the disk: see the system's log.",
    errno.ENOSPC: "The disk is full: make room, or choose another folder with --spool or ATOMSCALE_SPOOL_DIR.",
}
_ELSEWHERE = (
    "Choose a folder that you may write to, with --spool or ATOMSCALE_SPOOL_DIR, or have this one given to you."
)
_OTHERS = 0o077


def folder(subject: Subject) -> Finding:
    """Whether the spool can be written to, or made, and is private."""
    root = subject.root
    if not nearest(root).is_dir():
        return problem(f"{nearest(root)} is not a folder", _ELSEWHERE)
    try:
        with probe(root):
            pass
    except OSError as error:
        doing = "written to" if root.exists() else "made"
        return problem(f"{root} cannot be {doing}: {error.strerror}", _ADVICE.get(error.errno or 0, _ELSEWHERE))
    if not root.exists():
        return ok(f"{root} is not there yet; it can be made when it is needed")
    return _privacy(root)


def filesystem(subject: Subject) -> Finding:
    """Whether a spool is safe where the folder lies: a share, FAT and memory are not."""
    there = file_system_of(subject.root)
    numbers = {"type": there.type_name, "kind": there.kind.value}
    if (doubts := objection(there)) is not None:
        return warning(doubts, "Choose a folder on a local disk, with --spool or ATOMSCALE_SPOOL_DIR.", **numbers)
    return ok(
        f"{there.mount_point or subject.root} is {there.type_name or 'of a kind that is not told'}", **numbers
    )


@contextmanager
def probe(root: Path) -> Iterator[Path]:
    """A new folder on the spool's file system, removed with all that is in it.

    In a spool it lies where a recording lays what it has not finished, with a lock as a recording has one: if
    we are killed, the next opening of the spool removes it. Before there is a spool it lies where that would be.
    """
    incoming = root / "incoming"
    place = incoming if incoming.is_dir() else nearest(root)
    path = place / f"doctor-{uuid.uuid4().hex}"
    lock = ProcessLock(path.with_suffix(".lock")) if place == incoming else None
    if lock is not None:
        lock.acquire()
    try:
        path.mkdir(mode=0o700)
        try:
            yield path
        finally:
            shutil.rmtree(path)
    finally:
        if lock is not None:
            # Before it is let go, so that nobody else can have it; Windows removes no file that is open.
            if sys.platform != "win32":
                lock.path.unlink(missing_ok=True)
            lock.release()
            lock.path.unlink(missing_ok=True)


def nearest(root: Path) -> Path:
    """The folder, or what is there above it: on the file system where it would be made."""
    return next((path for path in (root, *root.parents) if path.exists()), root)


def _privacy(root: Path) -> Finding:
    seen = f"{root} can be written to"
    if sys.platform == "win32":
        return ok(f"{seen}; who else may read it is not looked at on Windows")
    else:  # noqa: RET505 - so that type checkers follow either platform
        about = root.stat()
        mode = stat.S_IMODE(about.st_mode)
        if about.st_uid != os.geteuid():
            advice = f"What is written now may be closed to its owner: run framespool as user {about.st_uid}."
            return warning(f"{seen}, but it belongs to another user ({about.st_uid})", advice)
        if mode & _OTHERS:
            advice = f"Others on this machine may reach your frames: chmod 700 '{root}'"
            return warning(f"{seen}, but its permissions are {mode:04o}", advice)
        return ok(f"{seen}, and is private ({mode:04o})")
