"""A real worker (in a thread) between a real spool and the real loopback server, with faults on the way."""

import hashlib
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest

from spool import Spool
from spool.testing import check_invariants
from tests.uploader.rig import (
    CATALOGUE,
    END,
    ENDS,
    NO_LIMITS,
    PRESIGN,
    PRESIGNS,
    PUT,
    PUTS,
    Asked,
    Bench,
    Reply,
    ScriptedServer,
    json_reply,
    some_frames,
    status_rule,
    wait_until,
)
from uploader import delivery, worker
from uploader.api import AtomscaleApi
from uploader.config import ApiKey
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Ticket, TryLater
from uploader.loopback.process import LoopbackServer
from uploader.worker import Until, UploadWorker

XML = "<?xml version='1.0'?><Error><Code>{}</Code></Error>"
REFUSAL = {"detail": "dims are not what the stream was opened with"}


def chunk_path(chunk_idx: int) -> dict[str, str]:
    return {**PRESIGN, "path": f"upload_urls.*/c/{chunk_idx}/0/0"}


# In order, exactly once ---------------------------------------------------------------------------------


def test_everything_arrives_in_order_and_the_stream_is_finalized(bench: Bench) -> None:
    data_id = bench.open_stream(6)
    bench.spool.seal(data_id)
    with bench.delivering():
        wait_until(lambda: bench.finalized(data_id))
    bench.assert_arrived(data_id, 6)
    assert bench.receptions(data_id) == list(range(6))
    assert bench.stream(data_id).watermark == 5
    assert bench.requests(PUTS) == bench.requests(PRESIGNS) == 6
    assert all(bench.chunk(data_id, idx).attempts == 1 for idx in range(6))
    check_invariants(bench.spool)


def test_a_chunk_is_acknowledged_in_the_ledger_before_the_next_upload_starts(bench: Bench) -> None:
    data_id = bench.open_stream(8)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 8)
    told = bench.ledger(data_id, "attempt_started", "acknowledged")
    assert told == [(event, idx) for idx in range(8) for event in ("attempt_started", "acknowledged")]
    arrived = {line["chunk_idx"]: line["received_at_unix_ms"] for line in bench.server.log(data_id)[1:]}
    for idx in range(7):
        acknowledged = bench.chunk(data_id, idx).acknowledged_at_ms
        assert acknowledged is not None
        assert acknowledged <= arrived[idx + 1]


def test_the_next_chunk_is_presigned_while_one_is_on_its_way_but_never_sent(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.6}])
    with bench.delivering():
        wait_until(lambda: bench.requests(PUTS) == 1 and bench.requests(PRESIGNS) == 2)
        assert bench.acknowledged(data_id) == 0
        wait_until(lambda: bench.acknowledged(data_id) == 3)
    assert bench.requests(PRESIGNS) == 3


def test_chunks_pushed_while_the_worker_drains_go_out_too(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    with bench.delivering():
        for idx in range(1, 8):
            bench.push(data_id, idx)
        wait_until(lambda: bench.acknowledged(data_id) == 8)
    bench.assert_arrived(data_id, 8)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("action", ["lost_answer", "truncated_answer"])
def test_an_upload_whose_answer_was_lost_is_repeated_with_the_same_bytes(bench: Bench, action: str) -> None:
    data_id = bench.open_stream(3)
    bench.server.faults([{"match": PUT, "action": action, "times": 2, "after": 1}])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 3)
    bench.assert_arrived(data_id, 3)
    assert bench.receptions(data_id) == [0, 1, 1, 1, 2]
    assert bench.chunk(data_id, 1).attempts == 3
    check_invariants(bench.spool)


def _answers_to_a_put() -> dict[str, dict[str, object]]:
    def status(code: int, body: object = "", **headers: str) -> dict[str, object]:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return status_rule(PUT, code, body, headers=told)

    return {
        "expired": status(403, XML.format("AccessDenied")),
        "stalled": status(400, XML.format("RequestTimeout")),
        "bad request": status(400, XML.format("IncompleteBody")),
        "unauthorized": status(401),
        "no such upload": status(404, XML.format("NoSuchUpload")),
        "conflict": status(409),
        "unprocessable": status(422),
        "inside": status(500, XML.format("InternalError")),
        "slow down": status(503, XML.format("SlowDown"), Retry_After="1"),
        "too many": status(429, "", Retry_After="0"),
        "no ETag": status(200),
        "JSON without ETag": status(200, {"ok": True}),
        "wrong ETag": status(200, "", ETag=f'"{"0" * 32}"'),
        "other ETag, AES256": status(200, "", ETag=f'"{"1" * 32}"', x_amz_server_side_encryption="AES256"),
        "redirect": status(307, "", Location="http://127.0.0.1:1/elsewhere"),
        "proxy login": status(407),
        "portal": {"match": PUT, "action": "html200"},
        "drop": {"match": PUT, "action": "drop"},
        "cut": {"match": PUT, "action": "cut", "bytes": 20},
    }


PUT_FAULTS = _answers_to_a_put()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("rule", PUT_FAULTS.values(), ids=PUT_FAULTS.keys())
def test_whatever_a_put_is_answered_each_try_has_a_fresh_url_and_everything_arrives(
    bench: Bench, rule: dict[str, object]
) -> None:
    data_id = bench.open_stream(3)
    bench.server.faults([{**rule, "times": 3}])
    bench.spool.seal(data_id)
    with bench.delivering():
        wait_until(lambda: bench.finalized(data_id))
    bench.assert_arrived(data_id, 3)
    assert bench.requests(PUTS) == 6
    assert bench.requests(PRESIGNS) >= 6
    assert bench.ledger(data_id, "parked", "held") == []
    assert bench.stream(data_id).trouble is None


@pytest.mark.usefixtures("impatient")
def test_a_success_that_no_store_gave_is_not_an_acknowledgement(bench: Bench) -> None:
    """A login page of one line, with the ETag that any web server gives its files: the chunk is not there."""
    data_id = bench.open_stream(1)
    bench.server.faults([status_rule(PUT, 200, "Please log in.", times=2, headers={"ETag": '"5f3e-61a"'})])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    bench.assert_arrived(data_id, 1)


def test_an_opaque_etag_of_an_encrypting_store_is_an_acknowledgement_that_is_not_confirmed(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    opaque = {"ETag": f'"{"a" * 32}"', "x-amz-server-side-encryption": "aws:kms", "x-amz-request-id": "1A"}
    bench.server.faults([status_rule(PUT, 200, headers=opaque)])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    receipt = bench.chunk(data_id, 0).receipt
    assert receipt is not None
    assert not receipt.confirmed
    assert receipt.etag == "a" * 32


def test_a_receipt_holds_the_evidence_and_not_the_signature(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    receipt = bench.chunk(data_id, 0).receipt
    assert receipt is not None
    assert receipt.status == 200
    assert receipt.confirmed
    assert receipt.etag == hashlib.md5(bench.server.objects(data_id)[0]).hexdigest()
    assert receipt.url_path == f"/staged/{data_id}/frames.zarr/frames/c/0/0/0"
    assert receipt.server_date
    assert receipt.request_id


# Outages, keys, refusals --------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_an_outage_is_waited_out_and_is_one_pair_of_ledger_rows(bench: Bench) -> None:
    data_id = bench.open_stream(4)
    bench.server.outage(True)
    with bench.delivering():
        wait_until(lambda: bench.requests(PRESIGNS) >= 6)
        assert bench.stream(data_id).trouble
        bench.server.outage(False)
        wait_until(lambda: bench.acknowledged(data_id) == 4)
        wait_until(lambda: bench.stream(data_id).trouble is None)
    bench.assert_arrived(data_id, 4)
    assert len(bench.ledger(data_id, "trouble_began")) == len(bench.ledger(data_id, "trouble_ended")) == 1
    assert all(bench.chunk(data_id, idx).attempts == 1 for idx in range(4))


@pytest.mark.usefixtures("impatient")
def test_the_server_may_be_killed_and_come_back(bench: Bench) -> None:
    data_id = bench.open_stream(6)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.1}])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) >= 2)
        bench.server.kill()
        wait_until(lambda: bench.stream(data_id).trouble)
        bench.server.start()
        wait_until(lambda: bench.acknowledged(data_id) == 6)
    bench.assert_arrived(data_id, 6)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_refused_for_a_while_pauses_everything_and_costs_nothing(
    bench: Bench, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    data_ids = [bench.open_stream(3), bench.open_stream(3)]
    bench.server.faults([status_rule(PRESIGN, status, {"detail": "no"})])
    with bench.delivering():
        wait_until(lambda: bench.requests(PRESIGNS) >= 4)
        assert bench.requests(PUTS) == 0
        assert "API key" in (bench.stream(data_ids[0]).trouble or bench.stream(data_ids[1]).trouble or "")
        bench.server.clear_faults()
        wait_until(lambda: all(bench.acknowledged(one) == 3 for one in data_ids))
    for data_id in data_ids:
        bench.assert_arrived(data_id, 3)
        assert bench.ledger(data_id, "parked", "held") == []
    assert any(record.levelno == logging.ERROR and "API key" in record.message for record in caplog.records)


@pytest.mark.usefixtures("impatient")
def test_a_refused_chunk_is_parked_alone_and_holds_the_end_back_until_it_is_retried(bench: Bench) -> None:
    data_id = bench.open_stream(4)
    bench.spool.seal(data_id)
    bench.server.faults([status_rule(chunk_path(1), 422, REFUSAL)])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 3)
        assert bench.chunk(data_id, 1).state == "parked"
        assert "dims are not" in (bench.chunk(data_id, 1).parked_reason or "")
        assert bench.requests(ENDS) == 0
        assert not bench.finalized(data_id)
        bench.server.clear_faults()
        bench.spool.retry(data_id)
        wait_until(lambda: bench.finalized(data_id))
    assert bench.receptions(data_id) == [0, 2, 3, 1]
    check_invariants(bench.spool)


@pytest.mark.usefixtures("impatient")
def test_a_refused_chunk_that_is_discarded_lets_the_stream_end(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    bench.spool.seal(data_id)
    bench.server.faults([status_rule(chunk_path(1), 413, REFUSAL)])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 2)
        assert bench.requests(ENDS) == 0
        bench.spool.discard(data_id, [1], why="blurred")
        wait_until(lambda: bench.finalized(data_id))
    assert bench.receptions(data_id) == [0, 2]


def test_a_put_refused_as_too_large_parks_that_chunk_only(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    bench.server.faults([status_rule({**PUT, "path": "/c/1/0/0"}, 413, XML.format("EntityTooLarge"))])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 2)
        wait_until(lambda: bench.chunk(data_id, 1).state == "parked")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_proxys_error_page_instead_of_a_presign_parks_nothing(bench: Bench, status: int) -> None:
    data_id = bench.open_stream(3)
    page = "<html><head><title>400 Bad Request</title></head><body>nginx</body></html>"
    bench.server.faults([status_rule(PRESIGN, status, page, times=2, headers={"Content-Type": "text/html"})])
    with bench.delivering():
        wait_until(lambda: not bench.stream(data_id).tally.spooled)
    assert bench.ledger(data_id, "parked") == []
    bench.assert_arrived(data_id, 3)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_refuses_every_chunk_for_a_while_speaks_of_no_chunk_in_particular(bench: Bench) -> None:
    """A bad release of the server answers 422 to everything: the whole backlog must not end up parked."""
    data_id = bench.open_stream(20)
    bench.server.faults([status_rule(PRESIGN, 422, {"detail": "field required"}, times=20)])
    with bench.delivering():
        wait_until(lambda: not bench.stream(data_id).tally.spooled)
    assert bench.stream(data_id).tally.parked <= 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_refusal_that_is_not_about_a_chunk_is_waited_out_while_the_stream_is_active(
    bench: Bench, status: int
) -> None:
    data_id = bench.open_stream(2)
    bench.server.faults([status_rule(PRESIGN, status, {"detail": "no"}, times=3)])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 2)
    assert bench.ledger(data_id, "parked", "held") == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "catalogue",
    [
        status_rule(CATALOGUE, 503),
        status_rule(CATALOGUE, 401),
        {"match": CATALOGUE, "action": "html200"},
        status_rule(CATALOGUE, 200, "[]"),
        status_rule(CATALOGUE, 200, '{"detail": 1}'),
        status_rule(CATALOGUE, 200, "[1, null, {}]"),
    ],
    ids=["down", "key", "portal", "no rows", "an object", "other rows"],
)
def test_nothing_is_parked_or_held_while_the_catalogue_does_not_tell(
    bench: Bench, catalogue: dict[str, object]
) -> None:
    data_id = bench.open_stream(2)
    bench.server.faults([status_rule(PRESIGN, 422, REFUSAL, times=3), catalogue])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 2)
    assert bench.ledger(data_id, "parked", "held") == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", ["stream_paused", "stream_interrupted"])
def test_a_paused_stream_waits_and_goes_on(bench: Bench, status: str) -> None:
    data_id = bench.open_stream(3)
    bench.server.set_status(data_id, status)
    with bench.delivering():
        wait_until(lambda: bench.requests(PRESIGNS) >= 4)
        assert bench.stream(data_id).held is None
        assert status in (bench.stream(data_id).trouble or "")
        assert bench.requests(PUTS) == 0
        bench.server.set_status(data_id, "stream_active")
        wait_until(lambda: bench.acknowledged(data_id) == 3)
    bench.assert_arrived(data_id, 3)


@pytest.mark.parametrize("status", ["stream_finalizing", "stream_finalized", "stream_error"])
def test_a_stream_that_was_ended_over_there_is_held_and_says_so(
    bench: Bench, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended, going = bench.open_stream(3), bench.open_stream(3)
    bench.server.set_status(ended, status)
    bench.spool.seal(ended)
    with bench.delivering():
        wait_until(lambda: bench.stream(ended).held)
        wait_until(lambda: bench.acknowledged(going) == 3)
        asked = bench.requests(PRESIGNS)
        bench.push(going, 3)
        wait_until(lambda: bench.acknowledged(going) == 4)
        assert bench.requests(PRESIGNS) == asked + 1  # nothing more was asked for the one that is held
    assert "stream_final" in (bench.stream(ended).held or "") or "stream_error" in (bench.stream(ended).held or "")
    assert bench.requests(ENDS) == 0
    assert bench.stream(ended).tally.spooled == 3
    assert bench.receptions(ended) == []
    assert any("nothing more is sent" in record.message for record in caplog.records)
    check_invariants(bench.spool)


def test_a_held_stream_goes_on_when_a_person_lets_it(bench: Bench) -> None:
    data_id = bench.open_stream(2)
    bench.server.set_status(data_id, "stream_error")
    with bench.delivering():
        wait_until(lambda: bench.stream(data_id).held)
        bench.server.set_status(data_id, "stream_active")
        bench.spool.retry(data_id)
        wait_until(lambda: bench.acknowledged(data_id) == 2)
    bench.assert_arrived(data_id, 2)


def test_a_damaged_shard_is_parked_never_sent_and_the_others_go_on(bench: Bench) -> None:
    data_id = bench.open_stream(4)
    path = bench.shard(data_id, 1)
    whole = path.read_bytes()
    path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    bench.shard(data_id, 2).unlink()
    bench.spool.seal(data_id)
    with bench.delivering():
        wait_until(lambda: bench.stream(data_id).tally.parked == 2 and bench.acknowledged(data_id) == 2)
        assert bench.receptions(data_id) == [0, 3]
        assert bench.requests(ENDS) == 0
        path.write_bytes(whole)
        bench.spool.retry(data_id, [1])
        wait_until(lambda: bench.acknowledged(data_id) == 3)
    assert not bench.finalized(data_id)
    assert bench.chunk(data_id, 2).state == "parked"


def test_a_chunk_discarded_while_it_is_on_its_way_does_not_stop_the_others(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.5, "times": 1}])
    with bench.delivering():
        wait_until(lambda: bench.requests(PUTS) == 1)
        bench.spool.discard(data_id, [0], why="a person has decided")
        wait_until(lambda: bench.acknowledged(data_id) == 2)
    assert bench.chunk(data_id, 0).state == "discarded"


# The end ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("impatient")
def test_the_end_is_asked_for_again_while_the_first_analysis_runs(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    bench.spool.seal(data_id)
    bench.server.faults([status_rule(END, 503, {"detail": "still running"}, times=4)])
    with bench.delivering():
        wait_until(lambda: bench.finalized(data_id))
    assert bench.requests(ENDS) == 5


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("action", ["lost_answer", "truncated_answer", "html200", "drop"])
def test_an_end_whose_answer_was_lost_is_still_the_end(bench: Bench, action: str) -> None:
    data_id = bench.open_stream(1)
    bench.spool.seal(data_id)
    bench.server.faults([{"match": END, "action": action, "times": 1}])
    with bench.delivering():
        wait_until(lambda: bench.finalized(data_id))
    ended = [line for line in bench.server.log(data_id) if line["event"] == "ended"]
    assert len(ended) == 1


def test_an_empty_stream_that_is_sealed_is_finalized(bench: Bench) -> None:
    data_id = bench.open_stream()
    bench.spool.seal(data_id)
    with bench.delivering():
        wait_until(lambda: bench.finalized(data_id))


# Side by side -------------------------------------------------------------------------------------------


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


# Workers ------------------------------------------------------------------------------------------------


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


# What goes over the wire, and what must not -------------------------------------------------------------


class Relay:
    """Hands out upload URLs that lead to itself, stores nothing, and acknowledges as S3 does."""

    def __init__(self) -> None:
        self.catalogue = json_reply([{"id": "d-1", "pipeline_status": "stream_active"}])
        self.presign: Callable[[str], Reply] = lambda url: json_reply([{"upload_id": "u", "url": url, "part": 1}])
        self.server = ScriptedServer(self._answer)

    def _answer(self, asked: Asked) -> Reply:
        if asked.method == "PUT":
            return Reply(headers={"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'})
        if asked.path.endswith("/upload_urls/"):
            return self.presign(f"{self.server.url}/bucket/key?X-Amz-Signature=5ec2e7")
        if asked.path == "/data_entries/":
            return self.catalogue
        return json_reply({"ok": True})


@pytest.fixture
def relayed(bench: Bench) -> tuple[Bench, Relay]:
    relay = Relay()
    settings = bench.settings(destination=relay.server.url)
    bench.spool.open_stream(settings, data_id="d-1")
    bench.spool.push("d-1", 0, some_frames(5))
    return bench, relay


def test_the_presigned_put_has_no_key_no_type_and_its_length(relayed: tuple[Bench, Relay]) -> None:
    bench, relay = relayed
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1)
    (put,) = [asked for asked in relay.server.asked if asked.method == "PUT"]
    assert put.headers["content-type"] == ""
    assert put.headers["content-length"] == str(bench.chunk("d-1", 0).wire_bytes)
    assert hashlib.sha256(put.body).hexdigest() == bench.chunk("d-1", 0).sha256
    assert "transfer-encoding" not in put.headers
    assert not {"x-api-key", "authorization", "cookie"} & put.headers.keys()
    assert bench.server.api_key not in str(put.headers)
    (presign,) = [asked for asked in relay.server.asked if asked.path.endswith("/upload_urls/")]
    assert presign.headers["x-api-key"] == bench.server.api_key
    assert presign.query == {
        "original_filename": ["frames.zarr/frames/c/0/0/0"],
        "num_parts": ["1"],
        "staging_type": ["stream"],
    }
    assert all(isinstance(value, str) for value in presign.json().values())


def test_a_bare_object_with_the_url_is_understood_too(relayed: tuple[Bench, Relay]) -> None:
    bench, relay = relayed
    relay.presign = lambda url: json_reply({"url": url})
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1)


HOSTILE_PRESIGNS: dict[str, Reply] = {
    "empty": Reply(),
    "no JSON": Reply(body=b"soon"),
    "null": json_reply(None),
    "number": json_reply(7),
    "text": json_reply("http://127.0.0.1:1/"),
    "empty list": json_reply([]),
    "two": json_reply([{"url": "http://127.0.0.1:1/"}, {"url": "http://127.0.0.1:1/"}]),
    "nested list": json_reply([[{"url": "http://127.0.0.1:1/"}]]),
    "no url": json_reply([{"upload_id": "u", "part": 1}]),
    "null url": json_reply([{"url": None}]),
    "number url": json_reply([{"url": 5}]),
    "list url": json_reply([{"url": ["http://127.0.0.1:1/"]}]),
    "empty url": json_reply([{"url": ""}]),
    "path": json_reply([{"url": "../.."}]),
    "relative": json_reply([{"url": "//127.0.0.1/x"}]),
    "file": json_reply([{"url": "file:///etc/passwd"}]),
    "ftp": json_reply([{"url": "ftp://127.0.0.1/x"}]),
    "javascript": json_reply([{"url": "javascript:alert(1)"}]),
    "no host": json_reply([{"url": "http:///x"}]),
    "bad port": json_reply([{"url": "http://127.0.0.1:99999/x?sig=1"}]),
    "text port": json_reply([{"url": "http://127.0.0.1:http/x"}]),
    "bracket": json_reply([{"url": "http://[::1/x"}]),
    "new line": json_reply([{"url": "http://127.0.0.1:1/x\r\nX-Evil: 1"}]),
    "nul": json_reply([{"url": "http://127.0.0.1:1/\x00"}]),
    "surrogate": json_reply([{"url": "http://127.0.0.1:1/\ud800"}]),
    "surrogate host": json_reply([{"url": "http://\ud800/"}]),
    "long": json_reply([{"url": "http://127.0.0.1:1/" + "x" * 100_000}]),
    "deep": Reply(body=b"[" * 200_000),
    "100 MB": Reply(body=b" " * 100_000_000),
    "no UTF-8": Reply(body=b"\xff\xfe\x00["),
    "bad gzip": Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    "refused with a page": Reply(status=418, body=b"<html>teapot</html>"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reply", HOSTILE_PRESIGNS.values(), ids=HOSTILE_PRESIGNS.keys())
def test_a_presign_that_cannot_be_used_is_asked_for_again_without_a_traceback(
    relayed: tuple[Bench, Relay], reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    bench, relay = relayed
    told = iter([reply, reply])
    relay.presign = lambda url: next(told, None) or json_reply([{"url": url}])
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1, within_s=5)
    assert not [record.message for record in caplog.records if record.exc_info]
    assert bench.ledger("d-1", "parked", "held") == []
    assert len([asked for asked in relay.server.asked if asked.method == "PUT"]) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "status", ["\ud800", "x" * 100_000, ["stream_active"], {"a": 1}, None, 1e300, "\x1b[2J"], ids=ascii
)
def test_a_catalogue_that_tells_nonsense_means_wait_and_tell(
    relayed: tuple[Bench, Relay], status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench, relay = relayed
    refusals = iter([json_reply({"detail": "no"}, 422)] * 2)
    relay.presign = lambda url: next(refusals, None) or json_reply([{"url": url}])
    relay.catalogue = json_reply([{"id": "d-1", "pipeline_status": status}])
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1, within_s=5)
    assert not [record.message for record in caplog.records if record.exc_info]
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://store.invalid/x",
        "HTTP://store.invalid/x",
        "//store.invalid/x",
        "ftp://store.invalid/x",
        "file:///x",
    ],
)
def test_a_secure_api_is_never_followed_to_an_insecure_store(url: str) -> None:
    with closing(AtomscaleDestination("https://api.invalid", ApiKey("k"))) as destination:
        assert not destination._is_safe(url)
        assert destination._is_safe("https://store.invalid/x?X-Amz-Signature=1")


def test_a_redirected_put_is_not_followed(relayed: tuple[Bench, Relay]) -> None:
    bench, relay = relayed
    with ScriptedServer(lambda _asked: Reply(headers={"ETag": '"x"'})) as elsewhere:
        redirect = Reply(status=307, headers={"Location": f"{elsewhere.url}/x"})
        with (
            ScriptedServer(lambda _asked: redirect) as portal,
            closing(AtomscaleDestination(relay.server.url, ApiKey("k"))) as destination,
        ):
            ticket = Ticket(url=f"{portal.url}/bucket?sig=1", got_at_s=0.0)
            outcome = destination.deliver(bench.chunk("d-1", 0), ticket, b"body")
        assert isinstance(outcome, TryLater)
        assert elsewhere.asked == []
    relay.server._server.server_close()


@pytest.mark.usefixtures("impatient")
def test_neither_the_key_nor_a_signature_is_ever_written_anywhere(
    server: LoopbackServer, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "httpx", "httpcore", "uploader", "spool"):
        caplog.set_level(logging.DEBUG, logger=name)
    data_id = bench.open_stream(4)
    bench.spool.seal(data_id)
    location = "http://127.0.0.1:1/bucket/key?X-Amz-Signature=5ec2e7"
    server.faults(
        [
            status_rule(PUT, 403, XML.format("SignatureDoesNotMatch"), times=1),
            {"match": PUT, "action": "drop", "times": 1},
            {"match": PUT, "action": "lost_answer", "times": 1},
            status_rule(PUT, 307, times=1, headers={"Location": location}),
            status_rule(PRESIGN, 401, {"detail": "no"}, times=1),
            status_rule(PRESIGN, 422, {"detail": "not this one"}, times=3, after=2),
        ]
    )
    with bench.delivering():
        wait_until(lambda: bench.stream(data_id).tally.parked == 1 and bench.acknowledged(data_id) == 3)
        bench.spool.retry(data_id)
        wait_until(lambda: bench.finalized(data_id))
    logged = "\n".join(
        f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text or ''}" for record in caplog.records
    )
    assert "httpcore" in logged
    assert "acknowledged" in logged
    for secret in (server.api_key, "Signature=", "uploadId=", "5ec2e7"):
        assert secret not in logged
        for path in bench.root.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


def test_an_answer_that_never_ends_is_not_waited_for() -> None:
    """Each byte comes in time, the whole never does: a proxy that keeps the connection warm."""
    over = threading.Event()

    def drip(listening: socket.socket) -> None:
        with listening.accept()[0] as connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not over.wait(0.05):
                connection.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        dripping = threading.Thread(target=drip, args=(listening,), daemon=True)
        dripping.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with AtomscaleApi(url, ApiKey("k"), timeout_s=0.3) as api:
            faults: list[str | None] = []
            asking = threading.Thread(target=lambda: faults.append(api.samples().fault), daemon=True)
            asking.start()
            try:
                wait_until(lambda: faults, within_s=3)
            finally:
                over.set()
                asking.join(10)
                dripping.join(10)
    assert faults == ["timeout"]


def test_the_ledger_and_the_receipts_are_plain_json(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    assert all(json.dumps(event.detail) for event in bench.spool.events())
    assert bench.spool.ledger_break() is None
