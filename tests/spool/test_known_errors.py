"""Errors that were found by looking for them; each test is the claim that was broken."""

import contextlib
import errno
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zarr

from spool import (
    ChunkConflict,
    ChunkState,
    DiskFailed,
    IllegalTransition,
    Limits,
    Receipt,
    ShardDamaged,
    Spool,
    SpoolDamaged,
    SpoolError,
    SpoolFull,
    SpoolTooNew,
    Stream,
    repair,
    verify,
)
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_settings

RECEIPT = Receipt(status=200, etag=None, confirmed=False, at_ms=1)


def acknowledge(spool: Spool, ref: str, idx: int) -> None:
    lease = spool.lease(ref, "worker", ttl_s=60)
    chunk = spool.chunk(ref, idx)
    assert lease is not None
    assert chunk is not None
    lease.acknowledge(chunk, RECEIPT)


def open_again(root: Path) -> Spool:
    return Spool(root, limits=Limits(min_free_bytes=0))


def array(spool: Spool, stream: Stream) -> Path:
    return spool.root / "streams" / stream.stream_id / "frames.zarr" / "frames"


# Opening ----------------------------------------------------------------------------------------------------


def test_a_stream_that_failed_to_begin_and_was_begun_again_does_not_keep_the_spool_from_opening(
    spool: Spool, disk: FaultyDisk
) -> None:
    disk.fail("open_stream.commit")
    with pytest.raises(DiskFailed):
        spool.open_stream(some_settings(), data_id="data-1")
    ref = spool.open_stream(some_settings(), data_id="data-1").stream_id
    spool.push(ref, 0, some_frames())
    spool.close()
    with open_again(spool.root) as again:
        assert again.stream("data-1").stream_id == ref
        check_invariants(again)


def test_a_stream_that_failed_to_begin_does_not_appear_at_the_next_opening(spool: Spool, disk: FaultyDisk) -> None:
    disk.fail("open_stream.commit")
    with pytest.raises(DiskFailed):
        spool.open_stream(some_settings())
    spool.close()
    with open_again(spool.root) as again:
        assert again.streams() == []


def test_a_stream_begins_on_a_full_index_by_giving_up_the_reserve(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())  # sets the reserve aside
    index: Any = spool._folder.index._db
    index.execute("PRAGMA max_page_count = 1").fetchall()  # SQLite takes it as the present size

    def give_way(label: str, _path: Path) -> None:
        if label == "reserve.unlink":
            index.execute("PRAGMA max_page_count = 1073741823")

    spool._folder.disk.before = give_way
    settings = some_settings(name="x" * 20_000)
    assert spool.open_stream(settings).settings == settings
    check_invariants(spool)


def test_a_group_document_that_could_not_be_written_is_there_after_the_next_opening(
    spool: Spool, disk: FaultyDisk
) -> None:
    disk.fail("zarr_json.replace", error=errno.ENOSPC)
    ref = spool.open_stream(some_settings()).stream_id
    spool.push(ref, 0, some_frames())
    spool.close()
    with open_again(spool.root) as again:
        group: Any = zarr.open(str(again.zarr_path(ref)), mode="r")
        assert group["frames"].shape == (4, 12, 16)


def test_a_spool_from_a_later_version_that_uses_wal_is_not_touched(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    with sqlite3.connect(spool.root / "index.sqlite3") as db:
        db.execute("PRAGMA user_version = 5")
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    db.close()
    (spool.root / "workers").rmdir()
    before = (spool.root / "index.sqlite3").read_bytes()
    with pytest.raises(SpoolTooNew):
        open_again(spool.root)
    assert (spool.root / "index.sqlite3").read_bytes() == before
    assert not (spool.root / "workers").exists()


def test_a_reserve_that_was_never_finished_is_swept(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("reserve.rename")
    with pytest.raises(DiskFailed):
        spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    open_again(spool.root).close()
    assert not list((spool.root / "incoming").glob("*.reserve"))


def test_a_shard_that_is_set_aside_has_its_ledger_row_although_the_disk_failed_meanwhile(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    spool.close()
    (array(spool, stream) / "c.0.0.0").write_bytes(b"not a shard")
    disk.fail("recover_chunk.commit")
    with pytest.raises(SpoolError):
        Spool(spool.root, disk=disk)
    with open_again(spool.root) as again:
        assert "set aside" in [event.detail.get("what") for event in again.events()]


def test_a_damaged_shard_of_a_lost_index_holds_the_end_of_its_stream_back(spool: Spool, stream: Stream) -> None:
    # It was pushed, so that the stream must not end without it before a person has looked.
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    for path in spool.root.glob("index.sqlite3*"):
        path.unlink()
    shard = array(spool, stream) / "c.0.0.0"
    content = bytearray(shard.read_bytes())
    content[0] ^= 1
    shard.write_bytes(content)
    with open_again(spool.root) as again:
        again.seal(stream.stream_id)
        lease = again.lease(stream.stream_id, "worker", ttl_s=60)
        assert lease is not None
        with pytest.raises(IllegalTransition):
            lease.finalize({})


# Pushing ----------------------------------------------------------------------------------------------------


def test_when_the_fsync_of_the_directory_fails_nothing_is_stored(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    disk.fail("shard.fsync_dir")
    with pytest.raises(DiskFailed):
        spool.push(stream.stream_id, 0, some_frames(seed=1))
    open_again(spool.root).close()  # a worker starts, somebody asks for the status
    assert spool.chunk(stream.stream_id, 0) is None
    spool.push(stream.stream_id, 0, some_frames(seed=2))
    check_invariants(spool)


def test_zarr_readers_see_no_frames_of_a_push_that_failed(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("push.commit")
    with pytest.raises(DiskFailed):
        spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


@pytest.mark.parametrize("noticed", [True, False], ids=["parked", "not yet noticed"])
def test_the_same_frames_again_are_spooled_again_when_their_file_is_gone(
    spool: Spool, stream: Stream, *, noticed: bool
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    (array(spool, stream) / "c.0.0.0").unlink()
    if noticed:
        open_again(spool.root).close()
    chunk = spool.push(stream.stream_id, 0, some_frames())  # it returned: the frames are durable
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    assert chunk.state == ChunkState.SPOOLED
    assert len(lease.read(chunk)) == chunk.wire_bytes


def test_when_the_disk_says_that_it_is_full_acknowledged_chunks_are_pruned_first(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    # A quota: the file system has room, this user has not.
    spool.push(stream.stream_id, 0, some_frames())
    acknowledge(spool, stream.stream_id, 0)
    disk.fail("shard.write", error=errno.EDQUOT, times=2)  # written while it is encoded, and again with care
    assert spool.push(stream.stream_id, 1, some_frames()).state == ChunkState.SPOOLED
    assert spool.prune() == (0, 0), "nothing was pruned to make room"


def test_acknowledged_chunks_are_pruned_to_make_room_for_the_reserve(
    spool: Spool, stream: Stream, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    acknowledge(spool, stream.stream_id, 0)
    (spool.root / "reserve").unlink()  # given up when the disk was full
    monkeypatch.setattr(disk, "free_bytes", lambda _path: 1 << 20)  # room for the chunk, not for the reserve
    disk.fail("reserve.write", error=errno.ENOSPC)
    with contextlib.suppress(SpoolFull):
        spool.push(stream.stream_id, 1, some_frames())
    chunk = spool.chunk(stream.stream_id, 0)
    assert chunk is not None
    assert chunk.pruned_at_ms is not None, "the spool is full for ever although it holds chunks that may go"


def test_a_file_that_cannot_be_pruned_is_the_spools_own_error(root: Path, disk: FaultyDisk) -> None:
    with Spool(root, limits=Limits(min_free_bytes=0, max_bytes=1), disk=disk) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        with Spool(root, limits=Limits(min_free_bytes=0)) as unlimited:
            unlimited.push(ref, 0, some_frames())
        acknowledge(spool, ref, 0)
        disk.fail("prune.unlink")
        with pytest.raises(SpoolError):
            spool.push(ref, 1, some_frames())


def test_a_forked_child_that_closes_the_spool_does_not_close_it_for_its_parent(root: Path) -> None:
    code = """
import os, sys
from spool import Limits, Spool
from spool.testing import some_frames, some_settings
with Spool(sys.argv[1], limits=Limits(min_free_bytes=0)) as spool:
    ref = spool.open_stream(some_settings()).stream_id
    spool.push(ref, 0, some_frames())
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        spool.push(ref, 1, some_frames())
        sys.stdout.write("pushed")
        sys.stdout.flush()
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "pushed", done.stderr


@pytest.mark.parametrize("settings", [{"fps": 0.0}, {"fps": 1e-20}, {"fps": -1.0}, {"chunk_size": 0}])
def test_settings_with_which_no_chunk_can_be_stored_are_refused_when_the_stream_begins(
    spool: Spool, settings: dict[str, Any]
) -> None:
    with pytest.raises((SpoolError, ValueError)):
        spool.open_stream(some_settings(**settings))
    assert spool.streams() == []


def test_max_bytes_holds_although_several_producers_push_at_once(root: Path) -> None:
    gate = threading.Barrier(6)
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        size = spool.push(ref, 0, some_frames()).disk_bytes
    with Spool(root, limits=Limits(min_free_bytes=0, max_bytes=size * 5 // 2)) as small:

        def push(idx: int) -> bool:
            gate.wait()
            try:
                small.push(ref, idx, some_frames())
            except SpoolFull:
                return False
            return True

        with ThreadPoolExecutor(6) as threads:
            accepted = sum(threads.map(push, range(1, 7)))
        assert accepted == 1
        assert small.status().used_bytes <= size * 5 // 2


# Delivering -------------------------------------------------------------------------------------------------


def test_no_attempt_is_recorded_for_a_chunk_that_is_no_longer_waiting(spool: Spool, stream: Stream) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    spool.discard(stream.stream_id, [0], why="a person was quicker")
    with pytest.raises(IllegalTransition):
        lease.attempt_started(chunk)
    check_invariants(spool)


def test_ledger_and_index_name_the_same_moment(root: Path) -> None:
    class Ticking(FakeClock):
        def now_ms(self) -> int:
            self.advance_s(0.001)
            return super().now_ms()

    with Spool(root, limits=Limits(min_free_bytes=0), clock=Ticking()) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames())
        acknowledge(spool, ref, 0)
        chunk = spool.chunk(ref, 0)
        assert chunk is not None
        assert [chunk.acknowledged_at_ms] == [
            event.at_ms for event in spool.events() if event.event == "acknowledged"
        ]


def test_keeping_for_ever_can_be_said_with_infinity(spool: Spool) -> None:
    with Spool(spool.root, limits=Limits(min_free_bytes=0, retention_s=float("inf"))) as patient:
        patient.keep_within_limits()


def test_asking_whether_a_worker_lives_does_not_keep_one_from_starting(spool: Spool) -> None:
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            spool.worker_lock("https://a.invalid").is_held_elsewhere()

    refused = 0
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        for _ in range(500):
            lock = spool.worker_lock("https://a.invalid")
            refused += not lock.acquire()
            lock.release()
        done.set()
        asking.result()
    assert refused == 0, "nobody held the lock, somebody only asked"


# Privacy ----------------------------------------------------------------------------------------------------


def test_every_file_is_private_to_the_user(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    open_to_others = [
        str(path.relative_to(spool.root))
        for path in spool.root.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) != 0o600
    ]
    assert open_to_others == []


def test_a_copy_of_the_whole_folder_is_a_spool(spool: Spool, stream: Stream, tmp_path: Path) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    with open_again(shutil.copytree(spool.root, tmp_path / "copy")) as copy:
        check_invariants(copy)


def test_a_push_that_fails_leaves_the_shard_of_a_dead_producer_where_it_is(
    spool: Spool, stream: Stream, disk: FaultyDisk, tmp_path: Path
) -> None:
    """It has no row yet, but its frames may exist nowhere else: the next opening adopts it."""
    with open_again(shutil.copytree(spool.root, tmp_path / "elsewhere")) as dead:
        dead.push(stream.stream_id, 0, some_frames(seed=1))
        shutil.copy(array(dead, stream) / "c.0.0.0", array(spool, stream) / "c.0.0.0")
    disk.fail("shard.rename")
    with pytest.raises(DiskFailed):
        spool.push(stream.stream_id, 0, some_frames(seed=2))
    spool.close()
    with open_again(spool.root) as again:
        (chunk,) = again.chunks(stream.stream_id)
        assert chunk.state is ChunkState.SPOOLED
        check_invariants(again)


def test_a_stream_that_could_not_be_opened_leaves_no_folder_for_ever(
    spool: Spool, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by a failing disk: its data_id was another stream's by then, so that nobody took it up or away."""
    settings = some_settings()
    disk.fail("open_stream.commit")
    with monkeypatch.context() as patch:
        patch.setattr("spool.folder.shutil.rmtree", lambda *_, **__: None)  # it cannot be removed now
        with pytest.raises(DiskFailed):
            spool.open_stream(settings, data_id="data-9")
    opened = spool.open_stream(settings, data_id="data-9")
    spool.close()
    assert len(list((spool.root / "streams").iterdir())) == 2
    with open_again(spool.root) as again:
        assert [path.name for path in (spool.root / "streams").iterdir()] == [opened.stream_id]
        check_invariants(again)


@pytest.mark.parametrize(
    "wrong", ["n = -1", "n = 4611686018427387904", "wire_bytes = 0", "wire_bytes = -4611686018427387904"]
)
def test_a_row_that_cannot_be_true_is_a_damaged_chunk_and_no_traceback(
    spool: Spool, stream: Stream, wrong: str
) -> None:
    """Found by writing hostile values into the index."""
    spool.push(stream.stream_id, 0, some_frames())
    with contextlib.closing(sqlite3.connect(spool.root / "index.sqlite3")) as db:
        db.execute(f"UPDATE chunks SET {wrong}")
        db.commit()
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    chunk = spool.chunk(stream.stream_id, 0)
    assert lease is not None
    assert chunk is not None
    with pytest.raises(ShardDamaged):
        lease.read(chunk)
    with pytest.raises((ShardDamaged, ChunkConflict)):
        spool.push(stream.stream_id, 0, some_frames(seed=1))


@pytest.mark.parametrize("wrong", ["height = -1", "height = 4611686018427387904", "width = 0", "height = NULL"])
def test_a_size_that_cannot_be_true_is_a_damaged_chunk_and_no_traceback(
    spool: Spool, stream: Stream, wrong: str
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    with contextlib.closing(sqlite3.connect(spool.root / "index.sqlite3")) as db:
        db.execute(f"UPDATE streams SET {wrong}")
        db.commit()
    chunk = spool.chunk(stream.stream_id, 0)
    assert chunk is not None
    with pytest.raises(ShardDamaged, match="pixels"):
        spool.frames(chunk)


@pytest.mark.parametrize("wrong", ["disk_bytes = 0", "pruned_at_ms = 0", "state = 'discarded'"])
def test_one_wrong_column_of_the_index_deletes_nothing(spool: Spool, stream: Stream, wrong: str) -> None:
    """Found by writing hostile values into the index: every shard was taken for a pruned one."""
    for idx in (0, 1):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    acknowledge(spool, stream.stream_id, 0)
    with contextlib.closing(sqlite3.connect(spool.root / "index.sqlite3")) as db:
        db.execute(f"UPDATE chunks SET {wrong}")
        db.commit()
    spool.close()
    with open_again(spool.root):
        assert sorted(path.name for path in array(spool, stream).glob("c.*")) == ["c.0.0.0", "c.1.0.0"]


@pytest.mark.parametrize(
    "text", [b"CREATE TABLE streams", b"CREATE TRIGGER chunk_enters", b"next_chunk_idx       INT"]
)
@pytest.mark.parametrize("bad", [0xF3, 0x41])
def test_a_damaged_schema_is_a_damaged_index_and_no_traceback(
    spool: Spool, stream: Stream, text: bytes, bad: int
) -> None:
    """Found by flipping bytes: SQLite's own words about the damage were no UTF-8."""
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    path = spool.root / "index.sqlite3"
    content = bytearray(path.read_bytes())
    content[content.index(text) + 9] = bad
    path.write_bytes(content)
    assert {problem.kind for problem in verify(spool.root, settle_s=0).problems} == {"index"}
    with contextlib.suppress(SpoolDamaged), open_again(spool.root):
        pass
    assert repair(spool.root).after.is_sound
