"""For tests of the spool and of what is built on it: a clock, a failing disk, frames, and the judge.

* `FakeClock` stands still until it is told to move.
* `FaultyDisk` records every labelled step of `spool.disk`, and fails or kills at the one that is chosen.
* `some_reading` is a reading of the reference clock; `some_settings` are those of a small stream.
* `some_frames` makes seeded frames; the same seed gives the same frames for ever.
* `wire_sha256` is the digest of what is to be sent for some frames.
* `check_invariants` reads files, index, tally, ledger and Zarr metadata, and says where they disagree.
"""

import errno
import hashlib
import json
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from spool import ledger
from spool.clock import Clock, Moment
from spool.disk import Disk
from spool.encoding import Encoding
from spool.model import ClockReading, Event, StreamSettings
from spool.problems import DAMAGED, MISSING
from spool.shards import Description
from spool.spool import Spool
from spool.states import ChunkState
from spool.verify import verify

START_MS = 1_700_000_000_000
"""Where a `FakeClock` begins unless told otherwise: November 2023."""


class FakeClock:
    """A `spool.Clock` that stands still until it is moved; thread-safe.

    Args:
        now_ms: where it begins, milliseconds since the Unix epoch.
    """

    def __init__(self, now_ms: int = START_MS) -> None:
        self._now_ms = now_ms
        self._monotonic_ms = 60_000
        self._boot_id = "boot-1"
        self._lock = threading.Lock()

    def now_ms(self) -> int:
        """See `spool.Clock.now_ms`."""
        return self._now_ms

    def moment(self) -> Moment:
        """See `spool.Clock.moment`."""
        with self._lock:
            return Moment(at_ms=self._now_ms, monotonic_ms=self._monotonic_ms, boot_id=self._boot_id)

    def set_ms(self, now_ms: int) -> None:
        """Set the host clock, forwards or backwards; no time goes by."""
        with self._lock:
            self._now_ms = now_ms

    def advance_s(self, seconds: float) -> None:
        """Let time go by; a negative number turns the host clock back."""
        with self._lock:
            self._now_ms += round(seconds * 1000)
            self._monotonic_ms += max(0, round(seconds * 1000))

    def boot(self, boot_id: str) -> None:
        """Boot the machine again: the monotonic clock begins anew."""
        with self._lock:
            self._monotonic_ms, self._boot_id = 0, boot_id


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


def wire_sha256(frames: NDArray[np.uint8]) -> str:
    """SHA-256, in hex, of the bytes that are to be sent for a chunk of these frames."""
    n, height, width = frames.shape
    with ThreadPoolExecutor(1) as threads:
        encoding = Encoding(frames, threads, ahead=1)
        for _ in encoding.runs():
            pass
    nothing = Description(
        stream_id="", chunk_idx=0, n=n, height=height, width=width, chunk_size=n, capture_start_ms_utc=0,
        monotonic_ms=None, boot_id=None, spooled_at_ms=0, sha256="", wire_bytes=0,
    )  # fmt: skip
    return encoding.completed(nothing).sha256


def some_reading(
    offset_ms: float = 1.5, uncertainty_ms: float = 0.5, *, clock: Clock | None = None
) -> ClockReading:
    """A reading of the reference clock, at this moment of a host's clocks."""
    now = (clock or FakeClock()).moment()
    return ClockReading(
        at_ms=now.at_ms,
        monotonic_ms=now.monotonic_ms,
        boot_id=now.boot_id,
        offset_ms=offset_ms,
        uncertainty_ms=uncertainty_ms,
    )


def some_settings(
    *, name: str = "growth", destination: str = "https://example.invalid", fps: float = 10.0, chunk_size: int = 4
) -> StreamSettings:
    """Settings of a small stream: chunks of up to 4 frames."""
    return StreamSettings(
        name=name, destination=destination, fps=fps, rotations_per_min=0.0, chunk_size=chunk_size
    )


# The judge --------------------------------------------------------------------------------------------------


def check_invariants(spool: Spool, *, but: tuple[str, ...] = ()) -> None:
    """Assert that files, index, tally, ledger and Zarr metadata of a quiet spool tell one story.

    * the ledger's chain holds, and the states, counters and facts replayed from the ledger alone are the index's
    * every change of state in the ledger is one that the transition tables know
    * pushed = spooled + acknowledged + parked + discarded, and the tally is what the rows add up to
    * every waiting chunk's file holds exactly the bytes that were pushed; pruned and discarded ones are gone
    * a copy has the chunks of its original, and its end
    * no shard lies there without a row, and the Zarr array is as long as the last chunk reaches

    Args:
        spool: open, with nobody pushing or delivering at the moment.
        but: problems that are known: their places end so.

    Raises:
        AssertionError: they disagree; the message says who says what.
    """
    _check_chain(list(spool.events()))
    found = verify(spool.root, settle_s=0)
    streams = spool.streams()
    # A parked chunk may be damaged or missing: that can be why it is parked.
    parked = {
        (stream.stream_id, chunk.chunk_idx)
        for stream in streams
        for chunk in spool.chunks(stream.stream_id)
        if chunk.state is ChunkState.PARKED
    }
    wrong = [
        str(problem)
        for problem in found.problems
        if not problem.where.endswith(but)
        and not (problem.kind in (MISSING, DAMAGED) and (problem.stream_id, problem.chunk_idx) in parked)
    ]
    assert not wrong, "\n".join(wrong)
    assert found.streams == len(streams)
    used = 0
    for stream in streams:
        chunks = list(spool.chunks(stream.stream_id))
        used += sum(chunk.disk_bytes for chunk in chunks)
        # Counted here once more, so that the one that verifies is not its own judge.
        in_state = Counter(chunk.state for chunk in chunks)
        counted = [in_state[state] for state in ChunkState]
        tally = stream.tally
        assert counted == [tally.spooled, tally.acknowledged, tally.parked, tally.discarded], stream.stream_id
        assert tally.pushed == len(chunks), stream.stream_id
        for copy in (one for one in streams if one.settings.copy_of == stream.stream_id):
            same = [(chunk.chunk_idx, chunk.sha256) for chunk in spool.chunks(copy.stream_id)]
            assert same == [(chunk.chunk_idx, chunk.sha256) for chunk in chunks], copy.stream_id
            assert (copy.state == "open") == (stream.state == "open"), copy.stream_id
    assert spool.status().used_bytes == used


def _check_chain(events: list[Event]) -> None:
    """The chain, computed here once more, so that the ledger is not its own judge."""
    previous = ledger.GENESIS
    for position, event in enumerate(events, start=1):
        text = json.dumps(event.detail, sort_keys=True, separators=(",", ":"))
        row = [event.seq, event.at_ms, event.stream_id, event.chunk_idx, event.event, text]
        row_sha256 = hashlib.sha256(json.dumps(row, separators=(",", ":")).encode()).hexdigest()
        own = hashlib.sha256(f"{event.stream_id or ''}\n{row_sha256}".encode()).digest()
        digest = hashlib.sha256(previous + own).digest()
        assert event.seq == position, f"ledger row {position} is missing; the next is {event.seq}"
        assert event.previous == previous, f"ledger row {position} does not commit to the row before it"
        assert event.digest == digest, f"ledger row {position} is not what its digest says"
        previous = digest
