"""A network without wires: what framespool's HTTP stack sends is kept, what it reads is made up, byte by byte."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import httpcore
import httpx

Piece = bytes | Exception
_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # nobody is there to have a certificate


@dataclass(slots=True, kw_only=True)
class Sent:
    """One request as it left.

    Attributes:
        place: the host and port that it went to.
        raw: all of it; complete once it was answered.
    """

    place: tuple[str, int]
    raw: bytes = b""

    @property
    def method(self) -> str:
        """Such as ``PUT``."""
        return self.raw.partition(b" ")[0].decode("latin-1")

    @property
    def target(self) -> str:
        """Path and query, as they stand in the first line."""
        return self.raw.split(b" ", 2)[1].decode("latin-1") if self.raw.count(b" ") > 1 else ""


class Network(httpcore.NetworkBackend):
    """Connects to every host and answers each request with what ``answer`` gives: bytes, or an error to raise.

    Attributes:
        answer: may be changed between two requests.
        sent: every request since `forget`.
    """

    def __init__(self, answer: Callable[[Sent], Iterable[Piece]]) -> None:
        self.answer = answer
        self.sent: list[Sent] = []

    def forget(self) -> None:
        """Begin a new list of what was sent."""
        self.sent = []

    def client(self) -> httpx.Client:
        """A client on this network, to stand in for ``Lines._client`` of `uploader.lines`."""
        return httpx.Client(headers={"User-Agent": "framespool"}, transport=_Transport(self), trust_env=False)

    def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.NetworkStream:  # noqa: ANN401 - httpcore's
        """See httpcore."""
        sent = Sent(place=(host, port))
        self.sent.append(sent)
        return _Stream(sent, self.answer)


class _Stream(httpcore.NetworkStream):
    """One connection, good for one request: a second one never follows on it."""

    def __init__(self, sent: Sent, answer: Callable[[Sent], Iterable[Piece]]) -> None:
        self._sent = sent
        self._answer = answer
        self._pieces: Iterator[Piece] | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - httpcore's signature
        if self._pieces is None:
            self._pieces = iter(self._answer(self._sent))
        piece = next(self._pieces, b"")
        if isinstance(piece, Exception):
            raise piece
        return piece

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 - httpcore's signature
        self._sent.raw += buffer

    def close(self) -> None:
        pass

    def start_tls(self, *_: Any, **__: Any) -> httpcore.NetworkStream:  # noqa: ANN401 - httpcore's signature
        return self

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401 - httpcore's signature
        # An idle connection that can be read from is one that was closed.
        return True if info == "is_readable" else None


class _Transport(httpx.HTTPTransport):
    def __init__(self, network: Network) -> None:
        # Without the base class's own, which makes a pool of real connections.
        self._pool = httpcore.ConnectionPool(ssl_context=_TLS, network_backend=network, max_connections=1)
