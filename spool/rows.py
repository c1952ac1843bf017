"""Rows of the index to frozen values and back: the only place that knows the columns.

Moves of state go through `move_chunk` and `move_stream`, which name the states they expect.
Every function runs inside a transaction of its caller.
"""

import json
import sqlite3
from dataclasses import asdict, astuple
from functools import lru_cache
from typing import Any

from spool.capture import Capture
from spool.errors import ChunkMoved, IllegalTransition, SpoolDamaged, UnknownStream
from spool.model import Chunk, ClockReading, Part, Receipt, Stream, StreamSettings, Tally
from spool.states import CHUNK_MOVES, STREAM_MOVES, ChunkState, StreamState

_STREAM_COLUMNS = (
    "stream_key, stream_id, settings, state, height, width, next_chunk_idx, watermark, created_at_ms,"
    " created_monotonic_ms, boot_id, sealed_at_ms, finalized_at_ms, unlinked, held, trouble, clock_offset_ms,"
    " clock_uncertainty_ms, lease_owner, lease_until_ms"
)
_PART_COLUMNS = "number, data_id, name, is_name_free, asked_at_ms, opened_at_ms, closed_at_ms, closed_why"
_READING_COLUMNS = "at_ms, monotonic_ms, boot_id, offset_ms, uncertainty_ms"
_CHUNK_COLUMNS = (
    "c.chunk_idx, c.state, c.n, s.height, s.width, c.wire_bytes, c.sha256, c.disk_bytes,"
    " c.capture_start_ms_utc, c.spooled_at_ms, c.attempts, c.acknowledged_at_ms, c.receipt, c.parked_reason,"
    " c.pruned_at_ms, s.stream_id, c.monotonic_ms, c.boot_id, c.capture"
)

_STORED = (
    *("stream_key", "chunk_idx", "state", "n", "wire_bytes", "sha256", "disk_bytes", "capture_start_ms_utc"),
    *("monotonic_ms", "boot_id", "spooled_at_ms", "attempts", "acknowledged_at_ms", "receipt", "parked_reason"),
    *("pruned_at_ms", "capture"),
)
INSERT_CHUNK = f"INSERT INTO chunks ({', '.join(_STORED)}) VALUES ({', '.join(f':{name}' for name in _STORED)})"  # noqa: S608 - our names
"""Takes what `chunk_columns` gives."""


def find_stream(db: sqlite3.Connection, ref: str) -> tuple[int, Stream] | None:
    """The stream with this stream_id, or with this data_id of any of its parts, and its key."""
    try:
        ref.encode()
    except UnicodeEncodeError:
        return None  # half a character: no id holds one, and it could not even be asked for
    row = db.execute(
        f"SELECT {_STREAM_COLUMNS} FROM streams WHERE stream_key IN"  # noqa: S608 - a constant
        " (SELECT stream_key FROM streams WHERE stream_id = ?1"
        " UNION ALL SELECT stream_key FROM parts WHERE data_id = ?1)",
        (ref,),
    ).fetchone()
    return (row[0], _stream(db, row)) if row else None


def require_stream(db: sqlite3.Connection, ref: str) -> tuple[int, Stream]:
    """The same; there must be one.

    Raises:
        UnknownStream: there is none.
    """
    found = find_stream(db, ref)
    if found is None:
        raise UnknownStream(f"this spool has no stream {ref!r}")
    return found


def all_streams(db: sqlite3.Connection, *, unfinished_only: bool = False) -> list[tuple[int, Stream]]:
    """Every stream with its key, oldest first."""
    rows = db.execute(
        f"SELECT {_STREAM_COLUMNS} FROM streams WHERE NOT ? OR state != 'finalized' ORDER BY stream_key",  # noqa: S608 - a constant
        (unfinished_only,),
    ).fetchall()
    return [(row[0], _stream(db, row)) for row in rows]


def insert_stream(db: sqlite3.Connection, stream: Stream) -> int:
    """Add a stream's row; its key."""
    columns = {
        "stream_id": stream.stream_id,
        "name": stream.settings.name,
        "destination": stream.settings.destination,
        "settings": json.dumps(stream.settings.facts()),
        "state": stream.state,
        "created_at_ms": stream.created_at_ms,
        "created_monotonic_ms": stream.created_monotonic_ms,
        "boot_id": stream.boot_id,
        "sealed_at_ms": stream.sealed_at_ms,
        "finalized_at_ms": stream.finalized_at_ms,
        "unlinked": stream.unlinked,
        "held": stream.held,
    }
    cursor = db.execute(
        f"INSERT INTO streams ({', '.join(columns)}) VALUES ({_marks(tuple(columns))})",  # noqa: S608 - our names
        tuple(columns.values()),
    )
    assert cursor.lastrowid is not None
    for part in stream.parts:
        put_part(db, cursor.lastrowid, part)
    return cursor.lastrowid


def put_part(db: sqlite3.Connection, stream_key: int, part: Part) -> None:
    """Add a part of a stream, or write anew what is known of it."""
    columns = asdict(part)
    db.execute(
        f"INSERT INTO parts (stream_key, {', '.join(columns)})"  # noqa: S608 - our names
        f" VALUES (?, {_marks(tuple(columns))}) ON CONFLICT (stream_key, number) DO UPDATE SET"
        f" {', '.join(f'{name} = excluded.{name}' for name in columns)}",
        (stream_key, *columns.values()),
    )


def _parts(db: sqlite3.Connection, stream_key: int) -> tuple[Part, ...]:
    found = db.execute(
        f"SELECT {_PART_COLUMNS} FROM parts WHERE stream_key = ? ORDER BY number",  # noqa: S608 - a constant
        (stream_key,),
    )
    return tuple(
        Part(
            number=row[0],
            data_id=row[1],
            name=row[2],
            is_name_free=bool(row[3]),
            asked_at_ms=row[4],
            opened_at_ms=row[5],
            closed_at_ms=row[6],
            closed_why=row[7],
        )
        for row in found
    )


def add_reading(db: sqlite3.Connection, stream_key: int, reading: ClockReading) -> None:
    """Add a reading of the clocks, which is the stream's latest from now on."""
    db.execute(
        f"INSERT INTO clock_readings (stream_key, number, {_READING_COLUMNS})"  # noqa: S608 - a constant
        " SELECT ?1, 1 + coalesce(max(number), 0), ?2, ?3, ?4, ?5, ?6 FROM clock_readings WHERE stream_key = ?1",
        (stream_key, *astuple(reading)),
    )
    db.execute(
        "UPDATE streams SET clock_offset_ms = ?, clock_uncertainty_ms = ? WHERE stream_key = ?",
        (reading.offset_ms, reading.uncertainty_ms, stream_key),
    )


def readings(db: sqlite3.Connection, stream_key: int) -> tuple[ClockReading, ...]:
    """Every reading of the clocks of a stream, in the order in which they were taken."""
    found = db.execute(
        f"SELECT {_READING_COLUMNS} FROM clock_readings WHERE stream_key = ? ORDER BY number",  # noqa: S608 - a constant
        (stream_key,),
    )
    return tuple(
        ClockReading(at_ms=row[0], monotonic_ms=row[1], boot_id=row[2], offset_ms=row[3], uncertainty_ms=row[4])
        for row in found
    )


@lru_cache(maxsize=256)
def settings_from_json(text: str) -> StreamSettings:
    """The settings as stored in the index and in ``stream.json``.

    Raises:
        SpoolDamaged: it is not what `insert_stream` wrote.
    """
    try:
        return StreamSettings.of_facts(json.loads(text))
    except (TypeError, ValueError, KeyError) as error:
        raise SpoolDamaged("the settings of a stream cannot be read") from error


def _stream(db: sqlite3.Connection, row: tuple[Any, ...]) -> Stream:
    states = {
        state: (chunks, wire_bytes, disk_bytes)
        for state, chunks, wire_bytes, disk_bytes in db.execute(
            "SELECT state, chunks, wire_bytes, disk_bytes FROM tally WHERE stream_key = ?", (row[0],)
        )
    }
    none = (0, 0, 0)
    return Stream(
        stream_id=row[1],
        settings=settings_from_json(row[2]),
        state=StreamState(row[3]),
        parts=_parts(db, row[0]),
        height=row[4],
        width=row[5],
        next_chunk_idx=row[6],
        watermark=row[7],
        created_at_ms=row[8],
        created_monotonic_ms=row[9],
        boot_id=row[10],
        sealed_at_ms=row[11],
        finalized_at_ms=row[12],
        unlinked=row[13],
        held=row[14],
        trouble=row[15],
        clock_offset_ms=row[16],
        clock_uncertainty_ms=row[17],
        lease_owner=row[18],
        lease_until_ms=row[19],
        tally=Tally(
            spooled=states.get(ChunkState.SPOOLED, none)[0],
            acknowledged=states.get(ChunkState.ACKNOWLEDGED, none)[0],
            parked=states.get(ChunkState.PARKED, none)[0],
            discarded=states.get(ChunkState.DISCARDED, none)[0],
            waiting_bytes=states.get(ChunkState.SPOOLED, none)[1],
            disk_bytes=sum(one[2] for one in states.values()),
        ),
    )


def insert_chunk(db: sqlite3.Connection, stream_key: int, chunk: Chunk) -> None:
    """Add a chunk's row and let the stream grow with it."""
    db.execute(INSERT_CHUNK, chunk_columns(stream_key, chunk))
    db.execute(
        "UPDATE streams SET height = ?1, width = ?2, next_chunk_idx = max(next_chunk_idx, ?3),"
        " last_spooled_at_ms = max(coalesce(last_spooled_at_ms, ?4), ?4) WHERE stream_key = ?5",
        (chunk.height, chunk.width, chunk.chunk_idx + 1, chunk.spooled_at_ms, stream_key),
    )


def chunk_columns(stream_key: int, chunk: Chunk) -> dict[str, object]:
    """A chunk as `INSERT_CHUNK` wants it."""
    return {
        "stream_key": stream_key,
        "chunk_idx": chunk.chunk_idx,
        "state": chunk.state,
        "n": chunk.n,
        "wire_bytes": chunk.wire_bytes,
        "sha256": chunk.sha256,
        "disk_bytes": chunk.disk_bytes,
        "capture_start_ms_utc": chunk.capture_start_ms_utc,
        "monotonic_ms": chunk.monotonic_ms,
        "boot_id": chunk.boot_id,
        "spooled_at_ms": chunk.spooled_at_ms,
        "attempts": chunk.attempts,
        "acknowledged_at_ms": chunk.acknowledged_at_ms,
        "receipt": None if chunk.receipt is None else json.dumps(asdict(chunk.receipt)),
        "parked_reason": chunk.parked_reason,
        "pruned_at_ms": chunk.pruned_at_ms,
        "capture": None if chunk.capture is None else json.dumps(chunk.capture.facts()),
    }


def select_chunks(
    db: sqlite3.Connection, where: str, arguments: tuple[Any, ...], *, limit: int = -1
) -> list[Chunk]:
    """The chunks ``c`` of streams ``s`` that fit ``where``; ordered by chunk_idx within a stream.

    Args:
        db: a connection inside a transaction.
        where: SQL over ``c`` and ``s``, ending as the caller wishes, always a constant of this package.
        arguments: for the placeholders in ``where``.
        limit: the most rows; -1 for all.
    """
    rows = db.execute(
        f"SELECT {_CHUNK_COLUMNS} FROM chunks c JOIN streams s USING (stream_key)"  # noqa: S608 - constants
        f" WHERE {where} LIMIT ?",
        (*arguments, limit),
    )
    return [_chunk(row) for row in rows]


def chunk_at(db: sqlite3.Connection, stream_key: int, chunk_idx: int) -> Chunk | None:
    """One chunk; ``None`` if that index was never pushed."""
    found = select_chunks(db, "c.stream_key = ? AND c.chunk_idx = ?", (stream_key, chunk_idx))
    return found[0] if found else None


def chunks_after(db: sqlite3.Connection, stream_key: int, after_idx: int, *, limit: int) -> list[Chunk]:
    """The next so many chunks of a stream, in order."""
    where = "c.stream_key = ? AND c.chunk_idx > ? ORDER BY c.chunk_idx"
    return select_chunks(db, where, (stream_key, after_idx), limit=limit)


def chunks_lacking(
    db: sqlite3.Connection, stream_key: int, other_key: int, after_idx: int, *, limit: int
) -> list[int]:
    """The chunk_idx of the next so many chunks of a stream that another stream does not have, in order."""
    found = db.execute(
        "SELECT chunk_idx FROM chunks AS one WHERE stream_key = ?1 AND chunk_idx > ?3 AND NOT EXISTS"
        " (SELECT 1 FROM chunks AS two WHERE two.stream_key = ?2 AND two.chunk_idx = one.chunk_idx)"
        " ORDER BY chunk_idx LIMIT ?4",
        (stream_key, other_key, after_idx, limit),
    )
    return [idx for (idx,) in found]


# By name: the planner prefers the table's own order, and would go through every acknowledged row.
_WAITING = "FROM chunks c INDEXED BY chunks_waiting"


def first_waiting(db: sqlite3.Connection, stream_key: int, *, after_idx: int = -1) -> Chunk | None:
    """The first waiting chunk after one; ``None`` when there is none."""
    row = db.execute(
        f"SELECT {_CHUNK_COLUMNS} {_WAITING} JOIN streams s USING (stream_key)"
        " WHERE c.stream_key = ? AND c.state = 'spooled' AND c.chunk_idx > ? ORDER BY c.chunk_idx LIMIT 1",
        (stream_key, after_idx),
    ).fetchone()
    return _chunk(row) if row else None


def waiting_after(db: sqlite3.Connection, stream_key: int, after_idx: int, *, limit: int) -> list[int]:
    """The chunk_idx of the next so many waiting chunks of a stream, in order."""
    found = db.execute(
        f"SELECT c.chunk_idx {_WAITING} WHERE c.stream_key = ? AND c.state = 'spooled' AND c.chunk_idx > ?"
        " ORDER BY c.chunk_idx LIMIT ?",
        (stream_key, after_idx, limit),
    )
    return [idx for (idx,) in found]


def parked(db: sqlite3.Connection, stream_key: int) -> list[int]:
    """The chunk_idx of each parked chunk of a stream, in order."""
    found = db.execute(
        "SELECT chunk_idx FROM chunks INDEXED BY chunks_parked WHERE stream_key = ? AND state = 'parked'"
        " ORDER BY chunk_idx",
        (stream_key,),
    )
    return [idx for (idx,) in found]


def _chunk(row: tuple[Any, ...]) -> Chunk:
    return Chunk(
        chunk_idx=row[0],
        state=ChunkState(row[1]),
        n=row[2],
        height=row[3] or 0,  # a stream with chunks has a size, unless the index is damaged
        width=row[4] or 0,
        wire_bytes=row[5],
        sha256=row[6],
        disk_bytes=row[7],
        capture_start_ms_utc=row[8],
        spooled_at_ms=row[9],
        attempts=row[10],
        acknowledged_at_ms=row[11],
        receipt=_receipt(row[12]) if row[12] else None,
        parked_reason=row[13],
        pruned_at_ms=row[14],
        stream_id=row[15],
        monotonic_ms=row[16],
        boot_id=row[17],
        capture=_capture(row[18]) if row[18] else None,
    )


def _capture(text: str) -> Capture | None:
    try:
        return Capture.of(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SpoolDamaged("what a source has told cannot be read in the index") from error


def _receipt(text: str) -> Receipt:
    try:
        return Receipt(**json.loads(text))
    except (ValueError, TypeError, RecursionError) as error:
        raise SpoolDamaged("a receipt in the index cannot be read") from error


def move_chunk(db: sqlite3.Connection, stream_key: int, chunk_idx: int, verb: str, **columns: object) -> str:
    """Move a chunk by the table in `spool.states`; the name of the ledger event to append.

    Raises:
        ChunkMoved: the chunk is in none of the states that the verb expects.
    """
    move = CHUNK_MOVES[verb]
    changes = {"state": move.becomes, **columns}
    cursor = db.execute(
        f"UPDATE chunks SET {', '.join(f'{name} = ?' for name in changes)}"  # noqa: S608 - names from our code
        f" WHERE stream_key = ? AND chunk_idx = ? AND state IN ({_marks(move.expects)})",
        (*changes.values(), stream_key, chunk_idx, *move.expects),
    )
    if cursor.rowcount != 1:
        raise ChunkMoved(f"cannot {verb} chunk {chunk_idx}: it is not {' or '.join(move.expects)}")
    return move.event


def move_stream(db: sqlite3.Connection, stream_key: int, verb: str, **columns: object) -> str:
    """Move a stream by the table in `spool.states`; the name of the ledger event to append.

    Raises:
        IllegalTransition: the stream is in none of the states that the verb expects.
    """
    move = STREAM_MOVES[verb]
    changes = {"state": move.becomes, **columns}
    cursor = db.execute(
        f"UPDATE streams SET {', '.join(f'{name} = ?' for name in changes)}"  # noqa: S608 - names from our code
        f" WHERE stream_key = ? AND state IN ({_marks(move.expects)})",
        (*changes.values(), stream_key, *move.expects),
    )
    if cursor.rowcount != 1:
        raise IllegalTransition(f"cannot {verb} the stream: it is not {' or '.join(move.expects)}")
    return move.event


def _marks(values: tuple[str, ...]) -> str:
    return ", ".join("?" for _ in values)


def frame_count(db: sqlite3.Connection, stream_key: int, stream: Stream) -> int:
    """The length of the stream's array along time: whole chunks up to the last one, and its frames."""
    last = stream.next_chunk_idx - 1
    row = db.execute("SELECT n FROM chunks WHERE stream_key = ? AND chunk_idx = ?", (stream_key, last)).fetchone()
    return last * stream.settings.chunk_size + int(row[0]) if row else 0


def advance_watermark(db: sqlite3.Connection, stream_key: int) -> None:
    """Move the watermark up over every acknowledged chunk that follows it without a gap."""
    (mark,) = db.execute("SELECT watermark FROM streams WHERE stream_key = ?", (stream_key,)).fetchone()
    start = mark
    # Every row, so that the first one that stops it is seen at once, however many follow.
    for idx, state in db.execute(
        "SELECT chunk_idx, state FROM chunks WHERE stream_key = ? AND chunk_idx > ? ORDER BY chunk_idx",
        (stream_key, mark),
    ):
        if idx != mark + 1 or state != ChunkState.ACKNOWLEDGED:
            break
        mark = idx
    if mark != start:
        db.execute("UPDATE streams SET watermark = ? WHERE stream_key = ?", (mark, stream_key))


def require_nothing_left(db: sqlite3.Connection, stream_key: int) -> None:
    """Refuse unless every chunk of the stream is acknowledged or discarded.

    Raises:
        IllegalTransition: a chunk is waiting or parked.
    """
    (left,) = db.execute(
        "SELECT coalesce(sum(chunks), 0) FROM tally WHERE stream_key = ? AND state IN ('spooled', 'parked')",
        (stream_key,),
    ).fetchone()
    if left:
        raise IllegalTransition(f"cannot finalize the stream: {left} chunks are waiting or parked")


def grant_lease(db: sqlite3.Connection, stream_key: int, owner: str, until_ms: int) -> int:
    """Give the stream to a worker; the new token, which voids every earlier one."""
    (token,) = db.execute(
        "UPDATE streams SET lease_owner = ?, lease_until_ms = ?, lease_token = lease_token + 1"
        " WHERE stream_key = ? RETURNING lease_token",
        (owner, until_ms, stream_key),
    ).fetchone()
    return int(token)


def disk_bytes(db: sqlite3.Connection) -> int:
    """What all shards of the spool occupy."""
    return int(db.execute("SELECT coalesce(sum(disk_bytes), 0) FROM tally").fetchone()[0])
