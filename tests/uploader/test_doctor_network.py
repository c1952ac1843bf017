"""What the doctor says about the way to the server and about what answers there, over real sockets."""

import base64
import http.client
import socket
import socketserver
import ssl
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.uploader.rig import Asked, Reply, ScriptedServer, json_reply, status_rule
from tools.fault_proxy import Fault, FaultProxy
from uploader import config
from uploader.doctor import Examination, Finding, Subject, checks_of, network, tls
from uploader.doctor import server as server_checks
from uploader.doctor.certificates import Certificate, read_certificate
from uploader.doctor.ways import way_to
from uploader.loopback.process import LoopbackServer

TIME = {"method": "GET", "path": "^/gateway/time"}
TAGS = {"method": "GET", "path": "^/tags/"}


@pytest.fixture(autouse=True)
def _no_way_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def at(endpoint: str) -> Subject:
    return Subject(root=Path("/nowhere"), endpoint=config.endpoint(endpoint))


def examined(endpoint: str) -> dict[str, Finding]:
    """What all the checks say that have to do with the network, each after those it needs."""
    checks = checks_of(at(endpoint))
    examination = Examination(at(endpoint))
    names = [check.name for check in checks]
    return {check.name: examination.look(check) for check in checks[names.index("proxy") :]}


def verdicts(found: Mapping[str, Finding]) -> dict[str, str]:
    return {name: finding.verdict.value for name, finding in found.items()}


def clock_ahead(seconds: float) -> Any:
    def answer(_asked: Asked) -> Reply:
        now = (time.time() + seconds) * 1000
        return json_reply({"receivedAtUnixMs": now, "transmittedAtUnixMs": now})

    return answer


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, kept from others by being bound."""
    with closing(socket.socket()) as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


# Proxies ----------------------------------------------------------------------------------------------------


class ConnectProxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that lets CONNECT through to 127.0.0.1, with a password or not at all."""

    daemon_threads = True
    password = "proxy-secret"

    def __init__(self) -> None:
        self.tunnels = 0
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.url = f"http://lab:{self.password}@127.0.0.1:{self.server_address[1]}"


class _Tunnel(socketserver.StreamRequestHandler):
    server: ConnectProxy

    def handle(self) -> None:
        target = self.rfile.readline().split()[1].decode()
        headers = http.client.parse_headers(self.rfile)
        wanted = base64.b64encode(f"lab:{ConnectProxy.password}".encode()).decode()
        if headers["Proxy-Authorization"] != f"Basic {wanted}":
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        self.server.tunnels += 1
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2]))) as far:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pass_on, args=(far, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, far)
            back.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def connect_proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(10)


def test_without_a_proxy_that_is_said() -> None:
    found = network.proxy(at("https://api.example.org"))
    assert found.verdict == "ok"
    assert found.seen.startswith("none")


def test_a_proxy_is_named_with_its_variable_and_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://lab:proxy-secret@proxy.example.org:3128")
    found = network.proxy(at("https://api.example.org"))
    assert found.verdict == "ok"
    assert found.seen == "http://proxy.example.org:3128, from HTTPS_PROXY in the environment"
    monkeypatch.setenv("NO_PROXY", "other.org, .example.org")
    assert "'.example.org' in NO_PROXY exempts" in network.proxy(at("https://api.example.org")).seen


@pytest.mark.parametrize("given", ["ftp://lab:proxy-secret@h:1", "http://lab:proxy-secret@h:x", "http://"])
def test_a_proxy_that_is_none_is_a_problem(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", given)
    found = network.proxy(at("https://api.example.org"))
    assert found.verdict == "problem"
    assert "proxy-secret" not in repr(found)


def test_a_socks_proxy_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    monkeypatch.setitem(sys.modules, "socksio", None)
    found = network.proxy(at("https://api.example.org"))
    assert found.verdict == "problem"
    assert "httpx[socks]" in (found.advice or "")


@pytest.mark.parametrize(
    "url",
    [
        "https://api.example.org",
        "http://api.example.org:8000",
        "https://10.0.0.7",
        "https://localhost:8443",
        "https://[::1]:8443",
    ],
)
@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"HTTPS_PROXY": "http://p:1"},
        {"HTTP_PROXY": "p:2"},
        {"ALL_PROXY": "http://p:3", "HTTPS_PROXY": "http://q:4"},
        *(
            {"ALL_PROXY": "http://p:3", "NO_PROXY": entries}
            for entries in (
                "*", "example.org", ".example.org", "ample.org", "api.example.org:443", "api.example.org:8000",
                "10.0.0.7", "10.0.0.0/8", "localhost", "::1", "https://api.example.org", "http://api.example.org",
                "other, ,LOCALHOST", "API.example.org",
            )
        ),
    ],
    ids=str,
)  # fmt: skip
def test_the_way_is_the_one_that_delivery_takes(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str]
) -> None:
    for name, worth in variables.items():
        monkeypatch.setenv(name, worth)
    with httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
        pool: Any = client._transport_for_url(httpx.URL(url))
        proxied = getattr(pool._pool, "_proxy_url", None)
        way = way_to(url)
        if proxied is None:
            assert way.through is None
            assert way.host == httpx.URL(url).host
        else:
            assert (way.host, way.port) == (proxied.host.decode(), proxied.port)


def test_a_server_behind_a_proxy_is_looked_at_through_it(
    monkeypatch: pytest.MonkeyPatch, connect_proxy: ConnectProxy, tmp_path: Path
) -> None:
    # By a name that only the proxy knows: this machine's own addresses never lead through one.
    with tls_server(monkeypatch, tmp_path, name="server.example") as url:
        monkeypatch.setenv("HTTPS_PROXY", connect_proxy.url)
        found = examined(url.replace("127.0.0.1", "server.example"))
    assert verdicts(found) == {
        "proxy": "ok", "dns": "ok", "connection": "ok", "tls": "ok", "server": "ok", "offset": "ok",
        "key": "problem", "access": "not checked", "upload": "not checked",
    }  # fmt: skip
    assert "the proxy: 127.0.0.1" in found["connection"].seen
    assert connect_proxy.tunnels >= 2
    assert "proxy-secret" not in repr(found)


def test_a_proxy_that_wants_a_login_is_told(
    monkeypatch: pytest.MonkeyPatch, connect_proxy: ConnectProxy, tmp_path: Path
) -> None:
    with tls_server(monkeypatch, tmp_path) as url:
        monkeypatch.setenv("HTTPS_PROXY", connect_proxy.url.replace("lab:proxy-secret@", ""))
        found = examined(url)["tls"]
    assert found.verdict == "problem"
    assert "proxy of this network refuses" in found.seen
    assert "HTTPS_PROXY" in (found.advice or "")


# Names and connections --------------------------------------------------------------------------------------


def test_a_name_that_does_not_resolve_is_the_root_of_all_that_rests_on_it() -> None:
    found = examined("https://nowhere.invalid")
    assert found["dns"].verdict == "problem"
    assert "nowhere.invalid is not known here" in found["dns"].seen
    assert "spelling" in (found["dns"].advice or "")
    assert {found[name].seen for name in ("connection", "tls", "server", "offset")} == {"dns failed"}


def test_a_name_is_told_with_its_addresses() -> None:
    found = network.dns(at("http://localhost:1"))
    assert found.verdict == "ok"
    assert "localhost is " in found.seen
    assert "127.0.0.1" in found.seen


def test_a_port_at_which_nobody_listens_is_a_problem() -> None:
    with closed_port() as port:
        found = examined(f"http://127.0.0.1:{port}")
    assert found["connection"].verdict == "problem"
    assert "nobody listens" in found["connection"].seen
    assert "the endpoint's host and port" in (found["connection"].advice or "")
    assert found["server"].seen == "connection failed"


def test_one_address_that_refuses_is_told_and_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(clock_ahead(0)) as running:
        both = [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")]
        monkeypatch.setattr(network, "_addresses", lambda _way: both)
        found = network.connection(at(running.url))
    assert found.verdict == "ok"
    assert "127.0.0.2 no: nobody listens" in found.seen
    assert found.numbers["connected"] == 1


def test_a_first_address_that_swallows_everything_costs_each_connection_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "CONNECT_TIMEOUT_S", 0.3)
    with ExitStack() as open_ones, ScriptedServer(clock_ahead(0)) as running:
        port = int(running.url.rpartition(":")[2])
        full = open_ones.enter_context(closing(socket.socket()))
        full.bind(("127.0.0.2", port))
        full.listen(0)
        for _ in range(4):  # the queue of those who wait to be accepted is full after the first
            waiting = open_ones.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.2", port))
        both = [(socket.AF_INET, "127.0.0.2"), (socket.AF_INET, "127.0.0.1")]
        monkeypatch.setattr(network, "_addresses", lambda _way: both)
        found = network.connection(at(running.url))
    assert found.verdict == "warning", found
    assert "127.0.0.2 no: connecting takes too long" in found.seen


# Encryption -------------------------------------------------------------------------------------------------


@contextmanager
def tls_server(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    *,
    name: str = "127.0.0.1",
    is_trusted: bool = True,
    **certificate: datetime,
) -> Iterator[str]:
    """A server with its clock, behind encryption; its URL."""
    authority = trustme.CA(organization_name="Lab Firewall")
    if is_trusted:
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, **certificate).configure_cert(context)  # type: ignore[arg-type] # they are moments
    running = ScriptedServer(clock_ahead(0))
    running._server.socket = context.wrap_socket(running._server.socket, server_side=True)
    with running:
        yield running.url.replace("http:", "https:")


def now(**ahead: int) -> datetime:
    return datetime.now(UTC) + timedelta(**ahead)


def test_a_certificate_is_told_with_its_days(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tls_server(monkeypatch, tmp_path, not_after=now(days=90)) as url:
        found = tls.tls(at(url))
    assert found.verdict == "ok", found
    assert "TLSv1.3, certificate from Lab Firewall, good for 90 more days" in found.seen


def test_a_certificate_that_ends_soon_is_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tls_server(monkeypatch, tmp_path, not_after=now(days=3)) as url:
        assert tls.tls(at(url)).verdict == "warning"


def test_an_expired_certificate_is_for_the_servers_people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tls_server(monkeypatch, tmp_path, not_before=now(days=-9), not_after=now(days=-2)) as url:
        found = tls.tls(at(url))
    assert found.verdict == "problem"
    assert f"to {now(days=-2):%Y-%m-%d}" in found.seen
    assert "must renew it" in (found.advice or "")


def test_a_certificate_of_the_future_points_to_this_machines_clock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tls_server(monkeypatch, tmp_path, not_before=now(days=300), not_after=now(days=600)) as url:
        found = tls.tls(at(url))
    assert found.verdict == "problem"
    assert "NTP" in (found.advice or "")


def test_by_the_servers_own_clock_it_is_told_whose_is_wrong() -> None:
    good = Certificate(
        issuer="x", not_before=datetime(2025, 1, 1, tzinfo=UTC), not_after=datetime(2026, 1, 1, tzinfo=UTC)
    )
    there, here = datetime(2025, 6, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
    assert "clock is wrong: it says 2031-01-01, the server 2025-06-01" in tls._advice_on_dates(good, there, here)
    assert "must renew" in tls._advice_on_dates(good, here, here)


def test_an_authority_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tls_server(monkeypatch, tmp_path, is_trusted=False) as url:
        found = examined(url)
    assert found["tls"].verdict == "problem"
    assert "the certificate, from Lab Firewall" in found["tls"].seen
    assert "SSL_CERT_FILE" in (found["tls"].advice or "")
    assert found["server"].seen == "tls failed"


def test_a_certificate_for_another_name_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tls_server(monkeypatch, tmp_path, name="portal.example.org") as url:
        found = tls.tls(at(url))
    assert found.verdict == "problem"
    assert "not valid for '127.0.0.1'" in found.seen
    assert "log in with a browser" in (found.advice or "")


def test_a_file_of_authorities_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    found = tls.tls(at("https://127.0.0.1:1"))
    assert found.verdict == "problem"
    assert "SSL_CERT_FILE" in (found.advice or "")


def test_what_is_no_encryption_at_all_is_told() -> None:
    with ScriptedServer(clock_ahead(0)) as running:
        port = int(running.url.rpartition(":")[2])
        with FaultProxy("127.0.0.1", port) as proxy:
            proxy.set(Fault.TLS_GARBAGE)
            found = tls.tls(at(proxy.url.replace("http:", "https:")))
    assert found.verdict == "problem"
    assert "no encryption can be agreed on" in found.seen


def test_without_encryption_only_this_machine_is_trusted() -> None:
    assert tls.tls(at("http://127.0.0.1:1")).verdict == "ok"
    assert tls.tls(at("http://localhost:1")).verdict == "ok"
    assert tls.tls(at("http://api.example.org")).verdict == "warning"


def test_a_certificate_made_to_harm_is_read_as_none() -> None:
    der = trustme.CA().issue_cert("x.invalid").cert_chain_pems[0].bytes()
    whole = ssl.PEM_cert_to_DER_cert(der.decode())
    read = read_certificate(whole)
    assert read is not None
    assert read.issuer.startswith("trustme")
    for end in range(len(whole)):
        assert read_certificate(whole[:end]) is None
    for place in range(len(whole)):
        read_certificate(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])


# The server -------------------------------------------------------------------------------------------------


def test_a_server_that_is_well_is_well(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AS_API_KEY", server.api_key)
    found = examined(server.url)
    assert set(verdicts(found).values()) == {"ok", "not checked"}
    assert [name for name, one in found.items() if one.verdict == "not checked"] == ["upload"]
    assert not server.state()["streams"], "nothing was begun there"
    assert server.api_key not in repr(found)


@pytest.mark.parametrize(
    ("rule", "says", "advises"),
    [
        ({"match": TIME, "action": "html200"}, "captive portal", "Log in to the network"),
        (status_rule(TIME, 511), "the network wants a login", "Log in to the network"),
        (status_rule(TIME, 503), "overloaded or down", "stays in the spool"),
        (status_rule(TIME, 404), "the request is refused", "Check the endpoint"),
        (status_rule(TIME, 200, {"time": "noon"}), "but not with its time", "Check the endpoint"),
        ({"match": TIME, "action": "drop"}, "the connection was closed on us", "stays in the spool"),
    ],
    ids=["portal", "login", "down", "not found", "other words", "drop"],
)
def test_what_answers_instead_of_the_server_is_told(
    server: LoopbackServer, rule: dict[str, object], says: str, advises: str
) -> None:
    server.faults([rule])
    found = examined(server.url)
    assert found["server"].verdict == "problem"
    assert says in found["server"].seen
    assert advises in (found["server"].advice or "")
    assert found["offset"].seen == "server failed"


@pytest.mark.parametrize(
    ("rule", "verdict", "says"),
    [
        (status_rule(TAGS, 401), "problem", "the API key is not accepted"),
        (status_rule(TAGS, 403), "problem", "the API key may not do this"),
        (status_rule(TAGS, 500), "warning", "could not be told"),
        (status_rule(TAGS, 200, {}), "warning", "not with a list"),
        ({"match": TAGS, "action": "html200"}, "warning", "captive portal"),
    ],
    ids=["401", "403", "500", "no list", "portal"],
)
def test_a_key_is_refused_only_by_the_server_itself(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, rule: dict[str, object], verdict: str, says: str
) -> None:
    monkeypatch.setenv("AS_API_KEY", server.api_key)
    server.faults([rule])
    found = examined(server.url)["access"]
    assert found.verdict == verdict
    assert says in found.seen


def test_a_wrong_key_is_refused_and_not_shown(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AS_API_KEY", "not-the-key-at-all")
    found = examined(server.url)
    assert found["access"].verdict == "problem"
    assert "framespool login" in (found["access"].advice or "")
    assert "not-the-key-at-all" not in repr(found)


# The clock --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ahead_s", "verdict"), [(0.0, "ok"), (0.4, "ok"), (5.0, "warning"), (-90.0, "warning")])
def test_the_host_clock_is_held_against_the_servers(ahead_s: float, verdict: str) -> None:
    with ScriptedServer(clock_ahead(ahead_s)) as running:
        found = server_checks.offset(at(running.url))
    assert found.verdict == verdict
    assert found.numbers["offset_ms"] == pytest.approx(ahead_s * 1000, abs=200)


def test_an_offset_that_is_not_corrected_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOMSCALE_SKIP_CLOCK_SYNC", "1")
    with ScriptedServer(clock_ahead(5.0)) as running:
        found = server_checks.offset(at(running.url))
    assert "ATOMSCALE_SKIP_CLOCK_SYNC is set" in found.seen
    assert "Capture times are wrong by it" in (found.advice or "")


def test_a_clock_that_cannot_be_read_is_told() -> None:
    with ScriptedServer(lambda _asked: json_reply({"receivedAtUnixMs": "noon"})) as running:
        found = server_checks.offset(at(running.url))
    assert found.verdict == "warning"
    assert "could not be read" in found.seen


def test_a_host_clock_that_is_set_meanwhile_is_noticed() -> None:
    with ScriptedServer(clock_ahead(0)) as running:
        was = Subject(root=Path("/nowhere"), endpoint=running.url, began_wall_s=time.time() - 30)
        found = server_checks.offset(was)
    assert found.verdict == "warning"
    assert "was set by +30.0 s while we looked" in found.seen
