"""Objects in the memory of a process, as a store: for tests of workers and of destinations; no URL leads here."""

import threading
from collections.abc import Iterator, MutableMapping

from uploader.destinations.stores.base import (
    KeyTaken,
    Level,
    Listed,
    Pieces,
    Stored,
    StoreTrouble,
    level_of,
    sha256_of,
)


class MemoryStore:
    """The memory as `Store`.

    Args:
        url: its name.
        objects: what it holds, by key; two stores with the same are two doors to one place.

    Attributes:
        objects: what it holds; a test may look at it, and damage it.
        trouble: raised by whatever is asked, until it is ``None`` again: a store that is away, or full.
    """

    def __init__(self, url: str = "memory:", objects: MutableMapping[str, bytes] | None = None) -> None:
        self.url = url
        self.objects: MutableMapping[str, bytes] = {} if objects is None else objects
        self.trouble: StoreTrouble | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Nothing is held but the objects, which stay."""

    def make_room(self, key: str) -> None:
        """See `Store.make_room`; a key needs no room."""
        del key
        self._pass()

    def create(self, key: str, pieces: Pieces) -> Stored:
        """See `Store.create`; durable for as long as the process."""
        self._pass()
        ours = sha256_of(pieces)
        with self._lock:
            was_there = key in self.objects
            if not was_there:
                self.objects[key] = b"".join(pieces)
            if sha256_of([self.objects[key]]) == ours:
                return Stored(was_there=was_there, etag=None, sha256=ours)
            if was_there:
                raise KeyTaken(f"{self.url}/{key} is there already, with other bytes")
            del self.objects[key]
        raise StoreTrouble(f"{self.url} keeps other bytes than it is given", outage=False)

    def replace(self, key: str, content: bytes) -> None:
        """See `Store.replace`."""
        self._pass()
        self.objects[key] = bytes(content)

    def read(self, key: str) -> bytes | None:
        """See `Store.read`."""
        self._pass()
        return self.objects.get(key)

    def level(self, place: str) -> Level:
        """See `Store.level`."""
        return level_of(place, (one.key for one in self.walk(place)))

    def walk(self, place: str) -> Iterator[Listed]:
        """See `Store.walk`; what is there at the beginning."""
        self._pass()
        for key, content in dict(self.objects).items():
            if not place or key.startswith(f"{place}/"):
                yield Listed(key=key, size_bytes=len(content), etag=None)

    def _pass(self) -> None:
        if self.trouble is not None:
            raise self.trouble
