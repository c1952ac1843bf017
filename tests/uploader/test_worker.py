"""Streams side by side, and workers that come, go and meet."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from spool import Spool
from tests.uploader.rig import (
    END,
    ENDS,
    NO_LIMITS,
    PRESIGN,
    PRESIGNS,
    PUT,
    XML,
    Bench,
    some_frames,
    status_rule,
    wait_until,
)
from uploader import delivery, worker
from uploader.config import ApiKey
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.worker import Until, UploadWorker


def test_two_streams_drain_side_by_side(bench: Bench) -> None:
    one, two = bench.open_stream(5), bench.open_stream(5)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.1}])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(one) >= 1 and bench.acknowledged(two) >= 1)
        assert bench.acknowledged(one) + bench.acknowledged(two) < 10
        wait_until(lambda: bench.acknowledged(one) == bench.acknowledged(two) == 5)
    bench.assert_arrived(one, 5)
    bench.assert_arrived(two, 5)


@pytest.mark.usefixtures("impatient")
def test_more_streams_than_places_with_one_stuck_all_arrive(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "TURN_S", 0.5)
    stuck = bench.open_stream(2)
    others = [bench.open_stream(2) for _ in range(6)]
    bench.server.set_status(stuck, "stream_paused")
    with bench.delivering():
        wait_until(lambda: all(bench.acknowledged(one) == 2 for one in others))
        bench.server.set_status(stuck, "stream_active")
        wait_until(lambda: bench.acknowledged(stuck) == 2)


def test_streams_that_wait_long_for_their_end_do_not_keep_the_places(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four ends are put off for ten minutes each: the stream that is being recorded must not wait for that."""
    monkeypatch.setattr(delivery, "TURN_S", 0.5)
    for _ in range(4):
        bench.spool.seal(bench.open_stream())
    bench.server.faults([status_rule(END, 503, {"detail": "still running"}, headers={"Retry-After": "600"})])
    with bench.delivering():
        wait_until(lambda: bench.requests(ENDS) == 4)
        data_id = bench.open_stream(2)
        wait_until(lambda: bench.acknowledged(data_id) == 2, within_s=5)


def test_retry_after_is_kept_while_other_streams_deliver(bench: Bench) -> None:
    """The store asks one stream to wait for a minute: the success of another is no leave to ask at once."""
    asked_to_wait, going = bench.open_stream(1), bench.open_stream(25)
    slow = status_rule({**PUT, "path": asked_to_wait}, 503, XML.format("SlowDown"), headers={"Retry-After": "60"})
    bench.server.faults([slow, {"match": PUT, "action": "delay", "seconds": 0.02}])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(going) == 25)
    assert bench.chunk(asked_to_wait, 0).attempts == 1


def test_streams_of_another_destination_are_left_alone(bench: Bench) -> None:
    mine = bench.open_stream(1)
    other = bench.spool.open_stream(bench.settings(destination="http://127.0.0.1:1"), data_id="other-1")
    bench.spool.push(other.stream_id, 0, some_frames(1))
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(mine) == 1)
    assert bench.stream("other-1").tally.spooled == 1
    assert bench.chunk("other-1", 0).attempts == 0


def test_a_worker_that_stops_releases_its_leases(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
        assert bench.stream(data_id).lease_owner is not None
    assert bench.stream(data_id).lease_owner is None
    assert not bench.spool.worker_lock(bench.server.url).is_held_elsewhere()
    assert bench.spool.lease(data_id, "somebody else", ttl_s=1.0) is not None


def test_a_worker_stopped_in_an_outage_ends_soon_and_the_next_one_delivers(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    bench.server.outage(True)
    with bench.delivering():
        wait_until(lambda: bench.stream(data_id).trouble)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    bench.server.outage(False)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 3)
        wait_until(lambda: bench.stream(data_id).trouble is None)
    bench.assert_arrived(data_id, 3)


def test_a_second_worker_waits_for_its_turn(bench: Bench) -> None:
    data_id = bench.open_stream(2)
    with bench.delivering() as first:
        wait_until(lambda: bench.acknowledged(data_id) == 2)
        with bench.delivering():
            bench.push(data_id, 2)
            wait_until(lambda: bench.acknowledged(data_id) == 3)
            assert len([e for e in bench.spool.events() if e.event == "worker_started"]) == 1
            first.stop()
            bench.push(data_id, 3)
            wait_until(lambda: bench.acknowledged(data_id) == 4)
    assert len([e for e in bench.spool.events() if e.event == "worker_started"]) == 2
    assert bench.receptions(data_id) == [0, 1, 2, 3]


def test_a_worker_until_dry_gives_up_when_another_one_is_there(bench: Bench) -> None:
    with bench.delivering(), Spool(bench.root, limits=NO_LIMITS) as spool:
        wait_until(lambda: bench.spool.worker_lock(bench.server.url).is_held_elsewhere())
        destination = AtomscaleDestination(bench.server.url, ApiKey(bench.server.api_key))
        with closing(destination):
            assert UploadWorker(spool, destination, until=Until.DRY).run() is False


def run_to_the_end(bench: Bench, until: Until, patch: Callable[[Spool], None] = lambda _spool: None) -> None:
    destination = AtomscaleDestination(bench.server.url, ApiKey(bench.server.api_key))
    with Spool(bench.root, limits=NO_LIMITS) as spool, closing(destination):
        patch(spool)
        # Its own opening must not count as a producer that lives.
        running = threading.Thread(target=UploadWorker(spool, destination, until=until).run, daemon=True)
        running.start()
        wait_until(lambda: not running.is_alive())


def test_a_worker_until_dry_ends_when_nothing_is_left(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    bench.spool.seal(data_id)
    run_to_the_end(bench, Until.DRY)
    assert bench.finalized(data_id)


def test_a_worker_does_not_leave_behind_what_was_pushed_while_it_was_about_to_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer's last push and its end fall between the worker's look at the streams and its last question."""
    data_id = bench.open_stream(1)
    tidy = Spool.keep_within_limits

    def push_meanwhile(self: Spool) -> None:
        if bench.chunk(data_id, 0).state == "acknowledged" and not bench.stream(data_id).sealed_at_ms:
            bench.push(data_id, 1)
            bench.spool.seal(data_id)
        tidy(self)

    monkeypatch.setattr(Spool, "keep_within_limits", push_meanwhile)
    monkeypatch.setattr(worker, "_TIDY_S", 0.0)
    monkeypatch.setattr(Spool, "has_live_producers", lambda _self: False)  # it has just gone
    run_to_the_end(bench, Until.ABANDONED)
    assert bench.finalized(data_id)


def test_a_disk_that_refuses_to_prune_does_not_end_the_worker(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_id = bench.open_stream(1)
    monkeypatch.setattr(worker, "_TIDY_S", 0.0)
    refused = threading.Event()
    tidy = Spool.keep_within_limits

    def refuse_once(self: Spool) -> None:
        if not refused.is_set():
            refused.set()
            raise PermissionError(13, "held by a virus scanner")
        tidy(self)

    monkeypatch.setattr(Spool, "keep_within_limits", refuse_once)
    with bench.delivering():
        wait_until(refused.is_set)
        wait_until(lambda: bench.acknowledged(data_id) == 1)
        bench.push(data_id, 1)
        wait_until(lambda: bench.acknowledged(data_id) == 2, within_s=5)


@pytest.mark.usefixtures("impatient")
def test_a_worker_that_pauses_for_a_key_keeps_its_leases_and_lets_the_lock_go(bench: Bench) -> None:
    data_id = bench.open_stream(2)
    bench.server.faults([status_rule(PRESIGN, 401, {"detail": "revoked"})])
    lock = bench.spool.worker_lock(bench.server.url)
    with bench.delivering():
        wait_until(lambda: bench.stream(data_id).trouble)
        for _ in range(3):
            wait_until(lambda: not lock.is_held_elsewhere())
            assert bench.stream(data_id).lease_owner is not None
            probes = bench.requests(PRESIGNS)
            wait_until(lambda before=probes: bench.requests(PRESIGNS) > before)  # type: ignore[misc]
        bench.server.clear_faults()
        wait_until(lambda: bench.acknowledged(data_id) == 2)
        with sqlite3.connect(bench.root / "index.sqlite3") as index:
            assert index.execute("SELECT lease_token FROM streams").fetchone() == (1,)
        index.close()
    assert bench.stream(data_id).lease_owner is None
    (ended,) = [event.detail for event in bench.spool.events(data_id) if event.event == "trouble_ended"]
    assert ended["tries"] >= 4
    bench.assert_arrived(data_id, 2)
