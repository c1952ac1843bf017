"""Opening a spool: what is found there, who else is there, and what must be left alone."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from spool import (
    Chunk,
    ChunkState,
    DiskFailed,
    Limits,
    Receipt,
    Spool,
    SpoolDamaged,
    SpoolError,
    SpoolTooNew,
    Stream,
    StreamState,
)
from spool.testing import FaultyDisk, check_invariants, some_frames, some_settings

ENV = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
RECEIPT = Receipt(status=200, etag=None, confirmed=False, at_ms=1)


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def lose_index(spool: Spool) -> None:
    """The index and the ledger's copy beside it, so that only the shards are left to tell."""
    for path in (*spool.root.glob("index.sqlite3*"), *spool.root.glob("ledger.jsonl")):
        path.unlink()


def open_again(root: Path) -> Spool:
    return Spool(root, limits=Limits(min_free_bytes=0))


def in_a_child(code: str, *arguments: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], env=ENV, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The index is lost ------------------------------------------------------------------------------------------


def test_a_lost_index_is_rebuilt_from_the_shards(spool: Spool, stream: Stream) -> None:
    second = spool.open_stream(some_settings(name="second"))
    before: list[Chunk] = [
        spool.push(stream.stream_id, idx, some_frames(2, seed=idx), capture_start_ms_utc=idx) for idx in (0, 1, 3)
    ]
    spool.push(second.stream_id, 0, some_frames(1, 5, 6))
    spool.close()
    lose_index(spool)
    with open_again(spool.root) as again:
        assert list(again.chunks(stream.stream_id)) == before
        assert again.stream("data-1").settings == stream.settings
        assert [one.stream_id for one in again.streams()] == sorted([stream.stream_id, second.stream_id])
        assert again.stream(second.stream_id).height == 5
        check_invariants(again)
        assert again.push(stream.stream_id, 0, some_frames(2, seed=0)) == before[0]
        check_invariants(again)


def test_a_lost_index_with_its_journal_left_behind_is_rebuilt_too(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    (spool.root / "index.sqlite3").unlink()
    assert (spool.root / "index.sqlite3-journal").exists()
    with open_again(spool.root) as again:
        assert again.stream(stream.stream_id).tally.spooled == 1
        check_invariants(again)


def test_an_index_that_is_not_one_is_an_error_and_every_shard_stays(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    (spool.root / "index.sqlite3").write_bytes(b"this is no database" * 1000)
    before = files(spool.root / "streams")
    with pytest.raises(SpoolDamaged) as raised:
        open_again(spool.root)
    assert "shards" in raised.value.hint
    assert files(spool.root / "streams") == before


def test_an_older_copy_of_the_index_is_brought_up_to_date(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames(seed=0))
    shutil.copy(spool.root / "index.sqlite3", spool.root / "backup")
    spool.push(stream.stream_id, 1, some_frames(seed=1))
    spool.close()
    (spool.root / "backup").replace(spool.root / "index.sqlite3")
    with open_again(spool.root) as again:
        assert again.stream(stream.stream_id).tally.spooled == 2
        check_invariants(again)


def test_a_shard_that_no_row_speaks_of_is_set_aside_when_its_place_is_taken(spool: Spool, stream: Stream) -> None:
    """A producer died between the name and the row, and another one that lives pushes to the same place."""
    spool.push(stream.stream_id, 0, some_frames(seed=0))
    folder = spool.zarr_path(stream.stream_id) / "frames"
    left_over = (folder / "c.0.0.0").read_bytes()
    (folder / "c.1.0.0").write_bytes(left_over)
    spool.push(stream.stream_id, 1, some_frames(seed=9))
    (aside,) = folder.glob(".c.1.0.0.*.aside")
    assert aside.read_bytes() == left_over
    assert [event.event for event in spool.events(stream.stream_id)][-2:] == ["recovered", "spooled"]
    check_invariants(spool)


# Damage on the local disk -----------------------------------------------------------------------------------


def test_a_waiting_chunk_whose_file_is_gone_is_parked_and_the_others_go_on(spool: Spool, stream: Stream) -> None:
    for idx in (0, 1):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    spool.close()
    (_array(spool, stream) / "c.0.0.0").unlink()
    with open_again(spool.root) as again:
        missing = again.chunk(stream.stream_id, 0)
        assert missing is not None
        assert missing.state == ChunkState.PARKED
        assert "missing" in str(missing.parked_reason)
        lease = again.lease(stream.stream_id, "worker", ttl_s=60)
        assert lease is not None
        waiting = lease.next_waiting()
        assert waiting is not None
        assert waiting.chunk_idx == 1
        check_invariants(again)


def test_a_damaged_shard_without_a_row_is_kept_aside_and_not_adopted(
    spool: Spool, stream: Stream, tmp_path: Path
) -> None:
    before = shutil.copytree(spool.root, tmp_path / "before")
    spool.push(stream.stream_id, 0, some_frames())
    whole = bytearray((_array(spool, stream) / "c.0.0.0").read_bytes())
    whole[3] ^= 1
    (before / _array(spool, stream).relative_to(spool.root) / "c.0.0.0").write_bytes(whole)
    with open_again(before) as again:
        assert list(again.chunks(stream.stream_id)) == []
        (aside,) = _array(again, stream).glob(".*.aside")
        assert aside.read_bytes() == whole
        assert [event.detail.get("what") for event in again.events()] == [None, "set aside"]
        assert again.stream(stream.stream_id).held is None, "the index never accepted it: nothing is missing"
        check_invariants(again)


def test_a_damaged_shard_of_a_lost_index_is_parked(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    lose_index(spool)
    shard = _array(spool, stream) / "c.0.0.0"
    whole = bytearray(shard.read_bytes())
    whole[3] ^= 1
    shard.write_bytes(whole)
    with open_again(spool.root) as again:
        (chunk,) = again.chunks(stream.stream_id)
        assert chunk.state is ChunkState.PARKED
        assert shard.read_bytes() == whole
        check_invariants(again)


def test_a_sealed_stream_is_still_sealed_when_the_index_is_lost(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.seal(stream.stream_id)
    spool.close()
    lose_index(spool)
    with open_again(spool.root) as again:
        assert again.stream(stream.stream_id).state is StreamState.SEALED


def test_a_shard_that_cannot_be_read_holds_its_stream_when_the_index_is_lost(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    lose_index(spool)
    (_array(spool, stream) / "c.0.0.0").write_bytes(b"not a shard")
    with open_again(spool.root) as again:
        assert again.stream(stream.stream_id).held is not None
        check_invariants(again)


def test_a_shard_of_another_stream_is_not_adopted(spool: Spool, stream: Stream) -> None:
    second = spool.open_stream(some_settings())
    spool.push(second.stream_id, 0, some_frames())
    spool.close()
    shutil.copy(_array(spool, second) / "c.0.0.0", _array(spool, stream) / "c.0.0.0")
    with open_again(spool.root) as again:
        assert list(again.chunks(stream.stream_id)) == []
        check_invariants(again)


def test_files_that_are_not_ours_are_left_alone(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    strangers = [
        spool.root / "notes.txt",
        spool.root / "streams" / "README",
        _array(spool, stream) / "c.1.0.0.bak",
        _array(spool, stream) / "c.01.0.0",
        spool.root / "streams" / "No Stream" / "stream.json",
    ]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"mine")
    with open_again(spool.root) as again:
        check_invariants(again, but=("notes.txt", "README", "c.1.0.0.bak", "c.01.0.0", "No Stream"))
    assert all(path.read_bytes() == b"mine" for path in strangers)


def test_zarr_metadata_is_derived_again_when_it_is_lost(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    (_array(spool, stream) / "zarr.json").unlink()
    (_array(spool, stream).parent / "zarr.json").unlink()
    with open_again(spool.root) as again:
        check_invariants(again)


def _array(spool: Spool, stream: Stream) -> Path:
    return spool.root / "streams" / stream.stream_id / "frames.zarr" / "frames"


# Versions, readers, permissions -----------------------------------------------------------------------------


def test_a_spool_from_a_later_version_is_refused_and_not_touched(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    with sqlite3.connect(spool.root / "index.sqlite3") as db:
        db.execute("PRAGMA user_version = 5")
    db.close()
    before = files(spool.root)
    with pytest.raises(SpoolTooNew, match="format 5"):
        open_again(spool.root)
    assert files(spool.root) == before


def test_a_spool_from_before_the_first_release_is_refused_and_not_touched(spool: Spool) -> None:
    spool.close()
    with sqlite3.connect(spool.root / "index.sqlite3") as db:
        db.execute("PRAGMA user_version = 1")
    db.close()
    before = files(spool.root)
    with pytest.raises(SpoolError, match="format 1, which was never released"):
        open_again(spool.root)
    assert files(spool.root) == before


def test_a_reader_does_not_make_a_spool_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="no spool"):
        Spool(tmp_path / "nothing", create=False)
    assert not (tmp_path / "nothing").exists()


def test_a_spool_can_be_made_below_folders_that_do_not_exist(tmp_path: Path) -> None:
    disk = FaultyDisk()
    Spool(tmp_path / "a" / "b" / "spool", disk=disk).close()
    made = [step.path.name for step in disk.steps if step.label == "folder.mkdir"]
    assert made[:3] == ["a", "b", "spool"]


def test_a_file_where_the_folder_should_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("a file")
    with pytest.raises(DiskFailed, match="cannot be opened"):
        Spool(tmp_path / "spool")


def test_every_folder_and_every_shard_is_private_to_the_user(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    for path in (spool.root, *spool.root.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, f"{path} is {mode:o}"
        elif path.name.startswith("c.") or path.name == "stream.json":
            assert mode == 0o600, f"{path} is {mode:o}"


# Others who have it open ------------------------------------------------------------------------------------


def test_two_openers_see_each_others_chunks(spool: Spool, stream: Stream) -> None:
    with open_again(spool.root) as other:
        spool.push(stream.stream_id, 0, some_frames(seed=0))
        other.push(stream.stream_id, 1, some_frames(seed=1))
        assert list(spool.chunks(stream.stream_id)) == list(other.chunks(stream.stream_id))
        check_invariants(other)


def test_opening_again_does_not_sweep_the_shard_that_a_live_producer_is_writing(
    spool: Spool, stream: Stream, disk: FaultyDisk
) -> None:
    def open_meanwhile(label: str, _path: Path) -> None:
        if label in ("shard.write", "shard.fsync"):
            open_again(spool.root).close()

    disk.before = open_meanwhile
    spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


def test_processes_that_push_the_same_chunks_at_once_agree_on_every_chunk(spool: Spool, stream: Stream) -> None:
    script = Path(__file__).with_name("producer_script.py")
    producers = [
        subprocess.Popen(
            [sys.executable, str(script), str(spool.root), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=ENV,
            text=True,
        )
        for number in range(3)
    ]
    for producer in producers:
        assert producer.stdout is not None
        assert producer.stdout.readline() == "ready\n"
    for producer in producers:
        assert producer.stdin is not None
        producer.stdin.write("go\n")
        producer.stdin.flush()
    accepted = [[int(word) for word in producer.communicate()[0].split()] for producer in producers]
    assert [producer.returncode for producer in producers] == [0, 0, 0]
    for idx in range(12):
        winners = sum(idx in mine for mine in accepted)
        assert winners == (3 if idx % 2 == 0 else 1), f"chunk {idx} was accepted from {winners} producers"
    assert spool.stream(stream.stream_id).tally.spooled == 12
    check_invariants(spool)


def test_a_spool_that_was_opened_before_a_fork_says_so_in_the_child(spool: Spool, stream: Stream) -> None:
    code = """
import os, sys
from spool import Spool, SpoolError
from spool.testing import some_frames
spool = Spool(sys.argv[1])
child = os.fork()
if child == 0:
    try:
        spool.push("data-1", 0, some_frames())
    except SpoolError as error:
        os._exit(7 if "fork" in str(error) and "child" in error.hint else 1)
    os._exit(2)
sys.stdout.write(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
    assert in_a_child(code, spool.root) == "7"
    spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


def test_a_child_that_leaves_does_not_take_the_parents_claim_with_it(root: Path) -> None:
    code = """
import os, sys
from spool import Limits, Spool
from spool.testing import check_invariants, some_frames, some_settings
spool = Spool(sys.argv[1], limits=Limits(min_free_bytes=0))
ref = spool.open_stream(some_settings()).stream_id
spool.push(ref, 0, some_frames())
child = os.fork()
if child == 0:
    sys.exit(0)
os.waitpid(child, 0)
assert spool.has_live_producers()
Spool(sys.argv[1]).close()
spool.push(ref, 1, some_frames())
check_invariants(spool)
sys.stdout.write("kept")
"""
    assert in_a_child(code, root) == "kept"


def test_a_producer_is_live_while_its_process_is_and_not_longer(spool: Spool, stream: Stream) -> None:
    spool.close()
    code = """
import sys
from spool import Limits, Spool
from spool.testing import die, some_frames
spool = Spool(sys.argv[1], limits=Limits(min_free_bytes=0))
spool.push("data-1", 0, some_frames())
sys.stdout.write("pushed\\n")
sys.stdout.flush()
sys.stdin.readline()
die()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(spool.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENV,
        text=True,
    ) as producer:
        assert producer.stdout is not None
        assert producer.stdout.readline() == "pushed\n"
        with open_again(spool.root) as reader:
            assert reader.has_live_producers()
            producer.communicate("die\n")
            assert not reader.has_live_producers()
            assert reader.stream(stream.stream_id).tally.spooled == 1


def test_a_reader_is_no_producer_and_a_spool_that_is_closed_is_none_any_more(root: Path) -> None:
    with open_again(root) as reader:
        assert not reader.has_live_producers()
        with open_again(root) as producer:
            producer.open_stream(some_settings())
            assert reader.has_live_producers(), "a worker must wait for the first push"
            assert producer.has_live_producers()
        assert not reader.has_live_producers()


def test_a_worker_lock_dies_with_its_process(spool: Spool) -> None:
    code = """
import sys
from spool import Spool
from spool.testing import die
lock = Spool(sys.argv[1]).worker_lock("https://a.invalid")
assert lock.acquire()
sys.stdout.write("held\\n")
sys.stdout.flush()
sys.stdin.readline()
die()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(spool.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=ENV,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "held\n"
        lock = spool.worker_lock("https://a.invalid")
        assert lock.is_held_elsewhere()
        assert not lock.acquire()
        worker.communicate("die\n")
    assert lock.acquire()
    lock.release()


def test_an_index_that_cannot_be_read_is_not_kept_open(spool: Spool) -> None:
    spool.close()
    index = spool.root / "index.sqlite3"
    index.write_bytes(b"no database" * 1000)
    with pytest.raises(SpoolDamaged):
        open_again(spool.root)
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert str(index) not in held
