"""What became of every chunk of one stream: nine bytes a chunk here, and runs of equal ones on the wire.

On the wire a map is a row of runs, each a byte that says what (`Code`) and a number that says how many, in LEB128;
together they cover the indices from 0 on. What changed since a version comes in the same form, with `UNCHANGED`
where nothing did.
"""

import time
from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from spool import Cell, ChunkState
from uploader.dashboard.series import Series

UNCHANGED = 255
CHANGES_MAX = 20_000
"""So many changes are remembered; who was away for longer gets the whole map again."""


class Code(IntEnum):
    """What became of a chunk, as one byte. ``page/cells.js`` has the same."""

    GAP = 0
    WAITING = 1
    ACKNOWLEDGED = 2
    CONFIRMED = 3
    PARKED = 4
    DISCARDED = 5
    PRUNED = 6
    """Confirmed, and its local bytes are deleted."""
    PRUNED_UNCONFIRMED = 7


_OVER = (Code.ACKNOWLEDGED, Code.CONFIRMED, Code.DISCARDED, Code.PRUNED, Code.PRUNED_UNCONFIRMED)


def code_of(cell: Cell) -> Code:
    """A cell as one byte."""
    match cell.state:
        case ChunkState.SPOOLED:
            return Code.WAITING
        case ChunkState.PARKED:
            return Code.PARKED
        case ChunkState.DISCARDED:
            return Code.DISCARDED
    if cell.is_here:
        return Code.CONFIRMED if cell.is_confirmed else Code.ACKNOWLEDGED
    return Code.PRUNED if cell.is_confirmed else Code.PRUNED_UNCONFIRMED


class ChunkMap:
    """One stream's chunks, taken in page by page, then change by change.

    Attributes:
        through_idx: every chunk up to this one is taken in.
        is_whole: all of them are.
        version: grows with each change after that.
        series: what came and went over time.
        counts: chunks by `Code`.
    """

    def __init__(self) -> None:
        self.through_idx = -1
        self.is_whole = False
        # No other map of this stream, before or after this one, ever has the same versions.
        self.version = self._begun = time.time_ns() // 1000
        self.series = Series()
        self.counts: Counter[int] = Counter()
        self._idxs = array("q")
        self._codes = bytearray()
        self._changes: deque[tuple[int, int]] = deque(maxlen=CHANGES_MAX)

    def __len__(self) -> int:
        return len(self._codes)

    def take_page(self, cells: list[Cell]) -> None:
        """The next page of the first reading; an empty one says that this was all."""
        for cell in cells:
            self._take(cell)
        if cells:
            self.through_idx = cells[-1].chunk_idx
        else:
            self.is_whole = True

    def concerns(self, chunk_idx: int) -> bool:
        """Whether a change of this chunk matters now; one that the first reading is still to reach does not."""
        return self.is_whole or chunk_idx <= self.through_idx

    def take_changes(self, cells: Iterable[Cell]) -> None:
        """Chunks as they are now: new ones, or others than before."""
        self.version += 1
        for cell in cells:
            if self._take(cell):
                self._changes.append((self.version, cell.chunk_idx))

    def _take(self, cell: Cell) -> bool:
        """Enter one chunk; whether it is new or another."""
        code, idx = code_of(cell), cell.chunk_idx
        at = len(self._idxs) if not self._idxs or idx > self._idxs[-1] else bisect_left(self._idxs, idx)
        before: int | None = None
        if at < len(self._idxs) and self._idxs[at] == idx:
            before = self._codes[at]
            self._codes[at] = code
            self.counts[before] -= 1
        else:
            self._idxs.insert(at, idx)
            self._codes.insert(at, code)
            self.series.came(cell.spooled_at_ms, cell.wire_bytes)
        self.counts[code] += 1
        if code in _OVER and before not in _OVER and cell.left_at_ms is not None:
            add = self.series.given_up if code is Code.DISCARDED else self.series.went
            add(cell.left_at_ms, cell.wire_bytes)
        return before != code

    def latest_here(self, most: int) -> list[int]:
        """The highest chunks whose bytes are on the local disk, so many at most; in order."""
        codes = np.frombuffer(bytes(self._codes), dtype=np.uint8)
        is_here = (codes != Code.PRUNED) & (codes != Code.PRUNED_UNCONFIRMED) & (codes != Code.DISCARDED)
        return [self._idxs[int(at)] for at in np.flatnonzero(is_here)[-most:]]

    def runs(self) -> bytes:
        """The whole map."""
        idxs = np.array(self._idxs, dtype=np.int64)
        return _runs(idxs, np.frombuffer(bytes(self._codes), dtype=np.uint8), between=Code.GAP)

    def runs_since(self, version: int) -> bytes | None:
        """What has changed since a version of this map; ``None`` when that is not known any more."""
        if not self._begun <= version <= self.version:
            return None  # it is of another map
        if version < self.version and len(self._changes) == CHANGES_MAX and self._changes[0][0] > version:
            return None
        changed = sorted({idx for at, idx in self._changes if at > version})
        codes = [self._codes[bisect_left(self._idxs, idx)] for idx in changed]
        return _runs(np.array(changed, dtype=np.int64), np.array(codes, dtype=np.uint8), between=UNCHANGED)


def _runs(idxs: NDArray[np.int64], codes: NDArray[np.uint8], *, between: int) -> bytes:
    if not idxs.size:
        return b""
    begins = np.flatnonzero(np.r_[True, (np.diff(idxs) != 1) | (codes[1:] != codes[:-1])])
    ends = np.r_[begins[1:], idxs.size]
    written = bytearray()
    expected = 0
    for first, count, code in zip(
        idxs[begins].tolist(), (ends - begins).tolist(), codes[begins].tolist(), strict=True
    ):
        if first > expected:
            _write_run(written, between, first - expected)
        _write_run(written, code, count)
        expected = first + count
    return bytes(written)


def _write_run(written: bytearray, code: int, count: int) -> None:
    written.append(code)
    while count > 0x7F:  # noqa: PLR2004 - LEB128: seven bits a byte
        written.append(count & 0x7F | 0x80)
        count >>= 7
    written.append(count)
