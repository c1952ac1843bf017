"""What can break on the way to a server and back, and how a person is told of it.

Which of them an exception stands for is said in `uploader.transport_faults`: reading a table needs no network.
"""

from enum import StrEnum


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

NEVER_SENT = frozenset(
    {
        *(Fault.DNS, Fault.REFUSED, Fault.UNREACHABLE, Fault.CONNECT_TIMEOUT),
        *(Fault.CERTIFICATE, Fault.TLS, Fault.PROXY, Fault.CONNECT),
    }
)
"""After these the other side cannot have got the request."""
SLOW = frozenset({Fault.TIMEOUT, Fault.STALLED, Fault.SEND_TIMEOUT, Fault.OVERSIZE})
"""The other side may be well, but not with this request in this time."""


def words_of(fault: Fault, place: str, reason: str) -> str:
    """What happened, for people."""
    return _WORDS[fault].format(place=place, reason=reason)
