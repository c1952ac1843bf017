"""The states of chunks and streams, and the one table of moves between them.

Every UPDATE in the index names the states it expects, taken from here; ``docs/states.md`` is drawn from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ChunkState(StrEnum):
    """Where a chunk is on its way."""

    SPOOLED = "spooled"
    """Durable here, waiting to be delivered."""
    ACKNOWLEDGED = "acknowledged"
    """The destination's receipt is durably recorded."""
    PARKED = "parked"
    """Refused by the destination or damaged here; kept, waiting for a person."""
    DISCARDED = "discarded"
    """Given up by a person; the ledger says who, when and why."""


class StreamState(StrEnum):
    """Where a stream is in its life."""

    OPEN = "open"
    """Chunks can be pushed."""
    SEALED = "sealed"
    """``finalize()`` was asked for: no more chunks will come, the rest is being delivered."""
    FINALIZED = "finalized"
    """The destination has accepted the end of the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One allowed change of state: from any of ``expects`` to ``becomes``, recorded as ``event``."""

    expects: tuple[str, ...]
    becomes: str
    event: str


CHUNK_MOVES: Mapping[str, Move] = {
    "acknowledge": Move(expects=(ChunkState.SPOOLED,), becomes=ChunkState.ACKNOWLEDGED, event="acknowledged"),
    "park": Move(expects=(ChunkState.SPOOLED,), becomes=ChunkState.PARKED, event="parked"),
    "retry": Move(expects=(ChunkState.PARKED,), becomes=ChunkState.SPOOLED, event="retried"),
    "discard": Move(
        expects=(ChunkState.SPOOLED, ChunkState.PARKED), becomes=ChunkState.DISCARDED, event="discarded"
    ),
}
"""A chunk enters as SPOOLED, with its push; it leaves ACKNOWLEDGED or DISCARDED never."""

STREAM_MOVES: Mapping[str, Move] = {
    "seal": Move(expects=(StreamState.OPEN,), becomes=StreamState.SEALED, event="sealed"),
    "finalize": Move(expects=(StreamState.SEALED,), becomes=StreamState.FINALIZED, event="finalized"),
}
"""A stream enters as OPEN; FINALIZED also needs that none of its chunks is SPOOLED or PARKED."""
