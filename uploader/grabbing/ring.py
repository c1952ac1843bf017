"""Room for frames between the thread that takes them and the disk: of a fixed size."""

import threading
from collections import deque
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Ring(Generic[_T]):
    """A queue between two threads.

    Args:
        max_bytes: what may lie in it, by what `put` is told; one item always has room.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[tuple[_T, int]] = deque()
        self._changed = threading.Condition()
        self._nbytes = 0
        self.most_bytes = 0
        """The most that ever lay in it."""

    @property
    def nbytes(self) -> int:
        """What lies in it."""
        return self._nbytes

    @property
    def max_bytes(self) -> int:
        """What may lie in it."""
        return self._max_bytes

    def put(self, item: _T, nbytes: int = 0, *, timeout_s: float = 0.0) -> bool:
        """Add an item.

        Args:
            item: anything.
            nbytes: how much room it takes; what takes none always has room.
            timeout_s: how long to wait for room.

        Returns:
            Whether there was room; if not, nothing has changed.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._has_room(nbytes), timeout_s):
                return False
            self._items.append((item, nbytes))
            self._nbytes += nbytes
            self.most_bytes = max(self.most_bytes, self._nbytes)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float) -> _T | None:
        """The next item; ``None`` when none came in that time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._items), max(0.0, timeout_s)):
                return None
            item, nbytes = self._items.popleft()
            self._nbytes -= nbytes
            self._changed.notify_all()
            return item

    def _has_room(self, nbytes: int) -> bool:
        return nbytes == 0 or self._nbytes == 0 or self._nbytes + nbytes <= self._max_bytes
