"""What the page is told, as JSON values: a stream in a row, a stream, a chunk, what is parked.

Numbers are told as they are, times as milliseconds UTC; the page has the words for them.
"""

from typing import Any

from spool import ChunkState, Outage, Spool, Stream, StreamState, audit_chunk, person
from uploader.dashboard.texts import cleaned, name, shown

PARKED_MAX = 200
ATTEMPTS_MAX = 100
OUTAGES_MAX = 200
_PARTS_MAX = 50


def row_of(
    stream: Stream,
    *,
    rates: tuple[float, float],
    producer: str | None,
    sending: int | None,
    outage: Outage | None,
) -> dict[str, Any]:
    """A stream in the overview.

    Args:
        stream: as the index knows it now.
        rates: bytes per second in and out.
        producer: ``live`` or ``gone``; ``None`` where none is expected.
        sending: the chunk that is on its way.
        outage: the one that it is in.
    """
    tally, settings = stream.tally, stream.settings
    is_over = stream.state is StreamState.FINALIZED
    return {
        "stream_id": stream.stream_id,
        "data_id": None if stream.data_id is None else name(stream.data_id),
        "name": name(settings.name),
        "destination": name(settings.destination),
        "copy_of": settings.copy_of,
        "copies": list(settings.copies),
        "state": stream.state.value,
        "producer": producer,
        "held": None if stream.held is None else shown(stream.held),
        "trouble": None if is_over or stream.trouble is None else shown(stream.trouble),
        "outage_since_ms": None if outage is None else outage.began_at_ms,
        "next_chunk_idx": stream.next_chunk_idx,
        "watermark": stream.watermark,
        "sending": sending,
        "pushed": tally.pushed,
        "acknowledged": tally.acknowledged,
        "waiting": tally.spooled,
        "parked": tally.parked,
        "discarded": tally.discarded,
        "waiting_bytes": tally.waiting_bytes,
        "waiting_s": round(tally.spooled * settings.chunk_size / settings.fps, 1),
        "rate_in": round(rates[0]),
        "rate_out": round(rates[1]),
        "created_at_ms": stream.created_at_ms,
        "sealed_at_ms": stream.sealed_at_ms,
        "finalized_at_ms": stream.finalized_at_ms,
    }


def stream_view(spool: Spool, stream_id: str, outages: tuple[Outage, ...]) -> dict[str, Any]:
    """What a stream's page shows besides its row, its chunks and its curves."""
    stream = spool.stream(stream_id)
    settings = stream.settings
    return {
        "fps": settings.fps,
        "chunk_size": settings.chunk_size,
        "rotations_per_min": settings.rotations_per_min,
        "height": stream.height,
        "width": stream.width,
        "physical_sample": None if settings.physical_sample is None else name(settings.physical_sample),
        "tags": [name(tag) for tag in settings.tags[:20]],
        "clock_offset_ms": stream.clock_offset_ms,
        "clock_uncertainty_ms": stream.clock_uncertainty_ms,
        "unlinked": None if stream.unlinked is None else shown(stream.unlinked),
        "parts": [
            {"data_id": part.data_id, "closed_why": None if part.closed_why is None else shown(part.closed_why)}
            for part in stream.parts[:_PARTS_MAX]
        ],
        "outage_count": len(outages),
        "outages": [
            {
                "began_ms": one.began_at_ms,
                "ended_ms": one.ended_at_ms,
                "tries": one.tries,
                "words": shown(one.words),
            }
            for one in outages[-OUTAGES_MAX:]
        ],
        "person": shown(person()),
    }


def parked_view(spool: Spool, stream_id: str) -> dict[str, Any]:
    """The parked chunks of a stream, the first `PARKED_MAX` of them with their reasons."""
    idxs = spool.parked(stream_id)
    found = []
    for idx in idxs[:PARKED_MAX]:
        chunk = spool.chunk(stream_id, idx)
        if chunk is not None and chunk.state is ChunkState.PARKED:
            found.append(
                {
                    "chunk_idx": idx,
                    "frames": chunk.n,
                    "bytes": chunk.disk_bytes,
                    "capture_start_ms_utc": chunk.capture_start_ms_utc,
                    "why": shown(chunk.parked_reason or ""),
                }
            )
    return {"count": len(idxs), "parked": found}


def chunk_view(spool: Spool, stream_id: str, chunk_idx: int) -> dict[str, Any] | None:
    """One chunk with its attempts, its receipt and what people decided; ``None`` if it was never pushed."""
    found = audit_chunk(spool, stream_id, chunk_idx)
    if found is None:
        return None
    audited, events = found
    told: dict[str, Any] = cleaned(audited.to_json())
    history = told["attempt_history"]
    told["attempt_history"] = history[-ATTEMPTS_MAX:]
    told["attempts_left_out"] = len(history) - len(told["attempt_history"])
    told["disk_bytes"] = audited.chunk.disk_bytes
    told["decisions"] = [
        cleaned({"event": event.event, "at_ms": event.at_ms, **{k: event.detail.get(k) for k in ("who", "why")}})
        for event in events
        if event.event in ("retried", "discarded", "pruned", "recovered", "restored")
    ][-ATTEMPTS_MAX:]
    return told
