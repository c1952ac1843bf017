"""Proxies and certificates from the environment, over real sockets and TLS; names that only the proxy knows."""

import base64
import hashlib
import importlib.util
import logging
import os
import ssl
import threading
import traceback
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import trustme
from cryptography import x509

from spool import Spool
from tests.uploader.connect_proxy import ConnectProxy
from tests.uploader.rig import CHUNK_SIZE, FPS, NO_LIMITS, Asked, Reply, ScriptedServer, json_reply, some_frames
from uploader import RHEEDStreamer
from uploader.errors import ConfigurationError
from uploader.exchange import exchange
from uploader.faults import Fault
from uploader.lines import Lines, Patience
from uploader.meanings import Answer
from uploader.own_worker import WorkerKind
from uploader.way_out import CERTIFICATE_VARIABLES, WayOut, for_another_folder

API, STORE, PROXY = "ingest.example", "store.example", "proxy.example"
PASSWORD = "the-password-of-the-lab"
LOGIN = f"lab:{PASSWORD}"
LOGIN_SENT = base64.b64encode(LOGIN.encode()).decode()
PATIENCE = Patience(connect_s=5, stall_s=5, sending_s=10, answer_s=5)


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = [name for name in os.environ if name.lower().endswith("_proxy")]
    for name in (*proxies, *CERTIFICATE_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Authority:
    """One that nobody knows but who is told by the environment."""

    ca: trustme.CA
    file: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(API, STORE, PROXY, "127.0.0.1").configure_cert(context)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "certificates").mkdir()
    made = Authority(trustme.CA(), tmp_path / "certificates" / "lab.pem")
    made.ca.cert_pem.write_to_path(made.file)
    return made


@dataclass(frozen=True)
class Ingest:
    """Just enough of a server, under TLS; it cannot be reached by its names but through a proxy."""

    server: ScriptedServer

    @property
    def ports(self) -> dict[str, int]:
        return {API: self.server.port, STORE: self.server.port}


def _answer(asked: Asked) -> Reply:
    if asked.method == "PUT":
        return Reply(headers={"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'})
    if asked.path.endswith("/upload_urls/"):
        (name,) = asked.query["original_filename"]
        return json_reply([{"upload_id": "u", "url": f"https://{STORE}/staged/{name}?Signature=x", "part": 1}])
    return json_reply(str(uuid4()) if asked.path == "/rheed/stream/" else {})


@pytest.fixture
def ingest(authority: Authority) -> Iterator[Ingest]:
    with ScriptedServer(_answer, tls=authority.server()) as server:
        yield Ingest(server)


def asked(url: str) -> Answer:
    with closing(Lines()) as lines:
        return exchange(lines, "GET", url, patience=PATIENCE)


# All the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["process", "thread"])
def test_a_stream_is_delivered_through_a_proxy_with_a_login_and_its_password_is_written_nowhere(
    ingest: Ingest,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: WorkerKind,
) -> None:
    """The certificate's path is relative, as people set it: the worker process starts in another folder."""
    root = tmp_path / "spool"
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file.relative_to(tmp_path)))
    with ConnectProxy(ingest.ports, login=LOGIN) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@{proxy.address}")
        with RHEEDStreamer("a-key", f"https://{API}", None, root, None, 0, worker=kind) as streamer:
            data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
            for idx in range(3):
                streamer.push(data_id, idx, some_frames(idx))
            assert streamer.finalize(data_id, 20).finalized
        if (process := streamer._workers[0].process._process) is not None:
            assert process.wait(20) == 0
        assert {*proxy.asked} == {f"{API}:443", f"{STORE}:443"}
    sent = [hashlib.sha256(one.body).hexdigest() for one in ingest.server.asked if one.method == "PUT"]
    with Spool(root, limits=NO_LIMITS) as spool:
        assert sent == [chunk.sha256 for chunk in spool.chunks(data_id)]
    written = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    for where, found in {**written, Path("every log"): caplog.text.encode()}.items():
        assert PASSWORD.encode() not in found, where
        assert LOGIN_SENT.encode() not in found, where


# Proxies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_taken_from_each_variable(
    ingest: Ingest, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert asked(f"https://{API}/").fault is Fault.DNS, "without a proxy nobody knows the name"
    with ConnectProxy(ingest.ports) as proxy:
        monkeypatch.setenv(variable, f"{scheme}{proxy.address}")
        assert asked(f"https://{API}/").status == 200
        assert proxy.asked == [f"{API}:443"]


def test_a_proxy_under_tls_is_held_against_the_same_certificates(
    ingest: Ingest, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(ingest.ports, tls=authority.server()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{proxy.address}")
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        assert asked(f"https://{API}/").status == 200
        monkeypatch.delenv("REQUESTS_CA_BUNDLE")
        assert asked(f"https://{API}/").fault is Fault.CERTIFICATE
        assert proxy.asked == [f"{API}:443"]


def test_what_is_not_encrypted_is_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(lambda _asked: Reply(body=b"{}")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        assert asked(f"http://{API}/x").status == 200
    assert [(one.path, one.headers["host"]) for one in proxy.asked] == [("/x", API)]


@pytest.mark.parametrize(
    ("no_proxy", "url", "is_direct"),
    [
        ("", "https://api.lab.example/", False),
        ("api.lab.example", "https://api.lab.example/", True),
        ("other.example, lab.example", "https://api.lab.example/", True),
        (".lab.example", "https://api.lab.example:8443/", True),
        ("api.lab.example:8443", "https://api.lab.example/", False),
        ("api.lab.example:8443", "https://api.lab.example:8443/", True),
        ("lab.example", "https://mylab.example/", False),
        ("*", "https://api.lab.example/", True),
        ("", "http://127.0.0.1:8000/", True),
        ("", "http://localhost:8000/", True),
        ("", "http://[::1]:8000/", True),
        ("", "http://localhost.example/", False),
    ],
)
def test_no_proxy_names_what_is_reached_directly_and_this_machine_always_is(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, url: str, *, is_direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    assert (WayOut().proxy_to(httpx.URL(url)) is None) is is_direct


def test_a_tunnel_takes_nothing_from_the_time_that_the_request_has(
    ingest: Ingest, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body takes longer than an answer may, and not as long as a body may."""

    def slow_body() -> Iterator[bytes]:
        yield b"x"
        threading.Event().wait(1.0)  # what a slow line takes
        yield b"y"

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    with ConnectProxy(ingest.ports) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.address}")
        with closing(Lines()) as lines:
            patience = replace(PATIENCE, answer_s=0.5)
            headers = {"Content-Length": "2"}
            answer = exchange(
                lines, "PUT", f"https://{STORE}/", patience=patience, content=slow_body(), headers=headers
            )
    assert answer.status == 200


# Secrets ----------------------------------------------------------------------------------------------------


def test_a_proxy_that_repeats_the_login_does_not_get_it_into_words_or_logs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG, logger="uploader")
    with ConnectProxy({}, login="somebody:else") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://{LOGIN}@{proxy.address}")
        streamer = RHEEDStreamer("a-key", f"https://{API}", None, tmp_path / "spool", None, 0, worker="external")
        with streamer:
            streamer.initialize(FPS, 0.0, CHUNK_SIZE)
        assert proxy.asked
    assert "407 Go away ***" in caplog.text
    assert PASSWORD not in caplog.text
    assert LOGIN_SENT not in caplog.text


@pytest.mark.parametrize(
    ("proxy", "says"),
    [
        (f"ftp://{LOGIN}@proxy.example", "HTTPS_PROXY is not the URL of a proxy"),
        (f"http://{LOGIN}@", "HTTPS_PROXY is not the URL of a proxy"),
        (f"http://{LOGIN}@proxy.example:no-port", "HTTPS_PROXY is not the URL of a proxy"),
        (f"socks://{LOGIN}@proxy.example", "HTTPS_PROXY is not the URL of a proxy"),
        (f"socks5://{LOGIN}@proxy.example", "HTTPS_PROXY names a SOCKS proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_said_at_once_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, proxy: str, says: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ConfigurationError, match=says) as raised:
        Lines()
    assert PASSWORD not in "".join(traceback.format_exception(raised.value)) + raised.value.hint


# Certificates -----------------------------------------------------------------------------------------------


def in_a_folder(authority: Authority) -> Path:
    """Under the name by which OpenSSL looks for it: the hash of its subject in lower case."""
    subject = x509.load_pem_x509_certificate(authority.file.read_bytes()).subject
    lowered = x509.Name([x509.NameAttribute(one.oid, str(one.value).lower()) for one in subject])
    digest = hashlib.sha1(lowered.public_bytes()[2:]).digest()  # without the head of the sequence
    folder = authority.file.parent
    authority.file.rename(folder / f"{int.from_bytes(digest[:4], 'little'):08x}.0")
    return folder


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_file_of_certificates_is_taken_from_each_variable(
    ingest: Ingest, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url = f"https://127.0.0.1:{ingest.server.port}/"
    assert asked(url).fault is Fault.CERTIFICATE
    monkeypatch.setenv(variable, str(authority.file))
    assert asked(url).status == 200


@pytest.mark.parametrize("variable", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_a_folder_of_certificates_is_taken_too(
    ingest: Ingest, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, str(in_a_folder(authority)))
    assert asked(f"https://127.0.0.1:{ingest.server.port}/").status == 200


def test_what_is_meant_for_openssl_goes_before_what_is_meant_for_others(
    ingest: Ingest, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Authority(trustme.CA(), tmp_path / "other.pem")
    other.ca.cert_pem.write_to_path(other.file)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other.file))
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert asked(f"https://127.0.0.1:{ingest.server.port}/").status == 200


@pytest.mark.parametrize("variable", CERTIFICATE_VARIABLES)
@pytest.mark.parametrize("text", [None, "", "no certificate"])
def test_certificates_that_cannot_be_read_are_said_with_their_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(ConfigurationError, match=f"^{variable} names '.*ca.pem'"):
        Lines()


def test_a_worker_that_starts_in_another_folder_finds_the_same_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {
        "SSL_CERT_FILE": "a.pem",
        "SSL_CERT_DIR": os.pathsep.join(["b", "c"]),
        "CURL_CA_BUNDLE": "",
        "PATH": "d",
    }
    assert for_another_folder(given) == {
        "SSL_CERT_FILE": str(tmp_path / "a.pem"),
        "SSL_CERT_DIR": os.pathsep.join([str(tmp_path / "b"), str(tmp_path / "c")]),
        "CURL_CA_BUNDLE": "",
        "PATH": "d",
    }
