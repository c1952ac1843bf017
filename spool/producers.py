"""Who records which stream: a claim for each, held by a process for as long as it lives.

``streams/<stream_id>/producer.lock`` is held by whoever opened the stream, resumed it, or pushed to it when nobody
had it, until the stream is sealed or the spool is closed. The operating system frees it when that process dies.

* The claim is no fence. A second live producer may push to the same stream, which is safe (ADR 0005), and has the
  claim from its next push on once the first is gone. What asks for it is `Spool.resume`, and whoever tells an
  orphan: an open stream of which nobody holds it.
* Where it cannot be made, as on a read-only disk, the log says so, and whatever else works goes on.
* A forked child holds none of its parent's claims. (With a filelock older than 4 the file stays locked until such
  a child is gone too: a stream then counts as recorded for too long, never for too short a time.)
"""

import errno
import logging
import os
import socket
import threading

from spool.folder import SpoolFolder
from spool.locks import ProcessLock

LOCK_NAME = "producer.lock"

_log = logging.getLogger(__name__)


class ProducerClaims:
    """The claims of one open `Spool`, used by any number of threads.

    Args:
        folder: the spool's.
    """

    def __init__(self, folder: SpoolFolder) -> None:
        self._folder = folder
        self._held: dict[str, ProcessLock] = {}
        self._refused: set[str] = set()
        self._guard = threading.Lock()
        self._pid = os.getpid()

    def close(self) -> None:
        """Let go of every claim."""
        if os.getpid() != self._pid:
            return  # a forked child's: they are its parent's
        with self._guard:
            for lock in self._held.values():
                lock.release()
            self._held.clear()

    def take(self, stream_id: str, *, patience_s: float) -> bool:
        """Claim a stream; whether it is claimed by this opening now.

        Args:
            stream_id: of a stream whose folder is there.
            patience_s: whoever looks at a claim has it for a moment; that is waited for.

        Raises:
            OSError: the disk refused.
            SpoolError: the spool is open for reading only.
        """
        self._folder.require_writable()
        if stream_id in self._held:
            return True
        with self._guard:
            if stream_id in self._held:
                return True
            home = self._folder.stream_folder(stream_id)
            if not home.is_dir():  # the lock must not bring it back
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(home))
            lock = ProcessLock(home / LOCK_NAME)
            if not lock.acquire(patience_s=patience_s):
                return False
            self._held[stream_id] = lock
            return True

    def try_to_take(self, stream_id: str, *, patience_s: float = 0.0) -> bool:
        """The same for whoever goes on without it: a refusal is told once, in the log."""
        try:
            return self.take(stream_id, patience_s=patience_s)
        except OSError as error:
            if stream_id not in self._refused:
                self._refused.add(stream_id)
                _log.warning("that %s is recorded here cannot be told to others: %s", stream_id, error)
            return False

    def release(self, stream_id: str) -> None:
        """Let go of one claim; harmless when it is not held."""
        with self._guard:
            lock = self._held.pop(stream_id, None)
            if lock is not None:
                lock.release()

    def holds(self, stream_id: str) -> bool:
        """Whether this opening has the claim."""
        return stream_id in self._held

    def is_held(self, stream_id: str) -> bool:
        """Whether a stream is claimed at this moment, by this opening or any other."""
        if self.holds(stream_id):
            return True
        try:
            return ProcessLock(self._folder.stream_folder(stream_id) / LOCK_NAME).is_held_elsewhere()
        except OSError as error:
            # Who may not write here cannot ask; on a read-only disk there is nobody to ask for.
            _log.warning("whether %s is being recorded cannot be told: %s", stream_id, error)
            return False


def our_name() -> str:
    """This process, for people."""
    return f"{socket.gethostname()}:{os.getpid()}"
