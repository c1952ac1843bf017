"""What a source says of a chunk stays with it: in its shard, in index and ledger, in copies and packs."""

import errno
import hashlib
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from spool import (
    Capture,
    Limits,
    Loss,
    LossCause,
    ProofBroken,
    Spool,
    SpoolError,
    Stream,
    TakenFile,
    make_proof,
    pack,
    read_proof,
    unpack,
    verify,
)
from spool.shards import read_description
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_settings

TOLD = Capture(
    first=1201,
    last=1207,
    losses=(Loss(cause=LossCause.SOURCE, frames=3, at_ms=1_700_000_000_000, after=1203),),
    device_ns=77,
    offset_ns=1_700_000_000_000_000_000,
    files=tuple(TakenFile(name=f"täg/img_{k:04}.bmp", size=9, modified_ns=k, sha256="0" * 64) for k in range(4)),
)


def test_it_is_in_the_chunk_in_the_ledger_and_in_the_shard(spool: Spool, stream: Stream) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    plain = spool.push(stream.stream_id, 1, some_frames())
    assert (chunk.capture, plain.capture) == (TOLD, None)
    assert [one.capture for one in spool.chunks(stream.stream_id)] == [TOLD, None]
    events = [one for one in spool.events(stream.stream_id) if one.event == "spooled"]
    assert [Capture.of(one.detail["capture"]) for one in events] == [TOLD, None]
    paths = [spool.zarr_path(stream.stream_id) / "frames" / f"c.{k}.0.0" for k in range(2)]
    assert [read_description(path).capture for path in paths] == [TOLD, None]
    assert verify(spool.root).problems == ()
    check_invariants(spool)


def test_the_same_frames_again_change_nothing_of_it(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    again = spool.push(stream.stream_id, 0, some_frames(), capture=replace(TOLD, first=1))
    assert again.capture == TOLD


@pytest.mark.parametrize("keeps_ledger", [True, False])
def test_it_is_told_again_when_the_index_is_lost(spool: Spool, stream: Stream, *, keeps_ledger: bool) -> None:
    spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    spool.close()
    for path in spool.root.glob("index.sqlite3*"):
        path.unlink()
    if not keeps_ledger:
        for path in spool.root.glob("ledger*"):
            path.unlink()
    with Spool(spool.root) as again:
        assert [one.capture for one in again.chunks(stream.stream_id)] == [TOLD]
        assert verify(again.root).problems == ()


def test_it_comes_back_with_a_shard_whose_commit_was_lost(
    spool: Spool, stream: Stream, disk: FaultyDisk, clock: FakeClock
) -> None:
    disk.fail("push.commit", error=errno.EIO)
    disk.fail("push_undo.unlink", error=errno.EIO)
    with pytest.raises(SpoolError):
        spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    spool.close()
    with Spool(spool.root, limits=Limits(min_free_bytes=0), clock=clock) as again:
        assert [one.capture for one in again.chunks(stream.stream_id)] == [TOLD]


def test_it_goes_with_copies_and_packs(spool: Spool, tmp_path: Path) -> None:
    stream = spool.open_stream(some_settings(), also=["file:///far"])
    spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    (copy,) = spool.copies(stream.stream_id)
    assert [one.capture for one in spool.chunks(copy.stream_id)] == [TOLD]
    spool.seal(stream.stream_id)
    pack(spool, copy.stream_id, tmp_path / "out.pack", made_by="a test", who="somebody")
    with Spool(tmp_path / "elsewhere", limits=Limits(min_free_bytes=0)) as other:
        unpacked = unpack(other, tmp_path / "out.pack", who="somebody")
        assert [one.capture for one in other.chunks(unpacked.stream_id)] == [TOLD]
        assert verify(other.root).problems == ()


def test_an_index_that_tells_something_else_is_found(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    spool.close()
    with sqlite3.connect(spool.root / "index.sqlite3") as db:
        forged = json.dumps(replace(TOLD, losses=()).facts())
        db.execute("UPDATE chunks SET capture = ?", (forged,))
    db.close()
    assert {one.kind for one in verify(spool.root).problems} == {"disagrees", "damaged"}


def test_a_proof_tells_it_and_holds(spool: Spool, stream: Stream) -> None:
    spool.record("source_started", ref=stream.stream_id, name="a camera", facts={"model": "x"})
    spool.push(stream.stream_id, 0, some_frames(), capture=TOLD)
    spool.record("source_stopped", ref=stream.stream_id, losses=TOLD.facts()["losses"])
    told = read_proof(make_proof(spool, stream.stream_id, made_by="a test")).audit.to_json()
    assert told["source"]["frames_captured"] == 10
    assert told["chunks"][0]["capture"] == TOLD.facts()


def test_a_proof_from_before_such_facts_still_holds(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    said = json.loads(make_proof(spool, stream.stream_id, made_by="a test"))
    del said["audit"]["source"], said["audit"]["chunks"][0]["capture"]
    assert read_proof(_sealed_again(said)).audit.complete is False
    del said["audit"]["complete"]
    with pytest.raises(ProofBroken, match="complete"):
        read_proof(_sealed_again(said))


def _sealed_again(said: dict[str, object]) -> bytes:
    """The same proof with the digest of what it says now: anybody can compute it."""
    signature = said.pop("signature")
    del said["sha256"]
    said |= {"sha256": hashlib.sha256(_written(said)).hexdigest(), "signature": signature}
    return _written(said) + b"\n"


def _written(said: dict[str, object]) -> bytes:
    return json.dumps(said, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {**TOLD.facts(), "first": "1"},
        {**TOLD.facts(), "other": 1},
        {**TOLD.facts(), "losses": [{"cause": "weather", "frames": 1, "at_ms": 1}]},
        {**TOLD.facts(), "losses": [{"cause": "source", "frames": 0, "at_ms": 1}]},
        {**TOLD.facts(), "files": [{"name": 1, "size": 1, "modified_ns": 1, "sha256": ""}]},
    ],
    ids=str,
)
def test_what_no_source_can_have_told_is_refused(facts: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError, KeyError)):
        Capture.of(facts)
    assert Capture.of(json.loads(json.dumps(TOLD.facts()))) == TOLD
