"""What broke on the way, told apart by its exception so that a person knows where to look."""

import errno
import socket
import ssl

import httpx

from uploader.faults import Fault

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
