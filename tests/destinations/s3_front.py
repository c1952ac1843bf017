"""An HTTP front before an S3 server, which says what a TCP proxy cannot: S3's own words.

`Front` hands every request on to the server behind it, notes it, and lets the first `Rule` that concerns it change
what happens: another answer instead, an answer after the server has done it, other bytes on their way.
"""

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

_TIMEOUT_S = 60.0
_BLOCK_BYTES = 64 * 1024
_OF_THE_CONNECTION = frozenset(
    {"connection", "content-length", "keep-alive", "transfer-encoding", "date", "server"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def line(self) -> str:
        return f"{self.method} {self.target}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What comes back; ``status`` 0 is a connection that is reset instead."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


PassOn = Callable[[Asked], Answer]
Act = Callable[[Asked, PassOn], Answer]
LOST = Answer(status=0)


@dataclass(slots=True, kw_only=True)
class Rule:
    """What is done to requests whose ``METHOD target`` holds the expression, and that have the header.

    Attributes:
        act: makes the answer, and may pass the request on.
        only: a regular expression.
        header: its name in lower case; empty for requests with any.
        after: so many that fit are let through first.
        times: so many are concerned; ``None`` for no end.
    """

    act: Act
    only: str = ""
    header: str = ""
    after: int = 0
    times: int | None = None
    struck: int = 0
    _fitted: int = 0

    def takes(self, asked: Asked) -> bool:
        """Whether this request is concerned; counts it if so."""
        if not re.search(self.only, asked.line) or (self.header and self.header not in asked.headers):
            return False
        self._fitted += 1
        if self._fitted <= self.after or self.struck == self.times:
            return False
        self.struck += 1
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request that was answered.

    Attributes:
        status: what the client was told.
        behind: what the server behind said; ``None`` when it was not asked.
        nbytes: of the body.
        at_s: when it came, on the monotonic clock.
    """

    line: str
    status: int
    behind: int | None
    nbytes: int
    at_s: float


class Front:
    """Listens on loopback and hands on to a server there; a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._seen: list[Seen] = []
        front = self

        class Conversation(_Conversation):
            def answer(self, asked: Asked) -> Answer:
                return front._answer(asked)

        self._server = _Server(("127.0.0.1", 0), Conversation)
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def set(self, *rules: Rule) -> None:
        """Put these rules in force, in place of those before."""
        with self._lock:
            self._rules = list(rules)

    def seen(self, only: str = "") -> list[Seen]:
        """What was asked so far, in the order of the answers."""
        with self._lock:
            return [one for one in self._seen if re.search(only, one.line)]

    def forget(self) -> None:
        """Forget what was asked so far."""
        with self._lock:
            self._seen.clear()

    def _answer(self, asked: Asked) -> Answer:
        at_s, behind = time.monotonic(), list[int]()

        def pass_on(changed: Asked) -> Answer:
            answer = self._pass_on(changed)
            behind.append(answer.status)
            return answer

        with self._lock:
            rule = next((rule for rule in self._rules if rule.takes(asked)), None)
        answer = rule.act(asked, pass_on) if rule else pass_on(asked)
        seen = Seen(
            line=asked.line,
            status=answer.status,
            behind=behind[-1] if behind else None,
            nbytes=len(asked.body),
            at_s=at_s,
        )
        with self._lock:
            self._seen.append(seen)
        return answer

    def _pass_on(self, asked: Asked) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self._target, timeout=_TIMEOUT_S)
        try:
            headers = {name: value for name, value in asked.headers.items() if name not in _OF_THE_CONNECTION}
            connection.request(asked.method, asked.target, asked.body, headers)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=_plain(answer.headers.items()), body=answer.read())
        except OSError:
            return LOST
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Who goes away in the middle is what these tests are about."""


class _Conversation(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline(_BLOCK_BYTES)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        nbytes = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(nbytes)
        if len(body) != nbytes:
            self.close_connection = True  # it went away before it had said all
            return
        asked = Asked(method=self.command, target=self.path, headers=_plain(self.headers.items()), body=body)
        answer = self.answer(asked)
        if answer.status == 0:
            # Reset, not ended: nothing that could be taken for an answer.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self._send(asked, answer)

    def _send(self, asked: Asked, answer: Answer) -> None:
        length = answer.headers.get("content-length") if asked.method == "HEAD" else None
        head = [f"HTTP/1.1 {answer.status} {http.client.responses.get(answer.status, 'Whatever')}"]
        head += [f"{name}: {value}" for name, value in answer.headers.items() if name not in _OF_THE_CONNECTION]
        head += [f"content-length: {length or len(answer.body)}", "", ""]
        body = b"" if asked.method == "HEAD" else answer.body
        self.wfile.write("\r\n".join(head).encode("latin-1") + body)  # at once: no waiting for acknowledgements

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name where it comes from
        """The tests look at what was seen."""


def _plain(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}


# What may be done to a request ---------------------------------------------------------------------------------


def says(
    status: int, code: str = "", *, headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Act:
    """S3's error document with that code (or other bytes), and nothing reaches the server."""
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>Said by the front</Message><RequestId>4442587F</RequestId></Error>"
    ).encode()
    answer = Answer(
        status=status,
        headers={"content-type": "application/xml" if body is None else "text/html", **(headers or {})},
        body=document if body is None else body,
    )
    return lambda _asked, _pass_on: answer


def loses_the_answer(asked: Asked, pass_on: PassOn) -> Answer:
    """The server does it, and nobody hears of it."""
    pass_on(asked)
    return LOST


def drops(_asked: Asked, _pass_on: PassOn) -> Answer:
    """The connection is reset once the request is there, and nothing is done."""
    return LOST


def stores_other_bytes(asked: Asked, pass_on: PassOn) -> Answer:
    """One bit becomes another one at the far end, and the ETag is no MD5 of anything."""
    changed = bytes([asked.body[0] ^ 1]) + asked.body[1:]
    return _with_etag(pass_on(replace(asked, body=changed, headers=_without(asked, "x-amz-checksum-sha256"))))


def first_somebody_else(asked: Asked, pass_on: PassOn) -> Answer:
    """Another writer with the same bytes comes first, so that this one finds the object there."""
    pass_on(replace(asked, headers=_without(asked, "if-none-match")))
    return pass_on(asked)


def hides_digests(asked: Asked, pass_on: PassOn) -> Answer:
    """No ETag is an MD5, as where objects are encrypted with a key of their owner."""
    answer = pass_on(asked)
    return _with_etag(answer) if "etag" in answer.headers else answer


def ignores_if_none_match(asked: Asked, pass_on: PassOn) -> Answer:
    """A store that knows no such header, and does not say so."""
    return pass_on(replace(asked, headers=_without(asked, "if-none-match")))


def wants_token(token: str) -> Act:
    """Whoever comes without this session token is told that his has expired."""
    refuse = says(400, "ExpiredToken")

    def act(asked: Asked, pass_on: PassOn) -> Answer:
        is_new = asked.headers.get("x-amz-security-token") == token
        return pass_on(asked) if is_new else refuse(asked, pass_on)

    return act


def _with_etag(answer: Answer) -> Answer:
    known = answer.headers.get("etag", "").strip('"')
    return replace(answer, headers={**answer.headers, "etag": f'"{known[::-1]}"'})


def _without(asked: Asked, name: str) -> dict[str, str]:
    return {one: value for one, value in asked.headers.items() if one != name}
