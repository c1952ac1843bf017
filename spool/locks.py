"""Locks that the operating system releases when their process dies, however it dies."""

from pathlib import Path

from filelock import FileLock, Timeout

_POLL_S = 0.005


class ProcessLock:
    """An exclusive claim of a file by one holder on this machine.

    Args:
        path: the lock file; it stays behind when the lock is released.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not per thread: a worker takes it in one thread and may let it go in another.
        self._lock = FileLock(path, timeout=0, thread_local=False, mode=0o600)

    def acquire(self, *, patience_s: float = 1.0) -> bool:
        """Take the lock if it is free; whether it is held by this object now.

        Whoever asks `is_held_elsewhere` has the lock for a moment: with some patience that is not taken for
        a holder.
        """
        try:
            self._lock.acquire(timeout=patience_s, poll_interval=_POLL_S)
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
        if not self.path.exists() or not self.acquire(patience_s=0):
            return self.path.exists()
        self.release()
        return False
