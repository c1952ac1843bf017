"""What came and what went over time, in as many bytes for a million chunks as for a hundred."""

from typing import Any

BUCKETS_MAX = 400
_WIDTH_MS = 1000


class Series:
    """Bytes and chunks by time: so many buckets at most, which grow twice as wide when there would be more."""

    def __init__(self) -> None:
        self._width_ms = _WIDTH_MS
        self._buckets: dict[int, list[int]] = {}
        self._first = self._last = 0

    def came(self, at_ms: int, size: int) -> None:
        """A chunk was spooled."""
        self._add(at_ms, 0, size)

    def went(self, at_ms: int, size: int) -> None:
        """A chunk was acknowledged."""
        self._add(at_ms, 2, size)

    def given_up(self, at_ms: int, size: int) -> None:
        """A chunk was discarded."""
        self._add(at_ms, 4, size)

    def _add(self, at_ms: int, place: int, size: int) -> None:
        number = at_ms // self._width_ms
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._room_for(at_ms)
        bucket[place] += 1
        bucket[place + 1] += size

    def _room_for(self, at_ms: int) -> list[int]:
        number = at_ms // self._width_ms
        if not self._buckets:
            self._first = self._last = number
        first, last = min(self._first, number), max(self._last, number)
        while last - first >= BUCKETS_MAX:
            self._widen()
            number = at_ms // self._width_ms
            first, last = min(self._first, number), max(self._last, number)
        self._first, self._last = first, last
        return self._buckets.setdefault(number, [0] * 6)

    def _widen(self) -> None:
        self._width_ms *= 2
        wider: dict[int, list[int]] = {}
        for number, bucket in self._buckets.items():
            into = wider.setdefault(number // 2, [0] * 6)
            for k, amount in enumerate(bucket):
                into[k] += amount
        self._buckets = wider
        self._first, self._last = self._first // 2, self._last // 2

    def to_json(self) -> dict[str, Any]:
        """For each bucket chunks and bytes that came, went, and were neither gone nor given up at its end."""
        columns: dict[str, list[int]] = {
            name: []
            for name in ("came_chunks", "came_bytes", "went_chunks", "went_bytes", "left_chunks", "left_bytes")
        }
        chunks = size = 0
        if self._buckets:
            for number in range(self._first, self._last + 1):
                bucket = self._buckets.get(number, (0, 0, 0, 0, 0, 0))
                chunks += bucket[0] - bucket[2] - bucket[4]
                size += bucket[1] - bucket[3] - bucket[5]
                for column, amount in zip(columns.values(), (*bucket[:4], chunks, size), strict=True):
                    column.append(amount)
        return {"from_ms": self._first * self._width_ms, "width_ms": self._width_ms, **columns}
