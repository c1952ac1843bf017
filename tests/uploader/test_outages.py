"""Outages, refused keys and refusals: nothing is lost, and a wrong answer costs nothing."""

import logging

import pytest

from spool.testing import check_invariants
from tests.uploader.rig import (
    CATALOGUE,
    ENDS,
    PRESIGN,
    PRESIGNS,
    PUT,
    PUTS,
    REFUSAL,
    XML,
    Bench,
    chunk_path,
    status_rule,
    wait_until,
)


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
def test_trouble_that_becomes_another_kind_is_told_in_the_ledger(bench: Bench) -> None:
    data_id = bench.open_stream(2)
    bench.server.faults([status_rule(PRESIGN, 503)])
    with bench.delivering():
        wait_until(lambda: bench.ledger(data_id, "trouble_began"))
        bench.server.clear_faults()
        bench.server.faults([status_rule(PRESIGN, 401)])
        wait_until(lambda: bench.ledger(data_id, "trouble_changed"))
        figures = bench.spool.figures(data_id)
        assert figures.is_outage
        assert figures.key_refused
        bench.server.clear_faults()
        wait_until(lambda: bench.acknowledged(data_id) == 2)
        wait_until(lambda: bench.ledger(data_id, "trouble_ended"))
    assert len(bench.ledger(data_id, "trouble_began", "trouble_ended")) == 2


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


@pytest.mark.parametrize("status", ["stream_finalizing", "stream_finalized"])
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
    assert status in (bench.stream(ended).held or "")
    assert bench.requests(ENDS) == 0
    assert bench.stream(ended).tally.spooled == 3
    assert bench.receptions(ended) == []
    assert any("nothing more is sent" in record.message for record in caplog.records)
    check_invariants(bench.spool)


def test_a_held_stream_goes_on_when_a_person_lets_it(bench: Bench) -> None:
    data_id = bench.open_stream(2)
    bench.server.set_status(data_id, "stream_finalized")
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
