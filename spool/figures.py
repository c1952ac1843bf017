"""A spool in a few numbers, for whoever asks every few seconds: it costs the same however many chunks there are.

Sums come from the tally. What is said of one stream is read by its keys, in a transaction of its own: a push that
happens meanwhile waits no longer than that.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from spool import rows
from spool.model import Stream
from spool.states import ChunkState, StreamState

_LATEST = 50
"""So many chunks are looked at for the latest receipt: parked ones among them have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """All streams of one destination together.

    Attributes:
        streams: how many, by state.
        chunks: how many, by state; every one that was ever pushed is in one of them.
        wire_bytes: their bytes as they are sent, likewise.
        disk_bytes: what they occupy here; what lies here once for several destinations counts for each.
        held: how many streams wait for a person to decide.
        last_finalized_at_ms: when the destination accepted the latest end of a stream; ``None`` before the first.
    """

    streams: Mapping[StreamState, int] = field(default_factory=dict)
    chunks: Mapping[ChunkState, int] = field(default_factory=dict)
    wire_bytes: Mapping[ChunkState, int] = field(default_factory=dict)
    disk_bytes: int = 0
    held: int = 0
    last_finalized_at_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFigures:
    """One stream.

    Attributes:
        oldest_waiting_at_ms: when the chunk that is sent next was spooled; ``None`` when none waits.
        last_acknowledged_at_ms: when one of its latest chunks was acknowledged; ``None`` when none was.
        trouble_began_at_ms: since when it is in trouble; ``None`` when it is not.
        is_outage: the whole destination was concerned when that was last told.
        key_refused: a person has to do something about the key.
    """

    stream: Stream
    oldest_waiting_at_ms: int | None
    last_acknowledged_at_ms: int | None
    trouble_began_at_ms: int | None = None
    is_outage: bool = False
    key_refused: bool = False

    @property
    def waiting_s(self) -> float:
        """How much recording waits; a chunk that was cut short counts as a whole one."""
        settings = self.stream.settings
        return self.stream.tally.spooled * settings.chunk_size / settings.fps


def read_sums(db: sqlite3.Connection) -> dict[str, Sums]:
    """The sums of every destination that a stream of the spool ever had."""
    chunks: dict[str, dict[ChunkState, int]] = defaultdict(dict)
    wire_bytes: dict[str, dict[ChunkState, int]] = defaultdict(dict)
    disk_bytes: dict[str, int] = defaultdict(int)
    for url, state, count, size, here in db.execute(
        "SELECT destination, t.state, sum(chunks), sum(wire_bytes), sum(disk_bytes)"
        " FROM tally t JOIN streams USING (stream_key) GROUP BY destination, t.state"
    ):
        disk_bytes[url] += here
        chunks[url][ChunkState(state)], wire_bytes[url][ChunkState(state)] = count, size
    streams: dict[str, dict[StreamState, int]] = defaultdict(dict)
    held: dict[str, int] = defaultdict(int)
    last: dict[str, int | None] = {}
    for url, state, count, count_held, finalized_at_ms in db.execute(
        "SELECT destination, state, count(*), count(held), max(finalized_at_ms) FROM streams"
        " GROUP BY destination, state"
    ):
        streams[url][StreamState(state)] = count
        if state == StreamState.FINALIZED:
            last[url] = finalized_at_ms
        else:
            held[url] += count_held
    return {
        url: Sums(
            streams=by_state,
            chunks=chunks[url],
            wire_bytes=wire_bytes[url],
            disk_bytes=disk_bytes[url],
            held=held[url],
            last_finalized_at_ms=last.get(url),
        )
        for url, by_state in streams.items()
    }


def read_figures(db: sqlite3.Connection, ref: str) -> StreamFigures:
    """The figures of one stream.

    Raises:
        UnknownStream: there is none.
    """
    key, stream = rows.require_stream(db, ref)
    waiting = rows.waiting_after(db, key, -1, limit=1)
    first = waiting[0] if waiting else stream.next_chunk_idx
    # Delivery goes in order: the latest receipt lies just below; or at the end, when an early chunk waits again.
    acknowledged = [_latest(db, key, below) for below in {first, stream.next_chunk_idx}]
    began_at_ms, detail = _trouble(db, stream)
    return StreamFigures(
        stream=stream,
        oldest_waiting_at_ms=_spooled_at_ms(db, key, waiting[0]) if waiting else None,
        last_acknowledged_at_ms=max((at for at in acknowledged if at is not None), default=None),
        trouble_began_at_ms=began_at_ms,
        is_outage=detail.get("outage") is True,
        key_refused=detail.get("key_refused") is True,
    )


def _spooled_at_ms(db: sqlite3.Connection, key: int, idx: int) -> int:
    row = db.execute("SELECT spooled_at_ms FROM chunks WHERE stream_key = ? AND chunk_idx = ?", (key, idx))
    return int(row.fetchone()[0])


def _latest(db: sqlite3.Connection, key: int, below: int) -> int | None:
    (found,) = db.execute(
        "SELECT max(acknowledged_at_ms) FROM (SELECT acknowledged_at_ms FROM chunks"
        " WHERE stream_key = ? AND chunk_idx < ? ORDER BY chunk_idx DESC LIMIT ?)",
        (key, below, _LATEST),
    ).fetchone()
    return None if found is None else int(found)


def _trouble(db: sqlite3.Connection, stream: Stream) -> tuple[int | None, dict[str, object]]:
    """Since when the stream is in trouble, and what the ledger last said of it."""
    if stream.trouble is None or stream.state is StreamState.FINALIZED:
        return None, {}
    last: dict[str, object] | None = None
    for event, at_ms, text in db.execute(
        "SELECT event, at_ms, detail FROM ledger WHERE stream_id = ? AND chunk_idx IS NULL"
        " AND event IN ('trouble_began', 'trouble_changed') ORDER BY seq DESC",
        (stream.stream_id,),
    ):
        last = json.loads(text) if last is None else last
        if event == "trouble_began":
            return int(at_ms), last or {}
    return None, last or {}
