"""What a store of objects is to a destination: keys and bytes, created if absent, proved by their digest."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

Pieces = Sequence[bytes | memoryview]


class StoreTrouble(Exception):
    """The store did not do what it was asked; trying again may help.

    Attributes:
        outage: the store is not there at all, for anybody.
        key_refused: a person has to do something about the credentials.
        min_wait_s: the least time to wait.
        may_be_done: it may have happened all the same.
        mismatch: the store has got other bytes.
    """

    def __init__(
        self,
        words: str,
        *,
        outage: bool,
        key_refused: bool = False,
        min_wait_s: float = 0.0,
        may_be_done: bool = True,
        mismatch: bool = False,
    ) -> None:
        super().__init__(words)
        self.outage = outage
        self.key_refused = key_refused
        self.min_wait_s = min_wait_s
        self.may_be_done = may_be_done
        self.mismatch = mismatch


class KeyTaken(Exception):
    """Another object lies under the key: for good, and nothing was changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The store has exactly the bytes that it was given.

    Attributes:
        was_there: it had them before.
        etag: its own name for them, where it has one.
        sha256: hex digest of what it has; ``None`` where nothing proves it.
    """

    was_there: bool
    etag: str | None
    sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object, as a listing tells of it.

    Attributes:
        key: the whole of it.
        size_bytes: its length.
        etag: the store's own name for its bytes, where it has one.
    """

    key: str
    size_bytes: int
    etag: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What lies directly below a place, each in the order of names.

    Attributes:
        places: the keys below which more lies.
        objects: the keys that are objects.
    """

    places: Sequence[str]
    objects: Sequence[str]


class Store(Protocol):
    """Objects by their keys; keys are relative, with slashes. Used by several threads at once.

    Each method may raise `StoreTrouble`.
    """

    url: str
    """Its name: what `StreamSettings.destination` says."""

    def make_room(self, key: str) -> None:
        """See to it that objects can be created below this key; doing it twice changes nothing."""
        ...

    def create(self, key: str, pieces: Pieces) -> Stored:
        """Store an object unless one is there; on return it is durable.

        Raises:
            KeyTaken: one is there, with other bytes.
        """
        ...

    def replace(self, key: str, content: bytes) -> None:
        """Store a small object, in place of what is there: readers see the old one or the new one, whole."""
        ...

    def read(self, key: str) -> bytes | None:
        """A small object's bytes; ``None`` when there is none."""
        ...

    def level(self, place: str) -> Level:
        """What lies directly below a place, and nothing deeper; the whole store is the place ``""``."""
        ...

    def walk(self, place: str) -> Iterator[Listed]:
        """Every object below a place, in no order, never all in memory; none where there is no such place."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def level_of(place: str, keys: Iterable[str]) -> Level:
    """What lies directly below a place, for a store that only knows all the keys below it."""
    above = f"{place}/" if place else ""
    below = [key.removeprefix(above) for key in keys if key.startswith(above)]
    return Level(
        places=sorted({f"{above}{name.partition('/')[0]}" for name in below if "/" in name}),
        objects=sorted(f"{above}{name}" for name in below if "/" not in name),
    )


def sha256_of(pieces: Iterable[bytes | memoryview]) -> str:
    """The hex digest of an object that lies in pieces."""
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
