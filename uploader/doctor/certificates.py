"""What a certificate says of itself that was not accepted: Python reads only those that were.

Source: RFC 5280, section 4.1; DER as in X.690. Only who issued it and how long it is good for are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

_SEQUENCE, _SET, _OID, _UTC_TIME, _VERSION, _INTEGER = 0x30, 0x31, 0x06, 0x17, 0xA0, 0x02
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_LONG = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """What a certificate says of itself.

    Attributes:
        issuer: who vouches for it: the organization, and its name where that says more.
        not_before, not_after: when it is good, UTC.
    """

    issuer: str
    not_before: datetime
    not_after: datetime


def read_certificate(der: bytes) -> Certificate | None:
    """What the certificate says; ``None`` when it cannot be read: it may be made to harm."""
    try:
        (_, whole), *_ = _values(der)
        (_, body), *_ = _values(whole)
        fields = [value for tag, value in _values(body) if tag not in (_VERSION, _INTEGER)]
        _algorithm, issuer, validity, *_ = fields
        not_before, not_after = (_moment(tag, value) for tag, value in _values(validity))
        return Certificate(issuer=_name(issuer), not_before=not_before, not_after=not_after)
    except (ValueError, IndexError):
        return None


def _name(der: bytes) -> str:
    parts: dict[bytes, str] = {}
    for _, several in _values(der):
        for _, pair in _values(several):
            (_, oid), (_, text) = _values(pair)
            parts[oid] = text.decode("utf-8", "replace")
    told = dict.fromkeys(parts[oid] for oid in (_ORGANIZATION, _COMMON_NAME) if parts.get(oid))
    return ", ".join(told) or "nobody"


def _moment(tag: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: up to 49 they are of this century
        text = f"{'20' if text[:2] < '50' else '19'}{text}"
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The values that follow each other, each with its tag."""
    at = 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length >= _LONG:
            digits = length - _LONG
            length, at = int.from_bytes(der[at : at + digits], "big"), at + digits
        if at + length > len(der):
            raise ValueError("it ends too early")
        yield tag, der[at : at + length]
        at += length
