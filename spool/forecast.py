"""How fast a spool fills, and how long its room lasts: from what came and went lately.

What came are the chunks of open streams; what went are the acknowledged ones of every stream that is not over.
Acknowledged bytes that still lie here count as room: they are pruned before a chunk is refused. So each
acknowledgement makes room, and a spool fills at the rate in less the rate out.

Only the latest rows of each stream are read, by their primary key: it costs the same at a million chunks.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from spool import rows
from spool.retention import Limits
from spool.states import StreamState

WINDOW_MS = 10 * 60_000
"""What happened before is no part of a rate."""
SAMPLE_MAX = 300
"""The most chunks of a stream that are looked at; two seconds each, they are the window."""
_PATIENCE_MS = 30_000
_COLUMNS = "stream_key, state, watermark, next_chunk_idx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What is to be expected of a spool's room.

    Attributes:
        rate_in_bytes_per_s: what recording adds, 0 while nothing is recorded.
        rate_out_bytes_per_s: what deliveries free.
        room_bytes: what can be recorded before a chunk is refused, if nothing more is delivered.
        held_bytes: what lies here and may not be pruned: waiting and parked chunks.
    """

    rate_in_bytes_per_s: float
    rate_out_bytes_per_s: float
    room_bytes: int
    held_bytes: int

    @property
    def full_in_s(self) -> float | None:
        """When the room is gone if it goes on like this, seconds from now; ``None`` when it is not filling."""
        if self.room_bytes == 0:
            return 0.0
        filling = self.rate_in_bytes_per_s - self.rate_out_bytes_per_s
        return self.room_bytes / filling if filling > 0 else None

    @property
    def used_share(self) -> float:
        """How much of the room there could be is taken by what may not be pruned, from 0 to 1."""
        return self.held_bytes / (self.held_bytes + self.room_bytes) if self.room_bytes else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What passed through a stream lately: ``(moment in ms, bytes)`` of each chunk, in no certain order."""

    came: tuple[tuple[int, int], ...] = ()
    went: tuple[tuple[int, int], ...] = ()


def foresee(
    limits: Limits,
    traffic: Iterable[Traffic],
    *,
    now_ms: int,
    used_bytes: int,
    prunable_bytes: int,
    free_bytes: int,
    reserve_bytes: int = 0,
) -> Forecast:
    """The forecast; see `spool.retention.shortfall` for the numbers that it shares with it.

    Args:
        limits: the spool's.
        traffic: of each stream that is not over.
        now_ms: by the clock that stamped the traffic.
        used_bytes: what shards occupy.
        prunable_bytes: how much of that is acknowledged.
        free_bytes: what the file system has left.
        reserve_bytes: what the reserve still needs.
    """
    by_disk = free_bytes - reserve_bytes - limits.min_free_bytes
    by_limit = by_disk if limits.max_bytes is None else limits.max_bytes - used_bytes
    streams = list(traffic)
    return Forecast(
        rate_in_bytes_per_s=sum(bytes_per_s(one.came, now_ms) for one in streams),
        rate_out_bytes_per_s=sum(bytes_per_s(one.went, now_ms) for one in streams),
        room_bytes=max(0, int(min(by_disk, by_limit)) + prunable_bytes),
        held_bytes=used_bytes - prunable_bytes,
    )


def bytes_per_s(passed: Iterable[tuple[int, int]], now_ms: int) -> float:
    """The rate of one stream; 0 when fewer than two chunks passed lately, or when it has fallen silent.

    Silent is a stream that lets three times its longest pause go by, and half a minute at least: a recording
    that ended must not look like one that goes on.
    """
    lately = sorted(one for one in passed if one[0] > now_ms - WINDOW_MS)
    if len(lately) < 2:  # noqa: PLR2004 - a rate lies between two
        return 0.0
    first_ms, last_ms = lately[0][0], lately[-1][0]
    longest_ms = max(later[0] - earlier[0] for earlier, later in pairwise(lately))
    if now_ms - last_ms > max(_PATIENCE_MS, 3 * longest_ms):
        return 0.0
    # The first chunk's bytes came before the span began.
    span_ms = max(now_ms, last_ms) - first_ms
    return 1000 * sum(size for _, size in lately[1:]) / span_ms if span_ms else 0.0


def read_traffic(db: sqlite3.Connection, now_ms: int) -> list[Traffic]:
    """What passed lately through every stream that is not over."""
    return [
        _traffic(db, row, now_ms)
        for row in db.execute(f"SELECT {_COLUMNS} FROM streams WHERE state != 'finalized'").fetchall()  # noqa: S608 - a constant
    ]


def read_stream_traffic(db: sqlite3.Connection, stream_key: int, now_ms: int) -> Traffic:
    """What passed lately through one stream."""
    row = db.execute(f"SELECT {_COLUMNS} FROM streams WHERE stream_key = ?", (stream_key,)).fetchone()  # noqa: S608 - a constant
    return _traffic(db, row, now_ms)


def _traffic(db: sqlite3.Connection, row: tuple[int, str, int, int], now_ms: int) -> Traffic:
    key, state, mark, next_idx = row
    since_ms = now_ms - WINDOW_MS
    return Traffic(
        came=_latest(db, "spooled_at_ms", key, next_idx, since_ms) if state == StreamState.OPEN else (),
        went=_latest(db, "acknowledged_at_ms", key, _first_waiting(db, key, mark, next_idx), since_ms),
    )


def read_usage(db: sqlite3.Connection) -> tuple[int, int]:
    """What all shards occupy, and how much of it is acknowledged."""
    used, prunable = db.execute(
        "SELECT coalesce(sum(disk_bytes), 0), coalesce(sum(disk_bytes) FILTER (WHERE state = 'acknowledged'), 0)"
        " FROM tally"
    ).fetchone()
    return int(used), int(prunable)


def _first_waiting(db: sqlite3.Connection, key: int, watermark: int, next_idx: int) -> int:
    """Delivery goes in order, so that what was acknowledged last lies just below."""
    waiting = rows.waiting_after(db, key, watermark, limit=1)
    return waiting[0] if waiting else next_idx


def _latest(
    db: sqlite3.Connection, column: str, key: int, below_idx: int, since_ms: int
) -> tuple[tuple[int, int], ...]:
    """When the chunks just below an index passed, and their bytes; up to the first that passed too long ago."""
    found = []
    for at_ms, size in db.execute(
        # What was pruned has no bytes here any more, but had them.
        f"SELECT {column}, max(disk_bytes, wire_bytes) FROM chunks"  # noqa: S608 - one of two names above
        " WHERE stream_key = ? AND chunk_idx < ? ORDER BY chunk_idx DESC LIMIT ?",
        (key, below_idx, SAMPLE_MAX),
    ):
        if at_ms is None:
            continue  # parked or discarded
        if at_ms <= since_ms:
            break
        found.append((int(at_ms), int(size)))
    return tuple(found)
