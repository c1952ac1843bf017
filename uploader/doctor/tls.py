"""Whether the server proves to be the server; and where it cannot, which of the usual reasons it is."""

import ipaddress
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from uploader.doctor.certificates import Certificate, read_certificate
from uploader.doctor.findings import Finding, Number, Subject, ok, problem, warning
from uploader.doctor.machine import setting_the_clock
from uploader.doctor.network import advice_of, row_of
from uploader.faults import Fault
from uploader.transport_faults import fault_of

DAYS_FEW = 14
_TIMEOUT_S = 4.0
_DAY_S = 86400
# What OpenSSL calls the reasons; the numbers are its X509_V_ERR_...
_NOT_YET_VALID, _EXPIRED = 9, 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OTHER_NAME = frozenset({62, 64})
_CLOCKS_DIFFER = timedelta(days=1)


def tls(subject: Subject) -> Finding:
    """Make an encrypted connection as delivery does, through a proxy too, and look at the certificate."""
    parts = urlsplit(subject.endpoint)
    if parts.scheme != "https":
        return _in_the_clear(parts.hostname or "")
    try:
        context = httpx.create_ssl_context()
    except OSError as error:
        return problem(
            f"the certificates of the authorities cannot be read ({error.strerror or error})",
            "Let SSL_CERT_FILE and SSL_CERT_DIR name what is there, or unset them. Nothing is delivered before.",
        )
    seen = _look(subject.endpoint, context)
    if seen.error is None or seen.peer is not None:
        return _accepted(seen)
    fault = fault_of(seen.error)
    if fault is not Fault.CERTIFICATE:
        row = row_of(fault)
        return problem(f"{row.says} ({seen.error})", advice_of(row))
    return _refused(seen.error, _look(subject.endpoint, _trusting()))


@dataclass(slots=True, kw_only=True)
class _Seen:
    """What one exchange showed: the certificate once there was encryption, the server's clock, what broke."""

    peer: Mapping[str, Any] | None = None
    der: bytes = b""
    version: str = ""
    date: datetime | None = None
    error: httpx.HTTPError | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        # With an https proxy in between, the last one is the server's.
        if event.endswith("start_tls.complete"):
            connection = info["return_value"].get_extra_info("ssl_object")
            self.peer = connection.getpeercert() or {}
            self.der = connection.getpeercert(True) or b""  # the DER; it has no names for arguments
            self.version = connection.version() or ""


def _look(endpoint: str, context: ssl.SSLContext) -> _Seen:
    seen = _Seen()
    with httpx.Client(verify=context, timeout=_TIMEOUT_S) as client:
        try:
            request = client.build_request("GET", f"{endpoint}/gateway/time", extensions={"trace": seen.trace})
            response = client.send(request, stream=True)
            response.close()
            with suppress(ValueError, TypeError):
                seen.date = parsedate_to_datetime(response.headers.get("date", ""))
        except httpx.HTTPError as error:
            seen.error = error
    return seen


def _trusting() -> ssl.SSLContext:
    """Takes any certificate, to look at it. Nothing goes over such a connection but a question without the key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _accepted(seen: _Seen) -> Finding:
    peer = seen.peer or {}
    days = (ssl.cert_time_to_seconds(peer["notAfter"]) - time.time()) / _DAY_S
    issuer = {name: text for rdn in peer.get("issuer", ()) for name, text in rdn}
    who = issuer.get("organizationName") or issuer.get("commonName") or "nobody"
    words = f"{seen.version}, certificate from {who}, good for {days:.0f} more days"
    numbers: dict[str, Number] = {"certificate_days": round(days, 1), "issuer": who}
    if days < DAYS_FEW:
        advice = (
            "Tell those who run the server: once it has expired, nothing is delivered until there is a new one."
        )
        return warning(words, advice, **numbers)
    return ok(words, **numbers)


def _refused(error: httpx.HTTPError, seen: _Seen) -> Finding:
    """Tell the reasons apart: the wrong clock, an old certificate, an authority nobody knows, another name."""
    reason = _verification_error(error)
    code = reason.verify_code if reason is not None else 0
    told = reason.verify_message if reason is not None else str(error)
    found = read_certificate(seen.der)
    issuer = found.issuer if found is not None else "somebody who could not be told"
    words = f"the certificate, from {issuer}, is not accepted: {told}"
    numbers: dict[str, Number] = {"verify_code": code, "issuer": issuer}
    if found is not None and code in (_NOT_YET_VALID, _EXPIRED):
        words += f" (good from {found.not_before:%Y-%m-%d} to {found.not_after:%Y-%m-%d})"
        return problem(words, _advice_on_dates(found, seen.date, datetime.now(UTC)), **numbers)
    if code in _UNKNOWN_AUTHORITY:
        advice = (
            "If that is your institute's own proxy or firewall: ask for its CA certificate as a PEM file, and set"
            " SSL_CERT_FILE to it. If not, somebody stands in between: tell the network's people."
        )
        return problem(words, advice, **numbers)
    if code in _OTHER_NAME:
        advice = "Check the endpoint's spelling; in a guest network, log in with a browser first."
        return problem(words, advice, **numbers)
    return problem(words, advice_of(row_of(Fault.CERTIFICATE)), **numbers)


def _advice_on_dates(found: Certificate, date: datetime | None, now: datetime) -> str:
    """Whose fault it is: by the server's own clock, where it has told it."""
    if date is not None and abs(date - now) > _CLOCKS_DIFFER and found.not_before <= date <= found.not_after:
        clocks = f"it says {now:%Y-%m-%d}, the server {date:%Y-%m-%d}"
        return f"This machine's clock is wrong: {clocks}. {setting_the_clock()}"
    if found.not_before > now:
        return f"This machine's clock says {now:%Y-%m-%d}: if that is not so, set it. {setting_the_clock()}"
    return f"Today is {now:%Y-%m-%d} by this machine's clock: if so, those who run the server must renew it."


def _verification_error(error: BaseException) -> ssl.SSLCertVerificationError | None:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause


def _in_the_clear(host: str) -> Finding:
    with suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return ok("not used: the server is on this machine")
    if host == "localhost":
        return ok("not used: the server is on this machine")
    advice = "Give the endpoint as https://, unless you trust everybody on the way."
    return warning("not used: the key and the frames can be read on their way", advice)
