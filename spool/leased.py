"""A stream under lease: what the one worker that delivers it may do.

Every change names the lease's token in its transaction. A worker that was asleep for longer than its lease
therefore cannot record anything once another has taken the stream: it gets `LeaseLost`, and the other one
repeats the upload with the same bytes.
"""

import json
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from spool import copying, ledger, parting, rows, shards
from spool.errors import ChunkMoved, LeaseLost, SpoolError
from spool.folder import SpoolFolder
from spool.model import Chunk, ClockReading, Part, Receipt, Stream

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


class LeasedStream:
    """One stream, held by one worker until the lease ends. Thread-safe; made by `Spool.lease`."""

    def __init__(
        self, folder: SpoolFolder, key: int, stream: Stream, *, owner: str, token: int, ttl_s: float
    ) -> None:
        self._folder = folder
        self._key = key
        self._owner = owner
        self._token = token
        self._ttl_ms = int(ttl_s * 1000)
        self._chunk_size = stream.settings.chunk_size  # fixed for the stream's life, like all its settings
        self.stream_id = stream.stream_id

    # Reading --------------------------------------------------------------------------------------------

    def stream(self) -> Stream:
        """The stream as it is now."""
        with self._folder.index.reading() as db:
            found = rows.find_stream(db, self.stream_id)
        assert found is not None
        return found[1]

    def next_waiting(self, *, after_idx: int = -1) -> Chunk | None:
        """The waiting chunk with the lowest chunk_idx above ``after_idx``; ``None`` when there is none."""
        with self._folder.index.reading() as db:
            return rows.first_waiting(db, self._key, after_idx=after_idx)

    def knows(self, data_id: str) -> bool:
        """Whether a stream of this spool has, or had, this data_id."""
        with self._folder.index.reading() as db:
            return rows.find_stream(db, data_id) is not None

    def clock_readings(self) -> tuple[ClockReading, ...]:
        """Every measurement of the reference clock that was recorded for the stream, oldest first."""
        with self._folder.index.reading() as db:
            return rows.readings(db, self._key)

    def read(self, chunk: Chunk) -> memoryview:
        """The bytes to send, checked against the digest taken when they were pushed; read-only, the caller's own.

        Raises:
            ShardDamaged: they are missing or are not those that were spooled.
            OSError: the disk failed to give them.
        """
        return shards.read_wire_form(
            self._shard_path(chunk.chunk_idx),
            n=chunk.n,
            chunk_size=self._chunk_size,
            wire_bytes=chunk.wire_bytes,
            sha256=chunk.sha256,
        )

    # Recording ------------------------------------------------------------------------------------------

    def note_clock(self, reading: ClockReading) -> None:
        """Record a measurement of the reference clock against the host's clocks."""

        def change(db: sqlite3.Connection) -> None:
            now = self._folder.clock.now_ms()
            for key, stream in ((self._key, self._row(db)), *copying.copies_of(db, self._row(db))):
                rows.add_reading(db, key, reading)
                ledger.append(db, "clock_measured", at_ms=now, stream_id=stream.stream_id, detail=asdict(reading))

        self._write("clock", change)

    def attempt_started(self, chunk: Chunk, detail: dict[str, Any] | None = None) -> None:
        """An upload of this chunk is about to begin.

        Args:
            chunk: a waiting one.
            detail: what the destination is told of it besides its bytes.

        Durability: on return the attempt is on record, whatever happens to this process.

        Raises:
            ChunkMoved: the chunk no longer waits; a person has discarded it.
        """

        def change(db: sqlite3.Connection) -> None:
            cursor = db.execute(
                "UPDATE chunks SET attempts = attempts + 1"
                " WHERE stream_key = ? AND chunk_idx = ? AND state = 'spooled'",
                (self._key, chunk.chunk_idx),
            )
            if cursor.rowcount != 1:
                raise ChunkMoved(f"chunk {chunk.chunk_idx} no longer waits to be sent")
            self._record(db, "attempt_started", chunk.chunk_idx, detail)

        self._write("attempt", change)

    def attempt_failed(self, chunk: Chunk, detail: dict[str, Any]) -> None:
        """The upload did not lead to a receipt; the chunk goes on waiting."""
        self._write("attempt", lambda db: self._record(db, "attempt_failed", chunk.chunk_idx, detail))

    def acknowledge(self, chunk: Chunk, receipt: Receipt) -> None:
        """Record the destination's receipt.

        Durability: on return the receipt is on stable storage; only then may the chunk be pruned.

        Raises:
            LeaseLost: another worker has the stream; the receipt was not recorded.
            ChunkMoved: the chunk was not waiting.
        """

        def change(db: sqlite3.Connection) -> None:
            now = self._folder.clock.now_ms()
            event = rows.move_chunk(
                db,
                self._key,
                chunk.chunk_idx,
                "acknowledge",
                acknowledged_at_ms=now,
                receipt=json.dumps(asdict(receipt)),
            )
            rows.advance_watermark(db, self._key)
            self._record(db, event, chunk.chunk_idx, asdict(receipt), at_ms=now)

        self._write("acknowledge", change)

    def park(self, chunk: Chunk, reason: str) -> None:
        """Set the chunk aside, kept and visible, until a person retries or discards it."""

        def change(db: sqlite3.Connection) -> None:
            event = rows.move_chunk(db, self._key, chunk.chunk_idx, "park", parked_reason=reason)
            self._record(db, event, chunk.chunk_idx, {"why": reason})

        self._write("park", change)

    def hold(self, reason: str) -> None:
        """Send nothing more of this stream until a person decides. Everything is kept."""

        def change(db: sqlite3.Connection) -> None:
            db.execute("UPDATE streams SET held = ? WHERE stream_key = ?", (reason, self._key))
            self._record(db, "held", None, {"why": reason})

        self._write("hold", change)

    # Parts ----------------------------------------------------------------------------------------------

    def part_asked(self, name: str, *, is_name_free: bool) -> Part:
        """The destination is about to be asked for the stream's next part.

        Args:
            name: what the destination is to call it.
            is_name_free: see `Part`.

        Durability: on return it is on record that the destination may have it, whatever happens next.
        """

        def change(db: sqlite3.Connection) -> Part:
            return parting.ask(self._folder, db, self._key, self._row(db), name, is_name_free=is_name_free)

        part = self._write("part", change)
        self._describe()
        return part

    def part_opened(self, data_id: str, *, unlinked: str | None) -> None:
        """The destination has given the latest part this id.

        Args:
            data_id: the id.
            unlinked: why sample, project and tags are not linked to it yet; ``None`` when nothing is to be linked.

        Durability: on return the id is on stable storage; only now may chunks be sent there.
        """
        self._write(
            "part", lambda db: parting.open_(self._folder, db, self._key, self._row(db), data_id, unlinked)
        )
        self._describe()

    def part_closed(self, why: str) -> None:
        """The latest part takes no more chunks; what waits goes into another."""
        self._write("part", lambda db: parting.close(self._folder, db, self._key, self._row(db), why))
        self._describe()

    def linked(self, links: dict[str, Any]) -> None:
        """The latest part is linked to these; nothing is owed any more."""
        self._note_links(None, "linked", links)

    def link_failed(self, words: str) -> None:
        """The latest part could not be linked; a person has to look, and chunks go on."""
        self._note_links(words, "link_failed", {"words": words})

    def _note_links(self, unlinked: str | None, event: str, detail: dict[str, Any]) -> None:
        def change(db: sqlite3.Connection) -> None:
            db.execute("UPDATE streams SET unlinked = ? WHERE stream_key = ?", (unlinked, self._key))
            self._record(db, event, None, detail)

        self._write("note", change)

    def _describe(self) -> None:
        """Let ``stream.json`` know the parts too, for an index that is lost; no promise rests on it."""
        try:
            self._folder.write("stream_json", lambda db: self._folder.write_stream_description(self._row(db)))
        except (OSError, SpoolError) as error:
            _log.warning("stream.json of %s could not be rewritten: %s", self.stream_id, error)

    # Trouble and the end --------------------------------------------------------------------------------

    def note_trouble(
        self, trouble: str | None, *, event: str | None = None, detail: dict[str, Any] | None = None
    ) -> None:
        """Say for ``status`` what is wrong now (``None``: nothing any more); with ``event``, in the ledger too."""

        def change(db: sqlite3.Connection) -> None:
            db.execute("UPDATE streams SET trouble = ? WHERE stream_key = ?", (trouble, self._key))
            if event is not None:
                self._record(db, event, None, detail)

        self._write("note", change)

    def finalize(self, detail: dict[str, Any]) -> None:
        """The destination has accepted the end of the stream.

        Raises:
            IllegalTransition: the stream is not sealed, or a chunk is still waiting or parked.
        """

        def change(db: sqlite3.Connection) -> None:
            rows.require_nothing_left(db, self._key)
            now = self._folder.clock.now_ms()
            event = rows.move_stream(db, self._key, "finalize", finalized_at_ms=now, trouble=None)
            self._record(db, event, None, detail, at_ms=now)

        self._write("finalize", change)

    # The lease ------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Hold the stream for another term.

        Raises:
            LeaseLost: it ran out, and another worker has the stream.
        """

        def change(db: sqlite3.Connection) -> None:
            until = self._folder.clock.now_ms() + self._ttl_ms
            db.execute("UPDATE streams SET lease_until_ms = ? WHERE stream_key = ?", (until, self._key))

        self._write("lease", change)

    def release(self) -> None:
        """Let the stream go at once; harmless when the lease was lost."""

        def change(db: sqlite3.Connection) -> None:
            db.execute(
                "UPDATE streams SET lease_owner = NULL, lease_until_ms = NULL"
                " WHERE stream_key = ? AND lease_token = ?",
                (self._key, self._token),
            )

        self._folder.write("lease", change)

    def _write(self, label: str, change: Callable[[sqlite3.Connection], _T]) -> _T:
        def fenced(db: sqlite3.Connection) -> _T:
            (token,) = db.execute("SELECT lease_token FROM streams WHERE stream_key = ?", (self._key,)).fetchone()
            if token != self._token:
                raise LeaseLost(f"{self._owner} has lost the lease of {self.stream_id}")
            return change(db)

        return self._folder.write(label, fenced)

    def _row(self, db: sqlite3.Connection) -> Stream:
        return rows.require_stream(db, self.stream_id)[1]

    def _record(
        self,
        db: sqlite3.Connection,
        event: str,
        chunk_idx: int | None,
        detail: dict[str, Any] | None = None,
        *,
        at_ms: int | None = None,
    ) -> None:
        ledger.append(
            db,
            event,
            at_ms=self._folder.clock.now_ms() if at_ms is None else at_ms,
            stream_id=self.stream_id,
            chunk_idx=chunk_idx,
            detail=detail,
        )

    def _shard_path(self, chunk_idx: int) -> Path:
        return self._folder.shard_path(self.stream_id, chunk_idx)
