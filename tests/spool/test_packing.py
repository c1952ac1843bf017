"""pack and unpack: a stream is delivered from another machine, once, and its receipts come home."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from spool import (
    ChunkConflict,
    ChunkState,
    Limits,
    Packed,
    ProofBroken,
    Receipt,
    Spool,
    SpoolError,
    Stream,
    StreamState,
    Unpacked,
    audit,
    look_into,
    pack,
    unpack,
    verify,
)
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_reading, some_settings

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1_700_000_000_001, url_path="/c/0")


def acknowledge(spool: Spool, ref: str, *idxs: int) -> None:
    lease = spool.lease(ref, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(ref, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, RECEIPT)
    lease.release()


@pytest.fixture
def growth(spool: Spool, stream: Stream) -> str:
    """Two chunks delivered (one pruned), one discarded, one parked, two waiting; the end asked for."""
    ref = stream.stream_id
    spool.note_clock(ref, some_reading())
    for idx in range(6):
        spool.push(ref, idx, some_frames(seed=idx))
    acknowledge(spool, ref, 0)
    spool.prune()
    acknowledge(spool, ref, 1)
    spool.discard(ref, [2], why="dark")
    lease = spool.lease(ref, "worker", ttl_s=60)
    chunk = spool.chunk(ref, 3)
    assert lease is not None
    assert chunk is not None
    lease.park(chunk, "refused")
    lease.release()
    spool.seal(ref)
    return ref


@pytest.fixture
def elsewhere(tmp_path: Path, clock: FakeClock) -> Iterator[Spool]:
    with Spool(tmp_path / "elsewhere", limits=Limits(min_free_bytes=0), clock=clock) as opened:
        yield opened


def packed(spool: Spool, ref: str, path: Path) -> Packed:
    return pack(spool, ref, path, made_by="a test", who="a person")


def unpacked(spool: Spool, path: Path) -> Unpacked:
    return unpack(spool, path, who="a person")


def told(spool: Spool, ref: str) -> dict[str, object]:
    """The audit, but for attempts, and for what is still on this disk."""
    found = audit(spool, ref).to_json()
    for chunk in found["chunks"]:
        for name in ("attempts", "attempt_history", "pruned_at"):
            del chunk[name]
    for name in ("held", "trouble"):
        del found[name]
    return found


def test_unpacked_elsewhere_it_is_what_it_was_and_waits_there(
    spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path
) -> None:
    done = packed(spool, growth, tmp_path / "usb")
    assert (done.chunks, done.damaged, done.held) == (3, (), True)
    there = unpacked(elsewhere, tmp_path / "usb")
    assert (there.is_new, there.chunks, there.receipts, there.left) == (True, 3, 2, {})
    assert told(elsewhere, growth) == told(spool, growth)
    assert elsewhere.stream(growth).held is None
    assert elsewhere.stream(growth).clock_offset_ms == 1.5
    discarded = next(event for event in elsewhere.events(growth) if event.event == "discarded")
    assert discarded.detail["why"] == "dark"
    for one in (spool, elsewhere):
        check_invariants(one)
        lease = one.lease(growth, "a look", ttl_s=60)
        chunk = one.chunk(growth, 5)
        assert lease is not None
        assert chunk is not None
        np.testing.assert_array_equal(one.frames(chunk), some_frames(seed=5))


def test_packed_it_is_held_here_until_a_person_says_otherwise(spool: Spool, growth: str, tmp_path: Path) -> None:
    packed(spool, growth, tmp_path / "usb")
    held = spool.stream(growth).held
    assert held is not None
    assert "packed for delivery elsewhere, into usb" in held
    assert spool.stream(growth).tally.spooled == 2, "nothing is deleted"
    spool.retry(growth)
    assert spool.stream(growth).held is None
    events = [(event.event, event.detail.get("who")) for event in spool.events(growth)]
    assert ("held", "a person") in events
    assert ("packed", "a person") in events


def test_the_receipts_come_home(spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path) -> None:
    packed(spool, growth, tmp_path / "usb")
    unpacked(elsewhere, tmp_path / "usb")
    elsewhere.retry(growth)
    acknowledge(elsewhere, growth, 3, 4, 5)
    lease = elsewhere.lease(growth, "worker", ttl_s=60)
    assert lease is not None
    lease.finalize({"words": "done"})
    lease.release()
    done = packed(elsewhere, growth, tmp_path / "back")
    assert (done.chunks, done.held) == (0, False)
    home = unpacked(spool, tmp_path / "back")
    assert (home.is_new, home.chunks, home.receipts) == (False, 0, 3)
    assert told(spool, growth) == told(elsewhere, growth)
    assert spool.stream(growth).state is StreamState.FINALIZED
    assert spool.stream(growth).held is None
    check_invariants(spool)


def test_receipts_of_a_part_come_home_too_and_the_rest_stays_held(
    spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path
) -> None:
    packed(spool, growth, tmp_path / "usb")
    unpacked(elsewhere, tmp_path / "usb")
    acknowledge(elsewhere, growth, 4)
    packed(elsewhere, growth, tmp_path / "back")
    assert unpacked(spool, tmp_path / "back").receipts == 1
    chunk = spool.chunk(growth, 4)
    assert chunk is not None
    assert chunk.state is ChunkState.ACKNOWLEDGED
    assert spool.stream(growth).held is not None
    check_invariants(spool)


def test_unpacking_twice_changes_nothing(spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path) -> None:
    packed(spool, growth, tmp_path / "usb")
    unpacked(elsewhere, tmp_path / "usb")
    before = audit(elsewhere, growth).to_json()
    again = unpacked(elsewhere, tmp_path / "usb")
    assert (again.is_new, again.chunks, again.receipts) == (False, 0, 0)
    assert audit(elsewhere, growth).to_json() == before
    check_invariants(elsewhere)


@pytest.mark.parametrize("step", ["take_in.write", "take_in.rename", "take_in.fsync_dir", "take_in.commit"])
@pytest.mark.parametrize("at", [1, 2])
def test_cut_off_anywhere_it_goes_on(
    spool: Spool, growth: str, tmp_path: Path, clock: FakeClock, step: str, at: int
) -> None:
    packed(spool, growth, tmp_path / "usb")
    disk = FaultyDisk()
    with Spool(tmp_path / "elsewhere", limits=Limits(min_free_bytes=0), clock=clock, disk=disk) as other:
        disk.fail(step, at=at)
        with pytest.raises((SpoolError, OSError)):
            unpacked(other, tmp_path / "usb")
    with Spool(tmp_path / "elsewhere", limits=Limits(min_free_bytes=0), clock=clock) as other:
        unpacked(other, tmp_path / "usb")
        chunks = [list(one.chunks(growth)) for one in (other, spool)]
        # A parked one whose row was not committed is taken up by the opening, and is tried once more.
        ours, theirs = ([str(one.state).replace("parked", "spooled") for one in some] for some in chunks)
        assert ours == theirs
        assert [one.sha256 for one in chunks[0]] == [one.sha256 for one in chunks[1]]
        assert other.stream(growth).state is StreamState.SEALED
        check_invariants(other)


def test_a_pack_whose_writing_was_cut_off_is_none(
    spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path
) -> None:
    packed(spool, growth, tmp_path / "usb")
    (tmp_path / "usb" / "stream.proof").unlink()
    with pytest.raises(ProofBroken, match="its packing was cut off"):
        unpacked(elsewhere, tmp_path / "usb")
    assert elsewhere.streams() == []
    with pytest.raises(SpoolError, match="is there already"):
        packed(spool, growth, tmp_path / "usb")
    assert packed(spool, growth, tmp_path / "usb 2").chunks == 3, "packing again is no trouble"


def test_a_damaged_or_missing_shard_stays_out_and_the_others_come_in(
    spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path
) -> None:
    packed(spool, growth, tmp_path / "usb")
    array = tmp_path / "usb" / "frames.zarr" / "frames"
    (array / "c.4.0.0").unlink()
    content = (array / "c.5.0.0").read_bytes()
    (array / "c.5.0.0").write_bytes(b"\0" + content[1:])
    assert sorted(look_into(elsewhere, tmp_path / "usb").left) == [4, 5]
    assert elsewhere.streams() == []
    there = unpacked(elsewhere, tmp_path / "usb")
    assert sorted(there.left) == [4, 5]
    assert "missing from the pack" in there.left[4]
    assert elsewhere.chunk(growth, 4) is None
    assert elsewhere.stream(growth).state is StreamState.OPEN, "so that the rest can still come in"
    (array / "c.5.0.0").write_bytes(content)
    shutil.copy(spool.zarr_path(growth) / "frames" / "c.4.0.0", array)
    assert unpacked(elsewhere, tmp_path / "usb").left == {}
    assert told(elsewhere, growth) == told(spool, growth)


def test_a_pack_opens_as_zarr(spool: Spool, growth: str, tmp_path: Path) -> None:
    packed(spool, growth, tmp_path / "usb")
    frames = zarr.open_group(tmp_path / "usb" / "frames.zarr", mode="r")["frames"]
    assert isinstance(frames, zarr.Array)
    np.testing.assert_array_equal(frames[20:24], some_frames(seed=5))


def test_other_bytes_under_the_same_chunk_are_a_conflict(
    spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path
) -> None:
    packed(spool, growth, tmp_path / "usb")
    unpacked(elsewhere, tmp_path / "usb")
    chunk = elsewhere.chunk(growth, 4)
    assert chunk is not None
    with pytest.raises(ChunkConflict):
        elsewhere.take_in_chunk(replace(chunk, sha256="0" * 64), None)
    check_invariants(elsewhere)


def test_another_streams_data_id_is_refused(spool: Spool, growth: str, elsewhere: Spool, tmp_path: Path) -> None:
    elsewhere.open_stream(some_settings(), data_id="data-1")
    packed(spool, growth, tmp_path / "usb")
    with pytest.raises(SpoolError, match="another stream of this spool"):
        unpacked(elsewhere, tmp_path / "usb")
    assert verify(elsewhere.root, settle_s=0).is_sound


def test_a_worker_that_does_not_let_go_is_not_raced(
    spool: Spool, growth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.packing._PATIENCE_S", 0.0)
    assert spool.lease(growth, "worker", ttl_s=60) is not None
    with pytest.raises(SpoolError, match="in the middle of delivering"):
        packed(spool, growth, tmp_path / "usb")
    assert not (tmp_path / "usb").exists()
    assert spool.stream(growth).held is not None, "so that the worker lets go"
