"""For tests of the spool and of what is built on it: a clock, a failing disk, frames, and the judge.

* `FakeClock` stands still until it is told to move.
* `FaultyDisk` records every labelled step of `spool.disk`, and fails or kills at the one that is chosen.
* `some_frames` makes seeded frames; the same seed gives the same frames for ever.
* `check_invariants` reads files, index, tally, ledger and Zarr metadata, and says where they disagree.
"""

import errno
import hashlib
import json
import os
import signal
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from spool import ledger, shards
from spool.disk import Disk
from spool.model import Chunk, Event, Stream, StreamSettings, Tally
from spool.replay import ToldChunk, ToldStream, replay
from spool.spool import Spool
from spool.states import ChunkState
from spool.zarr_metadata import ARRAY_NAME, chunk_idx_of, shard_name

START_MS = 1_700_000_000_000
"""Where a `FakeClock` begins unless told otherwise: November 2023."""


class FakeClock:
    """A `spool.Clock` that stands still until it is moved; thread-safe.

    Args:
        now_ms: where it begins, milliseconds since the Unix epoch.
    """

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """See `spool.Clock.now_ms`."""
        return self._now_ms

    def set_ms(self, now_ms: int) -> None:
        """Jump to a moment, forwards or backwards."""
        with self._lock:
            self._now_ms = now_ms

    def advance_s(self, seconds: float) -> None:
        """Move on; a negative number turns the clock back."""
        with self._lock:
            self._now_ms += round(seconds * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step that the disk was asked to take."""

    label: str
    path: Path


@dataclass(slots=True, kw_only=True)
class _Fault:
    first: int
    last: float
    errno: int | None  # None: the process dies


class FaultyDisk(Disk):
    """The real disk, watched: every step is recorded, and a chosen one fails or ends the process.

    A step fails before it is taken, as with a disk that refuses it. Steps count from when they were armed.
    """

    def __init__(self) -> None:
        super().__init__(self._watch)
        self.steps: list[Step] = []
        self._faults: dict[str, _Fault] = {}
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    def labels(self) -> list[str]:
        """The labels of all steps so far, in order."""
        return [step.label for step in self.steps]

    def fail(self, label: str, *, error: int = errno.EIO, at: int = 1, times: float = 1) -> None:
        """Let the ``at``-th step with this label from now on raise `OSError`, and those after it up to ``times``.

        Args:
            label: as in `spool.disk`, for example ``shard.fsync``.
            error: the `errno`, for example ``errno.ENOSPC``.
            at: counts from 1.
            times: how many in a row fail; ``math.inf`` for a disk that stays broken.
        """
        self._arm(label, _Fault(first=at, last=at + times - 1, errno=error))

    def kill(self, label: str, *, at: int = 1) -> None:
        """Let the process die without any clean-up (``SIGKILL``) right before the ``at``-th such step."""
        self._arm(label, _Fault(first=at, last=at, errno=None))

    def mend(self) -> None:
        """Let every step pass again."""
        with self._lock:
            self._faults.clear()

    def _arm(self, label: str, fault: _Fault) -> None:
        with self._lock:
            self._seen[label] = 0
            self._faults[label] = fault

    def _watch(self, label: str, path: Path) -> None:
        with self._lock:
            self.steps.append(Step(label=label, path=path))
            self._seen[label] += 1
            fault = self._faults.get(label)
            if fault is None or not fault.first <= self._seen[label] <= fault.last:
                return
        if fault.errno is None:
            die()
        raise OSError(fault.errno, os.strerror(fault.errno), str(path))


def die() -> NoReturn:
    """End this process as ``kill -9`` does: no handler, no flush, no ``finally``."""
    if hasattr(signal, "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(137)


def some_frames(n: int = 4, height: int = 12, width: int = 16, *, seed: int = 0) -> NDArray[np.uint8]:
    """Frames with a bright spot on shot noise, uint8 ``(n, height, width)``, C order, owned by the caller."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    spot: NDArray[np.float64] = 180 * np.exp(-((y - height / 2) ** 2 + (x - width / 2) ** 2) / (height + width))
    noisy: NDArray[np.float64] = spot + random.poisson(12, (n, height, width))
    return noisy.clip(0, 255).astype(np.uint8)


def some_settings(
    *, name: str = "growth", destination: str = "https://example.invalid", fps: float = 10.0, chunk_size: int = 4
) -> StreamSettings:
    """Settings of a small stream: chunks of up to 4 frames."""
    return StreamSettings(
        name=name, destination=destination, fps=fps, rotations_per_min=0.0, chunk_size=chunk_size
    )


# The judge --------------------------------------------------------------------------------------------------


def check_invariants(spool: Spool) -> None:
    """Assert that files, index, tally, ledger and Zarr metadata of a quiet spool tell one story.

    * the ledger's chain holds, and the states, counters and facts replayed from the ledger alone are the index's
    * every change of state in the ledger is one that the transition tables know
    * pushed = spooled + acknowledged + parked + discarded, and the tally is what the rows add up to
    * every waiting chunk's file holds exactly the bytes that were pushed; pruned and discarded ones are gone
    * no shard lies there without a row, and the Zarr array is as long as the last chunk reaches

    Args:
        spool: open, with nobody pushing or delivering at the moment.

    Raises:
        AssertionError: they disagree; the message says who says what.
    """
    events = list(spool.events())
    _check_chain(events)
    assert spool.ledger_break() is None, f"the chain breaks at row {spool.ledger_break()}"
    replayed = replay(events)
    assert replayed.faults == []
    told = replayed.streams
    streams = {stream.stream_id: stream for stream in spool.streams()}
    _same("streams", index=sorted(streams), ledger=sorted(told))
    used = 0
    for stream_id, stream in streams.items():
        chunks = {chunk.chunk_idx: chunk for chunk in spool.chunks(stream_id)}
        _check_stream(stream, chunks, told[stream_id])
        _check_tally(spool.root, stream, list(chunks.values()))
        _check_files(spool.zarr_path(stream_id), stream, chunks)
        _check_zarr(spool.zarr_path(stream_id), stream, chunks)
        used += sum(chunk.disk_bytes for chunk in chunks.values())
    _same("bytes used", status=spool.status().used_bytes, rows=used)


def _same(what: str, **told: object) -> None:
    values = list(told.values())
    assert all(value == values[0] for value in values), f"{what}: " + ", but ".join(
        f"{who} says {value!r}" for who, value in told.items()
    )


def _check_chain(events: list[Event]) -> None:
    """The chain, computed here once more, so that the ledger is not its own judge."""
    previous = ledger.GENESIS
    for position, event in enumerate(events, start=1):
        text = json.dumps(event.detail, sort_keys=True, separators=(",", ":"))
        row = [event.seq, event.at_ms, event.stream_id, event.chunk_idx, event.event, text]
        digest = hashlib.sha256(previous + json.dumps(row, separators=(",", ":")).encode()).digest()
        assert event.seq == position, f"ledger row {position} is missing; the next is {event.seq}"
        assert event.previous == previous, f"ledger row {position} does not commit to the row before it"
        assert event.digest == digest, f"ledger row {position} is not what its digest says"
        previous = digest


def _check_stream(stream: Stream, chunks: dict[int, Chunk], told: ToldStream) -> None:
    name = stream.stream_id
    for what in (
        *("state", "data_id", "held", "created_at_ms", "sealed_at_ms", "finalized_at_ms"),
        *("clock_offset_ms", "clock_uncertainty_ms"),
    ):
        _same(f"{what} of {name}", index=getattr(stream, what), ledger=getattr(told, what))
    settings = json.loads(json.dumps(asdict(stream.settings)))
    _same(f"settings of {name}", index=settings, ledger=told.settings)
    _same(f"chunks of {name}", index=sorted(chunks), ledger=sorted(told.chunks))
    _same(f"next chunk_idx of {name}", index=stream.next_chunk_idx, rows=max(chunks, default=-1) + 1)
    mark = -1
    while mark + 1 in chunks and chunks[mark + 1].state == ChunkState.ACKNOWLEDGED:
        mark += 1
    _same(f"watermark of {name}", index=stream.watermark, rows=mark)
    for idx, chunk in chunks.items():
        _check_chunk(f"chunk {idx} of {name}", chunk, told.chunks[idx])


def _check_chunk(name: str, chunk: Chunk, told: ToldChunk) -> None:
    _same(f"facts of {name}", index=ledger.chunk_facts(chunk), ledger=told.facts)
    for what in ("state", "attempts", "acknowledged_at_ms", "pruned_at_ms", "spooled_at_ms", "disk_bytes"):
        _same(f"{what} of {name}", index=getattr(chunk, what), ledger=getattr(told, what))
    if chunk.state == ChunkState.PARKED:
        _same(f"parked_reason of {name}", index=chunk.parked_reason, ledger=told.parked_reason)
    receipt = asdict(chunk.receipt) if chunk.receipt else None
    _same(f"receipt of {name}", index=receipt, ledger=told.receipt)
    gone = chunk.state == ChunkState.DISCARDED or chunk.pruned_at_ms is not None
    assert (chunk.disk_bytes == 0) == gone, f"{name} is {chunk.state} and has {chunk.disk_bytes} bytes on disk"


def _check_tally(root: Path, stream: Stream, chunks: list[Chunk]) -> None:
    in_state = Counter(chunk.state for chunk in chunks)
    added = Tally(
        spooled=in_state[ChunkState.SPOOLED],
        acknowledged=in_state[ChunkState.ACKNOWLEDGED],
        parked=in_state[ChunkState.PARKED],
        discarded=in_state[ChunkState.DISCARDED],
        waiting_bytes=sum(chunk.wire_bytes for chunk in chunks if chunk.state == ChunkState.SPOOLED),
        disk_bytes=sum(chunk.disk_bytes for chunk in chunks),
    )
    _same(f"tally of {stream.stream_id}", index=stream.tally, rows=added)
    _same(f"chunks ever pushed to {stream.stream_id}", tally=stream.tally.pushed, rows=len(chunks))
    with closing(sqlite3.connect(root / "index.sqlite3")) as db:
        rows = db.execute(
            "SELECT tally.state, chunks, wire_bytes, disk_bytes FROM tally JOIN streams USING (stream_key)"
            " WHERE stream_id = ? AND chunks + wire_bytes + disk_bytes > 0 ORDER BY tally.state",
            (stream.stream_id,),
        ).fetchall()
    counted = [
        (
            state,
            len(here := [chunk for chunk in chunks if chunk.state == state]),
            sum(chunk.wire_bytes for chunk in here),
            sum(chunk.disk_bytes for chunk in here),
        )
        for state in sorted(in_state)
    ]
    _same(f"tally rows of {stream.stream_id}", index=rows, counted=counted)


def _check_files(store: Path, stream: Stream, chunks: dict[int, Chunk]) -> None:
    folder = store / ARRAY_NAME
    there = {idx for path in folder.iterdir() if (idx := chunk_idx_of(path.name)) is not None}
    for idx in there:
        assert idx in chunks, f"{shard_name(idx)} of {stream.stream_id} is on disk without an index row"
        assert chunks[idx].disk_bytes, (
            f"{shard_name(idx)} of {stream.stream_id} is still there: {chunks[idx].state}"
        )
    for idx, chunk in chunks.items():
        # A parked chunk may be damaged or missing: that can be why it is parked.
        if chunk.disk_bytes and chunk.state != ChunkState.PARKED:
            assert idx in there, f"chunk {idx} of {stream.stream_id} is {chunk.state} but its file is missing"
            _check_shard(folder / shard_name(idx), stream, chunk)


def _check_shard(path: Path, stream: Stream, chunk: Chunk) -> None:
    _same(f"size of {path}", file=path.stat().st_size, index=chunk.disk_bytes)
    shards.read_wire_form(
        path, n=chunk.n, chunk_size=stream.settings.chunk_size, wire_bytes=chunk.wire_bytes, sha256=chunk.sha256
    )
    said = shards.read_description(path)
    _same(
        f"description of {path}",
        file=(said.stream_id, said.chunk_idx, said.chunk_size, said.n, said.height, said.width, said.sha256),
        index=(
            stream.stream_id,
            chunk.chunk_idx,
            stream.settings.chunk_size,
            chunk.n,
            chunk.height,
            chunk.width,
            chunk.sha256,
        ),
    )


def _check_zarr(store: Path, stream: Stream, chunks: dict[int, Chunk]) -> None:
    group = json.loads((store / "zarr.json").read_text("utf-8"))
    _same(f"the Zarr group of {stream.stream_id}", file=group["node_type"], expected="group")
    array = json.loads((store / ARRAY_NAME / "zarr.json").read_text("utf-8"))
    last = max(chunks, default=None)
    length = 0 if last is None else last * stream.settings.chunk_size + chunks[last].n
    _same(
        f"shape of the Zarr array of {stream.stream_id}",
        file=array["shape"],
        index=[length, stream.height or 1, stream.width or 1],
    )
