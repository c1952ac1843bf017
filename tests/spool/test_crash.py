"""Promise 8: killing a process before any step is safe, and reopening needs no person.

Real processes, really killed: see ``crash_script.py``. What had returned before the kill must be there after it.
"""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from spool import ChunkState, Limits, Receipt, Spool, Stream, StreamState
from spool.testing import FaultyDisk, check_invariants, some_frames, some_settings
from tests.spool.dying import Run, run

__all__ = ["run"]  # a fixture
RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1)
PUSHED = (0, 1, 2, 3, 5)

# Every step of a whole life; a test below keeps this list complete.
LABELS = (
    "acknowledge.commit",
    "attempt.commit",
    "clock.commit",
    "close.commit",
    "discard.commit",
    "discard.unlink",
    "finalize.commit",
    "folder.fsync_dir",
    "folder.mkdir",
    "hold.commit",
    "index.create.commit",
    "index.fsync_dir",
    "lease.commit",
    "ledger_file.append",
    "ledger_file.fsync",
    "limits.replace",
    "note.commit",
    "open_stream.commit",
    "park.commit",
    "prune.commit",
    "prune.unlink",
    "push.commit",
    "record.commit",
    "reserve.create",
    "reserve.fsync",
    "reserve.fsync_dir",
    "reserve.rename",
    "reserve.write",
    "retry.commit",
    "seal.commit",
    "shard.create",
    "shard.fsync",
    "shard.fsync_dir",
    "shard.rename",
    "shard.write",
    "stream.fsync_dir",
    "stream.mkdir",
    "stream_json.commit",
    "stream_json.create",
    "stream_json.fsync",
    "stream_json.fsync_dir",
    "stream_json.rename",
    "stream_json.write",
    "zarr_json.replace",
)
RECOVERY_LABELS = (
    "recover_chunk.commit",
    "recover_chunk.fsync_dir",
    "recover_missing.commit",
    "recover_prune.unlink",
    "recover_stream.commit",
    "recover_zarr_json.commit",
    "recover_zarr_json.unlink",
    "zarr_json.replace",
)


@pytest.fixture(scope="module")
def life(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often each label comes in a whole life."""
    ending = run(tmp_path_factory.mktemp("life") / "spool", "whole_life")
    assert ending.status == 0
    return Counter(ending.labels)


def open_again(root: Path) -> Spool:
    return Spool(root, limits=Limits(min_free_bytes=0))


def require_that_nothing_done_is_lost(spool: Spool, done: list[str]) -> None:
    assert ("open" in done) <= bool(spool.streams())
    for stream in spool.streams():
        for word in done:
            verb, _, idx = word.partition(" ")
            chunk = spool.chunk(stream.stream_id, int(idx)) if idx else None
            assert chunk is not None or not idx, f"{word!r} had returned, but there is no chunk {idx}"
            if chunk is not None and verb == "acknowledge":
                assert chunk.state == ChunkState.ACKNOWLEDGED
            elif chunk is not None and verb == "discard":
                assert chunk.state == ChunkState.DISCARDED
            elif verb == "seal":
                assert stream.state != StreamState.OPEN
            elif verb == "finalize":
                assert stream.state == StreamState.FINALIZED


def carry_on(spool: Spool) -> Stream:
    """What producer and worker do after a crash: push again what they hold, deliver, end."""
    stream = spool.streams()[0] if spool.streams() else spool.open_stream(some_settings(), data_id="data-1")
    ref = stream.stream_id
    if stream.state == StreamState.OPEN:
        for idx in PUSHED:
            chunk = spool.chunk(ref, idx)
            if chunk is None or chunk.state != ChunkState.DISCARDED:
                spool.push(ref, idx, some_frames(seed=idx))
    spool.retry(ref)
    lease = spool.lease(ref, "next worker", ttl_s=60, take_over=True)
    assert lease is not None
    while (waiting := lease.next_waiting()) is not None:
        lease.read(waiting)
        lease.acknowledge(waiting, RECEIPT)
    spool.seal(ref)
    if lease.stream().state == StreamState.SEALED:
        lease.finalize({})
    spool.prune()
    return lease.stream()


def test_the_list_of_labels_is_every_step_that_a_whole_life_takes(life: Counter[str]) -> None:
    assert sorted(life) == sorted(LABELS)


@pytest.mark.parametrize("which", ["first", "middle", "last"])
@pytest.mark.parametrize("label", LABELS)
def test_a_kill_before_any_step_loses_nothing_that_had_returned(
    run: Run, life: Counter[str], tmp_path: Path, label: str, which: str
) -> None:
    at = {"first": 1, "middle": (life[label] + 1) // 2, "last": life[label]}[which]
    ending = run(tmp_path / "spool", "whole_life", label, at)
    assert ending.killed
    with open_again(tmp_path / "spool") as spool:
        check_invariants(spool)
        require_that_nothing_done_is_lost(spool, ending.done)
        stream = carry_on(spool)
        check_invariants(spool)
    assert stream.state == StreamState.FINALIZED
    assert stream.tally.pushed == len(PUSHED)
    assert stream.tally.acknowledged + stream.tally.discarded == len(PUSHED)


@pytest.mark.parametrize("label", ["shard.create", "shard.write", "shard.fsync", "shard.rename"])
def test_a_push_killed_before_its_shard_has_its_name_was_never_accepted(
    run: Run, tmp_path: Path, label: str
) -> None:
    root = tmp_path / "spool"
    with open_again(root) as spool:
        spool.open_stream(some_settings(), data_id="data-1")
    assert run(root, "one_push", label).killed
    with open_again(root) as spool:
        assert spool.chunk("data-1", 0) is None
        assert not [path for path in (root / "incoming").rglob("*") if path.is_file()]
        spool.push("data-1", 0, some_frames(seed=1))
        check_invariants(spool)


@pytest.mark.parametrize("label", ["shard.fsync_dir", "push.commit"])
def test_a_push_killed_between_name_and_index_row_is_taken_up_whole(run: Run, tmp_path: Path, label: str) -> None:
    root = tmp_path / "spool"
    with open_again(root) as spool:
        spool.open_stream(some_settings(), data_id="data-1")
    assert run(root, "one_push", label).killed
    with open_again(root) as spool:
        chunk = spool.chunk("data-1", 0)
        assert chunk is not None
        assert spool.push("data-1", 0, some_frames(seed=0)) == chunk
        check_invariants(spool)


# A crash during the recovery from a crash -------------------------------------------------------------------


@pytest.fixture(scope="module")
def ruins(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spool with one of everything that recovery mends."""
    root = tmp_path_factory.mktemp("ruins") / "spool"
    with open_again(root) as spool:
        ref = spool.open_stream(some_settings(), data_id="data-1").stream_id
        lease = spool.lease(ref, "worker", ttl_s=60)
        assert lease is not None
        for idx in (1, 2, 3):
            chunk = spool.push(ref, idx, some_frames(seed=idx))
            if idx == 1:
                lease.acknowledge(chunk, RECEIPT)
        array = spool.zarr_path(ref) / "frames"
        pruned = (array / "c.1.0.0").read_bytes()
        spool.prune()
        adoptable = spool.open_stream(some_settings(name="without a row"))
    shutil.copy(root / "index.sqlite3", root / "kept")
    assert run(root, "one_push", "push.commit").killed  # a shard without a row
    assert run(
        root, "another_push", "shard.write"
    ).killed  # an unfinished shard; its opener took up the one before
    shutil.copy(root / "kept", root / "index.sqlite3")  # which now is without a row again
    (root / "kept").unlink()
    (array / "c.1.0.0").write_bytes(pruned)  # deleted, and brought back by a power cut
    (array / "c.2.0.0").unlink()  # a waiting chunk whose file is gone
    (array / ".zarr.json.0.new").write_bytes(b"")
    (array / "zarr.json").write_bytes(b"")
    copy = root / "streams" / "20200101t000000-0123456789ab"  # a stream without a row
    shutil.copytree(root / "streams" / adoptable.stream_id, copy)
    description = json.loads((copy / "stream.json").read_text())
    description["stream_id"] = copy.name
    (copy / "stream.json").write_text(json.dumps(description))
    return root


def picture(spool: Spool) -> list[object]:
    check_invariants(spool)
    files = sorted(str(path.relative_to(spool.root)) for path in (spool.root / "streams").rglob("*"))
    rows = [(chunk.chunk_idx, chunk.state) for chunk in spool.chunks("data-1")]
    events = sorted((event.event, event.chunk_idx or -1, str(event.detail)) for event in spool.events())
    return [files, rows, events]


def test_one_of_everything_is_mended_without_a_person(ruins: Path, tmp_path: Path) -> None:
    root = shutil.copytree(ruins, tmp_path / "spool")
    disk = FaultyDisk()
    with Spool(root, disk=disk) as spool:
        check_invariants(spool)
        states = {chunk.chunk_idx: chunk.state for chunk in spool.chunks("data-1")}
    assert set(RECOVERY_LABELS) <= set(disk.labels())
    assert states == {
        0: ChunkState.SPOOLED,
        1: ChunkState.ACKNOWLEDGED,
        2: ChunkState.PARKED,
        3: ChunkState.SPOOLED,
    }
    assert not [path for path in (root / "incoming").rglob("*") if path.is_file()]


@pytest.mark.parametrize("label", RECOVERY_LABELS)
def test_a_kill_during_recovery_changes_nothing_about_its_result(
    run: Run, ruins: Path, tmp_path: Path, label: str
) -> None:
    with Spool(shutil.copytree(ruins, tmp_path / "undisturbed")) as spool:
        expected = picture(spool)
    root = shutil.copytree(ruins, tmp_path / "spool")
    assert run(root, "only_open", label).killed
    with Spool(root) as spool:
        assert picture(spool) == expected


@pytest.mark.parametrize("label", ["index.create.commit", "index.fsync_dir", "restore.commit"])
def test_a_kill_while_a_lost_index_is_told_again_changes_nothing_about_the_result(
    run: Run, tmp_path: Path, label: str
) -> None:
    root = tmp_path / "spool"
    with open_again(root) as spool:
        ref = spool.open_stream(some_settings(), data_id="data-1").stream_id
        lease = spool.lease(ref, "worker", ttl_s=60)
        assert lease is not None
        for idx in range(3):
            lease.acknowledge(spool.push(ref, idx, some_frames(seed=idx)), RECEIPT)
        spool.prune()
        spool.seal(ref)
        lease.finalize({})
        lease.release()
        expected = list(spool.chunks(ref))
    (root / "index.sqlite3").unlink()

    assert run(root, "only_open", label).killed

    with Spool(root) as spool:
        check_invariants(spool)
        assert list(spool.chunks(ref)) == expected
        assert spool.stream(ref).state == StreamState.FINALIZED


def test_opening_a_whole_spool_changes_nothing(ruins: Path, tmp_path: Path) -> None:
    root = shutil.copytree(ruins, tmp_path / "spool")
    with Spool(root) as spool:
        expected = picture(spool)
    disk = FaultyDisk()
    with Spool(root, disk=disk) as spool:
        assert picture(spool) == expected
    assert disk.labels() == []
