import socket
import time
from collections.abc import Callable, Mapping

import httpx
import pytest

from tests.loopback.rig import Rig, encode, make_frames, put_head, read_to_end
from uploader.loopback.process import LoopbackError

PUT = {"method": "PUT", "path": "/staged/"}
TIME = {"path": "^/gateway/time$"}


def get_time(rig: Rig) -> httpx.Response:
    return rig.request("GET", "/gateway/time")


def put_by_hand(rig: Rig, url: str, body: bytes) -> bytes:
    """Everything that comes back for a whole PUT."""
    with rig.connection() as connection:
        connection.sendall(put_head(url, len(body)) + body)
        return read_to_end(connection)


def test_status_answers_as_told(rig: Rig) -> None:
    rule = {"action": "status", "status": 503, "body": {"detail": "no"}, "headers": {"Retry-After": "7"}}
    rig.server.faults([{"match": TIME, **rule}])
    answer = get_time(rig)
    assert (answer.status_code, answer.headers["Retry-After"], answer.json()) == (503, "7", {"detail": "no"})


def test_status_on_a_put_stores_nothing(rig: Rig) -> None:
    data_id = rig.open_stream()
    url = rig.url(data_id)
    xml = "<Error><Code>SlowDown</Code></Error>"
    rig.server.faults([{"match": PUT, "action": "status", "status": 503, "body": xml}])
    answer = rig.put(url, encode(make_frames()))
    assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (503, xml, "application/xml")
    assert rig.server.objects(data_id) == {}


def test_status_on_a_large_put_is_read_by_a_client_that_sends_it_all(rig: Rig) -> None:
    url = rig.url(rig.open_stream())
    rig.server.faults([{"match": PUT, "action": "status", "status": 403}])
    assert rig.put(url, bytes(20_000_000)).status_code == 403


def test_html200_is_a_captive_portals_page(rig: Rig) -> None:
    rig.server.faults([{"match": TIME, "action": "html200"}])
    answer = get_time(rig)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")


def test_delay_answers_later(rig: Rig) -> None:
    rig.server.faults([{"match": TIME, "action": "delay", "seconds": 0.3}])
    started = time.monotonic()
    assert get_time(rig).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_a_delay_lets_the_later_rules_be_tried(rig: Rig) -> None:
    rig.server.faults(
        [
            {"match": TIME, "action": "delay", "seconds": 0.01},
            {"match": TIME, "action": "status", "status": 500},
        ]
    )
    assert get_time(rig).status_code == 500


def test_drop_closes_without_an_answer(rig: Rig) -> None:
    rig.server.faults([{"match": TIME, "action": "drop"}])
    with rig.connection() as connection:
        connection.sendall(b"GET /gateway/time HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_to_end(connection) == b""


def test_drop_does_not_wait_for_the_body(rig: Rig) -> None:
    url = rig.url(rig.open_stream())
    rig.server.faults([{"match": PUT, "action": "drop"}])
    with rig.connection() as connection:
        connection.sendall(put_head(url, 1_000_000))
        assert read_to_end(connection) == b""


def test_drop_is_a_transport_error_for_a_client(rig: Rig) -> None:
    rig.server.faults([{"match": TIME, "action": "drop"}])
    with pytest.raises(httpx.TransportError):
        get_time(rig)


def test_cut_closes_in_the_middle_of_the_body(rig: Rig) -> None:
    data_id = rig.open_stream()
    url = rig.url(data_id)
    rig.server.faults([{"match": PUT, "action": "cut", "bytes": 1000}])
    with rig.connection() as connection:
        connection.sendall(put_head(url, 1_000_000) + bytes(1000))
        rig.server.state()  # so that the server has had its turn
        assert not is_closed(connection)
        connection.sendall(bytes(1))
        assert read_to_end(connection) == b""
    assert rig.server.objects(data_id) == {}


def test_cut_closes_also_when_the_body_is_shorter(rig: Rig) -> None:
    data_id = rig.open_stream()
    url = rig.url(data_id)
    rig.server.faults([{"match": PUT, "action": "cut", "bytes": 1_000_000}])
    assert put_by_hand(rig, url, encode(make_frames())) == b""
    assert rig.server.objects(data_id) == {}


def test_lost_answer_stores_the_bytes_and_says_nothing(rig: Rig) -> None:
    data_id = rig.open_stream()
    url, body = rig.url(data_id), encode(make_frames())
    rig.server.faults([{"match": PUT, "action": "lost_answer"}])
    assert put_by_hand(rig, url, body) == b""
    assert rig.server.objects(data_id) == {0: body}


def test_lost_answer_opens_the_stream_all_the_same(rig: Rig) -> None:
    rig.server.faults([{"match": {"path": "/rheed/stream/$"}, "action": "lost_answer"}])
    before = len(rig.server.state()["streams"])
    with pytest.raises(httpx.TransportError):
        rig.open_stream()
    assert len(rig.server.state()["streams"]) == before + 1


def test_truncated_answer_stops_within_a_json_body(rig: Rig) -> None:
    rig.server.faults([{"match": TIME, "action": "truncated_answer"}])
    with rig.connection() as connection:
        connection.sendall(b"GET /gateway/time HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert body.startswith(b'{"receivedAtUnixMs"')
    assert b"}" not in body


def test_truncated_answer_stops_within_the_head_of_an_upload_that_was_stored(rig: Rig) -> None:
    data_id = rig.open_stream()
    url, body = rig.url(data_id), encode(make_frames())
    rig.server.faults([{"match": PUT, "action": "truncated_answer"}])
    answer = put_by_hand(rig, url, body)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\n\r\n" not in answer
    assert rig.server.objects(data_id) == {0: body}


def test_a_rule_fires_as_often_as_told_after_as_many_as_told(rig: Rig) -> None:
    rig.server.faults([{"match": TIME, "action": "status", "status": 500, "after": 1, "times": 2}])
    assert [get_time(rig).status_code for _ in range(5)] == [200, 500, 500, 200, 200]
    (rule,) = rig.server.state()["faults"]
    assert (rule["matched"], rule["fired"]) == (5, 2)


def test_a_probability_repeats_with_its_seed(rig: Rig) -> None:
    rule = {"match": TIME, "action": "status", "status": 500, "probability": 0.5, "seed": 3}
    rounds = []
    for _ in range(2):
        rig.server.faults([rule])
        rounds.append([get_time(rig).status_code for _ in range(12)])
        rig.server.clear_faults()
    assert rounds[0] == rounds[1]
    assert set(rounds[0]) == {200, 500}


def test_a_rule_matches_one_chunks_presign_by_its_query(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.server.faults([{"match": {"path": "upload_urls/.*/c/1/0/0"}, "action": "status", "status": 422}])
    assert [rig.presign(data_id, chunk_idx).status_code for chunk_idx in (0, 1, 2)] == [200, 422, 200]


def test_a_rule_leaves_other_methods_alone(rig: Rig) -> None:
    rig.server.faults([{"match": {"method": "POST"}, "action": "drop"}])
    assert rig.request("GET", "/tags/").status_code == 200


def test_rules_are_added_listed_and_cleared(rig: Rig) -> None:
    rig.server.faults([{"action": "drop"}])
    rig.server.faults([{"action": "html200"}])
    listed = rig.request("GET", "/_loopback/faults").json()
    assert [rule["action"] for rule in listed] == ["drop", "html200"]
    rig.server.clear_faults()
    assert rig.request("GET", "/_loopback/faults").json() == []
    assert get_time(rig).status_code == 200


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "explode"},
        {"action": "drop", "time": 1},
        {"action": "drop", "match": {"url": "x"}},
        {"action": "drop", "match": {"path": "("}},
        {"action": "delay", "seconds": -1},
        {},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(rig: Rig, rule: Mapping[str, object]) -> None:
    with pytest.raises(LoopbackError):
        rig.server.faults([rule])
    assert rig.server.state()["faults"] == []


def test_an_outage_drops_everything_but_the_controls(rig: Rig) -> None:
    url = rig.url(rig.open_stream())
    rig.server.outage(True)
    attempts: list[Callable[[], object]] = [
        lambda: get_time(rig),
        lambda: rig.request("GET", "/tags/"),
        lambda: rig.put(url, b"x"),
    ]
    for attempt in attempts:
        with pytest.raises(httpx.TransportError):
            attempt()
    assert rig.server.state()["down"]


def test_an_outage_ends(rig: Rig) -> None:
    rig.server.outage(True)
    rig.server.outage(False)
    assert get_time(rig).status_code == 200


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed by now."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    finally:
        connection.settimeout(20)
