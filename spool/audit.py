"""The audit of one stream: what was recorded, what reached the destination and when, chunk by chunk.

Pure reading, through the spool's public methods only. Invariants:

1. Every chunk that was ever accepted is listed once, in order, whatever became of it.
2. ``watermark``, ``complete`` and ``gaps`` follow from the listed chunks, so that one audit never contradicts
   itself while a worker delivers. Attempts and outages are read a moment later and may be ahead of the chunks.
3. A stream is complete when every chunk is acknowledged and none is missing below the highest. One without any
   chunk is complete only once it is finalized: before, it may just not have begun.
4. Attempts and outages come from the ledger. An index rebuilt from its shards keeps ``attempts``, ``receipt`` and
   states only as far as they could be rebuilt; the history of attempts is then shorter than their number.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from spool.model import Chunk, Event, Part, Receipt, Stream
from spool.spool import Spool
from spool.states import ChunkState, StreamState

GAPS_LISTED_MAX = 10_000
"""``gaps`` names at most so many indices; ``gap_spans`` and ``gap_count`` always tell the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one chunk.

    Attributes:
        started_at_ms: ``None`` when the destination refused the chunk before anything was sent.
        ended_at_ms: ``None`` while under way, and when no answer was ever recorded.
        result: ``acknowledged``, ``failed``, ``parked``, ``unanswered`` (its worker ended before an answer was
            recorded; another attempt followed) or ``started`` (nothing is recorded after it).
        words: what was said about it; ``None`` for nothing.
        mismatch: the destination answered with the ETag or checksum of other bytes.
    """

    started_at_ms: int | None
    ended_at_ms: int | None
    result: str
    words: str | None = None
    mismatch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which the stream could not be delivered; ``ended_at_ms`` is ``None`` while it lasts."""

    began_at_ms: int
    ended_at_ms: int | None
    words: str
    tries: int | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAudit:
    """Everything that can be said about the delivery of one stream.

    Attributes:
        stream: as it was when the audit began.
        chunks: every chunk that was ever accepted, by chunk_idx.
        gap_spans: the indices never pushed below the highest, as inclusive spans ``(first, last)``.
        outages: the times without delivery, oldest first.
        watermark: highest chunk up to which everything is acknowledged without a gap, -1 for none.
        complete: see the module's third invariant.
    """

    stream: Stream
    chunks: tuple[AuditedChunk, ...]
    gap_spans: tuple[tuple[int, int], ...]
    outages: tuple[Outage, ...]
    watermark: int
    complete: bool

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

    def chunks_in(self, part: Part) -> list[int]:
        """The acknowledged chunks that went to a part, by chunk_idx."""
        return [
            one.chunk.chunk_idx
            for one in self.chunks
            if one.chunk.receipt is not None and one.chunk.receipt.data_id == part.data_id is not None
        ]

    def _part(self, part: Part) -> dict[str, Any]:
        idxs = self.chunks_in(part)
        return {
            "number": part.number,
            "data_id": part.data_id,
            "name": part.name,
            "opened_at": _iso(part.opened_at_ms),
            "closed_at": _iso(part.closed_at_ms),
            "closed_why": part.closed_why,
            "chunks": len(idxs),
            "chunk_spans": [list(span) for span in _spans(idxs)],
        }

    def to_json(self) -> dict[str, Any]:
        """The audit as one object; times named ``_at`` are ISO 8601, UTC by the host clock, to the millisecond."""
        stream = self.stream
        return {
            "stream_id": stream.stream_id,
            "data_id": stream.data_id,
            "name": stream.settings.name,
            "state": stream.state.value,
            "watermark": self.watermark,
            "complete": self.complete,
            "parts": [self._part(part) for part in stream.parts],
            "unlinked": stream.unlinked,
            "destination": stream.settings.destination,
            "created_at": _iso(stream.created_at_ms),
            "sealed_at": _iso(stream.sealed_at_ms),
            "finalized_at": _iso(stream.finalized_at_ms),
            "held": stream.held,
            "trouble": stream.trouble,
            "chunks": [chunk.to_json() for chunk in self.chunks],
            "gaps": self.gaps,
            "gap_spans": [list(span) for span in self.gap_spans],
            "gap_count": self.gap_count,
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


def audit(spool: Spool, ref: str) -> StreamAudit:
    """Read everything about one stream.

    Args:
        spool: an open spool.
        ref: the stream's stream_id or data_id.

    Raises:
        UnknownStream: there is no such stream.
    """
    stream = spool.stream(ref)
    return audit_of(stream, list(spool.chunks(stream.stream_id)), spool.events(stream.stream_id))


def audit_of(stream: Stream, chunks: list[Chunk], events: Iterable[Event]) -> StreamAudit:
    """What a stream, its chunks by chunk_idx and its rows of the ledger amount to."""
    history = _History()
    for event in events:
        history.add(event)
    spans = tuple(_gap_spans(chunk.chunk_idx for chunk in chunks))
    all_acknowledged = all(chunk.state is ChunkState.ACKNOWLEDGED for chunk in chunks)
    return StreamAudit(
        stream=stream,
        chunks=tuple(
            AuditedChunk(chunk=chunk, attempt_history=tuple(history.attempts.get(chunk.chunk_idx, ())))
            for chunk in chunks
        ),
        gap_spans=spans,
        outages=tuple(history.outages),
        watermark=_watermark(chunks),
        complete=all_acknowledged and not spans and (bool(chunks) or stream.state is StreamState.FINALIZED),
    )


class _History:
    """Attempts and outages, put together again from the ledger's events."""

    def __init__(self) -> None:
        self.attempts: dict[int, list[Attempt]] = {}
        self.outages: list[Outage] = []

    def add(self, event: Event) -> None:
        """Take in the next event of the stream."""
        if event.chunk_idx is not None:
            self._add_attempt(self.attempts.setdefault(event.chunk_idx, []), event)
        elif event.event == "trouble_began" and not self._has_open_outage():
            words = str(event.detail.get("words", ""))
            self.outages.append(Outage(began_at_ms=event.at_ms, ended_at_ms=None, words=words, tries=None))
        elif event.event in ("trouble_ended", "finalized") and self._has_open_outage():
            began = self.outages.pop()
            tries = event.detail.get("tries")
            self.outages.append(
                Outage(
                    began_at_ms=began.began_at_ms,
                    ended_at_ms=event.at_ms,
                    words=began.words,
                    tries=tries if isinstance(tries, int) else None,
                )
            )

    def _has_open_outage(self) -> bool:
        return bool(self.outages) and self.outages[-1].ended_at_ms is None

    @staticmethod
    def _add_attempt(attempts: list[Attempt], event: Event) -> None:
        running = attempts.pop() if attempts and attempts[-1].result == "started" else None
        started_at_ms = running.started_at_ms if running else None
        match event.event:
            case "attempt_started":
                if running is not None:
                    attempts.append(Attempt(started_at_ms=started_at_ms, ended_at_ms=None, result="unanswered"))
                attempts.append(Attempt(started_at_ms=event.at_ms, ended_at_ms=None, result="started"))
            case "attempt_failed" | "acknowledged" | "parked":
                attempts.append(
                    Attempt(
                        started_at_ms=started_at_ms,
                        ended_at_ms=event.at_ms,
                        result=event.event.removeprefix("attempt_"),
                        words=_words(event),
                        mismatch=event.detail.get("mismatch") is True,
                    )
                )
            case _:
                if running is not None:
                    attempts.append(running)


def _words(event: Event) -> str | None:
    if event.event == "acknowledged":
        return f"answered {event.detail['status']}" if "status" in event.detail else None
    words = event.detail.get("words", event.detail.get("why"))
    return None if words is None else str(words)


def _gap_spans(idxs: Iterable[int]) -> Iterable[tuple[int, int]]:
    expected = 0
    for idx in idxs:
        if idx > expected:
            yield expected, idx - 1
        expected = idx + 1


def _spans(idxs: Iterable[int]) -> Iterable[tuple[int, int]]:
    """Runs of indices that follow one another, first and last."""
    first = last = None
    for idx in idxs:
        if last is not None and first is not None and idx != last + 1:
            yield first, last
            first = None
        first, last = idx if first is None else first, idx
    if first is not None and last is not None:
        yield first, last


def _watermark(chunks: list[Chunk]) -> int:
    mark = -1
    for chunk in chunks:
        if chunk.chunk_idx != mark + 1 or chunk.state is not ChunkState.ACKNOWLEDGED:
            break
        mark = chunk.chunk_idx
    return mark


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
