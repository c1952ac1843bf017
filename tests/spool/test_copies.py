"""Several destinations for a stream: each gets everything at its own pace, and the frames lie there once."""

import errno
import json
import os
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from spool import (
    ChunkState,
    Disk,
    DiskFailed,
    Limits,
    Receipt,
    Spool,
    SpoolError,
    SpoolFull,
    Stream,
    StreamState,
    UnknownStream,
    make_proof,
    pack,
    read_proof,
    unpack,
)
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_reading, some_settings
from tests.spool.dying import Run, run

__all__ = ["run"]  # a fixture

NO_LIMITS = Limits(min_free_bytes=0)
RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1)
ELSEWHERE = "file:///srv/elsewhere"
PUSHED = (0, 1, 2, 3, 5)


@pytest.fixture
def stream(spool: Spool) -> Stream:
    """One with a copy."""
    return spool.open_stream(some_settings(), also=[ELSEWHERE], data_id="data-1")


def copy_of(spool: Spool, stream: Stream) -> Stream:
    (copy_id,) = stream.settings.copies
    return spool.stream(copy_id)


def shard(spool: Spool, stream: Stream, idx: int) -> Path:
    return spool.zarr_path(stream.stream_id) / "frames" / f"c.{idx}.0.0"


def deliver(spool: Spool, stream: Stream) -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60, take_over=True)
    assert lease is not None
    while (waiting := lease.next_waiting()) is not None:
        lease.read(waiting)
        lease.acknowledge(waiting, RECEIPT)
    if lease.stream().state is StreamState.SEALED:
        lease.finalize({})
    lease.release()


def states(spool: Spool, stream: Stream) -> list[ChunkState]:
    return [chunk.state for chunk in spool.chunks(stream.stream_id)]


def test_each_destination_has_its_own_position_receipts_and_end(spool: Spool, stream: Stream) -> None:
    for idx in range(3):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    copy = copy_of(spool, stream)
    assert copy.settings.destination == ELSEWHERE
    assert copy.data_id is None
    deliver(spool, stream)
    assert states(spool, stream) == [ChunkState.ACKNOWLEDGED] * 3
    assert states(spool, copy) == [ChunkState.SPOOLED] * 3
    spool.seal(stream.stream_id)
    deliver(spool, stream)
    assert spool.stream(stream.stream_id).state is StreamState.FINALIZED
    assert spool.stream(copy.stream_id).state is StreamState.SEALED
    deliver(spool, copy)
    assert spool.stream(copy.stream_id).state is StreamState.FINALIZED
    check_invariants(spool)


def test_the_frames_lie_there_once_until_the_last_destination_has_them(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    copy = copy_of(spool, stream)
    assert shard(spool, stream, 0).samefile(shard(spool, copy, 0))
    deliver(spool, stream)
    spool.prune()
    assert not shard(spool, stream, 0).exists()
    assert shard(spool, copy, 0).stat().st_nlink == 1
    chunk = spool.chunk(copy.stream_id, 0)
    assert chunk is not None
    np.testing.assert_array_equal(spool.frames(chunk), some_frames())
    check_invariants(spool)
    deliver(spool, copy)
    spool.prune()
    assert not shard(spool, copy, 0).exists()
    check_invariants(spool)


def test_what_one_destination_gives_up_the_other_still_gets(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    copy = copy_of(spool, stream)
    spool.discard(stream.stream_id, [0], why="a test")
    deliver(spool, copy)
    assert states(spool, copy) == [ChunkState.ACKNOWLEDGED]
    check_invariants(spool)


def test_a_copy_is_recorded_ended_and_resumed_with_its_original_only(
    spool: Spool, stream: Stream, clock: FakeClock, root: Path
) -> None:
    copy = copy_of(spool, stream)
    with pytest.raises(SpoolError, match="is a copy of"):
        spool.push(copy.stream_id, 0, some_frames())
    with pytest.raises(SpoolError, match="is a copy of"):
        spool.resume(copy.stream_id)
    with pytest.raises(SpoolError, match="is a copy of"):
        spool.seal(copy.stream_id)
    assert spool.has_live_producer(copy.stream_id)
    spool.close()
    clock.advance_s(3600)
    with Spool(root, limits=NO_LIMITS, clock=clock) as later:
        assert not later.has_live_producer(copy.stream_id)
        assert not later.seal_orphan(copy.stream_id, silent_for_s=60, who="a test")
        assert later.seal_orphan(stream.stream_id, silent_for_s=60, who="a test")
        assert later.stream(copy.stream_id).state is StreamState.SEALED
        check_invariants(later)


def test_a_name_means_the_original(spool: Spool, stream: Stream) -> None:
    assert spool.find(stream.settings.name).stream_id == stream.stream_id
    assert spool.find(stream.settings.copies[0]).settings.copy_of == stream.stream_id


def test_a_measurement_of_the_clock_counts_for_all(spool: Spool, stream: Stream) -> None:
    spool.note_clock(stream.stream_id, some_reading())
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_clock(some_reading())
    assert len(spool.clock_readings(stream.settings.copies[0])) == 2
    check_invariants(spool)


def test_each_counts_in_the_limits(root: Path) -> None:
    with Spool(root, limits=NO_LIMITS) as spool:
        stream = spool.open_stream(some_settings(), also=[ELSEWHERE])
        size = spool.push(stream.stream_id, 0, some_frames()).disk_bytes
        assert spool.status().used_bytes == 2 * size
    with Spool(root, limits=Limits(min_free_bytes=0, max_bytes=3 * size)) as spool:
        with pytest.raises(SpoolFull):
            spool.push(stream.stream_id, 1, some_frames(seed=1))
        check_invariants(spool)
        deliver(spool, stream)
        spool.push(stream.stream_id, 1, some_frames(seed=1))
        check_invariants(spool)


def test_whatever_may_be_pruned_is_pruned_before_a_chunk_with_several_names_is_refused(root: Path) -> None:
    with Spool(root, limits=NO_LIMITS) as spool:
        stream = spool.open_stream(some_settings(), also=[ELSEWHERE, f"{ELSEWHERE}-2"])
        size = spool.push(stream.stream_id, 0, some_frames()).disk_bytes
        for one in (stream, *spool.copies(stream.stream_id)):
            deliver(spool, one)
    with Spool(root, limits=Limits(min_free_bytes=0, max_bytes=3 * size + size // 2)) as spool:
        spool.push(stream.stream_id, 1, some_frames(seed=1))
        assert spool.status().used_bytes <= 3 * size + size // 2
        check_invariants(spool)


class NearlyFull(Disk):
    """A disk that has room for nothing more while a certain file is on it."""

    in_the_way = Path("nothing yet")

    def free_bytes(self, path: Path) -> int:
        return 0 if self.in_the_way.exists() else super().free_bytes(path)


def test_room_on_the_disk_is_made_by_the_last_name_too(root: Path) -> None:
    disk = NearlyFull()
    with Spool(root, limits=NO_LIMITS, disk=disk) as spool:
        stream = spool.open_stream(some_settings(), also=[f"{ELSEWHERE}-{k}" for k in range(4)])
        spool.push(stream.stream_id, 0, some_frames())
        copies = spool.copies(stream.stream_id)
        for one in (stream, *copies):
            deliver(spool, one)
        disk.in_the_way = shard(spool, copies[-1], 0)  # the others' names go first, and free nothing
        spool.push(stream.stream_id, 1, some_frames(1, seed=1))
        check_invariants(spool)


def test_settings_of_a_stream_with_one_destination_are_stored_as_ever(spool: Spool) -> None:
    stream = spool.open_stream(some_settings())
    (opened,) = spool.stream_events(stream.stream_id)
    assert {"copies", "copy_of"}.isdisjoint(opened.detail["settings"])


def test_where_files_have_one_name_only_they_are_copied(
    spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    spool.push(stream.stream_id, 0, some_frames())
    copy = copy_of(spool, stream)
    assert shard(spool, copy, 0).read_bytes() == shard(spool, stream, 0).read_bytes()
    assert shard(spool, copy, 0).stat().st_nlink == 1
    check_invariants(spool)


@pytest.mark.parametrize("label", ["copy.link", "copy.rename", "copy.fsync_dir", "push.commit"])
def test_a_push_that_fails_leaves_neither_with_the_chunk(
    spool: Spool, stream: Stream, disk: FaultyDisk, label: str
) -> None:
    disk.fail(label)
    with pytest.raises(SpoolError):
        spool.push(stream.stream_id, 0, some_frames())
    assert states(spool, stream) == states(spool, copy_of(spool, stream)) == []
    check_invariants(spool)
    spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


def test_a_beginning_that_fails_leaves_neither(spool: Spool, disk: FaultyDisk) -> None:
    for at in range(1, 7):
        disk.fail("stream.mkdir", at=at)
        with pytest.raises(DiskFailed):
            spool.open_stream(some_settings(), also=[ELSEWHERE])
        disk.mend()
    assert spool.streams() == []
    assert list((spool.root / "streams").iterdir()) == []


def test_frames_pushed_again_mend_the_copy_too(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    copy = copy_of(spool, stream)
    shard(spool, stream, 0).write_bytes(b"damaged")  # both: they are one file
    lease = spool.lease(copy.stream_id, "worker", ttl_s=60)
    assert lease is not None
    waiting = lease.next_waiting()
    assert waiting is not None
    lease.park(waiting, "damaged")
    spool.push(stream.stream_id, 0, some_frames())
    assert states(spool, copy) == [ChunkState.SPOOLED]
    check_invariants(spool)


@pytest.mark.parametrize("lost", [["index.sqlite3"], ["index.sqlite3", "ledger.jsonl"]])
def test_an_index_that_is_lost_is_told_again_for_both(root: Path, lost: list[str]) -> None:
    with Spool(root, limits=NO_LIMITS) as spool:
        stream = spool.open_stream(some_settings(), also=[ELSEWHERE])
        for idx in range(3):
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
        spool.seal(stream.stream_id)
    for name in lost:
        (root / name).unlink()
    with Spool(root, limits=NO_LIMITS) as spool:
        assert states(spool, stream) == states(spool, copy_of(spool, stream)) == [ChunkState.SPOOLED] * 3
        check_invariants(spool)
        deliver(spool, copy_of(spool, stream))
        assert copy_of(spool, stream).state is StreamState.FINALIZED


@pytest.mark.parametrize("lost", [["index.sqlite3"], ["index.sqlite3", "ledger.jsonl"]])
@pytest.mark.parametrize("delivered", [((0, 1, 2), ()), ((), (0, 1, 2)), ((0,), (2,))])
def test_what_one_has_delivered_and_forgotten_is_told_again_by_the_other(
    root: Path, delivered: tuple[tuple[int, ...], ...], lost: list[str]
) -> None:
    """The index is lost, its ledger's copy too, while one destination has what the other still waits for."""
    with Spool(root, limits=NO_LIMITS) as spool:
        stream = spool.open_stream(some_settings(), also=[ELSEWHERE])
        for idx in range(3):
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
        for one, idxs in zip((stream, copy_of(spool, stream)), delivered, strict=True):
            lease = spool.lease(one.stream_id, "worker", ttl_s=60)
            assert lease is not None
            for chunk in (spool.chunk(one.stream_id, idx) for idx in idxs):
                assert chunk is not None
                lease.acknowledge(chunk, RECEIPT)
            lease.release()
        spool.prune()
    for name in lost:
        (root / name).unlink()
    with Spool(root, limits=NO_LIMITS) as spool:
        check_invariants(spool)
        assert len(states(spool, stream)) == 3
        seen = (states(spool, stream), len(list(spool.events())))
    with Spool(root, limits=NO_LIMITS) as spool:
        assert (states(spool, stream), len(list(spool.events()))) == seen
        for idx in range(4):  # and the recording goes on for both
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
        for one in (stream, copy_of(spool, stream)):
            deliver(spool, one)
            assert states(spool, one) == [ChunkState.ACKNOWLEDGED] * 4
        check_invariants(spool)


def test_a_shard_that_is_taken_up_is_given_to_the_copy(root: Path) -> None:
    with Spool(root, limits=NO_LIMITS) as spool:
        stream = spool.open_stream(some_settings(), also=[ELSEWHERE])
        spool.push(stream.stream_id, 0, some_frames())
        copied = shard(spool, copy_of(spool, stream), 0)
    for path in (root / "index.sqlite3", root / "ledger.jsonl", copied):
        path.unlink()
    with Spool(root, limits=NO_LIMITS) as spool:
        assert states(spool, copy_of(spool, stream)) == [ChunkState.SPOOLED]
        check_invariants(spool)


def test_an_end_that_only_the_original_knows_of_is_the_copys_too(root: Path) -> None:
    with Spool(root, limits=NO_LIMITS) as spool:
        stream = spool.open_stream(some_settings(), also=[ELSEWHERE])
        spool.push(stream.stream_id, 0, some_frames())
        spool.seal(stream.stream_id)
        (copy_id,) = stream.settings.copies
    told = root / "streams" / copy_id / "stream.json"
    told.write_text(json.dumps({**json.loads(told.read_text()), "sealed_at_ms": None}))
    time.sleep(0.01)  # the end is older than its discovery
    for name in ("index.sqlite3", "ledger.jsonl"):
        (root / name).unlink()
    with Spool(root, limits=NO_LIMITS) as spool:
        assert copy_of(spool, stream).state is StreamState.SEALED
        check_invariants(spool)


def test_where_only_one_of_them_is_nobody_looks_for_the_others(
    spool: Spool, stream: Stream, tmp_path: Path
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.seal(stream.stream_id)
    (copy_id,) = stream.settings.copies
    for ref, other in ((stream.stream_id, copy_id), (copy_id, stream.stream_id)):
        packed = pack(spool, ref, tmp_path / f"pack {ref}", who="a test", made_by="a test")
        with Spool(tmp_path / f"spool {ref}", limits=NO_LIMITS) as alone:
            unpack(alone, packed.path, who="a test")
            assert alone.copies(ref) == []
            assert alone.find(stream.settings.name).stream_id == ref
            assert not alone.has_live_producer(ref)
            with pytest.raises(UnknownStream):
                alone.find(other)
            deliver(alone, alone.stream(ref))
            check_invariants(alone)


def test_each_is_proved_and_packed_by_itself(spool: Spool, stream: Stream, tmp_path: Path) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.seal(stream.stream_id)
    copy = copy_of(spool, stream)
    deliver(spool, copy)
    proof = read_proof(make_proof(spool, copy.stream_id, made_by="a test"))
    assert proof.audit.stream.settings == copy.settings
    assert proof.audit.complete
    packed = pack(spool, stream.stream_id, tmp_path / "pack", who="a test", made_by="a test")
    with Spool(tmp_path / "other", limits=NO_LIMITS) as other:
        assert unpack(other, packed.path, who="a test").chunks == 1
        check_invariants(other)
        deliver(other, stream)
        assert other.stream(stream.stream_id).state is StreamState.FINALIZED


@pytest.fixture(scope="module")
def life(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often each label comes in the life of a stream with a copy."""
    ending = run(tmp_path_factory.mktemp("life") / "spool", "life_with_a_copy")
    assert ending.status == 0
    assert {"copy.link", "copy.rename", "copy.fsync_dir"} <= set(ending.labels)
    return Counter(ending.labels)


def test_a_kill_before_any_step_leaves_both_with_the_same(run: Run, life: Counter[str], tmp_path: Path) -> None:
    number = 0
    for label, count in life.items():
        for at in sorted({1, 2, 3, (count + 1) // 2, count} & set(range(1, count + 1))):
            number += 1
            root = tmp_path / str(number)
            ending = run(root, "life_with_a_copy", label, at)
            assert ending.killed
            with Spool(root, limits=NO_LIMITS) as spool:
                check_invariants(spool)
                for stream in (one for one in spool.streams() if one.settings.copies):
                    require_both(spool, stream, ending.done)


def require_both(spool: Spool, stream: Stream, done: list[str]) -> None:
    """Nothing that had returned is lost for either, and what one lacks can be pushed again for both."""
    copy = copy_of(spool, stream)
    for word in done:
        if word.startswith("push"):
            idx = int(word.partition(" ")[2])
            assert spool.chunk(stream.stream_id, idx) is not None
            assert spool.chunk(copy.stream_id, idx) is not None
    if stream.state is StreamState.OPEN:
        for idx in PUSHED:
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
        spool.seal(stream.stream_id)
    for one in (stream, copy):
        deliver(spool, one)
        assert spool.stream(one.stream_id).state is StreamState.FINALIZED
        assert spool.stream(one.stream_id).tally.pushed == len(PUSHED)
    check_invariants(spool)
