"""Whether the index is a sound database, and says what the ledger says."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from pathlib import Path

from spool import ledger, rows
from spool.folder import INDEX_NAME
from spool.index import FORMAT_VERSION
from spool.ledger_file import LEDGER_NAME, line_of
from spool.model import Chunk, Event, Stream
from spool.problems import DISAGREES, INDEX, LEDGER, LEDGER_FILE, Problem
from spool.replay import Replay, ToldChunk, ToldStream, replay_chunks
from spool.states import ChunkState

_PAGE = 1000
_IDX_MAX = 2**63 - 1
_STREAM_FACTS = (
    *("state", "parts", "unlinked", "held", "created_at_ms", "sealed_at_ms", "finalized_at_ms"),
    *("created_monotonic_ms", "boot_id", "clock_offset_ms", "clock_uncertainty_ms"),
)
_CHUNK_FACTS = (
    *("state", "attempts", "acknowledged_at_ms", "pruned_at_ms", "spooled_at_ms", "disk_bytes"),
    "parked_reason",
)


@dataclass(slots=True)
class Found:
    """What was gone through."""

    streams: int = 0
    chunks: int = 0
    events: int = 0
    last_whole_event: int = 0
    head: bytes = ledger.GENESIS
    told: Replay = field(default_factory=lambda: Replay(keeps_chunks=False))


def database_problems(db: sqlite3.Connection) -> Iterator[Problem]:
    """What SQLite itself finds, and tables that are not the format's."""
    for (word,) in db.execute("PRAGMA integrity_check(20)"):
        if word != "ok":
            yield Problem(kind=INDEX, where=INDEX_NAME, says=f"the database is damaged: {word}")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != FORMAT_VERSION:
        yield Problem(kind=INDEX, where=INDEX_NAME, says=f"it says that its format is {version}")
    for table, *_ in db.execute("PRAGMA foreign_key_check"):
        yield Problem(kind=INDEX, where=INDEX_NAME, says=f"a row of {table} belongs to no stream")
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(files("spool").joinpath("schema.sql").read_text("utf-8"))
        wanted, there = _schema(fresh), _schema(db)
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            yield Problem(kind=INDEX, where=INDEX_NAME, says=f"{' '.join(name)} is not as it was made")


def _schema(db: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, str | None]]:
    rows_ = db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {(kind, name): (table, sql) for kind, name, table, sql in rows_}


def story_problems(root: Path, db: sqlite3.Connection, found: Found) -> Iterator[Problem]:
    """Whether the ledger's chain holds, makes sense, and amounts to the index's rows; and so does its file."""
    follower = _Follower(found)
    with closing(_Lines(root / LEDGER_NAME)) as lines:
        yield from follower.catch_up(db, lines)
        yield from lines.end(follower, db)
    with _reading(db):
        streams = rows.all_streams(db)
    found.streams = len(streams)
    known = {stream.stream_id for _, stream in streams}
    for stream_id in found.told.streams.keys() - known:
        yield _disagrees(stream_id, None, "the ledger tells of a stream that the index does not have")
    for key, stream in streams:
        yield from follower.catch_up(db, None)
        yield from _stream_problems(db, key, stream.stream_id, found, follower)
    yield from (Problem(kind=LEDGER, where=INDEX_NAME, says=fault) for fault in found.told.faults)


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[None]:
    """A short read transaction."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


class _Follower:
    """Goes along the ledger, a page at a time."""

    def __init__(self, found: Found) -> None:
        self._found = found
        self._is_broken = False

    def catch_up(self, db: sqlite3.Connection, lines: "_Lines | None") -> Iterator[Problem]:
        """Everything that was committed since, checked and replayed."""
        found = self._found
        while page := ledger.events(db, None, after_seq=found.events, limit=_PAGE):
            for event in page:
                is_whole = event.digest == ledger.digest_of(event)
                if not self._is_broken and (why := self._break(event, is_whole=is_whole)):
                    self._is_broken = True  # whatever follows commits to it
                    yield Problem(kind=LEDGER, where=INDEX_NAME, says=why)
                if is_whole:
                    found.last_whole_event = event.seq
                found.told.take(event)
                found.events, found.head = event.seq, event.digest
                if lines is not None:
                    yield from lines.compare(event)

    @property
    def rows_gone_through(self) -> int:
        """So far."""
        return self._found.events

    def _break(self, event: Event, *, is_whole: bool) -> str | None:
        if event.seq != self._found.events + 1:
            return f"ledger row {self._found.events + 1} is missing"
        if event.previous != self._found.head:
            return f"ledger row {event.seq} does not commit to the row before it"
        if not is_whole:
            return f"ledger row {event.seq} is not what its digest says: it was changed, or damaged"
        return None


class _Lines:
    """``ledger.jsonl``, read along with the ledger."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("rb") if path.exists() else None
        self._count = 0
        self._is_over = self._file is None

    def compare(self, event: Event) -> Iterator[Problem]:
        """The next line must be this row's. The file may end early: it lags."""
        if self._is_over or self._file is None:
            return
        line = self._file.readline()
        self._count += bool(line)
        if line == line_of(event):
            return
        self._is_over = True
        if line:
            what = "is cut off" if line_of(event).startswith(line.rstrip(b"\0")) else "is not that of the index"
            yield Problem(kind=LEDGER_FILE, where=self._path.name, says=f"line {self._count} {what}")

    def end(self, follower: _Follower, db: sqlite3.Connection) -> Iterator[Problem]:
        """Nothing may follow but what was committed meanwhile."""
        if self._file is None:
            return
        if not self._is_over and (line := self._file.readline()):
            # A producer may be quicker than we are: what it has committed is in the index first.
            at = self._file.tell() - len(line)
            yield from follower.catch_up(db, None)
            self._file.seek(at)
            rest = sum(1 for one in self._file if one.endswith(b"\n"))
            if self._count + rest > follower.rows_gone_through or not line.endswith(b"\n"):
                says = f"line {self._count + 1} is of a row that the index does not have"
                yield Problem(kind=LEDGER_FILE, where=self._path.name, says=says)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


def _stream_problems(
    db: sqlite3.Connection, key: int, stream_id: str, found: Found, follower: _Follower
) -> Iterator[Problem]:
    """One stream's rows against what the ledger amounts to; the chunks a page at a time."""
    with _reading(db):
        yield from follower.catch_up(db, None)
        told = found.told.streams.get(stream_id)
        if told is None:
            yield _disagrees(stream_id, None, "the index has a stream that the ledger does not tell of")
            return
        yield from _facts_problems(rows.require_stream(db, stream_id)[1], told)
        yield from _compared(stream_id, None, "clock readings", list(rows.readings(db, key)), told.readings)
        yield from _totals_problems(db, key, stream_id)
    after = -1
    while True:
        with _reading(db):
            yield from follower.catch_up(db, None)
            page = rows.chunks_after(db, key, after, limit=_PAGE)
            end = page[-1].chunk_idx if len(page) == _PAGE else _IDX_MAX
            events = ledger.chunk_events(db, stream_id, after + 1, end)
        yield from _page_problems(stream_id, told, page, events, found)
        found.chunks += len(page)
        if len(page) < _PAGE:
            return
        after = end


def _page_problems(
    stream_id: str, told: ToldStream, page: list[Chunk], events: list[Event], found: Found
) -> Iterator[Problem]:
    """Some chunks' rows against what the ledger tells of them, both from one moment."""
    again = replay_chunks(stream_id, told, events)
    found.told.faults += again.faults
    chunks = again.streams[stream_id].chunks
    for chunk in page:
        yield from _chunk_problems(chunk, chunks.get(chunk.chunk_idx))
    for idx in sorted(chunks.keys() - {chunk.chunk_idx for chunk in page}):
        yield _disagrees(stream_id, idx, "the ledger tells of it, and the index has no row")


def _facts_problems(stream: Stream, told: ToldStream) -> Iterator[Problem]:
    other = told.as_stream(stream.stream_id)
    for what in _STREAM_FACTS:
        yield from _compared(stream.stream_id, None, what, getattr(stream, what), getattr(other, what))
    settings = json.loads(json.dumps(stream.settings.facts()))
    yield from _compared(stream.stream_id, None, "settings", settings, told.settings)


def _chunk_problems(chunk: Chunk, told: ToldChunk | None) -> Iterator[Problem]:
    stream_id, idx = chunk.stream_id, chunk.chunk_idx
    if told is None:
        yield _disagrees(stream_id, idx, "the index has a row, and the ledger does not tell of it")
        return
    for what, worth in ledger.chunk_facts(chunk).items():
        yield from _compared(stream_id, idx, what, worth, told.facts.get(what))
    for what in _CHUNK_FACTS:
        yield from _compared(stream_id, idx, what, getattr(chunk, what), getattr(told, what))
    receipt = asdict(chunk.receipt) if chunk.receipt else None
    yield from _compared(stream_id, idx, "receipt", receipt, told.receipt)
    is_gone = chunk.state == ChunkState.DISCARDED or chunk.pruned_at_ms is not None
    if (chunk.disk_bytes == 0) != is_gone:
        yield _disagrees(stream_id, idx, f"it is {chunk.state} and has {chunk.disk_bytes} bytes on disk")


def _totals_problems(db: sqlite3.Connection, key: int, stream_id: str) -> Iterator[Problem]:
    """What is kept beside the rows, so that nobody need count them."""
    name, destination, settings, length, mark = db.execute(
        "SELECT name, destination, settings, next_chunk_idx, watermark FROM streams WHERE stream_key = ?", (key,)
    ).fetchone()
    said = rows.settings_from_json(settings)
    yield from _compared(stream_id, None, "name", name, said.name)
    yield from _compared(stream_id, None, "destination", destination, said.destination)
    last, heard = db.execute(
        "SELECT max(chunk_idx), max(spooled_at_ms) FROM chunks WHERE stream_key = ?", (key,)
    ).fetchone()
    (said_heard,) = db.execute("SELECT last_spooled_at_ms FROM streams WHERE stream_key = ?", (key,)).fetchone()
    yield from _compared(stream_id, None, "time of the latest push", said_heard, heard)
    yield from _compared(stream_id, None, "next chunk_idx", length, 0 if last is None else last + 1)
    sizes = db.execute(
        "SELECT height, width, (SELECT count(*) FROM chunks WHERE chunks.stream_key = streams.stream_key) > 0"
        " FROM streams WHERE stream_key = ?",
        (key,),
    ).fetchone()
    if not sizes[2]:
        yield from _compared(stream_id, None, "size of frames", sizes[:2], (None, None))
    acknowledged = "SELECT count(*) FROM chunks WHERE stream_key = ? AND state = 'acknowledged' AND chunk_idx"
    (below,) = db.execute(f"{acknowledged} <= ?", (key, mark)).fetchone()
    (above,) = db.execute(f"{acknowledged} = ?", (key, mark + 1)).fetchone()
    if mark < -1 or below != mark + 1 or above:
        yield _disagrees(stream_id, None, f"its watermark is {mark}, and its rows say another")
    kept = (
        "SELECT state, chunks, wire_bytes, disk_bytes FROM tally WHERE stream_key = ? AND chunks != 0 ORDER BY 1"
    )
    counted = (
        "SELECT state, count(*), sum(wire_bytes), sum(disk_bytes) FROM chunks WHERE stream_key = ?"
        " GROUP BY state ORDER BY 1"
    )
    tally, sums = (db.execute(query, (key,)).fetchall() for query in (kept, counted))
    yield from _compared(stream_id, None, "tally", tally, sums)


def _compared(stream_id: str, idx: int | None, what: str, index: object, other: object) -> Iterator[Problem]:
    if index != other:
        yield _disagrees(stream_id, idx, f"{what} is {index!r} in the index, but {other!r} by the ledger")


def _disagrees(stream_id: str, idx: int | None, says: str) -> Problem:
    whose = f"stream {stream_id}" if idx is None else f"chunk {idx} of {stream_id}"
    return Problem(kind=DISAGREES, where=INDEX_NAME, says=f"{whose}: {says}", stream_id=stream_id, chunk_idx=idx)
