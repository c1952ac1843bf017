"""Locks that the operating system releases when their process dies, however it dies."""

from pathlib import Path

from filelock import FileLock, Timeout


class ProcessLock:
    """An exclusive claim of a file by one holder on this machine; never waits.

    Args:
        path: the lock file; it stays behind when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not per thread: a worker takes it in one thread and may let it go in another.
        self._lock = FileLock(path, timeout=0, thread_local=False, mode=0o600)

    def acquire(self) -> bool:
        """Take the lock if it is free; whether it is held by this object now."""
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def release(self) -> None:
        """Let it go; harmless when not held."""
        self._lock.release()

    def is_held_elsewhere(self) -> bool:
        """Whether another holder has it at this moment."""
        if self._lock.is_locked:
            return False
        if not self.path.exists() or not self.acquire():
            return self.path.exists()
        self.release()
        return False
