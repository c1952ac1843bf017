"""One HTTP request and its answer, as a value: nothing the network does is an exception beyond this file.

Nothing is followed, nothing is retried, no more than a limited number of bytes is read, and no URL that
carries a signature reaches a log.
"""

import json
import logging
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast
from urllib.parse import urlsplit

import httpx

from uploader.lines import Lines, Patience
from uploader.transport_faults import Fault, fault_of, words_of
from uploader.watchdog import Watch

ANSWER_BYTES_MAX = 8 << 20
"""No answer of the protocol comes near this; what is longer is not the server's."""
_EXCERPT_CHARS = 300
_HEADER_CHARS = 1000
"""More of a header is kept nowhere: what counts as evidence is much shorter."""
_SECRET_CHARS_MIN = 8
# Up to what no URL holds as it is: a quote may stand in a query, before the signature.
_QUERY = re.compile(r"\?[^\s<>]+")
# And where a damaged answer shows no query, but what only a signed one holds.
_SIGNED = re.compile(r"((?:signature|credential|token|\bsig)=)[^\s<>]+", re.IGNORECASE)
_ENCODINGS = {"Accept-Encoding": "gzip, deflate"}
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came back.

    Attributes:
        fault: what broke on the way, ``None`` when a whole answer arrived.
        status: the HTTP status, 0 when there was none.
        headers: names in lower case; worths fit to be shown, and of a bearable length.
        text: the body, as text.
        words: what happened, for people; carries no secret.
    """

    fault: Fault | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    words: str = ""

    @property
    def is_html(self) -> bool:
        """Whether a page for people came where a machine should have answered."""
        beginning = self.text.lstrip()[:5].lower()
        # Stores answer in XML, which is no page.
        return "html" in self.headers.get("content-type", "") or (beginning[:1] == "<" and beginning != "<?xml")

    def json(self) -> Any:  # noqa: ANN401 - whatever the server says
        """The body as JSON; ``None`` when it is not."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @property
    def excerpt(self) -> str:
        """The beginning of the body on one line, without queries: one may be a URL's signature."""
        return printable(unsigned(" ".join(self.text[: 4 * _EXCERPT_CHARS].split())))[:_EXCERPT_CHARS]

    def without(self, *secrets: str) -> Self:
        """The same without what the other side repeats of them: a proxy's page may show the request's headers."""
        told = self
        for secret in secrets:
            if len(secret) < _SECRET_CHARS_MIN:
                continue  # such a one stands in words by chance
            headers = {name: worth.replace(secret, "***") for name, worth in told.headers.items()}
            text, words = (one.replace(secret, "***") for one in (told.text, told.words))
            told = replace(told, headers=headers, text=text, words=words)
        return told


def exchange(
    lines: Lines,
    method: str,
    url: str,
    *,
    patience: Patience,
    content: Iterable[bytes | memoryview] | bytes | None = None,
    body_json: object = None,
    headers: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> Answer:
    """Send one request and read its answer, whatever happens."""
    watch: Watch | None = None
    try:
        _ = urlsplit(url).port  # httpx takes a port beyond all ports for another one
        with lines.one(patience) as (line, watch):
            request = line.client.build_request(
                method,
                url,
                content=cast(Iterable[bytes] | bytes | None, content),  # h11 takes any bytes-like piece
                json=body_json,
                headers={**_ENCODINGS, **(headers or {})},
                params=params,
                timeout=patience.timeout,
                extensions={"trace": line.trace},
            )
            response = line.client.send(request, stream=True, follow_redirects=False)
            try:
                text = _read(response)
            finally:
                response.close()
    except httpx.HTTPError as error:
        # Cut in the middle, it may look like any other break.
        return _broken(Fault.STALLED if watch is not None and watch.was_cut else fault_of(error), error, url)
    except (httpx.InvalidURL, ValueError, UnicodeError) as error:
        return _broken(Fault.UNUSABLE, error, url)
    if watch.was_cut:
        # An answer without a length ends where its connection ends: this one may have had more to say.
        return _broken(Fault.STALLED, None, url)
    if text is None:
        return _broken(Fault.OVERSIZE, None, url)
    return Answer(
        status=response.status_code,
        headers={name.lower(): printable(worth[:_HEADER_CHARS]) for name, worth in response.headers.items()},
        text=text,
        words=f"{place(url)} answered {response.status_code} {_short(response.reason_phrase)}".rstrip(),
    )


def place(url: str) -> str:
    """Host and the beginning of the path of a URL, without the query, which may hold a signature."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an unusable URL"
    return _short(f"{parts.hostname}{port}{parts.path}")


def printable(text: str) -> str:
    """Text from outside, fit for terminals, logs and the index: no control characters, no lone surrogates."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _short(text: str) -> str:
    return printable(text[:_EXCERPT_CHARS])


def _read(response: httpx.Response) -> str | None:
    """The body as text; ``None`` when it is longer than any answer of the server's."""
    pieces, size = [], 0
    for piece in response.iter_raw():
        size += len(piece)
        if size > ANSWER_BYTES_MAX:
            return None
        pieces.append(piece)
    body = b"".join(pieces)
    encodings = [one.strip().lower() for one in response.headers.get("content-encoding", "").split(",")]
    for encoding in reversed(encodings):
        if encoding in _PACKED and body:
            body = _unpacked(body)
        if len(body) > ANSWER_BYTES_MAX:
            return None
    return body.decode("utf-8", errors="replace")


def _unpacked(body: bytes) -> bytes:
    """What was packed, at most a byte more than an answer may have: httpx would unpack terabytes from a few."""
    unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = unpacking.decompress(body, ANSWER_BYTES_MAX + 1)
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from error
    if not unpacking.eof and len(found) <= ANSWER_BYTES_MAX:
        raise httpx.DecodingError("the packed answer ends too early")
    return found


def _broken(fault: Fault, error: Exception | None, url: str) -> Answer:
    reason = "" if error is None else _reason(error)
    return Answer(fault=fault, words=words_of(fault, place(url), reason))


def _reason(error: Exception) -> str:
    """The error's own words, or its kind where those could repeat the URL."""
    if not isinstance(error, httpx.TransportError) or isinstance(error, httpx.TimeoutException):
        return type(error).__name__
    return _short(unsigned(str(error)) or type(error).__name__)


def unsigned(text: str) -> str:
    """The text without the queries of its URLs, and without what looks like a signature besides."""
    return _SIGNED.sub(r"\1***", _QUERY.sub("?***", text))


class _WithoutQueries(logging.Filter):
    """Keeps presigned signatures out of the logs: httpx names every URL whole, httpcore every header."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = unsigned(record.getMessage()), ()
        return True


for _name_of_logger in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name_of_logger).addFilter(_WithoutQueries())
