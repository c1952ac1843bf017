"""Accepting a chunk: from frames in memory to bytes, directory entry and index row on stable storage.

The order is the promise, and every step has its label for the tests:

1. the whole shard is written to a new file under ``incoming/`` and fsynced      ``shard.write``, ``shard.fsync``
2. under the index's write lock it is renamed to its Zarr chunk key,             ``shard.rename``
   and the directory is fsynced                                                  ``shard.fsync_dir``
   and if the stream has copies, it gets a further name in each of them,         ``copy.link``, ``copy.rename``
3. the row and its ledger entry are committed                                    ``push.commit``

A producer that dies before 2 leaves a file that is swept; between 2 and 3 one that is adopted. Because 2 and 3
happen under the one write lock, two producers can never place different bytes for the same chunk.
"""

import contextlib
import logging
import os
import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spool import copying, ledger, rows, shards
from spool import frames as checks
from spool.capture import Capture
from spool.disk import NO_SPACE
from spool.encoding import RUNS_AHEAD, Encoding, file_bytes_max, thread_count
from spool.errors import ChunkConflict, ShardDamaged, SpoolError, SpoolFull, StreamError, StreamSealed
from spool.folder import SpoolFolder, translated
from spool.locks import ProcessLock
from spool.model import Chunk, Stream
from spool.pruning import prune
from spool.retention import Limits, shortfall
from spool.states import ChunkState, StreamState

_log = logging.getLogger(__name__)


class Intake:
    """The producer's side of a spool; one for each open `Spool`, used by any number of threads."""

    def __init__(self, folder: SpoolFolder, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._opener: ProcessLock | None = None
        self._has_noted_limits = False
        self._thread_count = thread_count()
        self._threads = ThreadPoolExecutor(self._thread_count, thread_name_prefix="framespool-encode")

    def close(self) -> None:
        """Stop encoding and let go of the incoming folder, which is then empty."""
        if os.getpid() != self._pid:
            return  # a forked child's: what is in use belongs to the parent
        self._threads.shutdown()
        if self._opener is not None:
            with contextlib.suppress(OSError):  # not empty, or gone: the next opening sweeps it
                self._opener.path.with_suffix("").rmdir()
            self._opener.release()

    def claim_incoming(self) -> Path:
        """This opener's own folder under ``incoming/``, which nobody sweeps while the process lives."""
        self._folder.require_writable()
        with self._lock:
            while self._opener is None:
                path = self._folder.root / "incoming" / f"{uuid.uuid4().hex}.lock"
                lock = ProcessLock(path)
                if not lock.acquire():
                    continue  # a recovery looked at it in this very moment
                self._opener = lock
            incoming = self._opener.path.with_suffix("")
            incoming.mkdir(mode=0o700, exist_ok=True)
            if not self._has_noted_limits:
                self._has_noted_limits = True
                self._folder.note_limits(self._limits, incoming)
            return incoming

    def push(
        self,
        ref: str,
        chunk_idx: SupportsIndex,
        frames: ArrayLike,
        capture_start_ms_utc: float | None,
        capture: Capture | None = None,
    ) -> Chunk:
        """See `Spool.push`."""
        idx = checks.accept_chunk_idx(chunk_idx)
        with self._folder.index.reading() as db:
            key, stream = require_open(db, ref)
            is_new, used_bytes = rows.chunk_at(db, key, idx) is None, rows.disk_bytes(db)
            copies = len(stream.settings.copies)
        array = checks.accept_frames(frames, stream)
        moment = self._folder.clock.moment()
        now = moment.at_ms
        start = checks.accept_capture_start(
            capture_start_ms_utc, now_ms=now, n=array.shape[0], fps=stream.settings.fps
        )
        draft = shards.Description(
            stream_id=stream.stream_id,
            chunk_idx=idx,
            n=array.shape[0],
            height=array.shape[1],
            width=array.shape[2],
            chunk_size=stream.settings.chunk_size,
            capture_start_ms_utc=start,
            # The capture on the clock that nobody sets: as long before this moment as on the host's.
            monotonic_ms=None if moment.monotonic_ms is None else moment.monotonic_ms - (now - start),
            boot_id=moment.boot_id,
            spooled_at_ms=now,
            sha256="",
            wire_bytes=0,
            capture=capture,
        )
        try:
            chunk = self._push_at_once(draft, array, used_bytes, copies) if is_new else None
            return chunk or self._push_with_care(draft, array, copies)
        except OSError as error:
            raise translated(error, f"chunk {idx} could not be stored") from error

    def _push_at_once(
        self, draft: shards.Description, array: NDArray[np.uint8], used_bytes: int, copies: int
    ) -> Chunk | None:
        """Steps 1 to 3 for a new chunk that fits for certain: it is written while it is encoded.

        Returns:
            ``None`` when it may not fit; nothing has changed then.
        """
        size_max = file_bytes_max(array, draft.chunk_size, draft.capture)
        if self._folder.missing_reserve_bytes or self._lacking(size_max, used_bytes + copies * size_max) > 0:
            return None
        encoding = self._encoding(array)
        pieces = encoding.pieces(draft)
        try:
            with contextlib.closing(pieces):
                return self._write_and_place(pieces, lambda: encoding.completed(draft), array)
        except OSError as error:
            if error.errno in NO_SPACE:
                return None  # a quota, or somebody who was quicker
            raise
        except SpoolFull:
            return None

    def _push_with_care(self, draft: shards.Description, array: NDArray[np.uint8], copies: int) -> Chunk:
        """The same for a chunk that may be here already, or for which room may have to be made."""
        encoding = self._encoding(array)
        frames = [one for run in encoding.runs() for one in run]
        description = encoding.completed(draft)
        if (before := self._already_here(description, array)) is not None:
            return before
        description = self._as_first_spooled(description)
        pieces = [*frames, encoding.tail(description)]
        try:
            return self._store(pieces, description, array, copies)
        except OSError as error:
            if error.errno in NO_SPACE:
                raise self._full("the disk has no room", sum(map(len, pieces)), self._used()) from error
            raise

    def _encoding(self, array: NDArray[np.uint8]) -> Encoding:
        return Encoding(array, self._threads, ahead=self._thread_count * RUNS_AHEAD)

    def _store(
        self, pieces: list[bytes], description: shards.Description, array: NDArray[np.uint8], copies: int
    ) -> Chunk:
        """Steps 1 to 3; once more with a new file when room could be made meanwhile."""
        size = sum(map(len, pieces))
        try:
            self._make_room(size, copies)
            return self._write_and_place(pieces, lambda: description, array)
        except (SpoolFull, OSError) as error:
            if isinstance(error, OSError) and error.errno not in NO_SPACE:
                raise
            # A quota, another producer or another program was quicker than the check for room.
            if prune(self._folder, wanted_bytes=size + self._folder.missing_reserve_bytes) == (0, 0):
                raise
        self._make_room(size, copies)
        return self._write_and_place(pieces, lambda: description, array)

    def _write_and_place(
        self,
        pieces: Iterable[bytes | Sequence[bytes]],
        described: Callable[[], shards.Description],
        array: NDArray[np.uint8],
    ) -> Chunk:
        """Steps 1 to 3. ``described`` is asked once all pieces are written."""
        part = self.claim_incoming() / uuid.uuid4().hex
        self._folder.disk.write_new(part, pieces, label="shard")
        try:
            return self._place(part, described(), array)
        finally:
            with contextlib.suppress(OSError):  # swept when this opener is gone
                part.unlink(missing_ok=True)

    def _place(self, part: Path, description: shards.Description, array: NDArray[np.uint8]) -> Chunk:
        """Steps 2 and 3; the chunk that holds these frames, which another producer may have placed first."""
        aside: list[Path] = []
        try:
            with self._folder.writing("push") as db:
                key, stream = require_open(db, description.stream_id)
                checks.require_same_size(stream, description.height, description.width)
                before = rows.chunk_at(db, key, description.chunk_idx)
                if before is None:
                    return self._enter(db, key, stream, part, description, aside)
                if before.sha256 == description.sha256 and not self._is_kept(stream, before):
                    return self._restore(db, key, part, before)
        except BaseException:
            if not part.exists() or aside:  # it has got its name: before that there is nothing to take back
                self._undo(description, aside)
            raise
        here = self._already_here(description, array)
        assert here is not None
        return here

    def _enter(
        self,
        db: sqlite3.Connection,
        key: int,
        stream: Stream,
        part: Path,
        description: shards.Description,
        aside: list[Path],
    ) -> Chunk:
        """A new chunk: its name, its directory entry, its row."""
        chunk = shards.described_chunk(description, disk_bytes=part.stat().st_size)
        max_bytes = self._limits.max_bytes
        # Asked again under the lock: several producers may have seen the same room.
        needs = chunk.disk_bytes * (1 + len(stream.settings.copies))
        if max_bytes is not None and (used := rows.disk_bytes(db)) + needs > max_bytes:
            raise self._full("the spool is full", needs, used)
        self._clear_the_place(db, chunk, aside)
        final = self._folder.shard_path(chunk.stream_id, chunk.chunk_idx)
        self._folder.disk.rename(part, final, label="shard")
        rows.insert_chunk(db, key, chunk)
        ledger.append(
            db,
            "spooled",
            at_ms=description.spooled_at_ms,
            stream_id=chunk.stream_id,
            chunk_idx=chunk.chunk_idx,
            detail=ledger.entry_facts(chunk),
        )
        if chunk.chunk_idx >= stream.next_chunk_idx:
            # Under the write lock, so that the length that readers see never goes back.
            self._folder.write_array_document(
                replace(stream, height=chunk.height, width=chunk.width),
                frame_count=chunk.chunk_idx * stream.settings.chunk_size + chunk.n,
            )
        copying.enter(self._folder, db, stream, chunk)
        return chunk

    def _clear_the_place(self, db: sqlite3.Connection, chunk: Chunk, aside: list[Path]) -> None:
        """Set a file aside that no row speaks of: the push of a dead producer, or one that could not be read.

        Its frames may exist nowhere else. One that holds the very same chunk may be replaced.

        Args:
            db: in a write transaction.
            chunk: what comes in its place.
            aside: is given the file's new name, for `_undo`.
        """
        path = self._folder.shard_path(chunk.stream_id, chunk.chunk_idx)
        if not path.exists():
            return
        try:
            if shards.read_description(path).sha256 == chunk.sha256:
                return
        except (ShardDamaged, OSError) as error:
            _log.warning("%s had no index row and cannot be read: %s", path, error)
        aside.append(path.with_name(f".{path.name}.{uuid.uuid4().hex}.aside"))
        self._folder.disk.rename(path, aside[0], label="push_aside")
        why = {"what": "set aside", "why": "another push took its chunk_idx", "file": aside[0].name}
        now = self._folder.clock.now_ms()
        ledger.append(db, "recovered", at_ms=now, stream_id=chunk.stream_id, chunk_idx=chunk.chunk_idx, detail=why)
        _log.warning("%s had no index row; it is set aside as %s", path, aside[0].name)

    def _restore(self, db: sqlite3.Connection, key: int, part: Path, chunk: Chunk) -> Chunk:
        """The same bytes again for a chunk whose file is gone or damaged: it waits for delivery as before."""
        self._folder.disk.rename(part, self._folder.shard_path(chunk.stream_id, chunk.chunk_idx), label="shard")
        now = self._folder.clock.now_ms()
        if chunk.state == ChunkState.PARKED:
            event = rows.move_chunk(db, key, chunk.chunk_idx, "retry", parked_reason=None)
        else:
            event = "restored"
        detail = {"why": "its file was gone or damaged, and the same frames were pushed again"}
        ledger.append(db, event, at_ms=now, stream_id=chunk.stream_id, chunk_idx=chunk.chunk_idx, detail=detail)
        restored = rows.chunk_at(db, key, chunk.chunk_idx)
        assert restored is not None
        copying.restore(self._folder, db, rows.require_stream(db, chunk.stream_id)[1], restored)
        return restored

    def _undo(self, description: shards.Description, aside: list[Path]) -> None:
        """Take back what a push that raised has left: a shard without a row, and frames that readers see.

        What lay in its place before lies there again.

        What cannot be taken back now has no row either: the next push of this chunk replaces it, or the next
        opening adopts it.
        """

        def take_back(db: sqlite3.Connection) -> None:
            key, stream = rows.require_stream(db, description.stream_id)
            if rows.chunk_at(db, key, description.chunk_idx) is None:
                path = self._folder.shard_path(description.stream_id, description.chunk_idx)
                if aside and aside[0].exists():
                    self._folder.disk.rename(aside[0], path, label="push_undo")
                else:
                    self._folder.disk.remove(path, label="push_undo")
                self._folder.write_array_document(stream, frame_count=rows.frame_count(db, key, stream))
            copying.take_back(self._folder, db, stream, description.chunk_idx)

        try:
            with self._folder.writing("push_undo") as db:
                take_back(db)
        except (SpoolError, OSError) as error:
            _log.warning("the unfinished chunk %d stays on disk: %s", description.chunk_idx, error)

    def _already_here(self, description: shards.Description, array: NDArray[np.uint8]) -> Chunk | None:
        """The chunk that already holds these frames; ``None`` when the index is free, or its file is lost.

        Raises:
            ChunkConflict: other frames are there, or a person has discarded the chunk.
        """
        idx = description.chunk_idx
        with self._folder.index.reading() as db:
            key, stream = rows.require_stream(db, description.stream_id)
            chunk = rows.chunk_at(db, key, idx)
        if chunk is None:
            return None
        if chunk.state == ChunkState.DISCARDED:
            raise ChunkConflict(f"chunk {idx} was discarded by a person and is not accepted again")
        if chunk.sha256 == description.sha256:
            return chunk if self._is_kept(stream, chunk) else None
        if self._same_frames(stream, chunk, array):
            return chunk
        raise ChunkConflict(f"chunk {idx} is already spooled with other frames")

    def _as_first_spooled(self, description: shards.Description) -> shards.Description:
        """A chunk whose file is lost gets back the very file it had: its times are those of its row."""
        with self._folder.index.reading() as db:
            key, _ = rows.require_stream(db, description.stream_id)
            chunk = rows.chunk_at(db, key, description.chunk_idx)
        if chunk is None:
            return description
        return replace(
            description,
            capture_start_ms_utc=chunk.capture_start_ms_utc,
            monotonic_ms=chunk.monotonic_ms,
            boot_id=chunk.boot_id,
            spooled_at_ms=chunk.spooled_at_ms,
            capture=chunk.capture,
        )

    def _is_kept(self, stream: Stream, chunk: Chunk) -> bool:
        """Whether nothing more is needed for this chunk: it was delivered, or its bytes are here and whole."""
        if chunk.state == ChunkState.ACKNOWLEDGED:
            return True
        try:
            self._read(stream, chunk)
        except (ShardDamaged, OSError):
            return False
        return True

    def _read(self, stream: Stream, chunk: Chunk) -> memoryview:
        return shards.read_wire_form(
            self._folder.shard_path(chunk.stream_id, chunk.chunk_idx),
            n=chunk.n,
            chunk_size=stream.settings.chunk_size,
            wire_bytes=chunk.wire_bytes,
            sha256=chunk.sha256,
        )

    def _same_frames(self, stream: Stream, chunk: Chunk, array: NDArray[np.uint8]) -> bool:
        """Compare frame by frame: another zstd release may encode the same frames differently."""
        if (chunk.n, chunk.height, chunk.width) != array.shape or chunk.disk_bytes == 0:
            return False
        try:
            body = self._read(stream, chunk)
        except (ShardDamaged, OSError):
            return False
        stored = shards.decode(body, n=chunk.n, height=chunk.height, width=chunk.width)
        return bool(np.array_equal(stored, array))

    def _make_room(self, chunk_bytes: int, copies: int) -> None:
        """Prune acknowledged chunks until the limits allow so many bytes more; set the reserve aside.

        Each copy counts as much again in the limits, and nothing on the disk.

        Raises:
            SpoolFull: even then there is no room.
            DiskFailed: the reserve could not be written.
        """
        counted = copies * chunk_bytes
        while (lacking := self._lacking(chunk_bytes, self._used() + counted)) > 0:
            # Again, as long as it helps: a file with several names frees nothing before its last one goes.
            if prune(self._folder, wanted_bytes=lacking) == (0, 0):
                raise self._full("the spool is full", chunk_bytes + counted, self._used())
        try:
            self._folder.ensure_reserve(self.claim_incoming())
        except OSError as error:
            raise translated(error, "the spool's reserve could not be set aside") from error

    def _full(self, what: str, chunk_bytes: int, used_bytes: int) -> SpoolFull:
        """The refusal of a chunk, with every number that has to do with it."""
        limits = self._limits
        free = self._folder.disk.free_bytes(self._folder.root)
        most = "any number" if limits.max_bytes is None else f"{limits.max_bytes:,}"
        return SpoolFull(
            f"{what}: the chunk needs {chunk_bytes:,} bytes; the spool holds {used_bytes:,} of {most}; "
            f"{free:,} are free on the disk, where {limits.min_free_bytes:,} must stay free; "
            "nothing more may be pruned",
            chunk_bytes=chunk_bytes,
            used_bytes=used_bytes,
            free_bytes=free,
        )

    def _lacking(self, chunk_bytes: int, used_bytes: int) -> int:
        return shortfall(
            self._limits,
            used_bytes=used_bytes,
            free_bytes=self._folder.disk.free_bytes(self._folder.root),
            chunk_bytes=chunk_bytes,
            reserve_bytes=self._folder.missing_reserve_bytes,
        )

    def _used(self) -> int:
        with self._folder.index.reading() as db:
            return rows.disk_bytes(db)


def require_open(db: sqlite3.Connection, ref: str) -> tuple[int, Stream]:
    """The stream with this stream_id or data_id, and its key; it must take chunks.

    Raises:
        UnknownStream, StreamSealed: there is none, or its end was asked for.
    """
    found = rows.require_stream(db, ref)
    original = found[1].settings.copy_of
    if original is not None:
        raise StreamError(
            f"stream {ref} is a copy of {original}, whose chunks it gets by itself",
            hint=f"Push to {original}, or resume that.",
        )
    if found[1].state != StreamState.OPEN:
        raise StreamSealed(f"stream {ref} is {found[1].state}: no more chunks can come")
    return found
