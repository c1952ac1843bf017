"""Looking without an audit: pages of cells, one chunk, one frame, the outages, the rates."""

import numpy as np
import pytest

from spool import Cell, ChunkState, Receipt, ShardDamaged, Spool, Stream, audit_chunk, outages_of
from spool import cells as cells_module
from spool.testing import FakeClock, some_frames

CONFIRMED = Receipt(status=200, etag="e", confirmed=True, at_ms=7)
UNCONFIRMED = Receipt(status=200, etag='"confirmed": true', confirmed=False, at_ms=7)


def deliver(spool: Spool, stream: Stream, *idxs: int, receipt: Receipt = CONFIRMED) -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(stream.stream_id, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, receipt)
    lease.release()


def fates(cells: list[Cell]) -> list[tuple[int, str, bool, bool]]:
    return [(one.chunk_idx, one.state.value, one.is_here, one.is_confirmed) for one in cells]


def test_a_cell_says_what_became_of_each_chunk_and_when(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    pushed_ms = clock.now_ms()
    for idx in (0, 1, 2, 5):
        spool.push("data-1", idx, some_frames(seed=idx))
    clock.advance_s(3)
    deliver(spool, stream, 0)
    deliver(spool, stream, 1, receipt=UNCONFIRMED)
    spool.prune()
    clock.advance_s(4)
    spool.discard("data-1", [2], why="dark")
    cells = spool.cells("data-1")
    assert fates(cells) == [
        (0, "acknowledged", False, True),
        (1, "acknowledged", False, False),
        (2, "discarded", False, False),
        (5, "spooled", True, False),
    ]
    assert [one.spooled_at_ms for one in cells] == [pushed_ms] * 4
    assert [one.left_at_ms for one in cells] == [pushed_ms + 3000, pushed_ms + 3000, pushed_ms + 7000, None]
    assert all(one.wire_bytes for one in cells)
    assert spool.cells_of("data-1", [5, 3, 0, 5]) == [cells[0], cells[3]]


def test_cells_come_in_pages_that_end(spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_module, "PAGE", 2)
    for idx in range(5):
        spool.push("data-1", idx, some_frames(seed=idx))
    pages = [spool.cells(stream.stream_id, after_idx=after) for after in (-1, 1, 3, 4)]
    assert [[one.chunk_idx for one in page] for page in pages] == [[0, 1], [2, 3], [4], []]


def test_many_chunks_are_asked_for_in_parts(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 1700, some_frames())
    assert [one.chunk_idx for one in spool.cells_of("data-1", range(2000))] == [1700]


def test_who_has_read_up_to_the_head_is_told_the_rest_by_the_ledger(spool: Spool, stream: Stream) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    head = spool.head_seq()
    assert list(spool.events(after_seq=head)) == []
    spool.push(stream.stream_id, 1, some_frames(seed=1))
    assert [(one.event, one.chunk_idx) for one in spool.events(after_seq=head)] == [("spooled", 1)]


def test_one_frame_is_read_by_itself(spool: Spool, stream: Stream) -> None:
    frames = some_frames(3)
    chunk = spool.push(stream.stream_id, 0, frames)
    for number in range(3):
        np.testing.assert_array_equal(spool.frame(chunk, number), frames[number])
    with pytest.raises(IndexError, match="frames 0 to 2"):
        spool.frame(chunk, 3)


@pytest.mark.parametrize(("at", "words"), [(0, "cannot be decoded"), (-8, "index in .* is damaged")])
def test_a_damaged_frame_or_index_is_said(spool: Spool, stream: Stream, at: int, words: str) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    path = spool.zarr_path("data-1") / "frames" / "c.0.0.0"
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ShardDamaged, match=words):
        spool.frame(chunk, 0)
    path.write_bytes(content[:40])
    with pytest.raises(ShardDamaged, match="cut short"):
        spool.frame(chunk, 0)
    path.unlink()
    with pytest.raises(ShardDamaged, match="missing"):
        spool.frame(chunk, 0)


def test_one_chunk_tells_its_attempts_and_who_decided(spool: Spool, stream: Stream) -> None:
    spool.push("data-1", 0, some_frames())
    lease = spool.lease("data-1", "worker", ttl_s=60)
    chunk = spool.chunk("data-1", 0)
    assert lease is not None
    assert chunk is not None
    lease.attempt_started(chunk)
    lease.attempt_failed(chunk, {"words": "500"})
    lease.park(chunk, "413: too big")
    spool.retry("data-1", [0])
    found = audit_chunk(spool, stream.stream_id, 0)
    assert found is not None
    audited, events = found
    assert [(one.result, one.words) for one in audited.attempt_history] == [
        ("failed", "500"),
        ("parked", "413: too big"),
    ]
    assert audited.chunk.state is ChunkState.SPOOLED
    assert [one.event for one in events] == ["spooled", "attempt_started", "attempt_failed", "parked", "retried"]
    assert audit_chunk(spool, "data-1", 1) is None


def test_outages_are_told_without_the_chunks(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    began_ms = clock.now_ms()
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble("no connection", event="trouble_began", detail={"words": "no connection"})
    assert [(one.began_at_ms, one.ended_at_ms) for one in outages_of(spool, "data-1")] == [(began_ms, None)]
    clock.advance_s(5)
    lease.note_trouble(None, event="trouble_ended", detail={"tries": 3})
    (outage,) = outages_of(spool, "data-1")
    assert (outage.ended_at_ms, outage.words, outage.tries) == (began_ms + 5000, "no connection", 3)


def test_a_stream_has_rates_of_its_own(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    for idx in range(4):
        chunk = spool.push(stream.stream_id, idx, some_frames(seed=1))
        clock.advance_s(2)
    came, went = spool.rates("data-1")
    assert (came, went) == (chunk.disk_bytes * 3 / 8, 0.0)
    deliver(spool, stream, 0, 1, 2, 3)
    clock.advance_s(1)
    assert spool.rates("data-1")[1] == 3 * chunk.disk_bytes
