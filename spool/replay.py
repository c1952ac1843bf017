"""Every stream and chunk as the ledger alone tells it.

The index says what is; the ledger says what happened. This computes the one from the other, for whoever has
only the ledger: a lost index, a proof on another machine, or a check of the index itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from spool.capture import Capture
from spool.model import Chunk, ClockReading, Event, Part, Receipt, Stream, StreamSettings, new_stream
from spool.states import CHUNK_MOVES, STREAM_MOVES, ChunkState, Move, StreamState

_CHUNK_EVENTS = {move.event: move for move in CHUNK_MOVES.values()}
_STREAM_EVENTS = {move.event: move for move in STREAM_MOVES.values()}
_SETTLED = (ChunkState.ACKNOWLEDGED, ChunkState.DISCARDED)
_PART_EVENTS = ("part_asked", "part_opened", "part_closed")


@dataclass(slots=True, kw_only=True)
class ToldChunk:
    """A chunk as the ledger tells it.

    Attributes:
        facts: as `spool.ledger.chunk_facts`.
        spooled_at_ms: when its shard was written.
        disk_bytes: of its shard; 0 once pruned or discarded.
    """

    facts: dict[str, Any]
    spooled_at_ms: int
    disk_bytes: int
    state: ChunkState = ChunkState.SPOOLED
    attempts: int = 0
    acknowledged_at_ms: int | None = None
    receipt: dict[str, Any] | None = None
    parked_reason: str | None = None
    pruned_at_ms: int | None = None

    def as_chunk(self, stream_id: str, idx: int) -> Chunk:
        """As the index would have it.

        Raises:
            KeyError, TypeError: the ledger tells what no chunk can be.
        """
        return Chunk(
            stream_id=stream_id,
            chunk_idx=idx,
            state=self.state,
            n=self.facts["n"],
            height=self.facts["height"],
            width=self.facts["width"],
            wire_bytes=self.facts["bytes"],
            sha256=self.facts["sha256"],
            disk_bytes=self.disk_bytes,
            capture_start_ms_utc=self.facts["capture_start_ms_utc"],
            monotonic_ms=self.facts["monotonic_ms"],
            boot_id=self.facts["boot_id"],
            capture=Capture.of(self.facts.get("capture")),
            spooled_at_ms=self.spooled_at_ms,
            attempts=self.attempts,
            acknowledged_at_ms=self.acknowledged_at_ms,
            receipt=None if self.receipt is None else Receipt(**self.receipt),
            parked_reason=self.parked_reason,
            pruned_at_ms=self.pruned_at_ms,
        )


@dataclass(slots=True, kw_only=True)
class ToldStream:
    """A stream as the ledger tells it.

    Attributes:
        settings: as stored in the index.
        chunks: empty where they are only counted, see `Replay`.
        unsettled: how many of them wait or are parked.
    """

    settings: dict[str, Any]
    created_at_ms: int
    created_monotonic_ms: int | None
    boot_id: str | None
    parts: list[Part]
    state: StreamState = StreamState.OPEN
    sealed_at_ms: int | None = None
    finalized_at_ms: int | None = None
    unlinked: str | None = None
    held: str | None = None
    readings: list[ClockReading] = field(default_factory=list)
    chunks: dict[int, ToldChunk] = field(default_factory=dict)
    unsettled: int = 0

    def as_stream(self, stream_id: str) -> Stream:
        """As the index would have it, but for what follows from its chunks.

        Raises:
            KeyError, TypeError, ValueError: the ledger tells what no stream can be.
        """
        settings = StreamSettings.of_facts(self.settings)
        return replace(
            new_stream(
                stream_id,
                settings=settings,
                created_at_ms=self.created_at_ms,
                parts=tuple(self.parts),
                created_monotonic_ms=self.created_monotonic_ms,
                boot_id=self.boot_id,
            ),
            state=self.state,
            sealed_at_ms=self.sealed_at_ms,
            finalized_at_ms=self.finalized_at_ms,
            unlinked=self.unlinked,
            held=self.held,
            clock_offset_ms=self.readings[-1].offset_ms if self.readings else None,
            clock_uncertainty_ms=self.readings[-1].uncertainty_ms if self.readings else None,
        )


@dataclass(slots=True)
class Replay:
    """What the rows so far amount to, and where they make no sense.

    Attributes:
        streams: by stream_id.
        faults: rows that cannot have happened, in words.
        keeps_chunks: else chunks are only counted, as many as there may be, and whoever wants to know what became
            of them asks `replay_chunks` about a few at a time.
    """

    streams: dict[str, ToldStream] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    keeps_chunks: bool = True

    def take(self, event: Event) -> None:
        """Let one more row happen. One that makes no sense is a fault and changes nothing."""
        if event.stream_id is None:
            return
        try:
            fault = self._taken(event, event.stream_id)
        except (KeyError, TypeError, AttributeError) as error:
            fault = f"its detail cannot be understood ({error!r})"
        if fault:
            what = f" of chunk {event.chunk_idx}" if event.chunk_idx is not None else ""
            self.faults.append(f"ledger row {event.seq}, {event.event}{what} of {event.stream_id}: {fault}")

    def _taken(self, event: Event, stream_id: str) -> str | None:
        if event.event == "opened" or (event.event == "recovered" and event.detail["what"] == "stream"):
            if stream_id in self.streams:
                return "the stream had begun before"
            self.streams[stream_id] = ToldStream(
                settings=event.detail["settings"],
                created_at_ms=event.detail["created_at_ms"],
                created_monotonic_ms=event.detail["created_monotonic_ms"],
                boot_id=event.detail["boot_id"],
                parts=[Part(**part) for part in event.detail["parts"]],
            )
            return None
        stream = self.streams.get(stream_id)
        if stream is None:
            return "the stream never began"
        if event.chunk_idx is None:
            return _stream_taken(stream, event)
        fault = _counted(stream, event)
        if fault is None and self.keeps_chunks:
            fault = _chunk_taken(stream, event.chunk_idx, event)
        return fault


def replay(events: Iterable[Event]) -> Replay:
    """Let all rows happen, from the first."""
    told = Replay()
    for event in events:
        told.take(event)
    return told


def replay_chunks(stream_id: str, stream: ToldStream, events: Iterable[Event]) -> Replay:
    """Let all rows about some chunks of a stream happen, and nothing else."""
    told = Replay()
    # That none came too late was seen when the stream's own rows happened among them.
    told.streams[stream_id] = replace(stream, chunks={}, state=StreamState.OPEN, finalized_at_ms=None)
    for event in events:
        told.take(event)
    return told


def _stream_taken(stream: ToldStream, event: Event) -> str | None:
    move = _STREAM_EVENTS.get(event.event)
    if move is not None:
        return _stream_moved(stream, move, event)
    if event.event in _PART_EVENTS:
        return _part_taken(stream, event)
    _stream_noted(stream, event)
    return None


def _stream_moved(stream: ToldStream, move: Move, event: Event) -> str | None:
    if stream.state not in move.expects:
        return f"the stream was {stream.state}"
    if move.becomes == StreamState.FINALIZED:
        if stream.unsettled:
            return f"{stream.unsettled} of its chunks were waiting or parked"
        stream.finalized_at_ms = event.at_ms
    else:
        stream.sealed_at_ms = event.at_ms
    stream.state = StreamState(move.becomes)
    return None


def _stream_noted(stream: ToldStream, event: Event) -> None:
    """What a row says of a stream besides its state and its parts."""
    if event.event == "held":
        stream.held = event.detail["why"]
    elif event.event == "released":
        stream.held = None
    elif event.event == "clock_measured":
        stream.readings.append(ClockReading(**event.detail))
    elif event.event == "linked":
        stream.unlinked = None
    elif event.event == "link_failed":
        stream.unlinked = event.detail["words"]


def _part_taken(stream: ToldStream, event: Event) -> str | None:
    """A part is asked for, then opened, then closed, and only then comes another."""
    last = stream.parts[-1] if stream.parts else None
    number = event.detail["part"]
    if event.event == "part_asked":
        if last is not None and last.closed_at_ms is None and last.data_id is None:
            stream.parts.pop()  # asked for anew
        elif last is not None and last.closed_at_ms is None:
            return f"part {last.number} was not closed"
        if number != len(stream.parts) + 1:
            return f"part {number} cannot follow {len(stream.parts)} of them"
        stream.parts.append(
            Part(
                number=number,
                data_id=None,
                name=event.detail["name"],
                is_name_free=event.detail["is_name_free"],
                asked_at_ms=event.at_ms,
            )
        )
        return None
    if last is None or last.number != number or last.closed_at_ms is not None:
        return f"part {number} is not the one that was asked for last"
    if event.event == "part_opened":
        if last.data_id is not None:
            return f"part {number} was open"
        stream.parts[-1] = replace(last, data_id=event.detail["data_id"], opened_at_ms=event.at_ms)
        stream.unlinked = event.detail["unlinked"]
    else:
        stream.parts[-1] = replace(last, closed_at_ms=event.at_ms, closed_why=event.detail["why"])
    return None


def _counted(stream: ToldStream, event: Event) -> str | None:
    """A row about a chunk, as far as it concerns its stream."""
    if event.event == "spooled" or (event.event == "recovered" and event.detail.get("what") != "set aside"):
        is_late = (
            stream.state is not StreamState.OPEN
            if event.event == "spooled"
            else stream.finalized_at_ms is not None
        )
        if is_late:
            return f"the stream was {stream.state}"
        stream.unsettled += 1
    elif (move := _CHUNK_EVENTS.get(event.event)) is not None and move.becomes in _SETTLED:
        stream.unsettled -= 1
    return None


def _chunk_taken(stream: ToldStream, idx: int, event: Event) -> str | None:
    if event.event == "recovered" and event.detail["what"] == "set aside":
        return None
    if event.event in ("spooled", "recovered"):
        return _entered(stream, idx, event)
    chunk = stream.chunks.get(idx)
    if chunk is None:
        return "the chunk never entered"
    move = _CHUNK_EVENTS.get(event.event)
    if move is not None and chunk.state not in move.expects:
        return f"the chunk was {chunk.state}"
    if event.event == "pruned" and chunk.state is not ChunkState.ACKNOWLEDGED:
        return f"the chunk was {chunk.state}"
    if move is not None:
        chunk.state = ChunkState(move.becomes)
    _noted(chunk, event)
    return None


def _entered(stream: ToldStream, idx: int, event: Event) -> str | None:
    if idx in stream.chunks:
        return "the chunk had entered before"
    facts = dict(event.detail)
    facts.pop("what", None)
    stream.chunks[idx] = ToldChunk(
        spooled_at_ms=facts.pop("spooled_at_ms"), disk_bytes=facts.pop("disk_bytes"), facts=facts
    )
    return None


def _noted(chunk: ToldChunk, event: Event) -> None:
    """What a row says of a chunk besides its state."""
    if event.event == "acknowledged":
        chunk.acknowledged_at_ms, chunk.receipt = event.at_ms, dict(event.detail)
    elif event.event == "parked":
        chunk.parked_reason = event.detail["why"]
    elif event.event == "retried":
        chunk.parked_reason = None
    elif event.event == "attempt_started":
        chunk.attempts += 1
    elif event.event == "pruned":
        chunk.pruned_at_ms, chunk.disk_bytes = event.at_ms, 0
    elif event.event == "discarded":
        chunk.disk_bytes = 0
