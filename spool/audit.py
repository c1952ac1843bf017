"""The audit of one stream: what was recorded, what reached the destination and when, chunk by chunk.

Pure reading, through the spool's public methods only. Invariants:

1. Every chunk that was ever accepted is listed once, in order, whatever became of it.
2. ``watermark``, ``complete`` and ``gaps`` follow from the listed chunks, so that one audit never contradicts
   itself while a worker delivers. Attempts and outages are read a moment later and may be ahead of the chunks.
3. A stream is complete when every chunk is acknowledged and none is missing below the highest. One without any
   chunk is complete only once it is finalized: before, it may just not have begun.
4. Attempts and outages come from the ledger. An index rebuilt from its shards keeps ``attempts``, ``receipt`` and
   states only as far as they could be rebuilt; the history of attempts is then shorter than their number.
5. A `RunningAudit` holds one page of chunks at a time, and what they amount to: its memory does not grow with
   them, and its first chunks are there before the last ones are read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from spool.attempts import Attempt, History, Outage
from spool.model import Chunk, Event, Part, Receipt, Stream
from spool.source_story import SourceStory
from spool.spool import Spool
from spool.states import ChunkState, StreamState

GAPS_LISTED_MAX = 10_000
"""``gaps`` names at most so many indices; ``gap_spans`` and ``gap_count`` always tell the whole."""

_FIRST_PAGE, _PAGE = 50, 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedChunk:
    """One chunk with the history of its attempts."""

    chunk: Chunk
    attempt_history: tuple[Attempt, ...]

    @property
    def mismatch(self) -> bool:
        """Not acknowledged, because the last answer was of other bytes."""
        ended = [one for one in self.attempt_history if one.ended_at_ms is not None]
        return self.chunk.state is not ChunkState.ACKNOWLEDGED and bool(ended) and ended[-1].mismatch

    def to_json(self) -> dict[str, Any]:
        """The chunk as the audit's JSON shows it."""
        chunk = self.chunk
        return {
            "chunk_idx": chunk.chunk_idx,
            "state": chunk.state.value,
            "n": chunk.n,
            "height": chunk.height,
            "width": chunk.width,
            "bytes": chunk.wire_bytes,
            "sha256": chunk.sha256,
            "capture_start_ms_utc": chunk.capture_start_ms_utc,
            "spooled_at": _iso(chunk.spooled_at_ms),
            "attempts": chunk.attempts,
            "acknowledged_at": _iso(chunk.acknowledged_at_ms),
            "receipt": _receipt(chunk.receipt),
            "mismatch": self.mismatch,
            "parked_reason": chunk.parked_reason,
            "pruned_at": _iso(chunk.pruned_at_ms),
            "capture": None if chunk.capture is None else chunk.capture.facts(),
            "attempt_history": [
                {
                    "started_at": _iso(one.started_at_ms),
                    "ended_at": _iso(one.ended_at_ms),
                    "result": one.result,
                    "words": one.words,
                    "mismatch": one.mismatch,
                }
                for one in self.attempt_history
            ],
        }


class AuditTotals:
    """What the chunks of a stream amount to, so far: taken in one by one, in order, and none is kept.

    Args:
        stream: as it was when the audit began.

    Attributes:
        chunks: how many; ``frames`` and ``wire_bytes`` of all of them.
        frames_acknowledged: of them, the frames of acknowledged chunks; ``frames_confirmed`` of confirmed ones.
        gap_spans: the indices never pushed below the highest, as inclusive spans ``(first, last)``.
        outages: the times without delivery, oldest first; known once all chunks are.
        watermark: highest chunk up to which everything is acknowledged without a gap, -1 for none.
        captured_ms: the first and the last capture; ``None`` without any chunk.
        source: what became of the source's frames before the spool.
    """

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.chunks = self.frames = self.wire_bytes = 0
        self.frames_acknowledged = self.frames_confirmed = 0
        self.gap_spans: list[tuple[int, int]] = []
        self.outages: tuple[Outage, ...] = ()
        self.watermark = -1
        self.captured_ms: tuple[int, int] | None = None
        self.source = SourceStory()
        self._expected = 0
        self._acknowledged = 0
        self._parts: dict[str, list[tuple[int, int]]] = {}

    def add(self, chunk: Chunk) -> None:
        """Take in the next chunk."""
        idx, at_ms = chunk.chunk_idx, chunk.capture_start_ms_utc
        self.chunks += 1
        self.frames += chunk.n
        self.wire_bytes += chunk.wire_bytes
        self.source.add_chunk(chunk)
        first, last = self.captured_ms or (at_ms, at_ms)
        self.captured_ms = min(first, at_ms), max(last, at_ms)
        if idx > self._expected:
            self.gap_spans.append((self._expected, idx - 1))
        self._expected = idx + 1
        if chunk.state is ChunkState.ACKNOWLEDGED:
            self._acknowledged += 1
            self.frames_acknowledged += chunk.n
            self.frames_confirmed += chunk.n if chunk.receipt is not None and chunk.receipt.confirmed else 0
            if idx == self.watermark + 1:
                self.watermark = idx
        if chunk.receipt is not None and chunk.receipt.data_id is not None:
            _lengthen(self._parts.setdefault(chunk.receipt.data_id, []), idx)

    @property
    def complete(self) -> bool:
        """See the module's third invariant."""
        is_begun = self.chunks > 0 or self.stream.state is StreamState.FINALIZED
        return self._acknowledged == self.chunks and not self.gap_spans and is_begun

    @property
    def gap_count(self) -> int:
        """How many indices below the highest were never pushed."""
        return sum(last - first + 1 for first, last in self.gap_spans)

    @property
    def gaps(self) -> list[int]:
        """Those indices one by one, the first `GAPS_LISTED_MAX`: one wild chunk_idx can skip a billion."""
        listed: list[int] = []
        for first, last in self.gap_spans:
            room = GAPS_LISTED_MAX - len(listed)
            listed.extend(range(first, min(last + 1, first + room)))
        return listed

    def count_in(self, part: Part) -> int:
        """How many acknowledged chunks went to a part."""
        return sum(last - first + 1 for first, last in self._spans_in(part))

    def stream_to_json(self) -> dict[str, Any]:
        """What the audit's JSON says of the stream itself: known before any chunk is read."""
        stream = self.stream
        return {
            "stream_id": stream.stream_id,
            "data_id": stream.data_id,
            "name": stream.settings.name,
            "state": stream.state.value,
            "unlinked": stream.unlinked,
            "destination": stream.settings.destination,
            "created_at": _iso(stream.created_at_ms),
            "sealed_at": _iso(stream.sealed_at_ms),
            "finalized_at": _iso(stream.finalized_at_ms),
            "held": stream.held,
            "trouble": stream.trouble,
        }

    def to_json(self) -> dict[str, Any]:
        """What it says besides that and the chunks."""
        return {
            "watermark": self.watermark,
            "complete": self.complete,
            "parts": [self._part(part) for part in self.stream.parts],
            "gaps": self.gaps,
            "gap_spans": [list(span) for span in self.gap_spans],
            "gap_count": self.gap_count,
            "source": self.source.to_json(),
            "outages": [
                {
                    "began_at": _iso(one.began_at_ms),
                    "ended_at": _iso(one.ended_at_ms),
                    "words": one.words,
                    "tries": one.tries,
                }
                for one in self.outages
            ],
        }

    def _spans_in(self, part: Part) -> list[tuple[int, int]]:
        return [] if part.data_id is None else self._parts.get(part.data_id, [])

    def _part(self, part: Part) -> dict[str, Any]:
        return {
            "number": part.number,
            "data_id": part.data_id,
            "name": part.name,
            "opened_at": _iso(part.opened_at_ms),
            "closed_at": _iso(part.closed_at_ms),
            "closed_why": part.closed_why,
            "chunks": self.count_in(part),
            "chunk_spans": [list(span) for span in self._spans_in(part)],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAudit:
    """Everything that can be said about the delivery of one stream, all of it in memory.

    Attributes:
        chunks: every chunk that was ever accepted, by chunk_idx.
        totals: what they amount to.
    """

    chunks: tuple[AuditedChunk, ...]
    totals: AuditTotals

    @property
    def stream(self) -> Stream:
        """As it was when the audit began."""
        return self.totals.stream

    @property
    def complete(self) -> bool:
        """See the module's third invariant."""
        return self.totals.complete

    @property
    def watermark(self) -> int:
        """See `AuditTotals`."""
        return self.totals.watermark

    @property
    def gap_spans(self) -> tuple[tuple[int, int], ...]:
        """See `AuditTotals`."""
        return tuple(self.totals.gap_spans)

    @property
    def gaps(self) -> list[int]:
        """See `AuditTotals`."""
        return self.totals.gaps

    @property
    def gap_count(self) -> int:
        """See `AuditTotals`."""
        return self.totals.gap_count

    @property
    def outages(self) -> tuple[Outage, ...]:
        """See `AuditTotals`."""
        return self.totals.outages

    def to_json(self) -> dict[str, Any]:
        """The audit as one object; times named ``_at`` are ISO 8601, UTC by the host clock, to the millisecond."""
        chunks = {"chunks": [chunk.to_json() for chunk in self.chunks]}
        return self.totals.stream_to_json() | chunks | self.totals.to_json()


class RunningAudit:
    """The audit of a stream that may be of any length; see the module's fifth invariant.

    Args:
        spool: an open spool; stays open until the last chunk is read.
        ref: the stream's stream_id or data_id.
        every_attempt: read the history of each chunk; else only of those that are not acknowledged, where it says
            whether the destination has other bytes.

    Attributes:
        stream: as it was when the audit began.
        totals: what the chunks that were read amount to; of all of them, once `chunks` is through.

    Raises:
        UnknownStream: there is no such stream.
    """

    def __init__(self, spool: Spool, ref: str, *, every_attempt: bool) -> None:
        self._spool = spool
        self._every_attempt = every_attempt
        self.stream = spool.stream(ref)
        self.totals = AuditTotals(self.stream)

    def chunks(self) -> Iterator[AuditedChunk]:
        """Every chunk, once, in order."""
        stream_id = self.stream.stream_id
        left = self._spool.chunks(stream_id)
        size = _FIRST_PAGE  # whoever looks sees the first ones at once
        while page := list(islice(left, size)):
            size = _PAGE
            history = self._history(page)
            for chunk in page:
                self.totals.add(chunk)
                yield AuditedChunk(chunk=chunk, attempt_history=tuple(history.attempts.get(chunk.chunk_idx, ())))
        outages = History()
        for event in self._spool.stream_events(stream_id):
            outages.add(event)
            self.totals.source.add_event(event)
        if (original := self.stream.settings.copy_of) is not None:
            for event in self._spool.stream_events(original):
                self.totals.source.add_event(event)
        self.totals.outages = tuple(outages.outages)

    def _history(self, page: list[Chunk]) -> History:
        asked = [
            one.chunk_idx
            for one in page
            if self._every_attempt or (one.state is not ChunkState.ACKNOWLEDGED and one.attempts)
        ]
        history = History()
        if asked:
            for event in self._spool.attempt_events(self.stream.stream_id, asked[0], asked[-1]):
                history.add(event)
        return history


def audit(spool: Spool, ref: str) -> StreamAudit:
    """Read everything about one stream.

    Args:
        spool: an open spool.
        ref: the stream's stream_id or data_id.

    Raises:
        UnknownStream: there is no such stream.
    """
    running = RunningAudit(spool, ref, every_attempt=True)
    return StreamAudit(chunks=tuple(running.chunks()), totals=running.totals)


def totals_of(spool: Spool, ref: str) -> AuditTotals:
    """What the audit of one stream amounts to, without keeping it.

    Args:
        spool: an open spool.
        ref: the stream's stream_id or data_id.

    Raises:
        UnknownStream: there is no such stream.
    """
    running = RunningAudit(spool, ref, every_attempt=False)
    for _ in running.chunks():
        pass
    return running.totals


def audit_of(stream: Stream, chunks: list[Chunk], events: Iterable[Event]) -> StreamAudit:
    """What a stream, its chunks by chunk_idx and its rows of the ledger amount to."""
    history, totals = History(), AuditTotals(stream)
    for event in events:
        history.add(event)
        totals.source.add_event(event)
    totals.outages = tuple(history.outages)
    for chunk in chunks:
        totals.add(chunk)
    return StreamAudit(
        chunks=tuple(
            AuditedChunk(chunk=chunk, attempt_history=tuple(history.attempts.get(chunk.chunk_idx, ())))
            for chunk in chunks
        ),
        totals=totals,
    )


def _lengthen(spans: list[tuple[int, int]], idx: int) -> None:
    """Add the next index to runs of indices that follow one another."""
    if spans and spans[-1][1] == idx - 1:
        spans[-1] = spans[-1][0], idx
    else:
        spans.append((idx, idx))


def _receipt(receipt: Receipt | None) -> dict[str, Any] | None:
    if receipt is None:
        return None
    known = asdict(receipt)
    return {
        "status": known["status"],
        "etag": known["etag"],
        "checksums": known["checksums"],
        "confirmed": known["confirmed"],
        "at": _iso(known["at_ms"]),
        "server_date": known["server_date"],
        "request_ids": known["request_ids"],
        "url_path": known["url_path"],
        "data_id": known["data_id"],
    }


def _iso(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    seconds, ms = divmod(at_ms, 1000)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}Z"
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"  # no calendar has it: the index is damaged, or its clock was
