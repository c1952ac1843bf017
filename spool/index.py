"""The index: one SQLite database that says what is in the spool and what has happened to it.

* A commit survives power loss: rollback journal with ``synchronous=EXTRA``. WAL is not used: with several
  connections it can lose commits in SQLite 3.7.0 to 3.51.2, and Python often links an old one (ADR 0004).
* ``journal_mode=PERSIST`` keeps the journal's blocks, so that a commit on a full disk finds room.
* Every write transaction is ``BEGIN IMMEDIATE``: it holds the only write lock from its first statement, so
  what it reads is still true when it commits. Producers and workers in any number of processes meet here.
"""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from spool.disk import Disk
from spool.errors import DiskFailed, SpoolDamaged, SpoolError, SpoolFull, SpoolTooNew

FORMAT_VERSION = 4
ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What SQLite raises: the second for damaged text, even in its own words about the damage."""
_BUSY_TIMEOUT_S = 60.0


class Index:
    """A connection to the index, shared by the threads of one `Spool`.

    Args:
        path: the database file; created with its schema when missing.
        disk: told before each commit, so that a test can fail or kill exactly there.
        read_only: the file is there, and stays as it is, to the byte.
    """

    def __init__(self, path: Path, disk: Disk, *, read_only: bool = False) -> None:
        self._path = path
        self._read_only = read_only
        self._disk = disk
        self._lock = threading.RLock()
        self._pid = os.getpid()
        if not read_only and not path.exists():
            _create_private(path)
        try:
            self._db = sqlite3.connect(
                f"{path.as_uri()}?mode=ro" if read_only else path,
                timeout=_BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
                uri=read_only,
            )
        except ERRORS as error:
            raise _translated(error, path) from error
        try:
            self._configure()
            self._migrate()
        except BaseException as error:
            self._db.close()
            if isinstance(error, ERRORS):
                raise _translated(error, path) from error
            raise

    def close(self) -> None:
        """Close the connection; everything committed stays."""
        if os.getpid() != self._pid:
            return  # closing it in a forked child could take the parent's locks away
        with self._lock:
            self._db.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A consistent view for a few statements."""
        yield from self._transaction("BEGIN", label=None)

    @contextmanager
    def writing(self, label: str) -> Iterator[sqlite3.Connection]:
        """The only write transaction at this moment in any process; durable when the block is left.

        Raises:
            SpoolFull: the disk has no room for the commit; nothing was changed.
            DiskFailed: the disk refused; on reopening the change is there whole, or not at all.
        """
        if self._read_only:
            raise SpoolError(
                "this spool is open for reading only", hint="Nothing was changed. Open it with Spool(...) instead."
            )
        yield from self._transaction("BEGIN IMMEDIATE", label=label)

    def _transaction(self, begin: str, *, label: str | None) -> Iterator[sqlite3.Connection]:
        if os.getpid() != self._pid:
            raise SpoolError(
                "this spool was opened before the process forked",
                hint="Open the spool again in the child process; SQLite connections do not survive a fork.",
            )
        with self._lock:
            try:
                # A call inside another one's block fails, and that one is not ours to end.
                was_open = self._db.in_transaction
                try:
                    # An interrupt is raised as soon as this returns: it must find the transaction's end.
                    self._db.execute(begin)
                    yield self._db
                    if label is not None:
                        self._disk.before(f"{label}.commit", self._path)
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction and not was_open:
                        self._db.execute("ROLLBACK")
                    raise
            except ERRORS as error:
                raise _translated(error, self._path) from error

    def _configure(self) -> None:
        # Order matters: the journal mode is set before anything is read or written.
        for pragma in (
            "journal_mode = PERSIST",
            "synchronous = EXTRA",
            "fullfsync = ON",  # macOS: F_FULLFSYNC; ignored elsewhere
            "foreign_keys = ON",
            "temp_store = MEMORY",  # no temporary files on a full disk
            "trusted_schema = OFF",
        ):
            self._db.execute(f"PRAGMA {pragma}").fetchall()

    def _migrate(self) -> None:
        with self.reading() as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
        if version:
            return
        if self._read_only:
            raise SpoolDamaged(f"{self._path} is empty: a spool was never begun here, or its index is lost")
        with self.writing("index.create") as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if not version:  # another opener may have been quicker
                for statement in _statements(files("spool").joinpath("schema.sql").read_text("utf-8")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")


def refuse_other_format(path: Path) -> None:
    """Look before anything is touched: even opening the database could change a later format.

    The format is ``user_version``, which SQLite keeps in bytes 60 to 63 of its file.

    Raises:
        SpoolTooNew: the index was written by a later framespool.
        SpoolError: it was written by one before the first release.
    """
    with path.open("rb") as file:
        head = file.read(64)
    version = int.from_bytes(head[60:64], "big") if head.startswith(b"SQLite format 3") else 0
    if version > FORMAT_VERSION:
        raise SpoolTooNew(f"{path} has format {version}; this framespool reads up to {FORMAT_VERSION}")
    if 0 < version < FORMAT_VERSION:
        raise SpoolError(
            f"{path} has format {version}, which was never released",
            hint="Deliver what it holds with the version that made it, and use another spool folder.",
        )


def _create_private(path: Path) -> None:
    """An empty file that only the user can read; SQLite gives its journal the same mode."""
    with contextlib.suppress(FileExistsError):  # another opener was quicker
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one: ``executescript`` would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _translated(error: Exception, path: Path) -> SpoolError:
    if isinstance(error, UnicodeDecodeError):
        return SpoolDamaged(f"{path} cannot be read as the index of a spool ({error})")
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    if primary == sqlite3.SQLITE_READONLY:
        # Some writer was killed in the middle of a commit, and to undo that is to write.
        return SpoolError(
            f"{path} was left in the middle of a change, and is open for reading only",
            hint="'framespool status' opens the spool and puts that right; from a disk that cannot be written to,"
            " copy the folder to one that can.",
        )
    if primary == sqlite3.SQLITE_FULL:
        return SpoolFull(f"the disk is full: {path.name} could not be written")
    # Our statements are constants: one that SQLite does not understand means that the tables are not ours.
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR):
        return SpoolDamaged(f"{path} cannot be read as the index of a spool ({error})")
    return DiskFailed(f"{path} refused an operation: {error}")
