"""The vendor's server as a destination: presign, PUT, end."""

import re
import time
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import unquote, urlsplit

from spool import Chunk, ClockReading, Receipt, Stream
from uploader import opening, signals
from uploader.answers import meaning_of, retry_after_s
from uploader.api import CONNECT_TIMEOUT_S, AtomscaleApi
from uploader.clock import BURST_S, measure
from uploader.config import ApiKey
from uploader.destinations.base import (
    Capabilities,
    Closed,
    Delivered,
    Ended,
    Linked,
    Namesake,
    Opened,
    Refused,
    Ticket,
    TryLater,
)
from uploader.destinations.evidence import Evidence, Md5, evidence
from uploader.errors import KeyRefused, RequestRefused, ServerUnreachable
from uploader.exchange import exchange
from uploader.keys import Keys
from uploader.lines import Lines, Patience
from uploader.meanings import Answer, Meaning, Row, Step
from uploader.outside import printable
from uploader.rate import CutShort, Meter
from uploader.server_states import ServerState, server_state
from uploader.stamps import Stamp

STALL_S = 60.0
"""No progress for so long, on a connection that stands, ends the try."""
RELAY_BYTES_PER_S = 50_000
"""The answer to a PUT may take as long as the body would at this rate: a relay may still be passing it on."""
SLOWEST_BYTES_PER_S = 1000
"""A body that is taken more slowly than this is not going to arrive; the try is ended."""
KEY_PROBE_S = 5.0
"""The least time between two tries with a key that was refused."""
URL_CHARS_MAX = 8192
"""No store takes a longer one; its path goes into every receipt."""

_CHUNK_REFUSALS = frozenset({400, 413, 422})
_T = TypeVar("_T")
_CHUNK_KEY = re.compile(r"/frames/c/([0-9]{1,10})/0/0$", re.ASCII)


class AtomscaleDestination:
    """The streaming API as `Destination`.

    Args:
        endpoint: the API's base URL.
        key: the API key, or where to ask for one; the presigned PUT goes out without it.
        meter: gives out the bytes of the bodies; without it as fast as it goes.
    """

    capabilities = Capabilities(
        opens_once=False, can_list=True, can_checksum=True, creates_if_absent=False, keeps_proof=False
    )

    def __init__(self, endpoint: str, key: ApiKey | Keys, meter: Meter | None = None) -> None:
        self.url = endpoint
        self._meter = meter or Meter()
        self._api = AtomscaleApi(endpoint, key)
        self._clock = AtomscaleApi(endpoint, key, timeout_s=BURST_S)
        self._storage = Lines()

    def close(self) -> None:
        """See `Destination.close`."""
        self._api.close()
        self._clock.close()
        self._storage.close()

    def read_clock(self) -> ClockReading | None:
        """See `Destination.read_clock`."""
        measured = measure(self._clock)
        return None if measured is None else measured.reading()

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        """See `Destination.namesakes`."""
        return _asked(lambda: opening.namesakes(self._api, name))

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        """See `Destination.open`."""
        return _asked(lambda: Opened(data_id=opening.create(self._api, stream.settings, name)))

    def link(self, stream: Stream) -> Linked | TryLater | Refused:
        """See `Destination.link`."""
        data_id = stream.data_id
        assert data_id is not None

        def resolve_and_link() -> Linked:
            links = opening.resolve(self._api, stream.settings)
            opening.link(self._api, data_id, links)
            return Linked(facts=links.facts())

        return _asked(resolve_and_link)

    def look(self, stream: Stream) -> TryLater | Closed | None:
        """See `Destination.look`."""
        state, words = self._state_of(stream)
        if state in (ServerState.ENDED, ServerState.ERROR):
            return Closed(words=words, by_person=state is ServerState.ENDED)
        return TryLater(words=words) if state is ServerState.WAIT else None

    def prepare(self, stream: Stream, chunk: Chunk, stamp: Stamp) -> Ticket | TryLater | Refused | Closed:
        """See `Destination.prepare`."""
        assert stream.data_id is not None
        answer = self._api.presign(chunk.chunk_idx, chunk_metadata(stream, chunk, stamp))
        row = meaning_of(Step.PRESIGN, answer)
        if row.meaning is Meaning.ASK:
            return self._of_a_refusal(stream, answer)
        if row.meaning is not Meaning.DONE:
            return _try_later(row, answer)
        url = _upload_url(answer.json())
        if url is None or not self._is_safe(url):
            return _try_later(signals.NO_URL, answer)
        if (named := _chunk_named_in(url)) not in (None, chunk.chunk_idx):
            return _try_later(signals.OTHER_PLACE, answer, f"the place of chunk {named}")
        return Ticket(url=url, got_at_s=time.monotonic(), data_id=stream.data_id)

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """See `Destination.deliver`."""
        patience = Patience(
            connect_s=CONNECT_TIMEOUT_S,
            stall_s=STALL_S,
            sending_s=STALL_S + len(body) / SLOWEST_BYTES_PER_S + self._meter.patience_s(len(body)),
            answer_s=STALL_S + len(body) / RELAY_BYTES_PER_S,
        )
        headers = {"Content-Type": "", "Content-Length": str(len(body))}
        md5 = Md5(body)  # what a plain store's ETag is
        try:
            with self._meter.sending(chunk.stream_id, body) as pieces:
                answer = exchange(
                    self._storage, "PUT", ticket.url, content=pieces, headers=headers, patience=patience
                )
        except CutShort:
            return TryLater(words="the worker is stopping")
        answer = answer.without(*self._storage.secrets)
        row = meaning_of(Step.PUT, answer)
        if row.meaning is Meaning.REFUSED:
            return Refused(words=f"{answer.words}: {answer.excerpt}")
        if row.meaning is not Meaning.DONE:
            return _try_later(row, answer)
        return _judged(chunk, ticket, answer, evidence(answer.headers, body, md5))

    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        """See `Destination.finish`; the server keeps no proof."""
        del proof
        assert stream.data_id is not None
        answer = self._api.end_stream(stream.data_id)
        row = meaning_of(Step.END, answer)
        if row.meaning is Meaning.DONE:
            if answer.json() is None and answer.text.strip():
                return _try_later(signals.NOT_AN_END, answer)
            return Ended(words=answer.words)
        if row.meaning is not Meaning.ASK:
            return _try_later(row, answer)
        state, words = self._state_of(stream)
        if state in (ServerState.ENDED, ServerState.ERROR):
            # Everything is delivered: who ended it, and why, changes nothing about what arrived.
            return Ended(words=f"{answer.words}; {words}")
        return TryLater(words=f"{answer.words} ({answer.excerpt}); {words}")

    def _of_a_refusal(self, stream: Stream, answer: Answer) -> TryLater | Refused | Closed:
        """What a refused presign means, by what the catalogue says of the stream."""
        state, words = self._state_of(stream)
        if state in (ServerState.ENDED, ServerState.ERROR):
            return Closed(words=words, by_person=state is ServerState.ENDED)
        if state is ServerState.ACTIVE and answer.status in _CHUNK_REFUSALS:
            return Refused(words=f"{answer.words}: {answer.excerpt}")
        return TryLater(words=f"{answer.words} ({answer.excerpt}); {words}")

    def _state_of(self, stream: Stream) -> tuple[ServerState, str]:
        assert stream.data_id is not None
        answer = self._api.catalogue(stream.data_id)
        found = answer.json() if meaning_of(Step.API, answer).meaning is Meaning.DONE else None
        for row in found if isinstance(found, list) else ():
            if isinstance(row, dict) and stream.data_id in (row.get("data_id"), row.get("id")):
                status = row.get("pipeline_status")
                return server_state(status), f"the server says the stream is {printable(str(status))[:40]}"
        return ServerState.UNKNOWN, f"the server's catalogue does not tell the stream's state ({answer.words})"

    def _is_safe(self, url: str) -> bool:
        """Only http(s), and never in the clear when the API itself is not."""
        try:
            parts = urlsplit(url)
            _ = parts.port  # is only looked at when asked for
        except ValueError:
            return False
        allowed = ("https",) if self.url.startswith("https:") else ("http", "https")
        is_plain = len(url) <= URL_CHARS_MAX and url.isascii() and url.isprintable()
        return parts.scheme in allowed and bool(parts.hostname) and is_plain


def chunk_metadata(stream: Stream, chunk: Chunk, stamp: Stamp) -> dict[str, str]:
    """What the presign request says about a chunk; every number is a string, as the protocol asks."""
    settings = stream.settings
    assert stream.data_id is not None
    metadata = {
        "data_id": stream.data_id,
        "data_stream": "rheed",
        "is_stream": "1",
        "is_rotating": "1" if settings.rotations_per_min > 0 else "0",
        "raw_frame_rate": str(settings.fps),
        "avg_frame_rate": str(settings.fps),
        "chunk_size": str(settings.chunk_size),
        "dims": f"{chunk.n},{chunk.height},{chunk.width}",
        "start_unix_ms_utc": str(stamp.start_ms),
        "end_unix_ms_utc": str(int(stamp.start_ms + chunk.n * 1000 / settings.fps)),
    }
    if stamp.offset_ms is not None:
        metadata["clock_offset_ms"] = str(stamp.offset_ms)
        metadata["clock_uncertainty_ms"] = str(stamp.uncertainty_ms)
    return metadata


def _asked(ask: Callable[[], _T]) -> _T | TryLater | Refused:
    """What asking the API led to, with its errors as outcomes."""
    try:
        return ask()
    except KeyRefused as error:
        return TryLater(words=str(error), outage=True, key_refused=True, min_wait_s=KEY_PROBE_S, may_be_done=False)
    except ServerUnreachable as error:
        return TryLater(
            words=str(error), outage=error.is_outage, min_wait_s=error.min_wait_s, may_be_done=error.was_sent
        )
    except RequestRefused as error:
        return Refused(words=str(error))


def _upload_url(said: object) -> str | None:
    one = said[0] if isinstance(said, list) and len(said) == 1 else said
    url = one.get("url") if isinstance(one, dict) else None
    return url if isinstance(url, str) else None


def _chunk_named_in(url: str) -> int | None:
    """The chunk whose key the URL's path ends with; ``None`` when it does not end as a chunk's key does."""
    found = _CHUNK_KEY.search(unquote(urlsplit(url).path))
    return int(found[1]) if found else None


def _judged(chunk: Chunk, ticket: Ticket, answer: Answer, found: Evidence) -> Delivered | TryLater:
    """Whether a 2xx is an acknowledgement of these bytes."""
    if found.etag is None:
        return _try_later(signals.NO_ETAG, answer)
    if found.differs:
        return _try_later(signals.OTHER_BYTES, answer, f"chunk {chunk.chunk_idx}: {'; '.join(found.differs)}")
    if not found.agrees and (answer.text.strip() or not found.is_a_stores):
        return _try_later(signals.NOT_A_STORE, answer)
    return Delivered(
        receipt=Receipt(
            status=answer.status,
            etag=found.etag,
            checksums=dict(found.checksums),
            confirmed=found.confirmed,
            at_ms=time.time_ns() // 1_000_000,
            server_date=answer.headers.get("date"),
            request_ids=dict(found.request_ids),
            url_path=urlsplit(ticket.url).path,
            data_id=ticket.data_id,
        )
    )


def _try_later(row: Row, answer: Answer, detail: str = "") -> TryLater:
    words = f"{answer.words}{', ' if detail else ''}{printable(detail)} ({row.says})"
    return TryLater(
        words=words,
        signal=row.says,
        status=answer.status or None,
        excerpt=answer.excerpt or None,
        mismatch=row is signals.OTHER_BYTES,
        outage=row.meaning in (Meaning.OUTAGE, Meaning.PAUSED),
        key_refused=row.meaning is Meaning.PAUSED,
        min_wait_s=max(retry_after_s(answer), KEY_PROBE_S if row.meaning is Meaning.PAUSED else 0.0),
    )
