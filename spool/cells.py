"""What became of each chunk, in as little as can be said: for maps and curves of a million of them.

* A page holds few rows and is read in a few milliseconds, in a transaction of its own: a push that happens
  meanwhile waits no longer than that.
* Whoever has read all pages once goes on with the ledger: its rows name the chunks that have changed since
  (`Spool.head_seq`, `Spool.events`), and `Spool.cells_of` reads just those.
"""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from spool.states import ChunkState

PAGE = 2000
"""Rows at a time; about 8 ms, where each has a receipt."""
PLACES = 5000
"""Rows at a time of those that say only where a chunk is; likewise."""
_ASKED_MAX = 500

# As `json.dumps` writes it. In a text from outside it cannot stand: its quotes would be escaped. Parsing every
# receipt would take as long again as reading them.
_CONFIRMED = """instr(receipt, '"confirmed": true') > 0"""
_COLUMNS = f"""
    chunk_idx, state, disk_bytes > 0, coalesce({_CONFIRMED}, 0), spooled_at_ms,
    CASE state
        WHEN 'acknowledged' THEN acknowledged_at_ms
        WHEN 'discarded' THEN (
            SELECT max(at_ms) FROM ledger
             WHERE stream_id = ?2 AND chunk_idx = chunks.chunk_idx AND event = 'discarded')
    END,
    wire_bytes
"""  # noqa: S608 - constants
_STATES = {state.value: state for state in ChunkState}


class Cell(NamedTuple):
    """One chunk.

    Attributes:
        is_here: its bytes are on the local disk.
        is_confirmed: acknowledged, and the receipt's checksum equals ours.
        left_at_ms: when it was acknowledged or discarded; ``None`` while it waits or is parked.
        wire_bytes: length of its shard as it is sent.
    """

    chunk_idx: int
    state: ChunkState
    is_here: bool
    is_confirmed: bool
    spooled_at_ms: int
    left_at_ms: int | None
    wire_bytes: int


class Place(NamedTuple):
    """Where one chunk is.

    Attributes:
        n: frames in it.
        capture_start_ms_utc: when the first of them was captured, by the host clock at its push.
        is_here: its bytes are on the local disk.
    """

    chunk_idx: int
    n: int
    capture_start_ms_utc: int
    is_here: bool


def places_after(db: sqlite3.Connection, stream_key: int, after_idx: int, *, limit: int) -> list[Place]:
    """The next so many chunks of a stream, in order."""
    found = db.execute(
        "SELECT chunk_idx, n, capture_start_ms_utc, disk_bytes > 0 FROM chunks"
        " WHERE stream_key = ? AND chunk_idx > ? ORDER BY chunk_idx LIMIT ?",
        (stream_key, after_idx, limit),
    )
    return [Place(idx, n, start, here == 1) for idx, n, start, here in found]


def cells_after(
    db: sqlite3.Connection, stream_key: int, stream_id: str, after_idx: int, *, limit: int
) -> list[Cell]:
    """The next so many chunks of a stream, in order."""
    return [
        _cell(row)
        for row in db.execute(
            f"SELECT {_COLUMNS} FROM chunks WHERE stream_key = ?1 AND chunk_idx > ?3 ORDER BY chunk_idx LIMIT ?4",  # noqa: S608 - constants
            (stream_key, stream_id, after_idx, limit),
        )
    ]


def cells_of(db: sqlite3.Connection, stream_key: int, stream_id: str, idxs: Sequence[int]) -> list[Cell]:
    """Some chunks of a stream, in order; those that were never pushed are left out."""
    found: list[Cell] = []
    wanted = sorted(set(idxs))
    for start in range(0, len(wanted), _ASKED_MAX):
        asked = wanted[start : start + _ASKED_MAX]
        marks = ", ".join(f"?{number}" for number in range(3, 3 + len(asked)))
        query = (
            f"SELECT {_COLUMNS} FROM chunks WHERE stream_key = ?1 AND chunk_idx IN ({marks}) ORDER BY chunk_idx"  # noqa: S608 - constants
        )
        found += [_cell(row) for row in db.execute(query, (stream_key, stream_id, *asked))]
    return found


def _cell(row: tuple[int, str, int, int, int, int | None, int]) -> Cell:
    idx, state, here, confirmed, spooled_at_ms, left_at_ms, wire_bytes = row
    return Cell(idx, _STATES[state], here == 1, confirmed == 1, spooled_at_ms, left_at_ms, wire_bytes)
