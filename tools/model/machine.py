"""The machine: what may happen to a spool, in any order, and what must hold after each step.

The spool is the real one, on real files; so is the delivery. The clock stands still until it is moved, the far end
is in memory, and a crash is a step of the disk that is never taken: everything open is let go as it is.
"""

import shutil
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.typing import NDArray

from spool import (
    Chunk,
    ChunkConflict,
    ChunkMoved,
    ChunkState,
    Disk,
    LeasedStream,
    LeaseLost,
    Limits,
    Spool,
    StreamSealed,
    StreamState,
    audit,
)
from spool.testing import START_MS, FakeClock, check_invariants, some_settings, wire_sha256
from tools.model.far_end import MODES, FarEnd
from uploader.delivery import StreamDelivery
from uploader.gate import Gate

STREAMS_MAX = 3
IDX_MAX = 9
LEASE_S = 60
_FAST = Path("/dev/shm")  # noqa: S108 - memory: nothing here asks what a power cut would leave

_stream = st.integers(0, STREAMS_MAX - 1)
_idx = st.integers(0, IDX_MAX)


class Crash(BaseException):
    """The process is gone."""


class CrashingDisk(Disk):
    """The real disk, until a step that is never taken."""

    def __init__(self) -> None:
        super().__init__(self._step)
        self.steps_left: int | None = None

    def _step(self, _label: str, _path: Path) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise Crash


@dataclass(slots=True)
class Told:
    """A stream as the model knows it."""

    stream_id: str
    seeds: dict[int, int] = field(default_factory=dict)
    states: dict[int, ChunkState] = field(default_factory=dict)
    state: StreamState = StreamState.OPEN
    held: bool = False


def frames_of(idx: int, seed: int) -> NDArray[np.uint8]:
    """What is pushed as a chunk: always the same for a seed."""
    return np.random.default_rng(100 * idx + seed).integers(0, 256, (1 + idx % 2, 3, 4), np.uint8)


class SpoolMachine(RuleBasedStateMachine):
    """See the module's text.

    Attributes:
        steps_checked: after how many steps, of all lives, everything was looked at.
    """

    steps_checked = 0

    @initialize(first=st.lists(st.sets(_idx, min_size=1), min_size=1, max_size=2))
    def begin(self, first: list[set[int]]) -> None:
        """A new spool, a clock, and a far end; streams that have begun, so that something can happen to them."""
        self.folder = Path(tempfile.mkdtemp(prefix="model-", dir=_FAST if _FAST.is_dir() else None))
        self.clock, self.disk = FakeClock(), CrashingDisk()
        self.streams: list[Told] = []
        self.deliveries: dict[str, tuple[LeasedStream, StreamDelivery]] = {}
        self.far_end = FarEnd(watch=self._watch)
        self.stopped = threading.Event()
        self.out_of_order: list[str] = []
        self._open()
        for idxs in first:
            self.open_stream(None)
            for idx in sorted(idxs):
                self.push(-1, idx, 0, None)

    def _open(self) -> None:
        limits = Limits(min_free_bytes=0, retention_s=30)
        self.spool = Spool(self.folder / "spool", limits=limits, clock=self.clock, disk=self.disk)
        self.gate = Gate(self.stopped)

    # What may happen ------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.streams) < STREAMS_MAX)
    @rule(crashes_after=st.none() | st.integers(0, 12))
    def open_stream(self, crashes_after: int | None) -> None:
        """A producer begins a stream."""
        name = f"stream {len(self.streams)}"

        def act() -> None:
            self.streams.append(Told(self.spool.open_stream(some_settings(name=name, chunk_size=2)).stream_id))

        if self._crashes(act, crashes_after):
            begun = [stream for stream in self.spool.streams() if stream.settings.name == name]
            self.streams += [Told(stream.stream_id) for stream in begun]

    @rule(
        which=_stream, idx=_idx, seed=st.sampled_from((0, 0, 0, 1)), crashes_after=st.none() | st.integers(0, 14)
    )
    def push(self, which: int, idx: int, seed: int, crashes_after: int | None) -> None:
        """A producer pushes a chunk: a new one, the same again, or another one with its index."""
        told = self._stream(which)
        if told is None:
            return
        expected: type[Exception] | None = None
        if told.state is not StreamState.OPEN:
            expected = StreamSealed
        elif told.states.get(idx) is ChunkState.DISCARDED or told.seeds.get(idx, seed) != seed:
            expected = ChunkConflict
        outcome: list[type[Exception] | None] = []

        def act() -> None:
            try:
                self.spool.push(told.stream_id, idx, frames_of(idx, seed))
            except (ChunkConflict, StreamSealed) as error:
                outcome.append(type(error))
            else:
                outcome.append(None)

        if self._crashes(act, crashes_after):
            if expected is None and self.spool.chunk(told.stream_id, idx) is not None:
                self._accepted(told, idx, seed)
            return
        assert outcome == [expected], f"push {idx} of {told.stream_id}: {outcome}, expected {expected}"
        if expected is None:
            self._accepted(told, idx, seed)

    @rule(which=_stream, idxs=st.sets(_idx, min_size=1))
    def push_some(self, which: int, idxs: set[int]) -> None:
        """A producer pushes on."""
        for idx in sorted(idxs):
            self.push(which, idx, 0, None)

    @rule(which=_stream, mode=st.sampled_from(("up", *MODES)), refused=st.frozensets(_idx, max_size=3))
    def deliver(self, which: int, mode: str, refused: frozenset[int]) -> None:
        """A worker has its turn, and the far end answers in one way or another."""
        told = self._stream(which)
        if told is not None:
            self._drain(told, mode, refused)

    @rule(which=_stream, crashes_after=st.integers(0, 20))
    def deliver_and_crash(self, which: int, crashes_after: int) -> None:
        """A worker has its turn, and dies."""
        told = self._stream(which)
        if told is None:
            return

        def act() -> None:
            self._drained(told, "up", frozenset())

        self._crashes(act, crashes_after)
        self._look_at(told)

    @rule(which=_stream)
    def another_worker(self, which: int) -> None:
        """It gets the stream once the lease has run out, and the first one then gets nothing more done."""
        told = self._stream(which)
        if told is None or told.stream_id not in self.deliveries:
            return
        lease, _ = self.deliveries[told.stream_id]
        assert self.spool.lease(told.stream_id, "second", ttl_s=LEASE_S) is None, "two workers have one stream"
        self.clock.advance_s(LEASE_S + 1)
        assert self.spool.lease(told.stream_id, "second", ttl_s=LEASE_S) is not None
        try:
            lease.hold("by one who has lost it")
        except LeaseLost:
            del self.deliveries[told.stream_id]
        else:
            raise AssertionError("a worker that has lost its lease goes on")

    @rule(which=_stream, crashes_after=st.none() | st.integers(0, 6))
    def seal(self, which: int, crashes_after: int | None) -> None:
        """The end of the stream is asked for."""
        told = self._stream(which)
        if told is not None and self._crashes(lambda: self.spool.seal(told.stream_id), crashes_after):
            self._look_at(told)
        elif told is not None and told.state is StreamState.OPEN:
            told.state = StreamState.SEALED

    @rule(which=_stream)
    def retry(self, which: int) -> None:
        """A person lets parked chunks and a held stream go on."""
        told = self._stream(which)
        if told is None:
            return
        self.spool.retry(told.stream_id)
        told.held = False
        for idx, state in told.states.items():
            if state is ChunkState.PARKED:
                told.states[idx] = ChunkState.SPOOLED

    @rule(which=_stream, idx=_idx, crashes_after=st.none() | st.integers(0, 3))
    def discard(self, which: int, idx: int, crashes_after: int | None) -> None:
        """A person gives a chunk up."""
        told = self._stream(which)
        if told is None:
            return
        may = told.states.get(idx) in (ChunkState.SPOOLED, ChunkState.PARKED)
        outcome: list[bool] = []

        def act() -> None:
            try:
                self.spool.discard(told.stream_id, [idx], why="the dice said so")
            except ChunkMoved:
                outcome.append(False)
            else:
                outcome.append(True)

        if self._crashes(act, crashes_after):
            found = self.spool.chunk(told.stream_id, idx)
            assert (
                found is None or may or found.state is not ChunkState.DISCARDED or told.states[idx] == found.state
            )
            if may and found is not None:
                told.states[idx] = found.state
            return
        assert outcome == [may]
        if may:
            told.states[idx] = ChunkState.DISCARDED

    @rule(older_than_s=st.sampled_from((0, 10)), crashes_after=st.none() | st.integers(0, 4))
    def prune(self, older_than_s: int, crashes_after: int | None) -> None:
        """Local bytes of acknowledged chunks go."""
        self._crashes(lambda: self.spool.prune(older_than_s=older_than_s), crashes_after)

    @rule()
    def keep_within_limits(self) -> None:
        """What a worker does between two turns."""
        self.spool.keep_within_limits()

    @rule(seconds=st.sampled_from((1, 20, 3600, -5, -86_400)))
    def the_clock_moves(self, seconds: int) -> None:
        """Forwards, by a second or an hour; or backwards."""
        # Never so far back that leases of this life would be from the future for good.
        if self.clock.now_ms() + 1000 * seconds > START_MS:
            self.clock.advance_s(seconds)

    @rule()
    def reopen(self) -> None:
        """The process ends properly, and another one begins."""
        self.deliveries.clear()
        self.spool.close()
        self._open()

    @rule()
    def lose_the_index(self) -> None:
        """Closed properly, and then somebody deletes it."""
        self.deliveries.clear()
        self.spool.close()
        for path in (self.folder / "spool").glob("index.sqlite3*"):
            path.unlink()
        self._open()

    # What must hold -------------------------------------------------------------------------------------

    @invariant()
    def everything_adds_up(self) -> None:
        """See the module's text: after every step."""
        if not hasattr(self, "spool"):
            return
        SpoolMachine.steps_checked += 1
        check_invariants(self.spool)
        assert self.out_of_order == []
        assert {stream.stream_id for stream in self.spool.streams()} == {told.stream_id for told in self.streams}
        for told in self.streams:
            self._require(told)

    def _require(self, told: Told) -> None:
        stream = self.spool.stream(told.stream_id)
        chunks = {chunk.chunk_idx: chunk for chunk in self.spool.chunks(told.stream_id)}
        states = {idx: chunk.state for idx, chunk in chunks.items()}
        assert states == told.states, f"{told.stream_id} is {states}, the model says {told.states}"
        assert (stream.state, stream.held is not None) == (told.state, told.held)
        tally = stream.tally
        assert len(told.seeds) == tally.spooled + tally.acknowledged + tally.parked + tally.discarded
        for idx, chunk in chunks.items():
            sent = self.far_end.got.get((told.stream_id, idx), [])
            assert set(sent) <= {chunk.sha256}, f"chunk {idx} was sent with other bytes"
            assert chunk.sha256 == digest_of(idx, told.seeds[idx])
            assert chunk.attempts >= len(sent)
            if chunk.state is ChunkState.ACKNOWLEDGED:
                assert sent, f"chunk {idx} is acknowledged, and never arrived"
                assert chunk.receipt is not None
                assert chunk.receipt.etag == chunk.sha256
        if stream.state is StreamState.FINALIZED:
            assert told.stream_id in self.far_end.ended
            assert tally.spooled == tally.parked == 0
        said = audit(self.spool, told.stream_id)
        assert {one.chunk.chunk_idx: one.chunk.state for one in said.chunks} == told.states
        assert said.gaps == [idx for idx in range(max(told.states, default=-1)) if idx not in told.states]
        assert said.complete == self._is_complete(told)

    @staticmethod
    def _is_complete(told: Told) -> bool:
        if not told.states:
            return told.state is StreamState.FINALIZED
        has_gaps = len(told.states) != max(told.states) + 1
        return not has_gaps and set(told.states.values()) == {ChunkState.ACKNOWLEDGED}

    def teardown(self) -> None:
        """Once nothing fails any more, everything arrives and every stream ends."""
        if not hasattr(self, "spool"):
            return
        try:
            for told in self.streams:
                self.retry(self.streams.index(told))
                self.seal(self.streams.index(told), None)
                self._drain(told, "up", frozenset())
                left = [
                    idx for idx, state in told.states.items() if state in (ChunkState.SPOOLED, ChunkState.PARKED)
                ]
                assert left == [], f"chunks {left} of {told.stream_id} never arrive"
                assert self.spool.stream(told.stream_id).state is StreamState.FINALIZED
            self.everything_adds_up()
        finally:
            self.deliveries.clear()
            self.spool.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    # How it is done -------------------------------------------------------------------------------------

    def _stream(self, which: int) -> Told | None:
        return self.streams[which % len(self.streams)] if self.streams else None

    def _accepted(self, told: Told, idx: int, seed: int) -> None:
        told.seeds.setdefault(idx, seed)
        told.states.setdefault(idx, ChunkState.SPOOLED)

    def _crashes(self, act: Callable[[], object], after: int | None) -> bool:
        """Do it; whether the process was gone before it had returned. Then a new one has opened the spool."""
        self.disk.steps_left = after
        try:
            act()
        except Crash:
            note("crashed")
            self.deliveries.clear()
            # A dead process commits nothing and closes nothing; its locks go with it.
            self.disk.steps_left = None
            self.spool._folder.index.close()  # noqa: SLF001 - nothing public lets go without tidying up
            self.spool._intake.close()  # noqa: SLF001 - the same
            self._open()
            return True
        finally:
            self.disk.steps_left = None
        return False

    def _drain(self, told: Told, mode: str, refused: frozenset[int]) -> None:
        """Let the worker have its turn, and see that the states are what such an answer leads to."""
        before = dict(told.states)
        self._drained(told, mode, refused)
        self._look_at(told)
        waiting = [idx for idx, state in sorted(before.items()) if state is ChunkState.SPOOLED]
        if told.held and mode != "closed":
            assert told.states == before
        elif mode == "up":
            assert all(told.states[idx] is ChunkState.ACKNOWLEDGED for idx in waiting), (
                "it arrived, and still waits"
            )
        elif mode != "refuses":
            assert told.states == before, f"{mode} changes what is known of a chunk"

    def _drained(self, told: Told, mode: str, refused: frozenset[int]) -> None:
        self.far_end.mode, self.far_end.refused = mode, refused
        lease, delivery = self._delivery(told)
        lease.renew()
        # Three refusals park a chunk: as often as that the same worker comes back.
        for _ in range(4):
            delivery.drain(lambda: True)
        delivery._preparer.settle()  # noqa: SLF001 - nobody else would wait for it

    def _delivery(self, told: Told) -> tuple[LeasedStream, StreamDelivery]:
        if told.stream_id not in self.deliveries:
            lease = self.spool.lease(told.stream_id, "worker", ttl_s=LEASE_S, take_over=True)
            assert lease is not None
            self.deliveries[told.stream_id] = (
                lease,
                StreamDelivery(lease, self.far_end, self.gate, self.stopped, proof=bytes),
            )
        return self.deliveries[told.stream_id]

    def _look_at(self, told: Told) -> None:
        """Take over what only the far end's answers decide; what they cannot have led to is an error."""
        stream = self.spool.stream(told.stream_id)
        for chunk in self.spool.chunks(told.stream_id):
            was = told.states.get(chunk.chunk_idx)
            if was == chunk.state:
                continue
            assert was is ChunkState.SPOOLED, f"chunk {chunk.chunk_idx} was {was} and is {chunk.state}"
            assert chunk.state in (ChunkState.ACKNOWLEDGED, ChunkState.PARKED)
            if chunk.state is ChunkState.PARKED:
                assert chunk.chunk_idx in self.far_end.refused, f"chunk {chunk.chunk_idx} is parked"
            told.states[chunk.chunk_idx] = chunk.state
        order = [StreamState.OPEN, StreamState.SEALED, StreamState.FINALIZED]
        assert order.index(stream.state) >= order.index(told.state)
        told.state, told.held = stream.state, stream.held is not None

    def _watch(self, chunk: Chunk) -> None:
        """Before a chunk's bytes are taken: whatever comes before it must not be waiting any more."""
        earlier = [
            one.chunk_idx
            for one in self.spool.chunks(chunk.stream_id)
            if one.chunk_idx < chunk.chunk_idx and one.state is ChunkState.SPOOLED
        ]
        if earlier:
            self.out_of_order.append(f"chunk {chunk.chunk_idx} is sent while {earlier} wait")


@cache
def digest_of(idx: int, seed: int) -> str:
    """SHA-256 of the bytes that are to be sent for a chunk."""
    return wire_sha256(frames_of(idx, seed))
