"""A spool in a few numbers: what a meter shows, however many chunks there are."""

import sqlite3
from pathlib import Path

import pytest

from spool import ChunkState, Receipt, Spool, Stream, StreamState, Sums
from spool import index as index_module
from spool import ledger as ledger_module
from spool.testing import FakeClock, some_frames, some_settings
from tools.bench.large_spools import make_large_spool

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=7)
OTHER = "file:///mnt/nas"


def deliver(spool: Spool, stream_id: str, *idxs: int) -> None:
    lease = spool.lease(stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(stream_id, idx)
        assert chunk is not None
        lease.acknowledge(chunk, RECEIPT)
    lease.release()


def test_the_sums_are_by_destination_and_hold_every_chunk_ever_pushed(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    url = stream.settings.destination
    pushed = [spool.push(stream.stream_id, idx, some_frames(seed=idx)) for idx in range(4)]
    over = spool.open_stream(some_settings(name="over"), also=[OTHER])
    spool.push(over.stream_id, 0, some_frames(seed=9))
    deliver(spool, stream.stream_id, 0)
    spool.prune()
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.park(pushed[1], "no")
    spool.discard(stream.stream_id, [2], why="dark")
    lease.hold("a person wants to look")
    lease.release()
    deliver(spool, over.stream_id, 0)
    spool.seal(over.stream_id)
    clock.advance_s(5)
    lease = spool.lease(over.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.finalize({})
    found = spool.sums()
    assert found[url].streams == {StreamState.OPEN: 1, StreamState.FINALIZED: 1}
    states = ChunkState
    assert found[url].chunks == {states.SPOOLED: 1, states.ACKNOWLEDGED: 2, states.PARKED: 1, states.DISCARDED: 1}
    assert found[url].wire_bytes[states.PARKED] == pushed[1].wire_bytes
    assert found[url].disk_bytes + found[OTHER].disk_bytes == spool.status().used_bytes
    assert (found[url].held, found[url].last_finalized_at_ms) == (1, clock.now_ms())
    assert found[OTHER].streams == {StreamState.SEALED: 1}
    assert found[OTHER].chunks == {states.SPOOLED: 1}
    assert (found[OTHER].held, found[OTHER].last_finalized_at_ms) == (0, None)


def test_a_spool_without_streams_has_no_sums(spool: Spool) -> None:
    assert spool.sums() == {}
    assert Sums().chunks == {}


def test_a_stream_says_what_waits_and_when_something_last_got_through(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    ref = stream.stream_id
    assert spool.figures(ref).oldest_waiting_at_ms is None
    assert spool.figures(ref).last_acknowledged_at_ms is None
    at_ms = []
    for idx in range(5):
        at_ms.append(clock.now_ms())
        spool.push(ref, idx, some_frames(seed=idx))
        clock.advance_s(2)
    assert spool.figures(ref).oldest_waiting_at_ms == at_ms[0]
    deliver(spool, ref, 0)
    lease = spool.lease(ref, "worker", ttl_s=60)
    assert lease is not None
    chunk = spool.chunk(ref, 1)
    assert chunk is not None
    lease.park(chunk, "no")
    lease.release()
    clock.advance_s(10)
    deliver(spool, ref, 2, 3)
    found = spool.figures(ref)
    assert found.oldest_waiting_at_ms == at_ms[4]
    assert found.last_acknowledged_at_ms == clock.now_ms()
    assert found.waiting_s == found.stream.settings.chunk_size / found.stream.settings.fps
    spool.retry(ref)  # an early chunk waits again: what got through last is not forgotten by that
    again = spool.figures(ref)
    assert again.oldest_waiting_at_ms == at_ms[1]
    assert again.last_acknowledged_at_ms == found.last_acknowledged_at_ms


def test_a_stream_says_since_when_it_is_in_trouble_and_of_what_kind(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    began_ms = clock.now_ms()
    lease.note_trouble("no line", event="trouble_began", detail={"outage": True, "key_refused": False})
    clock.advance_s(60)
    found = spool.figures(stream.stream_id)
    assert (found.trouble_began_at_ms, found.is_outage, found.key_refused) == (began_ms, True, False)
    lease.note_trouble("wrong key", event="trouble_changed", detail={"outage": True, "key_refused": True})
    found = spool.figures(stream.stream_id)
    assert (found.trouble_began_at_ms, found.is_outage, found.key_refused) == (began_ms, True, True)
    lease.note_trouble(None, event="trouble_ended", detail={})
    found = spool.figures(stream.stream_id)
    assert (found.trouble_began_at_ms, found.is_outage, found.key_refused) == (None, False, False)
    lease.note_trouble("no line", event="trouble_began", detail={"outage": False, "key_refused": False})
    assert spool.figures(stream.stream_id).trouble_began_at_ms == clock.now_ms()


def test_followed_events_come_in_order_and_once(
    spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_WINDOW", 3)
    for idx in range(5):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    deliver(spool, stream.stream_id, 0, 1, 2)
    after, seen, looks = 0, [], 0
    while after < spool.head_seq():
        events, after = spool.events_of({"spooled", "acknowledged"}, after_seq=after)
        seen += [(event.event, event.chunk_idx) for event in events]
        looks += 1
    assert seen == [("spooled", idx) for idx in range(5)] + [("acknowledged", idx) for idx in range(3)]
    assert looks > 2, "each look is bounded"
    assert spool.events_of({"spooled"}, after_seq=after) == ([], after)
    assert spool.events_of({"spooled"}, after_seq=10**9) == ([], spool.head_seq()), "the ledger is another one"


def test_the_figures_cost_the_same_however_long_the_stream_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    class Counted:
        def __getattr__(self, name: str) -> object:
            return connect if name == "connect" else getattr(sqlite3, name)

    def connect(*args: object, **kwargs: object) -> sqlite3.Connection:
        db: sqlite3.Connection = sqlite3.connect(*args, **kwargs)  # type: ignore[call-overload] # as it was called
        db.set_progress_handler(lambda: steps.append(1), 10)
        return db

    monkeypatch.setattr(index_module, "sqlite3", Counted())
    costs = []
    for chunks in (500, 4000):
        stream_id = make_large_spool(tmp_path / str(chunks), acknowledged=chunks, waiting=1)
        with Spool(tmp_path / str(chunks)) as spool:
            steps.clear()
            assert spool.figures(stream_id).oldest_waiting_at_ms is not None
            assert spool.sums()
            costs.append(len(steps))
    assert costs[1] < 1.2 * costs[0], costs
