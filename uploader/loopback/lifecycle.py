"""The states of a stream on the server, and what time alone does to them.

stream_active ⇄ stream_paused, stream_interrupted      an operator
active, paused, interrupted → stream_finalizing        POST .../end
stream_finalizing → stream_finalized                   FINALIZING_S later
stream_active → stream_error                           silence_s without a chunk
"""

from dataclasses import dataclass
from typing import Final

from uploader.loopback.validation import StreamSettings

ACTIVE: Final = "stream_active"
PAUSED: Final = "stream_paused"
INTERRUPTED: Final = "stream_interrupted"
FINALIZING: Final = "stream_finalizing"
FINALIZED: Final = "stream_finalized"
ERROR: Final = "stream_error"

STATUSES: Final = (ACTIVE, PAUSED, INTERRUPTED, FINALIZING, FINALIZED, ERROR)
ENDED: Final = frozenset({FINALIZING, FINALIZED, ERROR})

FINALIZING_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One acquisition as the server sees it; times in Unix seconds."""

    data_id: str
    settings: StreamSettings
    status: str
    status_at: float
    opened_at: float
    first_chunk_at: float | None
    last_chunk_at: float | None
    physical_sample_id: str | None


def status_by_now(stream: Stream, *, now: float, silence_s: float) -> str:
    """The status that the passing of time has made of the recorded one.

    Computed when somebody looks instead of by a timer: it then also holds across a restart.
    """
    if stream.status == FINALIZING and now - stream.status_at >= FINALIZING_S:
        return FINALIZED
    if stream.status == ACTIVE:
        # Being set active again (an operator's Resume) starts the silence anew.
        heard_at = max(stream.opened_at, stream.status_at, stream.last_chunk_at or 0.0)
        if now - heard_at >= silence_s:
            return ERROR
    return stream.status


def analysis_is_running(stream: Stream, *, now: float, analysis_s: float) -> bool:
    """Whether the first analysis, which starts with the first chunk, is still at work."""
    return stream.first_chunk_at is not None and now - stream.first_chunk_at < analysis_s
