"""What the proxy can do to a connection, and the numbers that go with it."""

import re
from dataclasses import dataclass
from enum import StrEnum


class Fault(StrEnum):
    """One way in which a network, or what stands in it, misbehaves."""

    REFUSE = "refuse"
    """Nobody listens; connections that stood are reset."""
    RESET = "reset"
    """The connection is reset (RST) when a request has come; those that stood are reset at once."""
    BLACK_HOLE = "black_hole"
    """Connections are accepted and everything is swallowed; nothing ever comes back."""
    HALF_OPEN = "half_open"
    """Connections that stand at this moment go silent for good, without FIN or RST; new ones work."""
    STALL = "stall"
    """``where="request"``: after ``after_bytes`` of the body nothing more is taken. Else the answer stops."""
    DRIP = "drip"
    """The answer comes ``bytes_each`` bytes every ``pause_s``: from its first byte, or from its body on."""
    BANDWIDTH = "bandwidth"
    """Bodies pass at ``bytes_per_s``."""
    LATENCY = "latency"
    """Each request waits ``pause_s`` before it is passed on."""
    LINE = "line"
    """A long line: each request waits ``pause_s``, a round trip; all bodies together go up at ``bytes_per_s``."""
    TRUNCATED_ANSWER = "truncated_answer"
    """The request is passed on; half of the answer's body (or head) comes back, then the end."""
    GARBAGE_ANSWER = "garbage_answer"
    """The request is passed on; random bytes come back."""
    LOST_ANSWER = "lost_answer"
    """The request is passed on and answered; the connection is reset instead of bringing the answer."""
    CORRUPT_REQUEST = "corrupt_request"
    """One bit of the body is another one: only in bodies of ``body_bytes_min`` or more."""
    CORRUPT_ANSWER = "corrupt_answer"
    """One bit of the answer is another one: of its head, or with ``where="body"`` of its body."""
    TLS_GARBAGE = "tls_garbage"
    """A TLS ClientHello is answered with bytes that are no TLS."""
    WRONG_CERTIFICATE = "wrong_certificate"
    """A TLS ClientHello is answered with the certificate of another name and an authority nobody trusts."""
    HTML = "html"
    """A captive portal: ``status`` (200) and a page for people; nothing is passed on."""
    REDIRECT = "redirect"
    """A captive portal: 302 to its login page; nothing is passed on."""


STANDING = frozenset({Fault.REFUSE, Fault.RESET, Fault.HALF_OPEN})
"""These concern the connections that stand when they are set."""

OF_TLS = frozenset({Fault.TLS_GARBAGE, Fault.WRONG_CERTIFICATE})
"""These concern a TLS ClientHello, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A fault in force.

    Attributes:
        only: a regular expression, searched in ``METHOD target``; requests that do not fit pass.
        times: so many requests are concerned, then all pass; ``None`` for no end.
        where: the part concerned: ``request``, ``head`` or ``body`` (of the answer).
        seed: what is random is the same for the same seed.
    """

    fault: Fault
    only: str = ""
    times: int | None = None
    where: str = "head"
    after_bytes: int = 0
    bytes_each: int = 1
    pause_s: float = 0.1
    bytes_per_s: float = 100_000.0
    body_bytes_min: int = 1
    status: int = 200
    seed: int = 0

    def concerns(self, request: str) -> bool:
        """Whether the fault is about a request, given as ``METHOD target``."""
        return re.search(self.only, request) is not None
