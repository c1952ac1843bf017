"""Accepting chunks: what push promises, and what it refuses."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spool import (
    Chunk,
    ChunkConflict,
    ChunkState,
    FramesRejected,
    Limits,
    Receipt,
    Spool,
    SpoolError,
    Stream,
    StreamSealed,
    UnknownStream,
)
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_settings, wire_sha256

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1)


def acknowledge(spool: Spool, chunk: Chunk) -> None:
    lease = spool.lease(chunk.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.acknowledge(chunk, RECEIPT)


def test_the_steps_of_a_push_come_in_the_order_of_the_promise(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    steps = [label for label in disk.labels() if label in {"shard.fsync", "shard.fsync_dir", "push.commit"}]
    assert steps == ["shard.fsync", "shard.fsync_dir", "push.commit"]


def test_the_directory_that_is_fsynced_is_the_one_that_holds_the_shard(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    synced = [step.path for step in disk.steps if step.label == "shard.fsync_dir"]
    assert synced == [spool.zarr_path(stream.stream_id) / "frames"]


def test_every_new_directory_has_its_entry_made_durable_before_it_is_used(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    assert stream.stream_id in [one.stream_id for one in spool.streams()]
    made = [at for at, step in enumerate(disk.steps) if step.label.endswith(".mkdir")]
    assert len(made) >= 7  # the spool, its three folders, the stream's three
    for at in made:
        after = disk.steps[at + 1]
        assert after.label.endswith(".fsync_dir")
        assert after.path == disk.steps[at].path.parent


def test_the_chunk_that_is_returned_tells_what_was_stored(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames(3), capture_start_ms_utc=1234.9)
    assert (chunk.state, chunk.n, chunk.height, chunk.width) == (ChunkState.SPOOLED, 3, 12, 16)
    assert (chunk.capture_start_ms_utc, chunk.spooled_at_ms) == (1234, clock.now_ms())
    assert chunk == spool.chunk(stream.stream_id, 0)
    check_invariants(spool)


def test_without_a_capture_time_the_chunk_is_taken_to_have_just_finished(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames(4))
    assert chunk.capture_start_ms_utc == clock.now_ms() - 400


@pytest.mark.parametrize(
    ("frames", "n"),
    [
        (np.zeros((4, 12, 16), dtype=np.uint8), 4),
        (some_frames(1), 1),
        (some_frames(1)[0], 1),
        (some_frames(8)[::2], 4),
        (np.asfortranarray(some_frames(4)), 4),
        (some_frames(4)[:, ::-1, ::-1], 4),
    ],
    ids=["dark", "short", "single frame", "every other frame", "fortran order", "turned by a view"],
)
def test_frames_of_every_layout_are_stored_as_they_look(
    spool: Spool, stream: Stream, frames: NDArray[np.uint8], n: int
) -> None:
    chunk = spool.push(stream.stream_id, 0, frames)
    assert chunk.n == n
    check_invariants(spool)


def test_push_does_not_touch_the_callers_frames(spool: Spool, stream: Stream) -> None:
    frames = some_frames()
    frames.setflags(write=False)
    before = frames.copy()
    spool.push(stream.stream_id, 0, frames)
    assert np.array_equal(frames, before)


def test_gaps_and_any_order_of_chunk_idx_are_accepted(spool: Spool, stream: Stream) -> None:
    for idx in (7, 2, 9, 0):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        check_invariants(spool)
    assert [chunk.chunk_idx for chunk in spool.chunks(stream.stream_id)] == [0, 2, 7, 9]
    assert spool.stream(stream.stream_id).next_chunk_idx == 10


def test_a_numpy_integer_is_a_chunk_idx(spool: Spool, stream: Stream) -> None:
    assert spool.push(stream.stream_id, np.int64(3), some_frames()).chunk_idx == 3


def test_a_stream_is_found_by_its_data_id_too(spool: Spool, stream: Stream) -> None:
    assert spool.push("data-1", 0, some_frames()).stream_id == stream.stream_id


# The same chunk_idx again -----------------------------------------------------------------------------------


def test_the_same_frames_again_are_a_no_op(spool: Spool, stream: Stream) -> None:
    first = spool.push(stream.stream_id, 0, some_frames(), capture_start_ms_utc=5)
    events = list(spool.events())
    assert spool.push(stream.stream_id, 0, some_frames(), capture_start_ms_utc=6) == first
    assert list(spool.events()) == events
    check_invariants(spool)


def test_a_chunk_whose_file_was_lost_gets_back_the_very_file_it_had(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    """Found by cutting the power: the second file told other times than the row."""
    first = spool.push(stream.stream_id, 0, some_frames())
    path = spool.zarr_path(stream.stream_id) / "frames" / "c.0.0.0"
    content = path.read_bytes()
    path.unlink()
    clock.advance_s(1234)
    assert spool.push(stream.stream_id, 0, some_frames()) == first
    assert path.read_bytes() == content
    check_invariants(spool)


def test_other_frames_under_the_same_chunk_idx_are_a_conflict_and_the_first_stay(
    spool: Spool, stream: Stream
) -> None:
    first = spool.push(stream.stream_id, 0, some_frames(seed=1))
    with pytest.raises(ChunkConflict):
        spool.push(stream.stream_id, 0, some_frames(seed=2))
    assert spool.chunk(stream.stream_id, 0) == first
    check_invariants(spool)


def test_fewer_of_the_same_frames_are_a_conflict(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames(4))
    with pytest.raises(ChunkConflict):
        spool.push(stream.stream_id, 0, some_frames(4)[:3])


@pytest.mark.parametrize("pruned", [False, True])
def test_an_acknowledged_chunk_pushed_again_is_not_sent_again(
    spool: Spool, stream: Stream, *, pruned: bool
) -> None:
    acknowledge(spool, spool.push(stream.stream_id, 0, some_frames()))
    if pruned:
        assert spool.prune()[0] == 1
    assert spool.push(stream.stream_id, 0, some_frames()).state == ChunkState.ACKNOWLEDGED
    with pytest.raises(ChunkConflict):
        spool.push(stream.stream_id, 0, some_frames(seed=9))
    check_invariants(spool)


def test_the_same_frames_encoded_by_another_zstd_are_still_the_same(
    spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = some_frames(4, 40, 60)
    first = spool.push(stream.stream_id, 0, frames)
    monkeypatch.setattr("spool.frame_codec.ZSTD_LEVEL", 19)
    assert wire_sha256(frames) != first.sha256
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as later:
        assert later.push(stream.stream_id, 0, frames) == first
        with pytest.raises(ChunkConflict):
            later.push(stream.stream_id, 0, some_frames(4, 40, 60, seed=3))


def test_a_discarded_chunk_does_not_come_back(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.discard(stream.stream_id, [0], why="wrong sample")
    with pytest.raises(ChunkConflict, match="discarded"):
        spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


# Refusals ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        (some_frames().astype(np.uint16), "uint16"),
        (some_frames().astype(np.float32), "float32"),
        (some_frames().astype(bool), "bool"),
        ([[[1, 2], [3, 4]]], "int"),
        ([[1, 2], [3]], "not an array"),
        (None, "object"),
        (np.zeros(5, dtype=np.uint8), "shape"),
        (np.zeros((1, 1, 4, 4), dtype=np.uint8), "shape"),
        (np.zeros((), dtype=np.uint8), "shape"),
        (np.zeros((0, 4, 4), dtype=np.uint8), "nothing"),
        (np.zeros((2, 0, 4), dtype=np.uint8), "nothing"),
        (some_frames(5), "chunk_size"),
    ],
)
def test_frames_that_cannot_be_stored_are_refused_and_nothing_is_stored(
    spool: Spool, stream: Stream, disk: FaultyDisk, frames: Any, says: str
) -> None:
    steps = len(disk.steps)
    with pytest.raises(FramesRejected, match=says) as raised:
        spool.push(stream.stream_id, 0, frames)
    assert raised.value.hint
    assert len(disk.steps) == steps, "the disk was touched"
    check_invariants(spool)


@pytest.mark.parametrize("chunk_idx", [-1, 1.0, "0", None, True, 10**9 + 1, 2**70])
def test_a_chunk_idx_that_is_none_is_refused(spool: Spool, stream: Stream, chunk_idx: Any) -> None:
    with pytest.raises(FramesRejected, match="chunk_idx"):
        spool.push(stream.stream_id, chunk_idx, some_frames())
    check_invariants(spool)


@pytest.mark.parametrize("moment", [-1, math.nan, math.inf, "yesterday", 2**60])
def test_a_capture_time_that_is_none_is_refused(spool: Spool, stream: Stream, moment: Any) -> None:
    with pytest.raises(FramesRejected, match="capture_start"):
        spool.push(stream.stream_id, 0, some_frames(), moment)
    check_invariants(spool)


@pytest.mark.parametrize("shape", [(13, 16), (12, 15), (16, 12)])
def test_another_frame_size_in_the_same_stream_is_refused(
    spool: Spool, stream: Stream, shape: tuple[int, int]
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    with pytest.raises(FramesRejected, match="12 x 16"):
        spool.push(stream.stream_id, 1, some_frames(4, *shape))
    check_invariants(spool)


def test_the_size_of_a_refused_chunk_does_not_bind_the_stream(spool: Spool, stream: Stream) -> None:
    with pytest.raises(FramesRejected):
        spool.push(stream.stream_id, 0, some_frames(5, 7, 7))
    spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


def test_an_unknown_stream_is_a_clear_error(spool: Spool, stream: Stream) -> None:
    assert stream.stream_id != "nonesuch"
    with pytest.raises(UnknownStream, match="nonesuch") as raised:
        spool.push("nonesuch", 0, some_frames())
    assert "'framespool streams'" in raised.value.hint


def test_a_sealed_stream_takes_no_chunk_and_keeps_what_it_has(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.seal(stream.stream_id)
    with pytest.raises(StreamSealed):
        spool.push(stream.stream_id, 1, some_frames())
    assert spool.stream(stream.stream_id).tally.spooled == 1
    check_invariants(spool)


def test_sealed_while_the_shard_was_being_written_the_push_is_refused_and_leaves_nothing(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    def seal_at_fsync(label: str, _path: object) -> None:
        if label == "shard.fsync":
            spool.seal(stream.stream_id)

    disk.before = seal_at_fsync
    with pytest.raises(StreamSealed):
        spool.push(stream.stream_id, 0, some_frames())
    assert not [path for path in (spool.root / "incoming").rglob("*") if path.is_file() and path.suffix != ".lock"]
    check_invariants(spool)


def test_a_data_id_names_one_stream_only(spool: Spool, stream: Stream) -> None:
    with pytest.raises(SpoolError, match="already"):
        spool.open_stream(some_settings(), data_id=stream.data_id)
    check_invariants(spool)


# Several at once --------------------------------------------------------------------------------------------


def _outcomes(pushes: list[Callable[[], Chunk]]) -> list[Chunk | ChunkConflict]:
    gate = threading.Barrier(len(pushes))

    def one(push: Callable[[], Chunk]) -> Chunk | ChunkConflict:
        gate.wait()
        try:
            return push()
        except ChunkConflict as conflict:
            return conflict

    with ThreadPoolExecutor(len(pushes)) as threads:
        return list(threads.map(one, pushes))


def test_threads_that_push_the_same_frames_at_once_all_succeed_with_one_chunk(
    spool: Spool, stream: Stream
) -> None:
    outcomes = _outcomes([lambda: spool.push(stream.stream_id, 0, some_frames())] * 6)
    assert outcomes == [spool.chunk(stream.stream_id, 0)] * 6
    check_invariants(spool)


def test_of_threads_that_push_different_frames_at_once_exactly_one_wins(spool: Spool, stream: Stream) -> None:
    outcomes = _outcomes(
        [lambda seed=seed: spool.push(stream.stream_id, 0, some_frames(seed=seed)) for seed in range(6)]  # type: ignore[misc]
    )
    assert sum(isinstance(outcome, ChunkConflict) for outcome in outcomes) == 5
    check_invariants(spool)


def test_of_threads_that_push_different_sizes_first_exactly_one_size_wins(spool: Spool, stream: Stream) -> None:
    gate = threading.Barrier(4)

    def push(idx: int) -> bool:
        gate.wait()
        try:
            spool.push(stream.stream_id, idx, some_frames(2, 8 + idx, 8))
        except FramesRejected:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(push, range(4))) == 1
    check_invariants(spool)


def test_several_streams_grow_side_by_side(spool: Spool) -> None:
    streams = [spool.open_stream(some_settings(name=f"growth {k}")) for k in range(3)]

    def produce(one: Stream) -> None:
        for idx in range(5):
            spool.push(one.stream_id, idx, some_frames(seed=idx))

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(produce, streams))
    assert [stream.tally.spooled for stream in spool.streams()] == [5, 5, 5]
    check_invariants(spool)
