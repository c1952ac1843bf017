"""The fault proxy does what it says, and the uploader gets everything through each of its faults."""

import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from spool.testing import check_invariants
from tests.uploader.rig import PRESIGNS, PUTS, Bench, Reply, ScriptedServer, wait_until
from tools.fault_proxy import Fault, FaultProxy
from tools.fault_proxy.pace import Pace
from uploader import config, retry, worker
from uploader.api import AtomscaleApi
from uploader.clock import SAMPLES
from uploader.destinations import atomscale
from uploader.loopback.process import LoopbackServer

REPLY = b'{"this": "is the answer"}'
RUN = Path(__file__).parents[2] / "tools" / "fault_proxy" / "run.py"


# What each fault is ------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(lambda _asked: Reply(body=REPLY, headers={"ETag": '"abc"'})) as running:
        yield running


@pytest.fixture
def proxy(server: ScriptedServer) -> Iterator[FaultProxy]:
    with _before(server.url) as running:
        yield running


def _before(url: str) -> FaultProxy:
    address = urlsplit(url)
    assert address.port
    return FaultProxy("127.0.0.1", address.port)


class _Client(http.client.HTTPConnection):
    def __init__(self, proxy: FaultProxy, *, timeout_s: float = 5.0) -> None:
        super().__init__("127.0.0.1", proxy.port, timeout=timeout_s)

    def ask(self, body: bytes = b"", method: str = "PUT", target: str = "/x") -> tuple[int, bytes]:
        self.request(method, target, body)
        answer = self.getresponse()
        return answer.status, answer.read()


def _ask(
    proxy: FaultProxy, body: bytes = b"", *, timeout_s: float = 5.0, method: str = "PUT"
) -> tuple[int, bytes]:
    with closing(_Client(proxy, timeout_s=timeout_s)) as client:
        return client.ask(body, method)


def test_without_a_fault_bytes_host_and_connection_pass_untouched(
    server: ScriptedServer, proxy: FaultProxy
) -> None:
    body = np.random.default_rng(1).bytes(3_000_000)
    with closing(_Client(proxy)) as client:
        for _ in range(3):
            assert client.ask(body) == (200, REPLY)
    assert [asked.body for asked in server.asked] == [body] * 3
    assert server.asked[0].headers["host"] == f"127.0.0.1:{proxy.port}"
    assert proxy.counters() == {
        "connections": 1, "requests": 3, "bytes_up": 9_000_000, "bytes_down": proxy.counters()["bytes_down"],
    }  # fmt: skip


def test_refuse_lets_nobody_in_and_the_port_is_the_same_afterwards(proxy: FaultProxy) -> None:
    assert _ask(proxy)[0] == 200
    proxy.set(Fault.REFUSE)
    with pytest.raises(ConnectionRefusedError):
        _ask(proxy)
    proxy.clear()
    assert _ask(proxy)[0] == 200


def test_reset_is_a_reset_also_for_connections_that_stand(proxy: FaultProxy) -> None:
    with closing(_Client(proxy)) as client:
        client.ask()
        assert client.sock
        proxy.set(Fault.RESET)
        with pytest.raises(ConnectionResetError):
            client.sock.recv(1)
    with pytest.raises(ConnectionResetError):
        _ask(proxy)


def test_a_connection_that_stalls_is_cut_by_a_reset(proxy: FaultProxy) -> None:
    proxy.set(Fault.STALL, where="request", after_bytes=1000)
    with closing(_Client(proxy, timeout_s=60)) as client:
        client.request("PUT", "/x", b"x" * 10_000)
        wait_until(lambda: proxy.counters().get("stall", 0) == 1)
        proxy.set(Fault.RESET, only="nothing more")
        with pytest.raises(ConnectionResetError):
            client.getresponse()


def test_a_black_hole_takes_everything_and_says_nothing(server: ScriptedServer, proxy: FaultProxy) -> None:
    proxy.set(Fault.BLACK_HOLE)
    with pytest.raises(TimeoutError):
        _ask(proxy, b"x" * 1_000_000, timeout_s=0.3)
    assert server.asked == []


def test_half_open_silences_what_stands_for_good_and_lets_new_connections_work(proxy: FaultProxy) -> None:
    with closing(_Client(proxy, timeout_s=0.3)) as client:
        client.ask()
        proxy.set(Fault.HALF_OPEN)
        assert _ask(proxy)[0] == 200
        proxy.clear()
        with pytest.raises(TimeoutError):
            client.ask()


def test_a_stall_takes_part_of_the_body_and_then_no_more(server: ScriptedServer, proxy: FaultProxy) -> None:
    proxy.set(Fault.STALL, where="request", after_bytes=100_000)
    with pytest.raises(TimeoutError):
        _ask(proxy, bytes(20_000_000), timeout_s=0.3)  # more than all buffers on the way can hold
    assert proxy.counters()["bytes_up"] == 100_000
    assert server.asked == []


def test_a_stalled_answer_stops_after_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.set(Fault.STALL, where="head", after_bytes=12)
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=0.3) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.recv(100) == b"HTTP/1.1 200"
        with pytest.raises(TimeoutError):
            client.recv(100)


def test_drip_brings_the_answer_bit_by_bit(proxy: FaultProxy) -> None:
    proxy.set(Fault.DRIP, where="body", pause_s=0.01)
    began = time.monotonic()
    assert _ask(proxy) == (200, REPLY)
    assert time.monotonic() - began > 0.01 * (len(REPLY) - 1)


def test_bandwidth_and_latency_take_their_time(proxy: FaultProxy) -> None:
    proxy.set(Fault.BANDWIDTH, bytes_per_s=100_000)
    began = time.monotonic()
    assert _ask(proxy, bytes(40_000))[0] == 200
    assert time.monotonic() - began > 0.4
    proxy.set(Fault.LATENCY, pause_s=0.4)
    began = time.monotonic()
    assert _ask(proxy)[0] == 200
    assert time.monotonic() - began > 0.4


def test_the_line_is_shared_and_who_wakes_late_makes_up_for_it() -> None:
    now = 0.0
    pace = Pace(now=lambda: now)
    assert pace.wait_s(1000, 10_000) == pytest.approx(0.08)  # a little of what went before is made up for
    assert pace.wait_s(1000, 10_000) == pytest.approx(0.18)  # behind the other one
    now = 0.19
    assert pace.wait_s(1000, 10_000) == pytest.approx(0.09)
    now = 60.0
    assert pace.wait_s(1000, 10_000) == pytest.approx(0.08)  # no minute's worth at once


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.LOST_ANSWER, ConnectionResetError),
        (Fault.TRUNCATED_ANSWER, http.client.IncompleteRead),
        (Fault.GARBAGE_ANSWER, http.client.BadStatusLine),
    ],
)
def test_an_answer_is_spoiled_after_the_server_has_done_its_work(
    server: ScriptedServer, proxy: FaultProxy, fault: Fault, error: type[Exception]
) -> None:
    proxy.set(fault, times=1)
    with pytest.raises(error):
        _ask(proxy, b"body")
    assert [asked.body for asked in server.asked] == [b"body"]
    assert _ask(proxy) == (200, REPLY)


def test_corruption_changes_one_bit_and_nothing_else(server: ScriptedServer, proxy: FaultProxy) -> None:
    body = bytes(1000)
    proxy.set(Fault.CORRUPT_REQUEST, body_bytes_min=500, seed=3)
    assert _ask(proxy, body)[0] == 200
    assert sum(byte.bit_count() for byte in server.asked[0].body) == 1
    assert len(server.asked[0].body) == 1000
    _ask(proxy, body[:499])
    assert server.asked[1].body == body[:499]
    proxy.set(Fault.CORRUPT_ANSWER, where="body")
    answer = _ask(proxy)[1]
    assert sum((a ^ b).bit_count() for a, b in zip(answer, REPLY, strict=True)) == 1


def test_tls_meets_bytes_that_are_no_tls(proxy: FaultProxy) -> None:
    proxy.set(Fault.TLS_GARBAGE)
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname="127.0.0.1")
    assert _ask(proxy)[0] == 200, "what is no TLS is not concerned"


def test_a_portal_answers_instead_of_the_server(server: ScriptedServer, proxy: FaultProxy) -> None:
    proxy.set(Fault.HTML)
    status, page = _ask(proxy, b"x")
    assert (status, page[:15]) == (200, b"<!DOCTYPE html>")
    proxy.set(Fault.REDIRECT)
    assert _ask(proxy, b"x")[0] == 302
    assert server.asked == []


def test_a_fault_concerns_only_what_it_is_told_and_so_often(proxy: FaultProxy) -> None:
    proxy.set(Fault.HTML, only="^PUT /x", times=2)
    assert _ask(proxy, method="POST") == (200, REPLY)
    assert [_ask(proxy)[1] == REPLY for _ in range(3)] == [False, False, True]
    assert proxy.counters()["html"] == 2


def test_only_loopback_addresses_are_accepted() -> None:
    with pytest.raises(ValueError, match="no loopback address"):
        FaultProxy("192.0.2.1", 80)


def test_the_program_prints_its_url_obeys_and_ends_with_stdin(server: ScriptedServer) -> None:
    command = [sys.executable, str(RUN), "--to", server.url.removeprefix("http://")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        address = urlsplit(process.stdout.readline().strip())
        for line, answer in (('set html {"status": 511}', {"ok": True}), ("nonsense", None)):
            process.stdin.write(line + "\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
            assert told == answer or "error" in told
        with closing(http.client.HTTPConnection("127.0.0.1", address.port, timeout=5)) as client:
            client.request("GET", "/")
            assert client.getresponse().status == 511
        process.stdin.close()
        assert process.wait(10) == 0


# The uploader through each of them ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path_factory.mktemp("server")) as running:
        yield running
        running.kill()
    assert running.complaints.read_text() == ""


@pytest.fixture
def bench(ingest: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A spool and the server, and a worker whose patience is shorter but of the same shape."""
    for name in (*config.KEY_VARIABLES, *(n for n in os.environ if n.lower().endswith("_proxy"))):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(retry, "BASE_S", 0.02)
    monkeypatch.setattr(retry, "CAP_S", 0.3)
    monkeypatch.setattr(atomscale, "STALL_S", 0.5)
    monkeypatch.setattr(worker, "KEY_PAUSE_S", 0.1)
    defaults = AtomscaleApi.__init__.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "timeout_s", 0.5)
    made = Bench(ingest, tmp_path / "spool")
    with closing(made.spool):
        yield made


@pytest.fixture
def way(ingest: LoopbackServer) -> Iterator[FaultProxy]:
    with _before(ingest.url) as running:
        yield running


def _assert_arrived(bench: Bench, data_id: str, chunks: int) -> None:
    held = bench.server.objects(data_id)
    assert list(held) == list(range(chunks))
    for idx, body in held.items():
        assert bench.chunk(data_id, idx).state == "acknowledged"
        assert hashlib.sha256(body).hexdigest() == bench.chunk(data_id, idx).sha256
    assert list(dict.fromkeys(bench.receptions(data_id))) == list(range(chunks))
    pushed = np.concatenate([bench.frames(data_id, idx) for idx in range(chunks)])
    np.testing.assert_array_equal(np.asarray(bench.server.received(data_id)[:]), pushed)
    check_invariants(bench.spool)


def test_uploads_lead_through_the_proxy_as_the_urls_carry_the_clients_host(bench: Bench, way: FaultProxy) -> None:
    data_id = bench.open_stream(3, destination=way.url)
    bench.spool.seal(data_id)
    requests = bench.requests(PRESIGNS) + bench.requests(PUTS)
    with bench.delivering(url=way.url):
        wait_until(lambda: bench.finalized(data_id))
    _assert_arrived(bench, data_id, 3)
    assert bench.requests(PRESIGNS) + bench.requests(PUTS) == requests + 6
    assert way.counters()["requests"] == SAMPLES + 3 + 3 + 1


@pytest.mark.parametrize("only", ["upload_urls|/end$", "^PUT"])
@pytest.mark.parametrize(
    ("fault", "settings"),
    [
        (Fault.RESET, {}),
        (Fault.BLACK_HOLE, {}),
        (Fault.STALL, {"where": "request", "after_bytes": 20}),
        (Fault.STALL, {"where": "head", "after_bytes": 30}),
        (Fault.STALL, {"where": "body", "after_bytes": 200}),
        (Fault.DRIP, {"where": "head", "pause_s": 0.002}),
        (Fault.DRIP, {"where": "head", "pause_s": 0.2}),
        (Fault.DRIP, {"where": "body", "pause_s": 0.2}),
        (Fault.BANDWIDTH, {"bytes_per_s": 2000}),
        (Fault.LATENCY, {"pause_s": 0.3}),
        (Fault.LINE, {"pause_s": 0.05, "bytes_per_s": 100_000}),
        (Fault.TRUNCATED_ANSWER, {}),
        (Fault.GARBAGE_ANSWER, {}),
        (Fault.LOST_ANSWER, {}),
        (Fault.CORRUPT_ANSWER, {"where": "head"}),
        (Fault.HTML, {}),
        (Fault.HTML, {"status": 403}),
        (Fault.REDIRECT, {}),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else str(value),
)
def test_everything_arrives_bit_for_bit_through(
    bench: Bench, way: FaultProxy, fault: Fault, settings: dict[str, Any], only: str
) -> None:
    data_id = bench.open_stream(3, destination=way.url)
    bench.spool.seal(data_id)
    way.set(fault, only=only, times=2, **settings)
    with bench.delivering(url=way.url):
        wait_until(lambda: bench.finalized(data_id))
    assert way.counters()[fault] >= 1
    _assert_arrived(bench, data_id, 3)


def test_a_corrupted_body_is_noticed_and_sent_again(bench: Bench, way: FaultProxy) -> None:
    data_id = bench.open_stream(3, destination=way.url)
    bench.spool.seal(data_id)
    way.set(Fault.CORRUPT_REQUEST, only="^PUT", times=3)
    with bench.delivering(url=way.url):
        wait_until(lambda: bench.finalized(data_id))
    _assert_arrived(bench, data_id, 3)


@pytest.mark.parametrize("fault", [Fault.REFUSE, Fault.HALF_OPEN, Fault.RESET])
def test_connections_that_stood_are_given_up_and_delivery_goes_on(
    bench: Bench, way: FaultProxy, fault: Fault
) -> None:
    data_id = bench.open_stream(2, destination=way.url)
    with bench.delivering(url=way.url):
        wait_until(lambda: bench.acknowledged(data_id) == 2)
        way.set(fault)
        bench.push(data_id, 2, 3)
        bench.spool.seal(data_id)
        wait_until(lambda: bench.stream(data_id).trouble is not None)
        way.clear()
        wait_until(lambda: bench.finalized(data_id))
    _assert_arrived(bench, data_id, 4)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.TLS_GARBAGE, "no encryption can be agreed on"),
        (Fault.WRONG_CERTIFICATE, "certificate is not accepted"),
    ],
)
def test_tls_that_cannot_be_trusted_is_an_outage_and_nothing_is_sent(
    bench: Bench, way: FaultProxy, fault: Fault, says: str
) -> None:
    url = way.url.replace("http:", "https:")
    data_id = bench.open_stream(2, destination=url)
    way.set(fault)
    with bench.delivering(url=url):
        wait_until(lambda: way.counters().get(fault, 0) >= 3)
    _assert_all_waits(bench, data_id, says)
    assert way.counters().get("requests", 0) == 0


def test_a_name_that_is_not_known_is_an_outage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def unknown(*_args: object, **_kwargs: object) -> list[object]:
        nonlocal asked
        asked += 1
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    url = "https://nowhere.invalid"
    data_id = bench.open_stream(2, destination=url)
    with monkeypatch.context() as patch, bench.delivering(url=url):
        patch.setattr(socket, "getaddrinfo", unknown)
        wait_until(lambda: asked >= 3)
    _assert_all_waits(bench, data_id, "name is not known")


def _assert_all_waits(bench: Bench, data_id: str, says: str) -> None:
    with suppress(FileNotFoundError):
        assert bench.server.objects(data_id) == {}
    assert bench.stream(data_id).tally.spooled == 2
    assert says in (bench.stream(data_id).trouble or "")
    check_invariants(bench.spool)
