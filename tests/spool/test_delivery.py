"""Leases, receipts, parking, the watermark, the end of a stream, and the ledger that tells of them."""

import sqlite3
from collections.abc import Callable, Sequence

import pytest

from spool import (
    Chunk,
    ChunkState,
    IllegalTransition,
    LeasedStream,
    LeaseLost,
    Receipt,
    Spool,
    SpoolError,
    Stream,
    StreamState,
)
from spool.testing import FakeClock, check_invariants, some_frames, some_reading, some_settings

RECEIPT = Receipt(
    status=200,
    etag="abc",
    confirmed=True,
    at_ms=7,
    server_date="today",
    request_ids={"x-amz-request-id": "r-1"},
    url_path="/bucket/0",
)


def push(spool: Spool, stream: Stream, idxs: Sequence[int]) -> list[Chunk]:
    return [spool.push(stream.stream_id, idx, some_frames(seed=idx)) for idx in idxs]


def leased(spool: Spool, stream: Stream, owner: str = "worker") -> LeasedStream:
    lease = spool.lease(stream.stream_id, owner, ttl_s=60)
    assert lease is not None
    return lease


# Leases -----------------------------------------------------------------------------------------------------


def test_while_a_lease_runs_no_other_worker_gets_the_stream(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    leased(spool, stream)
    clock.advance_s(59.9)
    assert spool.lease(stream.stream_id, "other", ttl_s=60) is None


def test_an_expired_lease_goes_to_the_next_worker_and_the_old_token_records_nothing(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    (chunk,) = push(spool, stream, [0])
    old = leased(spool, stream)
    clock.advance_s(60)
    new = leased(spool, stream, "other")
    before = list(spool.events())
    calls: list[Callable[[], object]] = [
        lambda: old.acknowledge(chunk, RECEIPT),
        lambda: old.attempt_started(chunk),
        lambda: old.attempt_failed(chunk, {}),
        lambda: old.park(chunk, "why"),
        lambda: old.hold("why"),
        lambda: old.note_trouble("t", event="trouble"),
        lambda: old.finalize({}),
        old.renew,
    ]
    for call in calls:
        with pytest.raises(LeaseLost):
            call()
    old.release()
    assert list(spool.events()) == before
    assert spool.stream(stream.stream_id).lease_owner == "other"
    new.acknowledge(chunk, RECEIPT)
    check_invariants(spool)


def test_renewing_in_time_keeps_the_stream(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    lease = leased(spool, stream)
    for _ in range(3):
        clock.advance_s(50)
        lease.renew()
        assert spool.lease(stream.stream_id, "other", ttl_s=60) is None


def test_a_released_stream_is_free_at_once(spool: Spool, stream: Stream) -> None:
    leased(spool, stream).release()
    leased(spool, stream, "other")


def test_a_worker_that_knows_the_other_one_is_dead_takes_over_before_the_lease_ends(
    spool: Spool, stream: Stream
) -> None:
    (chunk,) = push(spool, stream, [0])
    old = leased(spool, stream)
    new = spool.lease(stream.stream_id, "other", ttl_s=60, take_over=True)
    assert new is not None
    with pytest.raises(LeaseLost):
        old.acknowledge(chunk, RECEIPT)
    new.acknowledge(chunk, RECEIPT)


def test_the_same_worker_that_leases_again_voids_its_own_older_token(spool: Spool, stream: Stream) -> None:
    (chunk,) = push(spool, stream, [0])
    old, new = leased(spool, stream), leased(spool, stream)
    with pytest.raises(LeaseLost):
        old.park(chunk, "why")
    new.park(chunk, "why")


def test_leases_of_different_streams_do_not_touch_each_other(spool: Spool, stream: Stream) -> None:
    second = spool.open_stream(some_settings())
    mine, theirs = leased(spool, stream), leased(spool, second, "other")
    mine.renew()
    theirs.renew()


def test_there_is_one_worker_lock_for_each_destination(spool: Spool) -> None:
    held, again, elsewhere = (
        spool.worker_lock(name) for name in ("https://a.invalid", "https://a.invalid", "https://b.invalid")
    )
    assert held.acquire()
    assert not again.acquire()
    assert again.is_held_elsewhere()
    assert not held.is_held_elsewhere()
    assert elsewhere.acquire()
    elsewhere.release()
    held.release()
    assert not again.is_held_elsewhere()
    assert again.acquire()
    again.release()


# States -----------------------------------------------------------------------------------------------------


def test_an_acknowledged_chunk_keeps_its_whole_receipt(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    (chunk,) = push(spool, stream, [0])
    lease = leased(spool, stream)
    lease.attempt_started(chunk)
    lease.attempt_failed(chunk, {"error": "timeout"})
    lease.attempt_started(chunk)
    clock.advance_s(5)
    lease.acknowledge(chunk, RECEIPT)
    now = spool.chunk(stream.stream_id, 0)
    assert now is not None
    assert (now.state, now.receipt, now.attempts) == (ChunkState.ACKNOWLEDGED, RECEIPT, 2)
    assert now.acknowledged_at_ms == clock.now_ms()
    check_invariants(spool)


def test_chunks_are_handed_out_by_chunk_idx_whatever_the_order_of_the_pushes(spool: Spool, stream: Stream) -> None:
    push(spool, stream, [3, 0, 2])
    lease = leased(spool, stream)
    order = []
    while (chunk := lease.next_waiting()) is not None:
        order.append(chunk.chunk_idx)
        lease.acknowledge(chunk, RECEIPT)
    assert order == [0, 2, 3]
    check_invariants(spool)


def test_the_next_chunk_can_be_prepared_before_the_first_is_acknowledged(spool: Spool, stream: Stream) -> None:
    push(spool, stream, [0, 4])
    lease = leased(spool, stream)
    following = lease.next_waiting(after_idx=0)
    assert following is not None
    assert following.chunk_idx == 4
    assert lease.next_waiting(after_idx=4) is None


@pytest.mark.parametrize(
    ("pushed", "acknowledged", "watermark"),
    [
        ([0, 1, 2], [0, 1, 2], 2),
        ([0, 1, 2], [2, 1], -1),
        ([0, 1, 2], [2, 1, 0], 2),
        ([0, 2, 3], [0, 2, 3], 0),
        ([1, 2], [1, 2], -1),
        ([2, 0, 1, 4], [4, 0, 1], 1),
    ],
)
def test_the_watermark_is_the_highest_chunk_up_to_which_there_is_no_gap(
    spool: Spool, stream: Stream, pushed: list[int], acknowledged: list[int], watermark: int
) -> None:
    chunks = {chunk.chunk_idx: chunk for chunk in push(spool, stream, pushed)}
    lease = leased(spool, stream)
    for idx in acknowledged:
        lease.acknowledge(chunks[idx], RECEIPT)
        check_invariants(spool)
    assert spool.stream(stream.stream_id).watermark == watermark


def test_a_gap_that_is_filled_later_lets_the_watermark_catch_up(spool: Spool, stream: Stream) -> None:
    lease = leased(spool, stream)
    for chunk in push(spool, stream, [0, 2]):
        lease.acknowledge(chunk, RECEIPT)
    lease.acknowledge(push(spool, stream, [1])[0], RECEIPT)
    assert spool.stream(stream.stream_id).watermark == 2


def test_no_move_that_the_table_does_not_know_is_recorded(spool: Spool, stream: Stream) -> None:
    done, parked, gone, waiting = push(spool, stream, [0, 1, 2, 3])
    lease = leased(spool, stream)
    lease.acknowledge(done, RECEIPT)
    lease.park(parked, "refused")
    spool.discard(stream.stream_id, [2], why="test")
    before = list(spool.events())
    for call in (
        lambda: lease.acknowledge(done, RECEIPT),
        lambda: lease.park(done, "x"),
        lambda: spool.retry(stream.stream_id, [0]),
        lambda: spool.discard(stream.stream_id, [0], why="x"),
        lambda: lease.acknowledge(parked, RECEIPT),
        lambda: lease.park(parked, "x"),
        lambda: lease.acknowledge(gone, RECEIPT),
        lambda: lease.park(gone, "x"),
        lambda: spool.retry(stream.stream_id, [2]),
        lambda: spool.discard(stream.stream_id, [2], why="x"),
        lambda: spool.retry(stream.stream_id, [waiting.chunk_idx]),
        lambda: spool.discard(stream.stream_id, [99], why="x"),
        lambda: lease.finalize({}),
    ):
        with pytest.raises(IllegalTransition):
            call()
    assert list(spool.events()) == before
    check_invariants(spool)


def test_a_parked_chunk_is_kept_with_its_reason_and_waits_again_after_a_retry(
    spool: Spool, stream: Stream
) -> None:
    first, second = push(spool, stream, [0, 1])
    lease = leased(spool, stream)
    lease.park(first, "422: not an image")
    parked = spool.chunk(stream.stream_id, 0)
    assert parked is not None
    assert (parked.parked_reason, parked.disk_bytes) == ("422: not an image", first.disk_bytes)
    assert lease.next_waiting() == second
    check_invariants(spool)
    assert spool.retry(stream.stream_id) == [0]
    assert lease.next_waiting() == first
    assert lease.read(first)
    check_invariants(spool)


def test_a_held_stream_is_let_go_by_a_retry(spool: Spool, stream: Stream) -> None:
    lease = leased(spool, stream)
    lease.hold("the server does not know this stream")
    assert spool.stream(stream.stream_id).held == "the server does not know this stream"
    check_invariants(spool)
    spool.retry(stream.stream_id)
    assert lease.stream().held is None
    check_invariants(spool)


def test_trouble_is_shown_until_it_is_over(spool: Spool, stream: Stream) -> None:
    lease = leased(spool, stream)
    lease.note_trouble("cannot reach the server", event="outage_began", detail={"error": "dns"})
    assert spool.stream(stream.stream_id).trouble == "cannot reach the server"
    lease.note_trouble(None, event="outage_ended")
    assert spool.stream(stream.stream_id).trouble is None
    check_invariants(spool)


def test_discard_says_who_when_and_why_and_frees_the_disk(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    push(spool, stream, [0, 1])
    assert spool.discard(stream.stream_id, [1, 1], why="shutter was closed") == [1]
    event = list(spool.events(stream.stream_id))[-1]
    assert (event.event, event.chunk_idx, event.at_ms) == ("discarded", 1, clock.now_ms())
    assert event.detail["why"] == "shutter was closed"
    assert event.detail["who"]
    check_invariants(spool)


@pytest.mark.parametrize("why", ["", "  \n"])
def test_discard_without_a_reason_discards_nothing(spool: Spool, stream: Stream, why: str) -> None:
    push(spool, stream, [0])
    with pytest.raises(SpoolError, match="reason"):
        spool.discard(stream.stream_id, [0], why=why)
    assert spool.stream(stream.stream_id).tally.spooled == 1


def test_discarding_several_is_all_or_nothing(spool: Spool, stream: Stream) -> None:
    chunk, _ = push(spool, stream, [0, 1])
    leased(spool, stream).acknowledge(chunk, RECEIPT)
    with pytest.raises(IllegalTransition):
        spool.discard(stream.stream_id, [0, 1], why="both")
    assert spool.stream(stream.stream_id).tally.discarded == 0
    check_invariants(spool)


# The end of a stream ----------------------------------------------------------------------------------------


def test_a_stream_ends_only_when_it_is_sealed_and_nothing_is_left(spool: Spool, stream: Stream) -> None:
    first, second, third = push(spool, stream, [0, 1, 2])
    lease = leased(spool, stream)
    for chunk, settle in ((first, "acknowledge"), (second, "park"), (third, "acknowledge")):
        with pytest.raises(IllegalTransition):
            lease.finalize({})
        spool.seal(stream.stream_id)
        if settle == "park":
            lease.park(chunk, "refused")
        else:
            lease.acknowledge(chunk, RECEIPT)
    with pytest.raises(IllegalTransition, match="parked"):
        lease.finalize({})
    spool.discard(stream.stream_id, [1], why="it is empty")
    lease.finalize({"status": 200})
    assert spool.stream(stream.stream_id).state == StreamState.FINALIZED
    check_invariants(spool)


def test_sealing_twice_is_one_seal(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    first = spool.seal(stream.stream_id)
    clock.advance_s(1)
    assert spool.seal(stream.stream_id) == first
    assert [event.event for event in spool.events()].count("sealed") == 1


def test_the_request_to_end_survives_reopening(spool: Spool, stream: Stream) -> None:
    spool.seal(stream.stream_id)
    with Spool(spool.root) as again:
        assert again.stream(stream.stream_id).state == StreamState.SEALED


def test_an_empty_stream_can_end(spool: Spool, stream: Stream) -> None:
    spool.seal(stream.stream_id)
    leased(spool, stream).finalize({})
    check_invariants(spool)


# The ledger and the totals ----------------------------------------------------------------------------------


def test_what_was_pushed_is_spooled_acknowledged_parked_or_discarded_at_every_moment(
    spool: Spool, stream: Stream
) -> None:
    chunks = push(spool, stream, range(6))
    lease = leased(spool, stream)
    moves = (
        lambda: lease.acknowledge(chunks[0], RECEIPT),
        lambda: lease.park(chunks[1], "x"),
        lambda: spool.discard(stream.stream_id, [2], why="x"),
        spool.prune,
        lambda: spool.retry(stream.stream_id),
        lambda: lease.acknowledge(chunks[1], RECEIPT),
    )
    for move in moves:
        move()
        assert spool.stream(stream.stream_id).tally.pushed == 6
        check_invariants(spool)


def test_every_event_has_its_row_in_the_ledger_in_order(spool: Spool, stream: Stream) -> None:
    first, second = push(spool, stream, [0, 1])
    lease = leased(spool, stream)
    lease.attempt_started(first)
    lease.attempt_failed(first, {})
    lease.acknowledge(first, RECEIPT)
    lease.park(second, "x")
    spool.retry(stream.stream_id)
    spool.discard(stream.stream_id, [1], why="x")
    spool.prune()
    spool.note_clock(stream.stream_id, some_reading())
    spool.record("exported", ref=stream.stream_id, where="elsewhere")
    spool.seal(stream.stream_id)
    lease.finalize({})
    assert [(event.event, event.chunk_idx) for event in spool.events(stream.stream_id)] == [
        ("opened", None),
        ("spooled", 0),
        ("spooled", 1),
        ("attempt_started", 0),
        ("attempt_failed", 0),
        ("acknowledged", 0),
        ("parked", 1),
        ("retried", 1),
        ("discarded", 1),
        ("pruned", 0),
        ("clock_measured", None),
        ("exported", None),
        ("sealed", None),
        ("finalized", None),
    ]
    check_invariants(spool)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE ledger SET at_ms = at_ms + 1 WHERE seq = 2",
        "UPDATE ledger SET detail = '{}' WHERE seq = 2",
        "UPDATE ledger SET event = 'parked' WHERE seq = 2",
        "UPDATE ledger SET chunk_idx = 9 WHERE seq = 2",
        "UPDATE ledger SET stream_id = 'other' WHERE seq = 2",
        "DELETE FROM ledger WHERE seq = 2",
        "UPDATE ledger SET digest = zeroblob(32) WHERE seq = 2",
    ],
)
def test_an_edited_ledger_is_noticed_at_the_row(spool: Spool, stream: Stream, edit: str) -> None:
    push(spool, stream, [0, 1])
    assert spool.ledger_break() is None
    with sqlite3.connect(spool.root / "index.sqlite3") as db:
        db.execute("DROP TRIGGER ledger_is_append_only")
        db.execute("DROP TRIGGER ledger_stays")
        db.execute(edit)
    db.close()
    assert spool.ledger_break() == 2
    with pytest.raises(AssertionError):
        check_invariants(spool)


@pytest.mark.parametrize(
    "edit",
    ["UPDATE ledger SET at_ms = 0", "DELETE FROM ledger", "DELETE FROM chunks"],
    ids=["edit", "drop", "row"],
)
def test_the_database_itself_refuses_to_rewrite_history(spool: Spool, stream: Stream, edit: str) -> None:
    push(spool, stream, [0])
    db = sqlite3.connect(spool.root / "index.sqlite3")
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(edit)
    db.close()


@pytest.mark.parametrize(
    "lie",
    [
        "UPDATE chunks SET state = 'parked' WHERE chunk_idx = 1",
        "UPDATE chunks SET sha256 = 'x' WHERE chunk_idx = 1",
        "UPDATE chunks SET attempts = 3 WHERE chunk_idx = 1",
        "UPDATE streams SET watermark = 1",
        "UPDATE streams SET next_chunk_idx = 7",
        "UPDATE tally SET chunks = chunks + 1",
        "UPDATE tally SET disk_bytes = disk_bytes + 1",
        "UPDATE streams SET state = 'sealed'",
    ],
)
def test_the_judge_notices_an_index_that_disagrees_with_the_ledger(spool: Spool, stream: Stream, lie: str) -> None:
    push(spool, stream, [0, 1])
    check_invariants(spool)
    with sqlite3.connect(spool.root / "index.sqlite3") as db:
        db.execute(lie)
    db.close()
    with pytest.raises(AssertionError):
        check_invariants(spool)


def test_streams_are_found_by_id_data_id_name_and_prefix(spool: Spool, stream: Stream) -> None:
    assert spool.find(stream.stream_id) == stream
    assert spool.find("data-1") == stream
    assert spool.find("growth") == stream
    assert spool.find(stream.stream_id[:12]) == stream
    spool.open_stream(some_settings())
    for text in ("growth", "2023"):
        with pytest.raises(SpoolError, match="fits 2"):
            spool.find(text)
    for text in ("nonesuch", ""):
        with pytest.raises(SpoolError, match="no stream"):
            spool.find(text)
