"""`Spool`: the on-disk queue as producers, readers and people see it.

Producers ``push``; a worker takes a stream with ``lease`` and works through a `LeasedStream`; anyone reads.
Any number of processes may have the same folder open: they meet at the index's write lock.
"""

import logging
import math
import sqlite3
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spool import (
    beginning,
    cells,
    copying,
    decisions,
    filesystems,
    ledger,
    orphans,
    pruning,
    rows,
    sealing,
    shards,
    taking_in,
)
from spool import figures as reckoning
from spool import forecast as forecasting
from spool.capture import Capture
from spool.cells import Cell, Place
from spool.clock import Clock, HostClock
from spool.disk import Disk
from spool.errors import AmbiguousStream, SpoolError, UnknownStream
from spool.figures import StreamFigures, Sums
from spool.folder import INDEX_NAME, SpoolFolder, is_new, translated
from spool.forecast import Forecast
from spool.intake import Intake
from spool.leased import LeasedStream
from spool.locks import ProcessLock
from spool.model import Chunk, ClockReading, Event, Stream, StreamSettings
from spool.producers import ProducerClaims
from spool.recovery import recover
from spool.retention import Limits, acknowledged_before_ms, shortfall

_PAGE = 1000
_LOOK_PATIENCE_S = 0.2

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatus:
    """The whole spool at one moment. Bytes count shards, without index and reserve."""

    root: Path
    streams: tuple[Stream, ...]
    used_bytes: int
    free_bytes: int
    limits: Limits


class Spool:
    """An open spool folder. Thread-safe; also a context manager.

    Opening recovers whatever an earlier crash left behind, without a person; unless it is opened for reading only.

    Args:
        root: the folder, private to the user; created when missing unless ``create`` is false.
        limits: how much disk it may take; without, what the latest producer here was told.
        clock: the host clock.
        disk: the file system; tests pass one that fails or kills at a chosen step.
        create: whether a missing spool is created; readers say ``False``.
        unsafe_file_system: a new spool may begin on a network share or on FAT: somebody takes the risk.
        read_only: nothing in the folder is changed, not even put right, and whatever would change it raises
            `SpoolError`; see `spool.open`.

    Raises:
        UnsafeFileSystem: a new spool would begin where its promises cannot be kept; see `spool.filesystems`.
        SpoolError: the folder cannot be opened; nothing in it was changed.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        limits: Limits | None = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
        create: bool = True,
        unsafe_file_system: bool = False,
        read_only: bool = False,
    ) -> None:
        try:
            self.root = Path(root).expanduser().absolute()
        except RuntimeError as error:
            raise SpoolError(f"the spool folder cannot be told: {error}") from error
        create = create and not read_only
        if not create and not (self.root / INDEX_NAME).exists():
            raise SpoolError(f"there is no spool in {self.root}", hint="Check --spool or ATOMSCALE_SPOOL_DIR.")
        disk, clock = disk or Disk(), clock or HostClock()
        if read_only:
            self._folder = SpoolFolder.open_to_read(self.root, disk=disk, clock=clock)
        else:
            filesystems.require_safe(self.root, is_new=is_new(self.root), accepted=unsafe_file_system)
            self._folder = SpoolFolder.open(self.root, disk=disk, clock=clock)
            self._recover()
        self.limits = limits or self._folder.noted_limits() or Limits()
        self._intake = Intake(self._folder, self.limits)
        self._claims = ProducerClaims(self._folder)

    def _recover(self) -> None:
        try:
            recover(self._folder)
            self._folder.take_up_ledger_file()
        except OSError as error:
            self._folder.close()
            raise translated(error, f"the spool folder {self.root} cannot be recovered") from error
        except BaseException:
            self._folder.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder; everything spooled stays."""
        self._claims.close()
        self._intake.close()
        self._folder.close()

    # Producers ------------------------------------------------------------------------------------------

    def open_stream(
        self,
        settings: StreamSettings,
        *,
        also: Sequence[str] = (),
        data_id: str | None = None,
        links: Mapping[str, Any] | None = None,
        unlinked: str | None = None,
        asked: bool = False,
        is_name_free: bool = False,
    ) -> Stream:
        """Begin a stream.

        Args:
            settings: fixed for the stream's life.
            also: further destinations, each of which gets a copy: see `spool.copying`.
            data_id: the destination's id, if it has been asked for one; else its worker asks.
            links: what the stream is linked to there, for the ledger.
            unlinked: why it is not linked to what its settings name yet.
            asked: the destination was asked for it and may have it, but its answer did not come.
            is_name_free: see `Part`; of such a one.

        Durability: on return the stream's folder, its description and its index row are on stable storage.

        Raises:
            SpoolError: the disk refused, or the data_id is already taken; nothing was recorded.
        """
        try:
            self._intake.claim_incoming()  # from now on a worker knows that a producer lives
        except OSError as error:
            raise translated(error, "the spool cannot be written to") from error
        return beginning.begin(
            self._folder,
            self._claims,
            settings,
            also=also,
            data_id=data_id,
            links=links,
            unlinked=unlinked,
            asked=asked,
            is_name_free=is_name_free,
        )

    def push(
        self,
        ref: str,
        chunk_idx: SupportsIndex,
        frames: ArrayLike,
        capture_start_ms_utc: float | None = None,
        *,
        capture: Capture | None = None,
    ) -> Chunk:
        """Accept a chunk: the camera's frames become durable.

        Args:
            ref: the stream's stream_id or data_id.
            chunk_idx: counts the stream's chunks from 0; gaps and any order are allowed.
            frames: uint8 ``(n, height, width)`` with n up to chunk_size, or one ``(height, width)``; only read.
            capture_start_ms_utc: when the first frame was captured, milliseconds UTC by the host clock;
                without it the chunk is taken to have just finished.
            capture: what the source says of these frames; kept with the chunk for ever.

        Durability: on return the shard, its directory entry and its index row are on stable storage. After a
            raise the frames are still the caller's and nothing half-written is ever delivered.

        Raises:
            FramesRejected: dtype, rank, size, number or index cannot be stored.
            ChunkConflict: other frames are already there; the same ones again are a no-op.
            UnknownStream, StreamSealed: no such stream, or it takes no more chunks.
            SpoolFull: no room, even after pruning all that may be pruned.
            DiskFailed: the disk refused.
        """
        chunk = self._intake.push(ref, chunk_idx, frames, capture_start_ms_utc, capture)
        self._claims.try_to_take(chunk.stream_id)
        return chunk

    def resume(self, ref: str) -> Stream:
        """Go on with a stream whose producer is gone: from now on this process is its producer.

        Nothing is invented: the next chunk is ``next_chunk_idx`` of what is returned. What was not pushed before
        the other one was gone is not in the spool.

        Durability: on return the ledger says who resumed the stream; after a raise nothing has changed.

        Raises:
            UnknownStream, StreamSealed: no such stream, or it takes no more chunks.
            StreamInUse: another live producer has it.
            SpoolError: the disk refused.
        """
        return orphans.resume(self._folder, self._claims, ref)

    def claim_producer(self, ref: str) -> bool:
        """Say that this process records a stream, as opening it and pushing to it do by themselves.

        Returns:
            Whether this opening has the claim now; not when another live one has it, or the disk refuses.
        """
        return self._claims.try_to_take(self.stream(ref).stream_id, patience_s=_LOOK_PATIENCE_S)

    def seal(self, ref: str) -> Stream:
        """Ask for the end of the stream: no more chunks will come. Asking again changes nothing.

        Durability: on return the request survives anything; a worker carries it out once all is acknowledged.
        """
        sealing.seal(self._folder, ref)
        stream = self.stream(ref)
        self._claims.release(stream.stream_id)
        return stream

    def seal_orphan(self, ref: str, *, silent_for_s: float, who: str) -> bool:
        """Seal an open stream that nobody records: its producer is gone, and was last heard of so long ago.

        It holds the producer's claim meanwhile, so that nobody resumes the stream in the same moment.

        Args:
            ref: the stream.
            silent_for_s: since its last push, its opening, or the last time it was resumed; by the spool's clock.
            who: for the ledger.

        Returns:
            Whether it was sealed. Never when a live producer has the stream, however long that is silent.

        Durability: as for `seal`.

        Raises:
            SpoolError: the disk refused.
        """
        return orphans.seal_orphan(self._folder, self._claims, ref, silent_for_s=silent_for_s, who=who)

    def note_clock(self, ref: str, reading: ClockReading) -> None:
        """Record a measurement of the reference clock against the host's clocks."""

        def change(db: sqlite3.Connection) -> None:
            key, stream = rows.require_stream(db, ref)
            now = self._folder.clock.now_ms()
            for each, its in ((key, stream), *copying.copies_of(db, stream)):
                rows.add_reading(db, each, reading)
                ledger.append(db, "clock_measured", at_ms=now, stream_id=its.stream_id, detail=asdict(reading))

        self._folder.write("clock", change)

    # Readers --------------------------------------------------------------------------------------------

    def stream(self, ref: str) -> Stream:
        """The stream with this stream_id or data_id.

        Raises:
            UnknownStream: there is none.
        """
        with self._folder.index.reading() as db:
            return rows.require_stream(db, ref)[1]

    def copies(self, ref: str) -> list[Stream]:
        """The copies of a stream, one for each further destination; one that was unpacked here has none here."""
        with self._folder.index.reading() as db:
            return [copy for _, copy in copying.copies_of(db, rows.require_stream(db, ref)[1])]

    def find(self, text: str) -> Stream:
        """The stream that a person means: a stream_id, a data_id, or an unambiguous prefix or name.

        Raises:
            UnknownStream: none fits.
            AmbiguousStream: several do.
        """
        streams = self.streams()
        ids = {s.stream_id: (s.stream_id, *(part.data_id or "" for part in s.parts)) for s in streams}
        for fits in (
            [s for s in streams if text in ids[s.stream_id]],
            [s for s in streams if s.settings.name == text and s.settings.copy_of not in ids],
            [s for s in streams if any(one.startswith(text) for one in ids[s.stream_id])],
        ):
            if len(fits) == 1:
                return fits[0]
            if text and fits:
                several = ", ".join(s.stream_id for s in fits[:5])
                raise AmbiguousStream(f"{text!r} fits {len(fits)} streams: {several}")
        raise UnknownStream(f"this spool has no stream {text!r}")

    def streams(self, *, unfinished_only: bool = False) -> list[Stream]:
        """Every stream, or those that are not finalized; oldest first."""
        with self._folder.index.reading() as db:
            return [stream for _, stream in rows.all_streams(db, unfinished_only=unfinished_only)]

    def clock_readings(self, ref: str) -> tuple[ClockReading, ...]:
        """Every measurement of the reference clock that was recorded for the stream, oldest first."""
        with self._folder.index.reading() as db:
            return rows.readings(db, rows.require_stream(db, ref)[0])

    def chunk(self, ref: str, chunk_idx: int) -> Chunk | None:
        """One chunk, or ``None`` if that index was never pushed."""
        with self._folder.index.reading() as db:
            key, _ = rows.require_stream(db, ref)
            return rows.chunk_at(db, key, chunk_idx)

    def chunks(self, ref: str) -> Iterator[Chunk]:
        """The stream's chunks by chunk_idx, read in pages so that a long stream blocks nobody."""
        after = -1
        while True:
            with self._folder.index.reading() as db:
                key, _ = rows.require_stream(db, ref)
                page = rows.chunks_after(db, key, after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].chunk_idx

    def parked(self, ref: str) -> list[int]:
        """The chunk_idx of each parked chunk of a stream, in order; found without going through the others."""
        with self._folder.index.reading() as db:
            return rows.parked(db, rows.require_stream(db, ref)[0])

    def cells(self, ref: str, *, after_idx: int = -1) -> list[Cell]:
        """The next page of the stream's chunks by chunk_idx, in as little as can be said; empty after the last."""
        with self._folder.index.reading() as db:
            key, stream = rows.require_stream(db, ref)
            return cells.cells_after(db, key, stream.stream_id, after_idx, limit=cells.PAGE)

    def cells_of(self, ref: str, chunk_idxs: Sequence[int]) -> list[Cell]:
        """The same of some chunks; those that were never pushed are left out."""
        with self._folder.index.reading() as db:
            key, stream = rows.require_stream(db, ref)
            return cells.cells_of(db, key, stream.stream_id, chunk_idxs)

    def places(self, ref: str, *, after_idx: int = -1) -> list[Place]:
        """The next page of where the stream's chunks are in time, and on this disk; empty after the last."""
        with self._folder.index.reading() as db:
            key, _ = rows.require_stream(db, ref)
            return cells.places_after(db, key, after_idx, limit=cells.PLACES)

    def frame_count(self, ref: str) -> int:
        """The length of the stream's array along time."""
        with self._folder.index.reading() as db:
            return rows.frame_count(db, *rows.require_stream(db, ref))

    def frame(self, chunk: Chunk, number: int) -> NDArray[np.uint8]:
        """One frame of a chunk, uint8 ``(height, width)``, read-only; no other is read, so no digest is checked.

        Args:
            chunk: as the index knows it.
            number: counts its frames from 0.

        Raises:
            IndexError: it has no such frame.
            ShardDamaged: its bytes were pruned or discarded, are missing, or cannot be decoded.
            DiskFailed: the disk could not read them.
        """
        if not 0 <= number < chunk.n:
            raise IndexError(f"chunk {chunk.chunk_idx} has frames 0 to {chunk.n - 1}, not {number}")
        stream = self.stream(chunk.stream_id)
        path = self._folder.shard_path(chunk.stream_id, chunk.chunk_idx)
        try:
            return shards.read_frame(path, chunk, number, chunk_size=stream.settings.chunk_size)
        except OSError as error:
            raise translated(error, f"chunk {chunk.chunk_idx} could not be read") from error

    def frames(self, chunk: Chunk) -> NDArray[np.uint8]:
        """The frames of a chunk as they were recorded, uint8 ``(n, height, width)``, owned by the caller.

        Raises:
            ShardDamaged: its bytes were pruned or discarded, are missing, or are not those that were spooled.
            DiskFailed: the disk could not read them.
        """
        stream = self.stream(chunk.stream_id)
        path = self._folder.shard_path(chunk.stream_id, chunk.chunk_idx)
        try:
            body = shards.read_wire_form(
                path,
                n=chunk.n,
                chunk_size=stream.settings.chunk_size,
                wire_bytes=chunk.wire_bytes,
                sha256=chunk.sha256,
            )
        except OSError as error:
            raise translated(error, f"chunk {chunk.chunk_idx} could not be read") from error
        return shards.decode(body, n=chunk.n, height=chunk.height, width=chunk.width)

    def events(self, ref: str | None = None, *, after_seq: int = 0) -> Iterator[Event]:
        """The ledger in order, of one stream or of the whole spool, from after a row on."""
        stream_id = None if ref is None else self.stream(ref).stream_id
        after = after_seq
        while True:
            with self._folder.index.reading() as db:
                page = ledger.events(db, stream_id, after_seq=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    def stream_events(self, ref: str) -> Iterator[Event]:
        """The ledger's rows of a stream that are about none of its chunks, in order."""
        stream_id = self.stream(ref).stream_id
        after = 0
        while True:
            with self._folder.index.reading() as db:
                page = ledger.stream_events(db, stream_id, after_seq=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].seq

    def events_of(self, kinds: Collection[str], *, after_seq: int) -> tuple[list[Event], int]:
        """The ledger's next rows of some kinds, for whoever follows what happens.

        Args:
            kinds: the names of events.
            after_seq: the row up to which it was followed; 0 for the beginning.

        Returns:
            The rows in order, and the ``after_seq`` to go on with: `head_seq` once all was seen. Each call looks
            at a bounded number of rows, so that nobody waits long.
        """
        with self._folder.index.reading() as db:
            return ledger.events_of(db, kinds, after_seq=after_seq)

    def attempt_events(self, stream_id: str, first_idx: int, last_idx: int) -> list[Event]:
        """What the ledger tells of attempts at the chunks from one to another, by chunk, in order for each."""
        with self._folder.index.reading() as db:
            return ledger.attempt_events(db, stream_id, first_idx, last_idx)

    def chunk_events(self, ref: str, chunk_idx: int) -> list[Event]:
        """The ledger's rows about one chunk, the latest thousand of them, in order."""
        with self._folder.index.reading() as db:
            stream_id = rows.require_stream(db, ref)[1].stream_id
            return ledger.latest_chunk_events(db, stream_id, chunk_idx, limit=_PAGE)

    def head_seq(self) -> int:
        """The ledger's last row, 0 while there is none: who has read up to here has seen everything."""
        with self._folder.index.reading() as db:
            return ledger.head_seq(db)

    def ledger_break(self) -> int | None:
        """The first ledger row that does not commit to the one before it; ``None`` when the chain holds."""
        with self._folder.index.reading() as db:
            return ledger.first_break(db)

    def status(self) -> SpoolStatus:
        """The spool at this moment."""
        with self._folder.index.reading() as db:
            streams = tuple(stream for _, stream in rows.all_streams(db))
            used = rows.disk_bytes(db)
        return SpoolStatus(
            root=self.root,
            streams=streams,
            used_bytes=used,
            free_bytes=self._folder.free_bytes(),
            limits=self.limits,
        )

    def forecast(self) -> Forecast:
        """How fast the spool fills, and how long its room lasts. Costs the same however much it holds."""
        now = self._folder.clock.now_ms()
        with self._folder.index.reading() as db:
            traffic = forecasting.read_traffic(db, now)
            used, prunable = forecasting.read_usage(db)
        return forecasting.foresee(
            self.limits,
            traffic,
            now_ms=now,
            used_bytes=used,
            prunable_bytes=prunable,
            free_bytes=self._folder.free_bytes(),
            reserve_bytes=self._folder.missing_reserve_bytes,
        )

    def rates(self, ref: str) -> tuple[float, float]:
        """What one stream gains by recording and loses by delivery, bytes per second; see `Forecast`."""
        now = self._folder.clock.now_ms()
        with self._folder.index.reading() as db:
            passed = forecasting.read_stream_traffic(db, rows.require_stream(db, ref)[0], now)
        return forecasting.bytes_per_s(passed.came, now), forecasting.bytes_per_s(passed.went, now)

    def sums(self) -> dict[str, Sums]:
        """All streams of each destination together. Costs the same however many chunks there are."""
        with self._folder.index.reading() as db:
            return reckoning.read_sums(db)

    def figures(self, ref: str) -> StreamFigures:
        """What a meter shows of one stream. Costs the same however long it is."""
        with self._folder.index.reading() as db:
            return reckoning.read_figures(db, ref)

    def zarr_path(self, ref: str) -> Path:
        """The stream's Zarr store; ``zarr.open(path)["frames"]`` reads it at any moment."""
        return self._folder.store_path(self.stream(ref).stream_id)

    # Workers --------------------------------------------------------------------------------------------

    def worker_lock(self, destination: str) -> ProcessLock:
        """The claim of the one worker that drains this spool for a destination; dies with its process."""
        return self._folder.worker_lock(destination)

    def has_live_producers(self) -> bool:
        """Whether any process, this one included, has this spool open for pushing."""
        return any(lock.is_held_elsewhere() for lock in self._folder.incoming_locks())

    def has_live_producer(self, ref: str) -> bool:
        """Whether any process, this one included, records this stream; see `spool.producers`."""
        return self._claims.is_held(self.stream(ref).origin_id)

    def last_sign_of_life_ms(self, ref: str) -> int:
        """When the stream's producer was last heard of: it opened it, pushed to it, or resumed it."""
        with self._folder.index.reading() as db:
            return orphans.last_sign_ms(db, ref)

    def lease(self, ref: str, owner: str, *, ttl_s: float, take_over: bool = False) -> LeasedStream | None:
        """Claim a stream for a worker; ``None`` while another worker's lease still runs.

        Args:
            ref: the stream.
            owner: names the worker, for people.
            ttl_s: how long the claim lasts without `LeasedStream.renew`.
            take_over: the caller holds the destination's worker lock, so that any other owner is dead.
        """

        def change(db: sqlite3.Connection) -> LeasedStream | None:
            key, stream = rows.require_stream(db, ref)
            now = self._folder.clock.now_ms()
            if stream.lease_owner not in (None, owner) and not take_over and (stream.lease_until_ms or 0) > now:
                return None
            token = rows.grant_lease(db, key, owner, now + int(ttl_s * 1000))
            return LeasedStream(self._folder, key, stream, owner=owner, token=token, ttl_s=ttl_s)

        return self._folder.write("lease", change)

    def note_gone(self, chunk: Chunk) -> bool:
        """Record that the local bytes of an acknowledged chunk are gone though nobody pruned them; whether so."""
        return pruning.note_gone(self._folder, chunk)

    def keep_within_limits(self) -> None:
        """Prune what has been kept long enough, and more when disk or limits press."""
        before = acknowledged_before_ms(self.limits, self._folder.clock.now_ms())
        if before is not None:
            pruning.prune(self._folder, before_ms=before)
        status = self.status()
        lacking = shortfall(self.limits, used_bytes=status.used_bytes, free_bytes=status.free_bytes)
        if lacking:
            pruning.prune(self._folder, wanted_bytes=lacking)

    # People ---------------------------------------------------------------------------------------------

    def record(self, event: str, *, ref: str | None = None, **detail: Any) -> None:  # noqa: ANN401 - any JSON value
        """Add a row to the ledger for something that changes no state."""
        if event in ledger.STATE_EVENTS:
            raise ValueError(f"{event!r} changes a state, and is recorded with the change only")
        stream_id = None if ref is None else self.stream(ref).stream_id
        now = self._folder.clock.now_ms()
        self._folder.write(
            "record", lambda db: ledger.append(db, event, at_ms=now, stream_id=stream_id, detail=detail)
        )

    def hold(self, ref: str, why: str, *, who: str) -> None:
        """Send nothing more of a stream until `retry`. Everything is kept; its worker lets go within seconds."""
        decisions.hold(self._folder, ref, why, who=who)

    def take_in_stream(self, stream: Stream, detail: dict[str, Any], readings: Sequence[ClockReading]) -> bool:
        """Begin a stream that another spool began; see `spool.packing`. Whether it was not here before."""
        self._intake.claim_incoming()
        return taking_in.take_in_stream(self._folder, stream, detail, readings)

    def take_in_chunk(
        self, chunk: Chunk, shard: list[bytes] | None, discarded: dict[str, Any] | None = None
    ) -> bool:
        """Enter what another spool says of a chunk, with the bytes of its file if they are to be kept here.

        Returns:
            Whether anything was changed.

        Durability: on return bytes and row are on stable storage.

        Raises:
            ChunkConflict: the chunk here has other bytes.
        """
        part = None
        try:
            if shard is not None:
                part = self._intake.claim_incoming() / uuid.uuid4().hex
                self._folder.disk.write_new(part, shard, label="take_in")
            return taking_in.take_in_chunk(self._folder, chunk, part, discarded)
        except OSError as error:
            raise translated(error, f"chunk {chunk.chunk_idx} could not be stored") from error
        finally:
            if part is not None:
                part.unlink(missing_ok=True)

    def take_in_end(self, stream: Stream) -> None:
        """Enter the end that was asked for, or accepted, in another spool."""
        taking_in.take_in_end(self._folder, stream)

    def retry(self, ref: str, chunk_idxs: Sequence[int] | None = None, *, in_new_part: bool = False) -> list[int]:
        """Let parked chunks (all of them by default) be delivered again, and a held stream go on.

        Args:
            ref: the stream.
            chunk_idxs: parked chunks; ``None`` for all of them.
            in_new_part: what waits goes into a new stream of the destination, because the latest one has ended.

        Returns:
            The chunks that wait again.

        Raises:
            ChunkMoved: one of them is not parked; then nothing was changed.
            SpoolError: ``in_new_part`` of a stream that is not held; nothing was changed.
        """
        return decisions.retry(self._folder, ref, chunk_idxs, in_new_part=in_new_part)

    def discard(self, ref: str, chunk_idxs: Sequence[int], *, why: str) -> list[int]:
        """Give chunks up for good: the only way that anything unacknowledged is ever deleted.

        Args:
            ref: the stream.
            chunk_idxs: waiting or parked chunks.
            why: for the ledger, with who and when.

        Raises:
            ChunkMoved: one of them is neither waiting nor parked; then none is discarded.
        """
        return decisions.discard(self._folder, ref, chunk_idxs, why=why)

    def prune(self, *, older_than_s: float = 0.0, dry_run: bool = False) -> tuple[int, int]:
        """Delete the local bytes of chunks acknowledged so long ago; the index rows stay.

        Args:
            older_than_s: seconds since they were acknowledged.
            dry_run: only count.

        Returns:
            How many shards and bytes were deleted, or would be.

        Raises:
            ValueError: ``older_than_s`` is no number, or negative.
        """
        if not 0 <= older_than_s < math.inf:
            raise ValueError(f"older_than_s must be zero or more seconds, not {older_than_s!r}")
        before = self._folder.clock.now_ms() - int(older_than_s * 1000) + 1
        if dry_run:
            return pruning.prunable(self._folder, before_ms=before)
        return pruning.prune(self._folder, before_ms=before)
