"""In order and exactly once: a real worker between a real spool and the real loopback server."""

import hashlib

import pytest

from spool.testing import check_invariants
from tests.uploader.rig import (
    END,
    ENDS,
    PRESIGNS,
    PUT,
    PUTS,
    XML,
    Bench,
    status_rule,
    wait_until,
)


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
    assert receipt.request_ids["x-amz-request-id"]


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
