"""``ledger.jsonl``: what happened, told once more, for the day on which the index is lost."""

import errno
import hashlib
import json
import math
import os
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from spool import ChunkState, Limits, Receipt, Spool, Stream, audit
from spool.ledger import GENESIS, row_digest
from spool.testing import FakeClock, FaultyDisk, check_invariants, some_frames, some_reading, some_settings

RECEIPT = Receipt(
    status=200, etag="e", checksums={"sha256": "x"}, confirmed=True, at_ms=1, request_ids={"x-amz-request-id": "1"}
)


def live(spool: Spool, stream: Stream) -> None:
    """A whole life of a stream: everything that the index tells and the shards do not."""
    chunks = [spool.push(stream.stream_id, idx, some_frames(seed=idx)) for idx in range(6)]
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for chunk in chunks[:3]:
        lease.attempt_started(chunk)
        lease.attempt_failed(chunk, {"words": "reset"})
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, RECEIPT)
    spool.prune()
    lease.acknowledge(chunks[3], RECEIPT)
    lease.park(chunks[4], "refused")
    spool.discard(stream.stream_id, [5], why="a test")
    spool.note_clock(stream.stream_id, some_reading())
    lease.hold("for a look")
    lease.release()


def lose_index(root: Path) -> None:
    for path in root.glob("index.sqlite3*"):
        path.unlink()


def again(root: Path, clock: FakeClock) -> Spool:
    return Spool(root, limits=Limits(min_free_bytes=0), clock=clock)


def lines(root: Path) -> list[bytes]:
    return (root / "ledger.jsonl").read_bytes().splitlines(keepends=True)


def asides(root: Path) -> list[Path]:
    return list(root.glob("ledger.jsonl.*.aside"))


def test_without_the_index_the_audit_is_the_one_before(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    live(spool, stream)
    spool.open_stream(some_settings(name="second"))
    before = [audit(spool, one.stream_id).to_json() for one in spool.streams()]
    events = list(spool.events())
    spool.close()
    lose_index(spool.root)

    with again(spool.root, clock) as rebuilt:
        check_invariants(rebuilt)
        assert [audit(rebuilt, one.stream_id).to_json() for one in rebuilt.streams()] == before
        assert list(rebuilt.events())[: len(events)] == events


def test_a_process_that_dies_leaves_the_file_one_commit_behind(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    live(spool, stream)
    spool.record("looked_at")

    assert len(lines(spool.root)) == len(list(spool.events())) - 1

    lose_index(spool.root)  # and never closed
    with again(spool.root, clock) as rebuilt:
        check_invariants(rebuilt)


def test_the_next_opening_writes_what_a_process_that_died_has_not(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    live(spool, stream)
    spool.record("looked_at")
    events = len(list(spool.events()))
    assert len(lines(spool.root)) == events - 1  # and never closed

    again(spool.root, clock).close()

    assert len(lines(spool.root)) == events


def test_the_chain_can_be_followed_without_framespool(spool: Spool, stream: Stream) -> None:
    live(spool, stream)
    spool.close()
    previous = bytes(32)
    for line in lines(spool.root):
        said, covered = line.rstrip(b"\n").split(b" ", 1)

        row_sha256 = hashlib.sha256(covered).hexdigest()
        own = hashlib.sha256(f"{json.loads(covered)[2] or ''}\n{row_sha256}".encode()).digest()
        digest = hashlib.sha256(previous + own).digest()

        assert digest.hex().encode() == said
        previous = digest


def test_two_openers_write_one_chain(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    with again(spool.root, clock) as other:
        for idx in range(6):
            (spool if idx % 2 else other).push(stream.stream_id, idx, some_frames(seed=idx))
        events = [event.digest.hex() for event in other.events()]
    spool.close()

    assert [line.split(b" ")[0].decode() for line in lines(spool.root)] == events


def test_a_full_disk_costs_the_copy_and_nothing_else(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("ledger_file.append", error=errno.ENOSPC, times=math.inf)
    live(spool, stream)
    check_invariants(spool)

    disk.mend()
    spool.close()

    assert len(lines(spool.root)) == sum(1 for _ in Spool(spool.root).events())


@pytest.mark.parametrize("end", [b"\0" * 900, b"5f3e [7,", b"\n\n", b"no row\n", b"\xff\xfe\n"])
def test_a_torn_end_is_dropped_and_the_file_goes_on(
    spool: Spool, stream: Stream, clock: FakeClock, end: bytes
) -> None:
    live(spool, stream)
    spool.close()
    whole = lines(spool.root)
    (spool.root / "ledger.jsonl").write_bytes(b"".join(whole[:-3]) + end)

    with again(spool.root, clock) as opened:
        opened.record("looked_at")

    assert lines(spool.root)[: len(whole)] == whole
    assert len(lines(spool.root)) == len(whole) + 1
    assert asides(spool.root) == []


def test_a_file_that_is_damaged_in_the_middle_tells_what_comes_before(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    live(spool, stream)
    spool.close()
    whole = lines(spool.root)
    at = next(number for number, line in enumerate(whole) if b"acknowledged" in line)
    (spool.root / "ledger.jsonl").write_bytes(b"".join([*whole[:at], b"\0" * len(whole[at]), *whole[at + 1 :]]))
    lose_index(spool.root)

    with again(spool.root, clock) as rebuilt:
        states = {chunk.chunk_idx: chunk.state for chunk in rebuilt.chunks(stream.stream_id)}
        assert states[3] is ChunkState.SPOOLED, "its file is there, its receipt is not: it is sent again"
        assert states[0] is ChunkState.PARKED, "its receipt and its file are gone: a person has to know"
        rebuilt.record("looked_at")
        total = sum(1 for _ in rebuilt.events())
    assert len(lines(spool.root)) == total
    assert len(asides(spool.root)) == 1, "what followed is kept for a person"


def test_lines_that_the_power_took_are_written_again(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    """The end reached the disk and the middle did not: it would hide whatever follows, once the index is lost."""
    live(spool, stream)
    spool.close()
    there = lines(spool.root)
    torn = [*there[:5], bytes(len(there[5])), *there[6:]]
    (spool.root / "ledger.jsonl").write_bytes(b"".join(torn))
    with again(spool.root, clock) as opened:
        assert lines(spool.root) == there
        assert len(asides(spool.root)) == 1
        check_invariants(opened)


def test_the_file_is_made_durable_as_it_grows(
    spool: Spool, stream: Stream, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.ledger_file._SYNC_BYTES", 4096)
    live(spool, stream)
    size = (spool.root / "ledger.jsonl").stat().st_size
    assert disk.labels().count("ledger_file.fsync") == size // 4096 > 0


def test_a_file_of_another_spool_is_set_aside(
    spool: Spool, stream: Stream, clock: FakeClock, tmp_path: Path
) -> None:
    with again(tmp_path / "other", clock) as other:
        other.open_stream(some_settings())
    foreign = (tmp_path / "other" / "ledger.jsonl").read_bytes()
    (spool.root / "ledger.jsonl").write_bytes(foreign)

    spool.push(stream.stream_id, 0, some_frames())
    spool.close()

    assert [path.read_bytes() for path in asides(spool.root)] == [foreign]
    assert len(lines(spool.root)) == 2


def test_a_chunk_that_was_pruned_after_the_last_line_is_not_missed(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.acknowledge(chunk, RECEIPT)
    spool.prune()
    spool.close()
    whole = lines(spool.root)
    assert b"pruned" in whole[-1]
    (spool.root / "ledger.jsonl").write_bytes(b"".join(whole[:-1]))
    lose_index(spool.root)

    with again(spool.root, clock) as rebuilt:
        (found,) = rebuilt.chunks(stream.stream_id)
        assert found.state is ChunkState.ACKNOWLEDGED
        assert found.pruned_at_ms is not None
        check_invariants(rebuilt)


def forged(*rows: tuple[str | None, int | None, str, dict[str, object]]) -> bytes:
    """A chain that holds, of rows that nobody here has written."""
    previous, text = GENESIS, ""
    for seq, (stream_id, chunk_idx, event, detail) in enumerate(rows, start=1):
        said = json.dumps(detail, sort_keys=True, separators=(",", ":"))
        previous = row_digest(previous, seq, 0, stream_id, chunk_idx, event, said)
        covered = json.dumps([seq, 0, stream_id, chunk_idx, event, said], separators=(",", ":"))
        text += f"{previous.hex()} {covered}\n"
    return text.encode()


OPENED: dict[str, object] = {
    "data_id": None, "name": "n", "destination": "d", "created_at_ms": 0, "settings": asdict(some_settings()),
}  # fmt: skip
HERE = "20261124t000000-0123456789ab"


@pytest.mark.parametrize(
    "content",
    [
        forged(("../../../elsewhere", None, "opened", OPENED)),
        forged((HERE, None, "opened", OPENED), (HERE, 0, "acknowledged", {})),
        forged((HERE, None, "opened", OPENED), (HERE, -1, "spooled", {"n": 1})),
        forged((HERE, None, "opened", {"data_id": 5})),
        forged((HERE, None, "opened", {**OPENED, "data_id": [1]})),
        forged((HERE, None, "opened", {**OPENED, "settings": {"fps": "fast"}})),
        forged((HERE, None, "opened", {**OPENED, "created_at_ms": 10**30})),
        b"",
        b"\0" * 4096,
    ],
)
def test_a_forged_or_senseless_file_makes_no_index(tmp_path: Path, clock: FakeClock, content: bytes) -> None:
    root = tmp_path / "a" / "b" / "spool"
    again(root, clock).close()
    lose_index(root)
    (root / "ledger.jsonl").write_bytes(content)

    with again(root, clock) as opened:
        assert opened.streams() == []
        assert list(opened.events()) == []
        opened.open_stream(some_settings())
    assert not (tmp_path / "elsewhere").exists()
    assert [path.read_bytes() for path in asides(root)] == [content]


@pytest.mark.skipif(os.name == "nt", reason="the user's data directory is private by its ACL")
def test_the_file_is_private(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())

    assert stat.S_IMODE((spool.root / "ledger.jsonl").stat().st_mode) == 0o600
