"""The append-only, hash-chained record of everything that happened.

Each row's digest covers the row and the digest before it, so that an edited, dropped, swapped or inserted
row breaks the chain at that place. Rows are written in the transaction of the change they record: a change
without its row, or a row without its change, cannot exist.
"""

import hashlib
import json
import sqlite3
from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from spool.errors import SpoolDamaged
from spool.model import Chunk, Event, Stream
from spool.states import CHUNK_MOVES, STREAM_MOVES

GENESIS = bytes(32)
"""The digest that the first row commits to."""

STATE_EVENTS = frozenset(
    {move.event for move in (*CHUNK_MOVES.values(), *STREAM_MOVES.values())}
    | {"opened", "spooled", "recovered", "restored", "pruned", "held", "released"}
    | {"attempt_started", "clock_measured", "linked", "link_failed"}
    | {"part_asked", "part_opened", "part_closed"}
)
"""What states and counters can be recomputed from; such a row comes with its change and in no other way."""

Stored = tuple[int, int, str | None, int | None, str, str, bytes]
"""A row as it is stored: seq, at_ms, stream_id, chunk_idx, event, detail as text, digest."""

_WINDOW = 20_000
"""Rows that are looked at in one go for those of some kinds; a few milliseconds."""
_COLUMNS = "seq, at_ms, stream_id, chunk_idx, event, detail, previous, digest"


def append(
    db: sqlite3.Connection,
    event: str,
    *,
    at_ms: int,
    stream_id: str | None = None,
    chunk_idx: int | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Add a row inside the caller's transaction; durable with its commit."""
    last = db.execute("SELECT seq, digest FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
    text = json.dumps(detail or {}, sort_keys=True, separators=(",", ":"))
    digest = row_digest(previous, seq, at_ms, stream_id, chunk_idx, event, text)
    db.execute(
        f"INSERT INTO ledger ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
        (seq, at_ms, stream_id, chunk_idx, event, text, previous, digest),
    )


def chunk_facts(chunk: Chunk) -> dict[str, Any]:
    """What the ledger keeps of a chunk when it enters, so that its index row can be told from it."""
    return {
        "n": chunk.n,
        "height": chunk.height,
        "width": chunk.width,
        "bytes": chunk.wire_bytes,
        "sha256": chunk.sha256,
        "capture_start_ms_utc": chunk.capture_start_ms_utc,
        "monotonic_ms": chunk.monotonic_ms,
        "boot_id": chunk.boot_id,
        "capture": None if chunk.capture is None else chunk.capture.facts(),
    }


def entry_facts(chunk: Chunk) -> dict[str, Any]:
    """The same with what only its entering says: when its shard was written, and how large it is."""
    return {**chunk_facts(chunk), "spooled_at_ms": chunk.spooled_at_ms, "disk_bytes": chunk.disk_bytes}


def stream_facts(stream: Stream) -> dict[str, Any]:
    """What the ledger keeps of a stream when it begins, so that its index row can be told from it."""
    return {
        "name": stream.settings.name,
        "destination": stream.settings.destination,
        "parts": [asdict(part) for part in stream.parts],
        "created_at_ms": stream.created_at_ms,
        "created_monotonic_ms": stream.created_monotonic_ms,
        "boot_id": stream.boot_id,
        "settings": stream.settings.facts(),
    }


def put(db: sqlite3.Connection, event: Event) -> None:
    """Bring back a row of a lost index as it was."""
    text = json.dumps(event.detail, sort_keys=True, separators=(",", ":"))
    db.execute(
        f"INSERT INTO ledger ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 - a constant
        (
            event.seq,
            event.at_ms,
            event.stream_id,
            event.chunk_idx,
            event.event,
            text,
            event.previous,
            event.digest,
        ),
    )


def is_empty(db: sqlite3.Connection) -> bool:
    """Whether nothing has happened yet."""
    return db.execute("SELECT 1 FROM ledger LIMIT 1").fetchone() is None


def row_digest(
    previous: bytes, seq: int, at_ms: int, stream_id: str | None, chunk_idx: int | None, event: str, text: str
) -> bytes:
    """SHA-256 over the previous digest and the row's own, as 32 bytes."""
    return chained(previous, own_digest(seq, at_ms, stream_id, chunk_idx, event, text))


def own_digest(seq: int, at_ms: int, stream_id: str | None, chunk_idx: int | None, event: str, text: str) -> bytes:
    """SHA-256 over the row alone, in two steps; see `sealed_digest`."""
    row = json.dumps([seq, at_ms, stream_id, chunk_idx, event, text], separators=(",", ":"))
    return sealed_digest(stream_id, hashlib.sha256(row.encode()).hexdigest())


def sealed_digest(stream_id: str | None, row_sha256: str) -> bytes:
    """The own digest of a row of which no more is known than its stream, and the SHA-256 of the rest in hex.

    So the chain can be followed past rows that are nobody's business; but whose they are cannot be hidden.
    """
    return hashlib.sha256(f"{stream_id or ''}\n{row_sha256}".encode()).digest()


def chained(previous: bytes, own: bytes) -> bytes:
    """The digest of a row whose own digest is known."""
    return hashlib.sha256(previous + own).digest()


def digest_of(event: Event) -> bytes:
    """What an honest row's digest is, given the digest it says it commits to."""
    text = json.dumps(event.detail, sort_keys=True, separators=(",", ":"))
    return row_digest(event.previous, event.seq, event.at_ms, event.stream_id, event.chunk_idx, event.event, text)


def events(db: sqlite3.Connection, stream_id: str | None, *, after_seq: int, limit: int) -> list[Event]:
    """Rows in order, of one stream or of all, from after a ``seq``."""
    if stream_id is None:
        return _events(db, "seq > ? ORDER BY seq LIMIT ?", (after_seq, limit))
    (first,) = db.execute(
        "SELECT min(seq) FROM ledger WHERE stream_id = ? AND chunk_idx IS NULL", (stream_id,)
    ).fetchone()
    # Along the ledger from where the stream begins (the plus): its index is in another order, all to be sorted.
    where = "+stream_id = ? AND seq > ? ORDER BY seq LIMIT ?"
    return _events(db, where, (stream_id, max(after_seq, (first or 1) - 1), limit))


def events_of(db: sqlite3.Connection, kinds: Collection[str], *, after_seq: int) -> tuple[list[Event], int]:
    """The rows of some kinds among the next `_WINDOW`, and the last ``seq`` that was looked at."""
    upto = min(after_seq + _WINDOW, head_seq(db))
    marks = ", ".join("?" for _ in kinds)
    where = f"seq > ? AND seq <= ? AND event IN ({marks}) ORDER BY seq"
    return _events(db, where, (after_seq, upto, *kinds)), upto


def stored(db: sqlite3.Connection, *, after_seq: int, limit: int) -> list[Stored]:
    """The same of the whole spool, as they are stored: for whoever copies rows and asks nothing of them."""
    found = db.execute(
        "SELECT seq, at_ms, stream_id, chunk_idx, event, detail, digest FROM ledger WHERE seq > ?"
        " ORDER BY seq LIMIT ?",
        (after_seq, limit),
    )
    return found.fetchall()


def stream_events(db: sqlite3.Connection, stream_id: str, *, after_seq: int, limit: int) -> list[Event]:
    """Rows of a stream that are about none of its chunks, in order, from after a ``seq``."""
    where = "stream_id = ? AND chunk_idx IS NULL AND seq > ? ORDER BY seq LIMIT ?"
    return _events(db, where, (stream_id, after_seq, limit))


def chunk_events(db: sqlite3.Connection, stream_id: str, first: int, last: int) -> list[Event]:
    """Rows about the chunks from one to another, chunk by chunk, in order for each."""
    where = "stream_id = ? AND chunk_idx BETWEEN ? AND ? ORDER BY chunk_idx, seq"
    return _events(db, where, (stream_id, first, last))


def latest_chunk_events(db: sqlite3.Connection, stream_id: str, chunk_idx: int, *, limit: int) -> list[Event]:
    """The last so many rows about one chunk, in order."""
    where = "stream_id = ? AND chunk_idx = ? ORDER BY seq DESC LIMIT ?"
    return _events(db, where, (stream_id, chunk_idx, limit))[::-1]


def head_seq(db: sqlite3.Connection) -> int:
    """The last row's ``seq``, 0 while there is none."""
    return int(db.execute("SELECT coalesce(max(seq), 0) FROM ledger").fetchone()[0])


def attempt_events(db: sqlite3.Connection, stream_id: str, first: int, last: int) -> list[Event]:
    """Of the same rows those that tell of attempts."""
    where = (
        "stream_id = ? AND chunk_idx BETWEEN ? AND ?"
        " AND event IN ('attempt_started', 'attempt_failed', 'acknowledged', 'parked') ORDER BY chunk_idx, seq"
    )
    return _events(db, where, (stream_id, first, last))


def _events(db: sqlite3.Connection, where: str, arguments: tuple[str | int, ...]) -> list[Event]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM ledger WHERE {where}", arguments)  # noqa: S608 - constants
    return [
        Event(
            seq=row[0],
            at_ms=row[1],
            stream_id=row[2],
            chunk_idx=row[3],
            event=row[4],
            detail=_detail(row[0], row[5]),
            previous=row[6],
            digest=row[7],
        )
        for row in rows
    ]


def _detail(seq: int, text: str) -> dict[str, Any]:
    try:
        detail = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise SpoolDamaged(f"row {seq} of the ledger cannot be read") from error
    if not isinstance(detail, dict):
        raise SpoolDamaged(f"row {seq} of the ledger cannot be read")
    return detail


def first_break(db: sqlite3.Connection) -> int | None:
    """The ``seq`` at which the chain does not hold; ``None`` when every row commits to the one before."""
    expected, previous = 1, GENESIS
    for row in db.execute(f"SELECT {_COLUMNS} FROM ledger ORDER BY seq"):  # noqa: S608 - a constant
        seq, at_ms, stream_id, chunk_idx, event, text, said_previous, digest = row
        honest = row_digest(previous, seq, at_ms, stream_id, chunk_idx, event, text)
        if seq != expected or said_previous != previous or digest != honest:
            return int(expected)
        expected, previous = seq + 1, digest
    return None
