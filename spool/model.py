"""The frozen values that cross the border of the spool.

Times are integers, milliseconds since the Unix epoch, UTC by the host clock, unless a name says otherwise.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spool.states import ChunkState, StreamState

FPS_MIN, FPS_MAX = 1e-6, 1e6
CHUNK_SIZE_MAX = 100_000

STREAM_ID = re.compile(r"[0-9]{8}t[0-9]{6}-[0-9a-f]{12}", re.ASCII)
"""What a stream_id looks like; no other name from outside ever becomes a path."""


DATA_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}", re.ASCII)
"""What a destination's own id looks like; no other becomes part of a URL."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What is fixed when a stream is opened.

    Attributes:
        name: for people; not unique.
        destination: where the stream is delivered, a base URL without credentials.
        fps: declared capture rate, frames per second, from `FPS_MIN` to `FPS_MAX`.
        rotations_per_min: 0 when the sample is stationary.
        chunk_size: the most frames a chunk can hold, from 1 to `CHUNK_SIZE_MAX`; the shard length along time.
        physical_sample: name or UUID, as given by the caller.
        project_id: UUID at the destination.
        tags: names or UUIDs.
        azimuth: label of a stationary stream's azimuth.
    """

    name: str
    destination: str
    fps: float
    rotations_per_min: float
    chunk_size: int
    physical_sample: str | None = None
    project_id: str | None = None
    tags: tuple[str, ...] = ()
    azimuth: str | None = None

    def __post_init__(self) -> None:
        # With anything else no chunk could be stored or stamped; better said before the camera starts.
        if not FPS_MIN <= self.fps <= FPS_MAX:
            raise ValueError(f"fps is {self.fps!r}, not from {FPS_MIN} to {FPS_MAX}")
        if not 0 <= self.rotations_per_min < math.inf:
            raise ValueError(f"rotations_per_min is {self.rotations_per_min!r}, not zero or more")
        if not 1 <= self.chunk_size <= CHUNK_SIZE_MAX:
            raise ValueError(f"chunk_size is {self.chunk_size!r}, not from 1 to {CHUNK_SIZE_MAX}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many chunks of a stream are in each state, and their bytes on the local disk."""

    spooled: int = 0
    acknowledged: int = 0
    parked: int = 0
    discarded: int = 0
    waiting_bytes: int = 0
    disk_bytes: int = 0

    @property
    def pushed(self) -> int:
        """Every chunk that was ever accepted; the sum that conservation is checked against."""
        return self.spooled + self.acknowledged + self.parked + self.discarded


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One acquisition, as the index knows it at one moment.

    Attributes:
        data_id: the destination's id, ``None`` until it has given one.
        height: frame height in pixels, ``None`` before the first chunk; likewise ``width``.
        next_chunk_idx: one more than the highest chunk_idx ever pushed.
        watermark: highest chunk up to which everything is acknowledged without a gap, -1 for none.
        held: why nothing is sent until a person decides; ``None`` when nothing holds it.
        trouble: the latest problem in words; ``None`` when all is well.
        clock_offset_ms: reference clock minus host clock; ``None`` when never measured.
    """

    stream_id: str
    data_id: str | None
    settings: StreamSettings
    state: StreamState
    height: int | None
    width: int | None
    next_chunk_idx: int
    watermark: int
    created_at_ms: int
    sealed_at_ms: int | None
    finalized_at_ms: int | None
    held: str | None
    trouble: str | None
    clock_offset_ms: float | None
    clock_uncertainty_ms: float | None
    lease_owner: str | None
    lease_until_ms: int | None
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The destination's evidence for one chunk.

    Attributes:
        status: the HTTP status of the answer.
        etag: as the destination gave it, without quotes.
        checksums: as the destination gave them, by the name of their algorithm.
        confirmed: the destination's checksum equals ours; ``False`` means it gave nothing comparable.
        at_ms: when the answer arrived, by our clock.
        server_date: the answer's ``Date`` header.
        request_ids: the destination's own names for the request, by header.
        url_path: where the bytes went, without the query (which holds the signature).
    """

    status: int
    etag: str | None
    confirmed: bool
    at_ms: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    server_date: str | None = None
    request_ids: Mapping[str, str] = field(default_factory=dict)
    url_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One chunk, as the index knows it at one moment.

    Attributes:
        n: frames in the chunk; ``height`` and ``width`` in pixels.
        wire_bytes: length of the shard as it is sent.
        sha256: hex digest over exactly the bytes that are sent.
        disk_bytes: size of the local file; 0 once pruned or discarded.
        attempts: uploads started so far.
        parked_reason: why it waits for a person; ``None`` unless parked.
    """

    stream_id: str
    chunk_idx: int
    state: ChunkState
    n: int
    height: int
    width: int
    wire_bytes: int
    sha256: str
    disk_bytes: int
    capture_start_ms_utc: int
    spooled_at_ms: int
    attempts: int
    acknowledged_at_ms: int | None
    receipt: Receipt | None
    parked_reason: str | None
    pruned_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One row of the ledger. ``digest`` commits to this row and, through ``previous``, to all before it."""

    seq: int
    at_ms: int
    stream_id: str | None
    chunk_idx: int | None
    event: str
    detail: dict[str, Any]
    previous: bytes
    digest: bytes


def new_stream(stream_id: str, *, settings: StreamSettings, data_id: str | None, created_at_ms: int) -> Stream:
    """A stream at its very beginning."""
    return Stream(
        stream_id=stream_id,
        data_id=data_id,
        settings=settings,
        state=StreamState.OPEN,
        height=None,
        width=None,
        next_chunk_idx=0,
        watermark=-1,
        created_at_ms=created_at_ms,
        sealed_at_ms=None,
        finalized_at_ms=None,
        held=None,
        trouble=None,
        clock_offset_ms=None,
        clock_uncertainty_ms=None,
        lease_owner=None,
        lease_until_ms=None,
    )
