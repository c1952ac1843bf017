"""What can break on the way to a server and back, told apart so that a person knows where to look."""

import errno
import socket
import ssl
from enum import StrEnum

import httpx


class Fault(StrEnum):
    """What can break on the way."""

    DNS = "dns"
    """The name of the server is not known here."""
    REFUSED = "refused"
    """Nobody listens at the address."""
    UNREACHABLE = "unreachable"
    """No route leads there."""
    CONNECT_TIMEOUT = "connect timeout"
    """Nobody answered the attempt to connect."""
    CERTIFICATE = "certificate"
    """Whoever answered cannot prove to be the server."""
    TLS = "tls"
    """The encrypted connection could not be made."""
    PROXY = "proxy"
    """The proxy of this network does not let us through."""
    CONNECT = "connect"
    """No connection, for any other reason."""
    SEND_TIMEOUT = "send timeout"
    """The request was not taken any further."""
    TIMEOUT = "timeout"
    """The request was taken; nothing came back."""
    STALLED = "stalled"
    """Bytes went on to move, but too few: the watchdog cut the connection."""
    CLOSED = "closed"
    """The connection was closed before an answer came, or in the middle of one."""
    BROKEN = "broken"
    """The connection was reset."""
    GARBLED = "garbled"
    """What came back is not HTTP."""
    OVERSIZE = "oversize"
    """The answer is longer than any of the server's."""
    UNDECODABLE = "undecodable"
    """The answer's encoding is broken."""
    UNUSABLE = "unusable"
    """The URL cannot be used."""


_WORDS = {
    Fault.DNS: "no connection to {place}: its name is not known here ({reason})",
    Fault.REFUSED: "no connection to {place}: nobody listens there ({reason})",
    Fault.UNREACHABLE: "no connection to {place}: no route leads there ({reason})",
    Fault.CONNECT_TIMEOUT: "no connection to {place}: it does not answer ({reason})",
    Fault.CERTIFICATE: "no connection to {place}: its certificate is not accepted ({reason})",
    Fault.TLS: "no connection to {place}: no encryption could be agreed on ({reason})",
    Fault.PROXY: "no connection to {place}: the proxy refuses ({reason})",
    Fault.CONNECT: "no connection to {place}: {reason}",
    Fault.SEND_TIMEOUT: "{place} stopped taking the request ({reason})",
    Fault.TIMEOUT: "no answer in time ({reason}) from {place}",
    Fault.STALLED: "{place} was connected, but nothing got on: the connection was cut",
    Fault.CLOSED: "the connection to {place} broke: {reason}",
    Fault.BROKEN: "the connection to {place} broke: {reason}",
    Fault.GARBLED: "what {place} answered is not HTTP: {reason}",
    Fault.OVERSIZE: "{place} answered with far more than any answer of the server's",
    Fault.UNDECODABLE: "what {place} answered cannot be decoded ({reason})",
    Fault.UNUSABLE: "the exchange with {place} failed: {reason}",
}


_KINDS: tuple[tuple[type[Exception], Fault], ...] = (
    (httpx.ConnectTimeout, Fault.CONNECT_TIMEOUT),
    (httpx.WriteTimeout, Fault.SEND_TIMEOUT),
    (httpx.TimeoutException, Fault.TIMEOUT),
    (httpx.ProxyError, Fault.PROXY),
    (httpx.UnsupportedProtocol, Fault.UNUSABLE),
    (httpx.LocalProtocolError, Fault.UNUSABLE),
    (httpx.NetworkError, Fault.BROKEN),
    (httpx.DecodingError, Fault.UNDECODABLE),
)
_CONNECT_KINDS: tuple[tuple[type[BaseException], Fault], ...] = (
    (socket.gaierror, Fault.DNS),
    (ssl.SSLCertVerificationError, Fault.CERTIFICATE),
    (ssl.SSLError, Fault.TLS),
    (ConnectionRefusedError, Fault.REFUSED),
)
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})

NEVER_SENT = frozenset(
    {
        *(Fault.DNS, Fault.REFUSED, Fault.UNREACHABLE, Fault.CONNECT_TIMEOUT),
        *(Fault.CERTIFICATE, Fault.TLS, Fault.PROXY, Fault.CONNECT),
    }
)
"""After these the other side cannot have got the request."""
SLOW = frozenset({Fault.TIMEOUT, Fault.STALLED, Fault.SEND_TIMEOUT, Fault.OVERSIZE})
"""The other side may be well, but not with this request in this time."""


def fault_of(error: httpx.HTTPError) -> Fault:
    """Which of them an exception of httpx stands for."""
    if isinstance(error, httpx.ConnectError):
        return _connect_fault_of(error)
    if isinstance(error, httpx.RemoteProtocolError):
        # The words are httpcore's and h11's own.
        is_cut_short = "without sending" in str(error) or "closed connection" in str(error)
        return Fault.CLOSED if is_cut_short else Fault.GARBLED
    return next((fault for kind, fault in _KINDS if isinstance(error, kind)), Fault.UNUSABLE)


def _connect_fault_of(error: BaseException) -> Fault:
    """By the system's own error, which stands at the end of the chain of causes."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, fault in _CONNECT_KINDS:
            if isinstance(cause, kind):
                return fault
        if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
            return Fault.UNREACHABLE
        cause = cause.__cause__ or cause.__context__
    return Fault.CONNECT


def words_of(fault: Fault, place: str, reason: str) -> str:
    """What happened, for people."""
    return _WORDS[fault].format(place=place, reason=reason)
