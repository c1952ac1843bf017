"""The spool's own fsck: index, ledger and files must tell one story, to the last byte.

It only reads, repairs nothing and needs no recovery first, so it shows a spool as it was left. It may run while
others push and deliver: it reads in short transactions, and looks twice before it calls something missing.

What cannot be checked, because nothing derives it: who holds a lease, what trouble a worker is in, files that
recovery has set aside, and pages of the index's database that hold no row.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from spool import verify_files, verify_index
from spool.errors import SpoolError
from spool.folder import INDEX_NAME
from spool.index import ERRORS, refuse_other_format
from spool.problems import INDEX, Problem

Progress = Callable[[int, int], None]
"""Bytes of shards that were read so far, and how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What `verify` has found.

    Attributes:
        root: the spool's folder.
        problems: what does not fit; empty for a sound spool.
        streams: how many were checked.
        chunks: how many rows.
        shards: how many files, each byte of which was read.
        bytes_read: of these.
        events: how many rows of the ledger.
        last_whole_event: the last of them that is what its digest says, whatever is wrong before it.
        ledger_head: digest of the last one, in hex; ``None`` when there is none.
    """

    root: Path
    problems: tuple[Problem, ...]
    streams: int = 0
    chunks: int = 0
    shards: int = 0
    bytes_read: int = 0
    events: int = 0
    last_whole_event: int = 0
    ledger_head: str | None = None

    @property
    def is_sound(self) -> bool:
        """Nothing was found."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "spool": str(self.root),
            "sound": self.is_sound,
            "streams": self.streams,
            "chunks": self.chunks,
            "shards": self.shards,
            "bytes_read": self.bytes_read,
            "events": self.events,
            "ledger_head": self.ledger_head,
            "problems": [problem.to_json() for problem in self.problems],
        }


def verify(root: Path, *, progress: Progress | None = None, settle_s: float = 0.5) -> Verified:
    """Check a spool, every byte of it.

    Args:
        root: its folder.
        progress: hears how far the reading has come.
        settle_s: whoever is between a shard's name and its row, or between a pruned row and its file, is through
            after so long; what is wrong then, is. Zero where nobody is at work.

    Raises:
        SpoolError: there is no spool, or it is a later framespool's.
        OSError: the folder cannot be read.
    """
    path = root / INDEX_NAME
    if not path.exists():
        if not (root / "streams").is_dir():
            raise SpoolError(f"there is no spool in {root}", hint="Check --spool or ATOMSCALE_SPOOL_DIR.")
        return Verified(root=root, problems=(Problem(kind=INDEX, where=INDEX_NAME, says="it is missing"),))
    refuse_other_format(path)
    with closing(_connected(path)) as db:
        return _verified(root, db, progress or (lambda _done, _all: None), settle_s)


def _verified(root: Path, db: sqlite3.Connection, progress: Progress, settle_s: float) -> Verified:
    problems: list[Problem] = []
    found = verify_index.Found()
    try:
        problems += verify_index.database_problems(db)
        if not problems:
            problems += verify_index.story_problems(root, db, found)
    except ERRORS as error:
        problems.append(Problem(kind=INDEX, where=INDEX_NAME, says=f"it cannot be read: {error}"))
    except SpoolError as error:
        problems.append(Problem(kind=INDEX, where=INDEX_NAME, says=str(error)))
    files = verify_files.Read(settle_s)
    if not any(problem.kind == INDEX for problem in problems):
        problems += verify_files.file_problems(root, db, files, progress)
    return Verified(
        root=root,
        problems=tuple(problems),
        streams=found.streams,
        chunks=found.chunks,
        shards=files.shards,
        bytes_read=files.bytes_read,
        events=found.events,
        last_whole_event=found.last_whole_event,
        ledger_head=found.head.hex() if found.events else None,
    )


def _connected(path: Path) -> sqlite3.Connection:
    """Never creates the file; on a read-only file system never writes beside it either."""
    place = f"file:{quote(str(path))}"
    for mode in ("rw", "ro"):
        db = sqlite3.connect(f"{place}?mode={mode}", uri=True, isolation_level=None, timeout=60.0)
        try:
            db.execute("PRAGMA query_only = ON")
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            db.close()
            if mode == "ro":
                raise
        except ERRORS:
            return db  # its damage is told by whoever reads it
        else:
            return db
    raise AssertionError("unreachable")
