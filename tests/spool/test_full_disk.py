"""Limits, a full disk and a failing one: push says so, what is there stays, and letting go always works."""

import errno
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spool import ChunkState, DiskFailed, Limits, Receipt, Spool, SpoolError, SpoolFull, Stream
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_settings

RECEIPT = Receipt(status=200, etag=None, confirmed=False, at_ms=1)
# What one chunk of ``some_frames(4, 64, 64)`` takes on disk, give or take its compression.
BIG = (4, 64, 64)


def acknowledge(spool: Spool, ref: str, *idxs: int) -> None:
    lease = spool.lease(ref, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(ref, idx)
        assert chunk is not None
        lease.acknowledge(chunk, RECEIPT)


def limited(spool: Spool, **limits: Any) -> Spool:
    return Spool(spool.root, limits=Limits(**{"min_free_bytes": 0, **limits}))


# Limits -----------------------------------------------------------------------------------------------------


def test_past_max_bytes_push_raises_and_nothing_waiting_is_given_up(spool: Spool, stream: Stream) -> None:
    size = spool.push(stream.stream_id, 0, some_frames(*BIG)).disk_bytes
    with limited(spool, max_bytes=int(2.5 * size)) as small:
        small.push(stream.stream_id, 1, some_frames(*BIG, seed=1))
        with pytest.raises(SpoolFull) as raised:
            small.push(stream.stream_id, 2, some_frames(*BIG, seed=2))
        assert raised.value.chunk_bytes > 0
        assert raised.value.used_bytes == small.status().used_bytes
        assert "acknowledged chunks are pruned first" in raised.value.hint
        assert small.stream(stream.stream_id).tally.spooled == 2
        check_invariants(small)


def test_past_max_bytes_acknowledged_chunks_go_first_the_longest_acknowledged_first(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    for idx in (0, 1, 2):
        spool.push(stream.stream_id, idx, some_frames(*BIG, seed=idx))
    for idx in (1, 0):
        acknowledge(spool, stream.stream_id, idx)
        clock.advance_s(1)
    used = spool.status().used_bytes
    with limited(spool, max_bytes=used + 10) as small:
        small.push(stream.stream_id, 3, some_frames(*BIG, seed=3))
        on_disk = {chunk.chunk_idx: chunk.disk_bytes > 0 for chunk in small.chunks(stream.stream_id)}
        assert on_disk[1] is False
        assert on_disk[2] is on_disk[3] is True
        check_invariants(small)


@pytest.mark.parametrize("settle", ["park", "wait"])
def test_parked_and_waiting_chunks_are_never_pruned_however_full_it_is(
    spool: Spool, stream: Stream, settle: str
) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    if settle == "park":
        lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
        assert lease is not None
        lease.park(chunk, "refused")
    with limited(spool, max_bytes=0, min_free_bytes=1 << 60, retention_s=0) as small:
        small.keep_within_limits()
        assert small.prune() == (0, 0)
        with pytest.raises(SpoolFull):
            small.push(stream.stream_id, 1, some_frames())
        check_invariants(small)
        assert small.chunk(stream.stream_id, 0) == spool.chunk(stream.stream_id, 0)


def test_a_refusal_names_every_number_also_when_another_producer_or_a_quota_was_quicker(
    spool: Spool, stream: Stream, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = spool.push(stream.stream_id, 0, some_frames(*BIG)).disk_bytes
    numbers = rf"needs [\d,]+ bytes; the spool holds {size:,} of .*; [\d,]+ are free on the disk, where 0 must"
    disk.fail("shard.write", error=errno.EDQUOT, times=2)  # written while it is encoded, and again with care
    with pytest.raises(SpoolFull, match=f"the disk has no room: the chunk {numbers}") as raised:
        spool.push(stream.stream_id, 1, some_frames(*BIG, seed=1))
    assert raised.value.chunk_bytes == pytest.approx(size, rel=0.01)
    assert raised.value.used_bytes == size
    assert raised.value.free_bytes > 0
    with limited(spool, max_bytes=size) as small:
        # The room was there when it was looked at, and is gone under the lock.
        monkeypatch.setattr(small._intake, "_make_room", lambda *_: None)
        with pytest.raises(SpoolFull, match=f"the spool is full: the chunk {numbers}"):
            small.push(stream.stream_id, 1, some_frames(*BIG, seed=1))
        check_invariants(small)
    for what in ("framespool status", "spool_max_bytes"):
        assert what in SpoolFull.hint


def test_min_free_bytes_is_left_to_everybody_else(spool: Spool, stream: Stream) -> None:
    with limited(spool, min_free_bytes=1 << 60) as small:
        with pytest.raises(SpoolFull, match="must stay free") as raised:
            small.push(stream.stream_id, 0, some_frames())
        assert raised.value.free_bytes > 0
        check_invariants(small)


def test_after_a_refusal_there_is_room_again_once_chunks_are_acknowledged(spool: Spool, stream: Stream) -> None:
    size = spool.push(stream.stream_id, 0, some_frames(*BIG)).disk_bytes
    with limited(spool, max_bytes=size + 100) as small:
        with pytest.raises(SpoolFull):
            small.push(stream.stream_id, 1, some_frames(*BIG, seed=1))
        acknowledge(small, stream.stream_id, 0)
        assert small.push(stream.stream_id, 1, some_frames(*BIG, seed=1)).state == ChunkState.SPOOLED
        check_invariants(small)


def test_acknowledged_chunks_are_kept_as_long_as_retention_says(root: Path, clock: FakeClock) -> None:
    with Spool(root, limits=Limits(min_free_bytes=0, retention_s=100), clock=clock) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames())
        acknowledge(spool, ref, 0)
        clock.advance_s(100)
        spool.keep_within_limits()
        assert spool.status().used_bytes > 0
        clock.advance_s(0.001)
        spool.keep_within_limits()
        assert spool.status().used_bytes == 0
        check_invariants(spool)


def test_without_a_retention_time_nothing_is_pruned_while_there_is_room(root: Path, clock: FakeClock) -> None:
    with Spool(root, limits=Limits(min_free_bytes=0, retention_s=None), clock=clock) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames())
        acknowledge(spool, ref, 0)
        clock.advance_s(1e9)
        spool.keep_within_limits()
        assert spool.status().used_bytes > 0


def test_pruning_by_hand_goes_by_the_time_since_the_acknowledgement(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    for idx in (0, 1):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        acknowledge(spool, stream.stream_id, idx)
        clock.advance_s(60)
    assert spool.prune(older_than_s=100)[0] == 1
    assert spool.prune()[0] == 1
    assert spool.prune() == (0, 0)
    check_invariants(spool)


def test_more_chunks_than_one_batch_are_pruned(spool: Spool, stream: Stream) -> None:
    for idx in range(70):
        spool.push(stream.stream_id, idx, some_frames(1, 2, 2, seed=idx))
    acknowledge(spool, stream.stream_id, *range(70))
    assert spool.prune()[0] == 70
    check_invariants(spool)


@pytest.mark.parametrize("name", ["max_bytes", "min_free_bytes", "retention_s"])
@pytest.mark.parametrize("value", [-1, math.nan])
def test_a_limit_that_is_none_is_refused_at_once(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


# A disk that fails ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "kind"), [(errno.EIO, DiskFailed), (errno.ENOSPC, SpoolFull)])
@pytest.mark.parametrize("label", ["shard.create", "shard.write", "shard.fsync", "shard.rename"])
def test_when_a_step_of_the_shard_fails_nothing_is_stored_and_the_same_push_succeeds_after(
    spool: Spool, stream: Stream, disk: FaultyDisk, label: str, error: int, kind: type[SpoolError]
) -> None:
    disk.fail(label, error=error)
    with pytest.raises(kind):
        spool.push(stream.stream_id, 0, some_frames(seed=1))
    assert spool.chunk(stream.stream_id, 0) is None
    assert not [path for path in (spool.root / "incoming").rglob("*") if path.is_file() and path.suffix != ".lock"]
    check_invariants(spool)
    # Nothing was stored: even other frames may take the place.
    assert spool.push(stream.stream_id, 0, some_frames(seed=2)).state == ChunkState.SPOOLED
    check_invariants(spool)


def test_a_failed_fsync_is_never_repeated_on_the_same_file(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("shard.fsync")
    with pytest.raises(DiskFailed):
        spool.push(stream.stream_id, 0, some_frames())
    spool.push(stream.stream_id, 0, some_frames())
    synced = [step.path for step in disk.steps if step.label == "shard.fsync"]
    assert len(synced) == len(set(synced)) == 2


def test_a_push_that_failed_at_its_commit_leaves_no_shard(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("push.commit")
    with pytest.raises(DiskFailed):
        spool.push(stream.stream_id, 0, some_frames(seed=1))
    assert not list(spool.zarr_path(stream.stream_id).rglob("c.*"))
    spool.push(stream.stream_id, 0, some_frames(seed=2))
    check_invariants(spool)


def test_zarr_metadata_that_cannot_be_written_costs_no_chunk(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    disk.fail("zarr_json.replace", error=errno.ENOSPC)
    spool.push(stream.stream_id, 0, some_frames(seed=0))
    spool.push(stream.stream_id, 1, some_frames(seed=1))
    check_invariants(spool)


@pytest.mark.parametrize("label", ["stream.mkdir", "stream.fsync_dir", "stream_json.fsync", "stream_json.rename"])
def test_a_stream_whose_folder_cannot_be_made_is_not_there(spool: Spool, disk: FaultyDisk, label: str) -> None:
    disk.fail(label)
    with pytest.raises(DiskFailed):
        spool.open_stream(some_settings())
    assert spool.streams() == []
    spool.open_stream(some_settings())
    check_invariants(spool)


def test_without_a_reserve_no_chunk_is_accepted(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("reserve.write", error=errno.ENOSPC)
    with pytest.raises(SpoolFull, match="reserve"):
        spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)
    spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


# Zero bytes free --------------------------------------------------------------------------------------------


class SmallDisk:
    """A real file system of 24 MiB that can be filled to the last byte (Linux, as root)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.disk = FaultyDisk()
        self._filler = folder / "filler"

    def watch(self, spool: Spool) -> None:
        """Nothing to do: the file system itself says when it is full."""

    def fill(self) -> None:
        with self._filler.open("ab", buffering=0) as file:
            for block in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(block))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
        assert os.statvfs(self.folder).f_bavail == 0


class PretendDisk(SmallDisk):
    """For everybody else: each write that the spool makes itself fails, and SQLite is not allowed to grow."""

    _index: Any = None

    def watch(self, spool: Spool) -> None:
        self._index = spool._folder.index._db
        watched = self.disk.before

        def give_way(label: str, path: Path) -> None:
            watched(label, path)
            if label == "reserve.unlink":
                self._index.execute("PRAGMA max_page_count = 1073741823")

        self.disk.before = give_way

    def fill(self) -> None:
        for what in ("shard", "reserve", "stream_json"):
            self.disk.fail(f"{what}.create", error=errno.ENOSPC, times=math.inf)
        for label in ("stream.mkdir", "zarr_json.replace"):
            self.disk.fail(label, error=errno.ENOSPC, times=math.inf)
        self._index.execute("PRAGMA max_page_count = 1").fetchall()  # SQLite takes it as the present size


KINDS = ["pretend", *(["tmpfs"] if sys.platform == "linux" and os.geteuid() == 0 else [])]


@pytest.fixture(params=KINDS)
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    if request.param == "pretend":
        yield PretendDisk(tmp_path)
        return
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", folder], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", folder], check=True)


def test_with_zero_bytes_free_letting_go_still_works_and_push_says_that_it_is_full(small: SmallDisk) -> None:
    with Spool(small.folder / "spool", limits=Limits(min_free_bytes=0), disk=small.disk) as spool:
        small.watch(spool)
        ref = spool.open_stream(some_settings()).stream_id
        chunks = [spool.push(ref, idx, some_frames(*BIG, seed=idx)) for idx in range(40)]
        lease = spool.lease(ref, "worker", ttl_s=60)
        assert lease is not None
        small.fill()
        with pytest.raises(SpoolFull):
            spool.push(ref, 40, some_frames(*BIG, seed=40))
        assert spool.chunk(ref, 40) is None
        # A long receipt, so that the index must grow and not only change.
        receipt = Receipt(status=200, etag="e" * 500, confirmed=True, at_ms=1, url_path="/" + "x" * 500)
        for chunk in chunks[:30]:
            lease.attempt_started(chunk)
            lease.acknowledge(chunk, receipt)
        lease.park(chunks[30], "refused")
        spool.retry(ref)
        spool.discard(ref, [30, *range(31, 40)], why="no room")
        spool.seal(ref)
        lease.renew()
        lease.finalize({"status": 200})
        assert spool.prune()[0] == 30
        # It could not be rewritten, and the next opening does it.
        check_invariants(spool, but=("stream.json",))
        assert "reserve.unlink" in small.disk.labels(), "the disk was not full at all"


def test_a_full_disk_that_has_room_again_takes_chunks_and_its_reserve_back(small: SmallDisk) -> None:
    with Spool(small.folder / "spool", limits=Limits(min_free_bytes=0), disk=small.disk) as spool:
        small.watch(spool)
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames(*BIG))
        small.fill()
        for _ in range(100):
            spool.record("filling", ref=ref, text="x" * 500)
        assert not (spool.root / "reserve").exists()
        small.disk.mend()
        (small.folder / "filler").unlink(missing_ok=True)
        spool.push(ref, 1, some_frames(*BIG, seed=1))
        assert (spool.root / "reserve").stat().st_size == 4 << 20
        check_invariants(spool)


def test_a_full_disk_can_be_opened(small: SmallDisk) -> None:
    with Spool(small.folder / "spool", limits=Limits(min_free_bytes=0), disk=small.disk) as spool:
        small.watch(spool)
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames(*BIG))
        small.fill()
    with Spool(small.folder / "spool", limits=Limits(min_free_bytes=0)) as again:
        acknowledge(again, ref, 0)
        assert again.prune()[0] == 1
        check_invariants(again)


def test_a_disk_that_does_not_tell_its_free_space_is_a_failing_disk(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))

    monkeypatch.setattr("shutil.disk_usage", fails)
    for look in (spool.status, spool.forecast):
        with pytest.raises(DiskFailed, match="free space cannot be told"):
            look()
