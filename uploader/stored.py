"""The objects of a stream in a store, held against its proof: what is there, what is missing, what differs."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto

from spool import Chunk, ChunkState, ShardDamaged, StreamAudit, check_received
from uploader.destinations.stores.base import Listed, Store

Spans = tuple[tuple[int, int], ...]
"""Indices as inclusive spans."""

_SHARD = re.compile(r"c\.(0|[1-9]\d{0,17})\.0\.0", re.ASCII)
_TIMES = re.compile(r"c\.(0|[1-9]\d{0,17})", re.ASCII)
_ENTRY_BYTES, _TIME_BYTES, _CRC_BYTES = 16, 8, 4


class Check(Enum):
    """How much of a stream's objects is looked at."""

    NOTHING = auto()
    OBJECTS = auto()
    """Which are there, how long they are, and their ETags where the receipts have them."""
    DIGESTS = auto()
    """Every byte of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a check has found.

    Attributes:
        present: how many of the chunks are there.
        size_bytes: of all that are there.
        missing: the chunks that are not.
        different: those that are not what was delivered.
        says: in words, of the first that differs.
        untimed: the chunks whose times are missing, or not as long as times are.
    """

    present: int
    size_bytes: int
    missing: Spans
    different: Spans = ()
    says: str = ""
    untimed: Spans = ()

    @property
    def is_well(self) -> bool:
        """Whether everything is there that should be."""
        return not (self.missing or self.different or self.untimed)


def held_against(store: Store, place: str, audit: StreamAudit, check: Check) -> Stored:
    """Hold the objects of a stream against its proof.

    Raises:
        StoreTrouble: the store does not tell.
    """
    chunk_size = audit.stream.settings.chunk_size
    owed = {one.chunk.chunk_idx: one.chunk for one in audit.chunks if one.chunk.state is ChunkState.ACKNOWLEDGED}
    untimed = {
        idx
        for idx, one in _found(store, f"{place}/time", _TIMES)
        if idx in owed and one.size_bytes == _TIME_BYTES * chunk_size + _CRC_BYTES
    }.symmetric_difference(owed)
    present, size_bytes, says = 0, 0, ""
    different = []
    for idx, one in _found(store, f"{place}/frames", _SHARD):
        chunk = owed.pop(idx, None)
        if chunk is None:
            continue  # nobody says what it should be: a chunk that was discarded after a lost answer
        present += 1
        size_bytes += one.size_bytes
        wrong = _difference(store, one, chunk, chunk_size, check)
        if wrong:
            different.append(idx)
            says = says or f"chunk {idx}: {wrong}"
    return Stored(
        present=present,
        size_bytes=size_bytes,
        missing=spans(owed),
        different=spans(different),
        says=says,
        untimed=spans(untimed),
    )


def what_is_there(store: Store, place: str, chunks: int) -> Stored:
    """What is there of a stream that has no proof yet: it was told to hold so many chunks.

    A chunk that is not there may have been skipped, or may lie with others that wait for a person.
    """
    sizes = {idx: one.size_bytes for idx, one in _found(store, f"{place}/frames", _SHARD) if idx < chunks}
    here = spans(sizes)
    # Between those that are there: the number itself is a stranger's, and may be beyond any list.
    ends = [-1, *(last for _, last in here)], [*(first for first, _ in here), chunks]
    missing = tuple((last + 1, first - 1) for last, first in zip(*ends, strict=True) if last + 1 < first)
    return Stored(present=len(sizes), size_bytes=sum(sizes.values()), missing=missing)


def spans(indices: Iterable[int]) -> Spans:
    """Indices, in any order, as inclusive spans."""
    found: list[tuple[int, int]] = []
    for idx in sorted(indices):
        if found and found[-1][1] == idx - 1:
            found[-1] = found[-1][0], idx
        else:
            found.append((idx, idx))
    return tuple(found)


def _found(store: Store, place: str, pattern: re.Pattern[str]) -> Iterator[tuple[int, Listed]]:
    for one in store.walk(place):
        if fits := pattern.fullmatch(one.key.removeprefix(f"{place}/")):
            yield int(fits[1]), one


def _difference(store: Store, one: Listed, chunk: Chunk, chunk_size: int, check: Check) -> str:
    """What differs between an object and the chunk that it should hold; empty for nothing."""
    # A short chunk has an index for readers behind it: see `spool.padded_for_readers`.
    more = 0 if chunk.n == chunk_size else _ENTRY_BYTES * chunk_size + _CRC_BYTES
    if one.size_bytes != chunk.wire_bytes + more:
        return f"it has {one.size_bytes} bytes where {chunk.wire_bytes + more} were delivered"
    ours = chunk.receipt.etag if chunk.receipt is not None else None
    # Another ETag may only mean that somebody has copied the bucket: then the bytes themselves tell.
    is_told_by_etag = ours is None or one.etag is None or ours == one.etag
    if check is not Check.DIGESTS and is_told_by_etag:
        return ""
    content = store.read(one.key)
    if content is None:
        return "it was removed just now"
    try:
        check_received(content, chunk, chunk_size=chunk_size)
    except ShardDamaged as error:
        return str(error)
    return ""
