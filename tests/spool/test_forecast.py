"""How fast a spool fills and when it is full: reckoned from rows that were really written."""

import logging
from pathlib import Path
from typing import Any

import pytest

from spool import Forecast, Limits, Receipt, Spool, Stream, verify
from spool.forecast import SAMPLE_MAX, Traffic, bytes_per_s, foresee, read_traffic
from spool.testing import FakeClock, FaultyDisk, some_frames, some_settings

RECEIPT = Receipt(status=200, etag=None, confirmed=False, at_ms=1)
MB = 1_000_000


def every(step_ms: int, count: int, *, size: int = MB, from_ms: int = 0) -> list[tuple[int, int]]:
    return [(from_ms + k * step_ms, size) for k in range(count)]


# The rate -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "now_ms", "rate"),
    [
        ([], 0, 0),
        (every(1, 1), 0, 0),
        (every(2000, 11), 20_000, 0.5 * MB),
        # Bursts and any order make no difference.
        ([*every(2000, 11)][::-1], 20_000, 0.5 * MB),
        # While the next chunk is awaited the rate sinks a little.
        (every(2000, 11), 25_000, 0.4 * MB),
        # All at once: nobody can tell how fast.
        ([(5, MB), (5, MB)], 5, 0),
        # A clock that was set back is no reason for a rate without end.
        (every(2000, 11), 3000, 0.5 * MB),
    ],
)
def test_the_rate_is_the_bytes_after_the_first_chunk_over_the_time_since(
    passed: list[tuple[int, int]], now_ms: int, rate: float
) -> None:
    assert bytes_per_s(passed, now_ms) == pytest.approx(rate)


def test_what_happened_longer_than_ten_minutes_ago_is_no_part_of_the_rate() -> None:
    slow, fast = every(10_000, 60), every(1000, 600, from_ms=600_000)
    assert bytes_per_s(slow + fast, 1_199_000) == pytest.approx(MB, rel=0.01)


def test_a_recording_that_ended_does_not_look_like_one_that_goes_on() -> None:
    assert bytes_per_s(every(2000, 11), 49_000) > 0
    assert bytes_per_s(every(2000, 11), 51_000) == 0
    # One with long chunks is given its time.
    assert bytes_per_s(every(60_000, 5), 400_000) > 0


# The room -----------------------------------------------------------------------------------------------------


def foreseen(limits: Limits, *, came: int = 0, went: int = 0, **usage: int) -> Forecast:
    """A forecast where so many megabytes a second come and go."""
    traffic = Traffic(
        came=tuple(every(1000, 100, size=came * MB)) if came else (),
        went=tuple(every(1000, 100, size=went * MB)) if went else (),
    )
    given: dict[str, Any] = {"used_bytes": 0, "prunable_bytes": 0, "free_bytes": 0, **usage}
    return foresee(limits, [traffic], now_ms=99_000, **given)


@pytest.mark.parametrize(
    ("limits", "usage", "room"),
    [
        (Limits(min_free_bytes=0), {"free_bytes": 500}, 500),
        (Limits(min_free_bytes=200), {"free_bytes": 500, "reserve_bytes": 50}, 250),
        (Limits(min_free_bytes=0, max_bytes=300), {"free_bytes": 500, "used_bytes": 100}, 200),
        (Limits(min_free_bytes=0, max_bytes=900), {"free_bytes": 500, "used_bytes": 100}, 500),
        # What is acknowledged makes room on the disk and within the limit.
        (
            Limits(min_free_bytes=0, max_bytes=300),
            {"free_bytes": 500, "used_bytes": 280, "prunable_bytes": 90},
            110,
        ),
        (Limits(min_free_bytes=0), {"free_bytes": 0, "used_bytes": 100, "prunable_bytes": 90}, 90),
        (Limits(min_free_bytes=1000), {"free_bytes": 10}, 0),
    ],
)
def test_the_room_is_what_the_tighter_limit_leaves(limits: Limits, usage: dict[str, int], room: int) -> None:
    assert foreseen(limits, **usage).room_bytes == room


@pytest.mark.parametrize(
    ("came", "went", "full_in_s"),
    [(0, 0, None), (18, 0, 100.0), (18, 9, 200.0), (18, 18, None), (9, 18, None)],
)
def test_it_is_full_when_the_room_is_gone_at_what_comes_in_less_what_goes_out(
    came: int, went: int, full_in_s: float | None
) -> None:
    found = foreseen(Limits(min_free_bytes=0), came=came, went=went, free_bytes=1800 * MB)
    assert found.full_in_s == (None if full_in_s is None else pytest.approx(full_in_s))


def test_a_spool_without_room_is_full_now() -> None:
    found = foreseen(Limits(min_free_bytes=0))
    assert found.full_in_s == 0
    assert found.used_share == 1


def test_only_what_may_not_be_pruned_takes_room() -> None:
    found = foreseen(Limits(min_free_bytes=0), free_bytes=60, used_bytes=60, prunable_bytes=20)
    assert (found.held_bytes, found.room_bytes) == (40, 80)
    assert found.used_share == pytest.approx(1 / 3)


# As a spool tells it ------------------------------------------------------------------------------------------


def deliver(spool: Spool, stream: Stream, *idxs: int) -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(stream.stream_id, idx)
        assert chunk is not None
        lease.acknowledge(chunk, RECEIPT)


def test_a_spool_reckons_from_what_was_pushed_and_acknowledged(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    sizes = []
    for idx in range(6):
        sizes.append(spool.push(stream.stream_id, idx, some_frames(4, 64, 64, seed=idx)).disk_bytes)
        clock.advance_s(2)
    found = spool.forecast()
    assert found.rate_in_bytes_per_s == pytest.approx(sum(sizes[1:]) / 12)
    assert found.rate_out_bytes_per_s == 0
    assert found.full_in_s == pytest.approx(found.room_bytes / found.rate_in_bytes_per_s)
    assert found.held_bytes == sum(sizes) == spool.status().used_bytes
    for idx in range(3):
        deliver(spool, stream, idx)
        clock.advance_s(1)
    found = spool.forecast()
    assert found.rate_out_bytes_per_s == pytest.approx(sum(sizes[1:3]) / 3)
    assert found.held_bytes == sum(sizes[3:])
    room = found.room_bytes
    spool.prune()
    # They were room already; other programs use this disk too.
    assert spool.forecast().room_bytes == pytest.approx(room, rel=0.01)
    # Gone from here, they still count for the rate, as the bytes that were sent.
    assert spool.forecast().rate_out_bytes_per_s == pytest.approx(found.rate_out_bytes_per_s, rel=0.1)


def test_a_sealed_stream_takes_nothing_in_and_still_gives_back(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    for idx in range(4):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        deliver(spool, stream, idx)
        clock.advance_s(2)
    assert spool.forecast().rate_in_bytes_per_s > 0
    spool.seal(stream.stream_id)
    assert spool.forecast().rate_in_bytes_per_s == 0
    assert spool.forecast().rate_out_bytes_per_s > 0


def test_a_parked_chunk_does_not_hide_that_the_others_go_out(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    for idx in range(5):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    parked = spool.chunk(stream.stream_id, 0)
    assert lease is not None
    assert parked is not None
    lease.park(parked, "refused")
    for idx in (1, 2, 3):
        deliver(spool, stream, idx)
        clock.advance_s(1)
    assert spool.forecast().rate_out_bytes_per_s > 0


def test_streams_side_by_side_are_added_up(spool: Spool, clock: FakeClock) -> None:
    refs = [spool.open_stream(some_settings()).stream_id for _ in range(2)]
    for idx in range(4):
        for ref in refs:
            spool.push(ref, idx, some_frames(seed=idx))
        clock.advance_s(2)
    whole = spool.forecast().rate_in_bytes_per_s
    spool.seal(refs[0])
    assert spool.forecast().rate_in_bytes_per_s == pytest.approx(whole / 2)


def test_however_long_a_stream_is_only_its_latest_rows_are_read(
    spool: Spool, stream: Stream, clock: FakeClock
) -> None:
    """A forecast at a million chunks must not read a million rows; the steps of SQLite itself are counted."""
    spool.push(stream.stream_id, 0, some_frames())
    now = clock.now_ms()
    db = spool._folder.index._db
    db.execute("BEGIN")
    db.execute(
        "WITH RECURSIVE k (idx) AS (SELECT 1 UNION ALL SELECT idx + 1 FROM k WHERE idx < 50000)"
        " INSERT INTO chunks (stream_key, chunk_idx, state, n, wire_bytes, sha256, disk_bytes,"
        " capture_start_ms_utc, spooled_at_ms, acknowledged_at_ms)"
        " SELECT c.stream_key, k.idx, CASE WHEN k.idx < 40000 THEN 'acknowledged' ELSE 'spooled' END, c.n,"
        " c.wire_bytes, c.sha256, 0, c.capture_start_ms_utc, ? - (50000 - k.idx), ? - 1"
        " FROM chunks c, k WHERE c.chunk_idx = 0",
        (now, now),
    )
    db.execute("UPDATE chunks SET state = 'acknowledged', acknowledged_at_ms = ? WHERE chunk_idx = 0", (now - 1,))
    db.execute("UPDATE streams SET next_chunk_idx = 50001")
    steps: list[int] = []
    db.set_progress_handler(lambda: steps.append(1), 1000)
    (traffic,) = read_traffic(db, now)
    db.set_progress_handler(None, 0)
    db.execute("ROLLBACK")
    assert (len(traffic.came), len(traffic.went)) == (SAMPLE_MAX, SAMPLE_MAX)
    assert len(steps) < 20


# The limits that it reckons with ------------------------------------------------------------------------------


def test_who_opens_a_spool_without_limits_reckons_with_those_of_its_latest_producer(root: Path) -> None:
    told = Limits(max_bytes=5 * MB, min_free_bytes=7, retention_s=None)
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        spool.open_stream(some_settings())
    with Spool(root, limits=told) as spool:
        with Spool(root) as reader:
            assert reader.limits == Limits(min_free_bytes=0)
        spool.open_stream(some_settings())
    with Spool(root) as reader:
        assert reader.status().limits == told
        assert reader.forecast().room_bytes == 5 * MB
        assert verify(root).is_sound


@pytest.mark.parametrize(
    "harm", [b"", b"\xff\xfe", b"[]", b"{}", b'{"min_free_bytes": null}', b'{"max_bytes": "x"}']
)
def test_damaged_limits_are_no_limits_and_are_written_again(root: Path, harm: bytes) -> None:
    with Spool(root, limits=Limits(min_free_bytes=3)) as spool:
        spool.open_stream(some_settings())
    (root / "limits.json").write_bytes(harm)
    with Spool(root) as reader:
        assert reader.limits == Limits()
    with Spool(root, limits=Limits(min_free_bytes=3)) as spool:
        spool.open_stream(some_settings())
    with Spool(root) as reader:
        assert reader.limits.min_free_bytes == 3


def test_limits_that_cannot_be_noted_cost_no_chunk(
    root: Path, disk: FaultyDisk, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fail("limits.replace")
    with Spool(root, limits=Limits(min_free_bytes=0), disk=disk) as spool:
        ref = spool.open_stream(some_settings()).stream_id
        spool.push(ref, 0, some_frames())
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "limits.json could not be written" in told


def test_limits_without_end_are_noted_as_none(root: Path) -> None:
    endless: Any = float("inf")
    with Spool(root, limits=Limits(max_bytes=endless, min_free_bytes=0, retention_s=endless)) as spool:
        spool.open_stream(some_settings())
    with Spool(root) as reader:
        assert reader.limits == Limits(max_bytes=None, min_free_bytes=0, retention_s=None)
