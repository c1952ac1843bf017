"""One exchange over real sockets, broken in every way: it comes back as a value, in time, told apart."""

import errno
import gzip
import os
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from tests.uploader.rig import wait_until
from uploader import exchange as exchanging
from uploader.exchange import exchange
from uploader.faults import Fault
from uploader.lines import Lines, Patience
from uploader.meanings import Answer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
PATIENCE = Patience(connect_s=0.4, stall_s=0.4, sending_s=0.8, answer_s=0.4)
Serve = Callable[[socket.socket], None]


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """Set when the test is over: servers that would go on for ever end."""
    event = threading.Event()
    yield event
    event.set()


@contextmanager
def served(serve: Serve, *, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server for as many connections as come, each served by ``serve`` after its first bytes; its port."""
    over = threading.Event()

    def each(connection: socket.socket) -> None:
        with connection, suppress(OSError), ExitStack() as stack:
            stream = connection
            if context is not None:
                stream = stack.enter_context(context.wrap_socket(connection, server_side=True))
            stream.recv(65536)
            serve(stream)

    def accept(listening: socket.socket) -> None:
        while not over.is_set():
            try:
                connection, _ = listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            threading.Thread(target=each, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        accepting = threading.Thread(target=accept, args=(listening,))
        accepting.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            accepting.join()


def asked(url: str, *, content: bytes | None = None, patience: Patience = PATIENCE) -> Answer:
    with closing(Lines()) as lines:
        return exchange(lines, "PUT", url, patience=patience, content=content)


def answering(answer: bytes) -> Serve:
    return lambda connection: connection.sendall(answer)


def dripping(head: bytes, over: threading.Event) -> Serve:
    def serve(connection: socket.socket) -> None:
        connection.sendall(head)
        while not over.wait(0.05):
            connection.sendall(b"x")

    return serve


def fault_of(serve: Serve, *, content: bytes | None = None) -> Fault | None:
    with served(serve) as port:
        return asked(f"http://127.0.0.1:{port}/", content=content).fault


# What breaks before an answer --------------------------------------------------------------------------------


def test_a_whole_answer_has_no_fault() -> None:
    assert fault_of(answering(OK)) is None


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    answer = asked("http://nowhere.invalid/")
    assert answer.fault is Fault.DNS
    assert "its name is not known here" in answer.words


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert asked(f"http://127.0.0.1:{port}/").fault is Fault.REFUSED


def test_no_route(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> socket.socket:
        raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))

    monkeypatch.setattr(socket, "create_connection", unreachable)
    assert asked("http://127.0.0.1:9/").fault is Fault.UNREACHABLE


def test_no_connection_for_another_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_handles(*_args: object, **_kwargs: object) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "create_connection", out_of_handles)
    assert asked("http://127.0.0.1:9/").fault is Fault.CONNECT


def test_connecting_takes_too_long() -> None:
    with socket.socket() as listening, ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):  # the queue of those who want in is full now
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        assert asked(f"http://127.0.0.1:{listening.getsockname()[1]}/").fault is Fault.CONNECT_TIMEOUT


def test_no_encryption_can_be_agreed_on() -> None:
    with served(answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert asked(f"https://127.0.0.1:{port}/").fault is Fault.TLS


@pytest.mark.parametrize("name", ["127.0.0.1", "elsewhere.invalid"], ids=["unknown authority", "other name"])
def test_a_wrong_certificate_is_refused_before_anything_is_sent(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    if name != "127.0.0.1":
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    got: list[bytes] = []
    with served(lambda connection: got.append(connection.recv(1)), context=context) as port:
        answer = asked(f"https://127.0.0.1:{port}/", content=b"frames")
    assert answer.fault is Fault.CERTIFICATE
    assert got == []


def test_a_certificate_of_an_own_authority_is_accepted_where_the_system_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with served(answering(OK), context=context) as port:
        assert asked(f"https://127.0.0.1:{port}/").status == 200


def test_the_proxy_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with served(answering(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")) as port:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("NO_PROXY", "")
        assert asked("https://server.invalid/").fault is Fault.PROXY


@pytest.mark.parametrize(
    "url",
    ["", "/x", "http://", "file:///etc/passwd", "ftp://127.0.0.1/", "http://127.0.0.1:99999/", "http://a\x00/"],
)
def test_a_url_that_cannot_be_used(url: str) -> None:
    assert asked(url).fault is Fault.UNUSABLE


# What breaks afterwards --------------------------------------------------------------------------------------


def test_the_request_is_no_longer_taken(over: threading.Event) -> None:
    assert fault_of(lambda _: void(over.wait()), content=bytes(50_000_000)) is Fault.SEND_TIMEOUT


def test_no_answer_in_time(over: threading.Event) -> None:
    assert fault_of(lambda _: void(over.wait())) is Fault.TIMEOUT


def test_closed_without_an_answer() -> None:
    assert fault_of(lambda _: None) is Fault.CLOSED


def test_closed_in_the_middle_of_an_answer() -> None:
    assert fault_of(answering(OK.replace(b" 2\r", b" 20\r"))) is Fault.CLOSED


def test_reset() -> None:
    def reset(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert fault_of(reset) is Fault.BROKEN


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH\r\n\r\n", b"\x00" * 300, b"HTTP/1.1 abc\r\n\r\n"])
def test_an_answer_that_is_not_http(answer: bytes) -> None:
    assert fault_of(answering(answer)) is Fault.GARBLED


def test_an_answer_that_is_far_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchanging, "ANSWER_BYTES_MAX", 1)
    assert fault_of(answering(OK)) is Fault.OVERSIZE


def test_a_small_answer_that_unpacks_to_one_far_too_long() -> None:
    body = gzip.compress(bytes(64 << 20))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    patience = Patience(connect_s=1, stall_s=10, sending_s=10, answer_s=10)
    with served(answering(head + body)) as port:
        assert asked(f"http://127.0.0.1:{port}/", patience=patience).fault is Fault.OVERSIZE


def test_an_answer_that_cannot_be_decoded() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"
    assert fault_of(answering(head)) is Fault.UNDECODABLE


# The watchdog ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nX-Drip: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
    ids=["first line", "headers", "body", "body without a length", "after 100"],
)
def test_an_answer_that_drips_is_cut(head: bytes, over: threading.Event) -> None:
    """Each byte comes in time, the whole never does: a proxy that keeps the connection warm."""
    began = time.monotonic()
    assert fault_of(dripping(head, over)) is Fault.STALLED
    assert time.monotonic() - began < 10


def test_a_request_that_is_taken_too_slowly_is_cut(over: threading.Event) -> None:
    def sip(connection: socket.socket) -> None:
        while not over.wait(0.05) and connection.recv(1 << 20):
            pass

    assert fault_of(sip, content=bytes(200_000_000)) is Fault.STALLED


def test_encryption_that_drips_is_given_up(over: threading.Event) -> None:
    record = b"\x16\x03\x03\x40\x00"  # a handshake record of 16 KiB, which never gets there
    with served(dripping(record, over)) as port:
        assert asked(f"https://127.0.0.1:{port}/").fault is Fault.CONNECT_TIMEOUT


def test_a_slow_answer_within_its_time_is_not_cut() -> None:
    def slowly(connection: socket.socket) -> None:
        for byte in OK:
            time.sleep(0.005)
            connection.sendall(bytes([byte]))

    assert fault_of(slowly) is None


def test_others_are_not_cut_with_the_one_that_stalls(over: threading.Event) -> None:
    with closing(Lines()) as lines, served(dripping(b"", over)) as bad, served(answering(CLOSING)) as good:
        answers: list[Answer] = []
        url = f"http://127.0.0.1:{bad}/"
        stalling = threading.Thread(target=lambda: answers.append(exchange(lines, "GET", url, patience=PATIENCE)))
        stalling.start()
        while stalling.is_alive():
            assert exchange(lines, "GET", f"http://127.0.0.1:{good}/", patience=PATIENCE).fault is None
    assert [answer.fault for answer in answers] == [Fault.STALLED]


# Connections -------------------------------------------------------------------------------------------------


def test_a_sound_connection_is_used_again_and_a_broken_one_never() -> None:
    ports: list[int] = []

    def serve(connection: socket.socket) -> None:
        ports.append(connection.getpeername()[1])
        connection.sendall(OK)
        connection.recv(65536)
        ports.append(connection.getpeername()[1])
        connection.sendall(b"garbage\r\n\r\n")

    with closing(Lines()) as lines, served(serve) as port:
        faults = [exchange(lines, "GET", f"http://127.0.0.1:{port}/", patience=PATIENCE).fault for _ in range(4)]
    assert faults == [None, Fault.GARBLED, None, Fault.GARBLED]
    assert ports[0] == ports[1] != ports[2] == ports[3]


def test_the_watchdog_ends_with_the_connections() -> None:
    before = set(threading.enumerate())
    with closing(Lines()) as lines, served(answering(OK)) as port:
        exchange(lines, "GET", f"http://127.0.0.1:{port}/", patience=PATIENCE)
        assert any(thread.name == "framespool-watchdog" for thread in set(threading.enumerate()) - before)
    wait_until(lambda: not set(threading.enumerate()) - before)


def void(_: object) -> None:
    """Throw away what came back."""
