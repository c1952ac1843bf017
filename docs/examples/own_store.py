"""A store of one's own, an SQLite file, and its rig for the conformance suite; see docs/destinations.md."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

from tests.destinations.rigs import Rig
from uploader.destinations.base import Destination
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
from uploader.destinations.zarr_store import ZarrDestination


class SqliteStore:
    """One file with all objects; each call has its own connection, and is one transaction."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:{path}"
        self.path = path

    def close(self) -> None:
        """Nothing is held between two calls."""

    def make_room(self, key: str) -> None:
        """A table has room for every key."""

    def create(self, key: str, pieces: Pieces) -> Stored:
        """Insert the row unless there is one, and read it back before it counts."""
        ours = sha256_of(pieces)
        with self._transaction() as db:
            new = (key, b"".join(pieces))
            was_there = db.execute("INSERT OR IGNORE INTO objects VALUES (?, ?)", new).rowcount == 0
            (content,) = db.execute("SELECT content FROM objects WHERE key = ?", (key,)).fetchone()
            if sha256_of([content]) != ours and was_there:
                raise KeyTaken(f"{key} is there already, with other bytes")
            if sha256_of([content]) != ours:
                raise StoreTrouble(f"{self.path} keeps other bytes than it is given", outage=False)
        return Stored(was_there=was_there, etag=None, sha256=ours)

    def replace(self, key: str, content: bytes) -> None:
        """Put the row in place of the one before."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?)", (key, content))

    def read(self, key: str) -> bytes | None:
        """Its content, if there is such a row."""
        with self._transaction() as db:
            found = db.execute("SELECT content FROM objects WHERE key = ?", (key,)).fetchone()
        return None if found is None else bytes(found[0])

    def level(self, place: str) -> Level:
        """What lies directly below a place."""
        return level_of(place, (one.key for one in self.walk(place)))

    def walk(self, place: str) -> Iterator[Listed]:
        """Every object below a place."""
        below = (f"{place}/*" if place else "*",)
        with self._transaction() as db:
            for key, size_bytes in db.execute("SELECT key, length(content) FROM objects WHERE key GLOB ?", below):
                yield Listed(key=key, size_bytes=size_bytes, etag=None)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        # mode=rw: a file that is away is not made anew in its place.
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=60)) as db, db:
                yield db
        except sqlite3.Error as error:
            raise StoreTrouble(f"{self.path}: {error}", outage=True) from error


class SqliteRig(Rig):
    """What the suite needs to know: how to make the destination, how to look into the file, how to break it."""

    def __init__(self, root: Path, far_end: None) -> None:
        super().__init__(root, far_end)
        self.path = root / "objects.sqlite3"
        self._do("CREATE TABLE objects (key TEXT PRIMARY KEY, content BLOB) WITHOUT ROWID")
        self._failures = 0
        self.url = SqliteStore(self.path).url

    def make(self) -> Destination:
        """See `Rig.make`."""
        rig = self

        class Watched(SqliteStore):
            @contextmanager
            def _transaction(self) -> Iterator[sqlite3.Connection]:
                try:
                    with super()._transaction() as db:
                        yield db
                except StoreTrouble:
                    rig._failures += 1
                    raise

        return ZarrDestination(Watched(self.path))

    def chunks(self, data_id: str) -> Mapping[int, bytes]:
        """See `Rig.chunks`."""
        rows = self._do("SELECT key, content FROM objects WHERE key GLOB ?", f"{data_id}/frames/c.*")
        return {int(key.split(".")[-3]): content for key, content in rows}

    def proof(self, data_id: str) -> bytes | None:
        """See `Rig.proof`."""
        rows = self._do("SELECT content FROM objects WHERE key = ?", f"{data_id}.proof.json")
        return rows[0][0] if rows else None

    @contextmanager
    def away(self) -> Iterator[None]:
        """See `Rig.away`."""
        elsewhere = self.path.rename(self.path.with_name("elsewhere"))
        try:
            yield
            assert not self.path.exists()
        finally:
            elsewhere.rename(self.path)

    def cut(self) -> AbstractContextManager[None]:
        """See `Rig.cut`: the row is there when the statement breaks off."""
        return self._trigger("AFTER INSERT", "RAISE(FAIL, 'broke off')")

    def damaging(self) -> AbstractContextManager[None]:
        """See `Rig.damaging`."""
        return self._trigger("AFTER INSERT", "1; UPDATE objects SET content = x'00' WHERE key = new.key")

    @contextmanager
    def failing(self) -> Iterator[Callable[[], int]]:
        """See `Rig.failing`."""
        before = self._failures
        with self._trigger("BEFORE INSERT", "RAISE(ABORT, 'not now')", keys="*"):
            yield lambda: self._failures - before

    @contextmanager
    def _trigger(self, when: str, what: str, keys: str = "*/frames/c.*") -> Iterator[None]:
        self._do(f"CREATE TRIGGER trouble {when} ON objects WHEN new.key GLOB '{keys}' BEGIN SELECT {what}; END")
        try:
            yield
        finally:
            self._do("DROP TRIGGER trouble")

    def _do(self, sql: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as db, db:
            return db.execute(sql, values).fetchall()
