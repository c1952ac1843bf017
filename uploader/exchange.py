"""One HTTP request and its answer, as a value: nothing the network does is an exception beyond this file.

Nothing is followed, nothing is retried, no more than a limited number of bytes is read, and no URL that
carries a signature reaches a log.
"""

import logging
import zlib
from collections.abc import Iterable, Mapping
from typing import cast
from urllib.parse import urlsplit

import httpx

from uploader.faults import Fault, words_of
from uploader.lines import Lines, Patience
from uploader.meanings import EXCERPT_CHARS, Answer
from uploader.outside import printable, unsigned
from uploader.transport_faults import fault_of
from uploader.watchdog import Watch

ANSWER_BYTES_MAX = 8 << 20
"""No answer of the protocol comes near this; what is longer is not the server's."""
_HEADER_CHARS = 1000
"""More of a header is kept nowhere: what counts as evidence is much shorter."""
_ENCODINGS = {"Accept-Encoding": "gzip, deflate"}
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


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


def _short(text: str) -> str:
    return printable(text[:EXCERPT_CHARS])


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


class _WithoutQueries(logging.Filter):
    """Keeps presigned signatures out of the logs: httpx names every URL whole, httpcore every header."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = unsigned(record.getMessage()), ()
        return True


for _name_of_logger in ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy"):
    logging.getLogger(_name_of_logger).addFilter(_WithoutQueries())
