"""``ledger.jsonl``: the ledger once more, as lines of text beside the index.

It is there for the day on which the index is lost: with it nothing is forgotten, neither receipts nor what was
pruned. Each line holds the row's digest in hex, a space, and the row as a JSON array, so that ``sha256sum``
and a page of any language can check the chain.

Whoever takes the index's write lock first writes what was committed since: the file lags by one commit, and is
fsynced once in a megabyte. No promise rests on it, so no call fails because of it: a line that could not be
written is written with the next one, and a file that lost lines with the power is written anew from the index.
Only rows that hold are ever read back.
"""

import json
import logging
import re
import sqlite3
import uuid
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from spool import ledger
from spool.disk import Disk
from spool.model import Event

LEDGER_NAME = "ledger.jsonl"
_SYNC_BYTES = 1 << 20
_TAIL_BYTES = 2 * _SYNC_BYTES  # whatever a power cut can have torn
_LINE = re.compile(rb"[0-9a-f]{64} \[(\d+),")
_PAGE = 1000

_log = logging.getLogger(__name__)


class LedgerFile:
    """The file of one open spool. Written under the index's write lock only.

    Args:
        path: where it is, or is to be.
        disk: the file system.

    Attributes:
        is_behind: something was committed since, by this process.
    """

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self._size = -1  # as this process left it; another process may have gone on
        self._seq = 0
        self._is_failing = False
        self.is_behind = False

    def catch_up(self, db: sqlite3.Connection) -> None:
        """Append the rows that were committed since."""
        try:
            self._find_end(db)
            while rows := ledger.stored(db, after_seq=self._seq, limit=_PAGE):
                lines = b"".join(_line(row[:-1], row[-1]) for row in rows)
                self._disk.append(self.path, lines, at=self._size, label="ledger_file")
                is_due = self._size // _SYNC_BYTES != (self._size + len(lines)) // _SYNC_BYTES
                self._size += len(lines)
                self._seq = rows[-1][0]
                if is_due:
                    self.sync()
            self._is_failing = self.is_behind = False
        except OSError as error:
            self._size = -1
            if not self._is_failing:
                _log.warning("%s could not be written (%s); it is only the ledger's copy", self.path, error)
            self._is_failing = True

    def lags(self, db: sqlite3.Connection) -> bool:
        """Whether the index knows rows that the file does not. Only looks: another process may be writing."""
        (newest,) = db.execute("SELECT coalesce(max(seq), 0) FROM ledger").fetchone()
        try:
            last = _last_row(self.path, self.path.stat().st_size)
        except FileNotFoundError:
            last = None
        except OSError:
            return False  # then it cannot be written either
        written = 0 if last is None else last[1].seq
        return bool(written < newest)

    def sync(self) -> None:
        """Make what is there durable, as far as the disk allows."""
        try:
            self._disk.sync_file(self.path, label="ledger_file")
        except OSError as error:
            _log.warning("%s could not be made durable (%s); it is only the ledger's copy", self.path, error)

    def _find_end(self, db: sqlite3.Connection) -> None:
        """Where to go on: after the last line that is a row of this index; what follows it is a torn end."""
        try:
            size = self.path.stat().st_size
        except FileNotFoundError:
            self._size = self._seq = 0
            return
        if size == self._size:
            return
        last = _last_row(self.path, size)
        if last is not None:
            end, event = last
            known = db.execute("SELECT digest FROM ledger WHERE seq = ?", (event.seq,)).fetchone()
            if known and known[0] == event.digest:
                self._size, self._seq = end, event.seq
                return
        if size:
            self.set_aside("its last rows are not those of the index")
        self._size = self._seq = 0

    def set_aside(self, why: str) -> None:
        """Keep the file under another name, for a person to look at; a new one begins."""
        aside = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}.aside")
        self._disk.rename(self.path, aside, label="ledger_file")
        _log.warning("%s is set aside as %s: %s", self.path, aside.name, why)
        self._size = -1


def line_of(event: Event) -> bytes:
    """A row as its line."""
    text = json.dumps(event.detail, sort_keys=True, separators=(",", ":"))
    return _line((event.seq, event.at_ms, event.stream_id, event.chunk_idx, event.event, text), event.digest)


def _line(covered: tuple[object, ...], digest: bytes) -> bytes:
    return f"{digest.hex()} {json.dumps(covered, separators=(',', ':'))}\n".encode()


def rows_that_hold(path: Path) -> Generator[Event]:
    """The rows of a file in order, up to the first that does not commit to the one before.

    Raises:
        OSError: the file cannot be read.
    """
    previous = ledger.GENESIS
    with path.open("rb") as file:
        for seq, line in enumerate(file, start=1):
            event = _event(line)
            if event is None or event.seq != seq:
                return
            event = replace(event, previous=previous)
            if ledger.digest_of(event) != event.digest:
                return
            yield event
            previous = event.digest


def _last_row(path: Path, size: int) -> tuple[int, Event] | None:
    """The last line that can be read, and where it ends; what follows it was torn.

    ``None`` as well when a line is missing before it: the power went before the disk had it.
    """
    start = max(0, size - _TAIL_BYTES)
    with path.open("rb") as file:
        file.seek(start)
        tail = file.read(size - start)
    end = start + tail.rfind(b"\n") + 1
    lines = tail[: end - start].splitlines(keepends=True)
    while lines:
        event = _event(lines[-1])
        if event is not None:
            return (end, event) if _are_all_there(lines[1 if start else 0 :], event.seq) else None
        end -= len(lines.pop())
    return None


def _are_all_there(lines: list[bytes], last: int) -> bool:
    """Whether each line looks like the row after the one before. A quick look, not a check of the chain."""
    for seq, line in enumerate(lines, start=last - len(lines) + 1):
        begins = _LINE.match(line)
        if begins is None or int(begins[1]) != seq or b"\0" in line:
            return False
    return True


def _event(line: bytes) -> Event | None:
    """The row in a line, its ``previous`` unknown; ``None`` when it is not one."""
    digest, _, covered = line.partition(b" ")
    try:
        seq, at_ms, stream_id, chunk_idx, event, text = json.loads(covered)
        detail = json.loads(text)
        row = Event(
            seq=seq,
            at_ms=at_ms,
            stream_id=stream_id,
            chunk_idx=chunk_idx,
            event=event,
            detail=detail,
            previous=b"",
            digest=bytes.fromhex(digest.decode("ascii")),
        )
    except (ValueError, TypeError, RecursionError):
        return None
    return row if isinstance(detail, dict) and line == line_of(row) else None
