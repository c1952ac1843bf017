"""The frozen values that cross the border of the spool.

Times are integers, milliseconds since the Unix epoch, UTC by the host clock, unless a name says otherwise.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from spool.capture import Capture
from spool.states import ChunkState, StreamState

FPS_MIN, FPS_MAX = 1e-6, 1e6
CHUNK_SIZE_MAX = 100_000

STREAM_ID = re.compile(r"[0-9]{8}t[0-9]{6}-[0-9a-f]{12}", re.ASCII)
"""What a stream_id looks like; no other name from outside ever becomes a path."""


_RARE = ("copies", "copy_of")

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
        copies: the stream_ids of its copies in this spool, each of which goes to a destination of its own.
        copy_of: the stream_id of the stream that this is a copy of; see `spool.copying`.
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
    copies: tuple[str, ...] = ()
    copy_of: str | None = None

    def __post_init__(self) -> None:
        # With anything else no chunk could be stored or stamped; better said before the camera starts.
        if not FPS_MIN <= self.fps <= FPS_MAX:
            raise ValueError(f"fps is {self.fps!r}, not from {FPS_MIN} to {FPS_MAX}")
        if not 0 <= self.rotations_per_min < math.inf:
            raise ValueError(f"rotations_per_min is {self.rotations_per_min!r}, not zero or more")
        if not 1 <= self.chunk_size <= CHUNK_SIZE_MAX:
            raise ValueError(f"chunk_size is {self.chunk_size!r}, not from 1 to {CHUNK_SIZE_MAX}")
        for other in (*self.copies, *([] if self.copy_of is None else [self.copy_of])):
            if not STREAM_ID.fullmatch(other):  # they become paths
                raise ValueError(f"{other!r} is no stream_id")

    def facts(self) -> dict[str, Any]:
        """As they are stored; what only streams with several destinations have is left out of all others'."""
        return {name: value for name, value in asdict(self).items() if value or name not in _RARE}

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Self:
        """The settings that were stored.

        Raises:
            TypeError, ValueError, KeyError: it is not what `facts` gave.
        """
        copies = tuple(facts.get("copies", ()))
        return cls(**{**facts, "tags": tuple(facts["tags"]), "copies": copies})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One stream of the destination that takes chunks of ours; another follows when the destination has ended it.

    Attributes:
        number: counts the stream's parts from 1.
        data_id: the destination's id; ``None`` while it has not been told, or its answer was lost.
        name: as the destination knows it.
        is_name_free: before it was asked for, the destination had no stream of this name that is not ours; so one
            that it has afterwards is this part. ``False`` also when it could not be told.
        asked_at_ms: when the destination was about to be asked for it.
        opened_at_ms: when its data_id was recorded.
        closed_at_ms: when it was found ended, or a person wished for another; ``None`` while it takes chunks.
        closed_why: in words.
    """

    number: int
    data_id: str | None
    name: str
    is_name_free: bool
    asked_at_ms: int
    opened_at_ms: int | None = None
    closed_at_ms: int | None = None
    closed_why: str | None = None

    @property
    def takes_chunks(self) -> bool:
        """Whether it is open at the destination, as far as we know."""
        return self.data_id is not None and self.closed_at_ms is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """One measurement of the reference clock against this host's two clocks.

    Attributes:
        at_ms: the host clock, at the moment that ``offset_ms`` speaks of.
        monotonic_ms: the clock that nobody sets, at the same moment; ``None`` where the host has none to compare.
        boot_id: between two readings with another one, ``monotonic_ms`` means nothing.
        offset_ms: reference clock minus host clock.
        uncertainty_ms: the offset is within so much.
    """

    at_ms: int
    monotonic_ms: int | None
    boot_id: str | None
    offset_ms: float
    uncertainty_ms: float


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
        parts: the destination's streams that take, or took, its chunks; empty before the first was asked for.
        unlinked: why sample, project and tags are not linked to the latest part; ``None`` when nothing is owed.
        height: frame height in pixels, ``None`` before the first chunk; likewise ``width``.
        next_chunk_idx: one more than the highest chunk_idx ever pushed.
        watermark: highest chunk up to which everything is acknowledged without a gap, -1 for none.
        held: why nothing is sent until a person decides; ``None`` when nothing holds it.
        trouble: the latest problem in words; ``None`` when all is well.
        created_monotonic_ms: the clock that nobody sets, at its creation; comparable within ``boot_id``.
        clock_offset_ms: reference clock minus host clock, at the latest reading; ``None`` when never measured.
    """

    stream_id: str
    settings: StreamSettings
    state: StreamState
    parts: tuple[Part, ...]
    unlinked: str | None
    height: int | None
    width: int | None
    next_chunk_idx: int
    watermark: int
    created_at_ms: int
    created_monotonic_ms: int | None
    boot_id: str | None
    sealed_at_ms: int | None
    finalized_at_ms: int | None
    held: str | None
    trouble: str | None
    clock_offset_ms: float | None
    clock_uncertainty_ms: float | None
    lease_owner: str | None
    lease_until_ms: int | None
    tally: Tally = field(default_factory=Tally)

    @property
    def origin_id(self) -> str:
        """The stream_id that its shards carry: its own, or that of the stream that it is a copy of."""
        return self.settings.copy_of or self.stream_id

    @property
    def data_id(self) -> str | None:
        """The destination's id of the latest part that has one; ``None`` until it has given one."""
        return next((part.data_id for part in reversed(self.parts) if part.data_id is not None), None)

    @property
    def part(self) -> Part | None:
        """The part that takes chunks now; ``None`` when the destination has to be asked for one."""
        return self.parts[-1] if self.parts and self.parts[-1].takes_chunks else None

    @property
    def asked_part(self) -> Part | None:
        """The part that was asked for and has no data_id yet; the destination may have it, or not."""
        last = self.parts[-1] if self.parts else None
        return last if last is not None and last.data_id is None and last.closed_at_ms is None else None


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
        data_id: of the part that they went to.
    """

    status: int
    etag: str | None
    confirmed: bool
    at_ms: int
    checksums: Mapping[str, str] = field(default_factory=dict)
    server_date: str | None = None
    request_ids: Mapping[str, str] = field(default_factory=dict)
    url_path: str | None = None
    data_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One chunk, as the index knows it at one moment.

    Attributes:
        n: frames in the chunk; ``height`` and ``width`` in pixels.
        wire_bytes: length of the shard as it is sent.
        sha256: hex digest over exactly the bytes that are sent.
        disk_bytes: size of the local file; 0 once pruned or discarded.
        capture_start_ms_utc: when its first frame was captured, by the host clock at its push.
        monotonic_ms: the same moment by the clock that nobody sets; comparable within ``boot_id``.
        attempts: uploads started so far.
        parked_reason: why it waits for a person; ``None`` unless parked.
        capture: what its source says of it; ``None`` of one that was pushed without.
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
    monotonic_ms: int | None
    boot_id: str | None
    spooled_at_ms: int
    attempts: int
    acknowledged_at_ms: int | None
    receipt: Receipt | None
    parked_reason: str | None
    pruned_at_ms: int | None
    capture: Capture | None = None


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


def new_stream(
    stream_id: str,
    *,
    settings: StreamSettings,
    created_at_ms: int,
    data_id: str | None = None,
    parts: tuple[Part, ...] = (),
    created_monotonic_ms: int | None = None,
    boot_id: str | None = None,
) -> Stream:
    """A stream at its very beginning: with a ``data_id``, its first part is open already."""
    if data_id is not None:
        parts = (first_part(data_id, settings.name, created_at_ms),)
    return Stream(
        stream_id=stream_id,
        settings=settings,
        state=StreamState.OPEN,
        parts=parts,
        unlinked=None,
        height=None,
        width=None,
        next_chunk_idx=0,
        watermark=-1,
        created_at_ms=created_at_ms,
        created_monotonic_ms=created_monotonic_ms,
        boot_id=boot_id,
        sealed_at_ms=None,
        finalized_at_ms=None,
        held=None,
        trouble=None,
        clock_offset_ms=None,
        clock_uncertainty_ms=None,
        lease_owner=None,
        lease_until_ms=None,
    )


def first_part(data_id: str, name: str, created_at_ms: int) -> Part:
    """The part of a stream that was opened here and at the destination in one go."""
    return Part(
        number=1,
        data_id=data_id,
        name=name,
        is_name_free=False,
        asked_at_ms=created_at_ms,
        opened_at_ms=created_at_ms,
    )
