"""The last frame as a picture, and how bright the last ones are: frames decoded only while somebody looks."""

import threading
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from spool import Chunk, Spool, SpoolError
from uploader.png import png, shrunk

LONGEST_SIDE = 640
PIXELS_MAX = 64_000_000
"""A larger frame is not decoded for a page."""
TREND_CHUNKS = 40
_FRAMES_EACH = 8
_DECODED_AT_ONCE = 64
_QUICK = 4
_KEPT_CHUNKS = 2000
_LOOKED_AT = 1024

Point = tuple[int, float]


def picture_of(spool: Spool, chunk: Chunk, number: int) -> bytes:
    """One frame as a PNG, no side longer than `LONGEST_SIDE`.

    Raises:
        ShardDamaged, DiskFailed, IndexError: see `Spool.frame`.
        TooLarge: it is larger than `PIXELS_MAX`.
    """
    if chunk.height * chunk.width > PIXELS_MAX:
        raise TooLarge(f"a frame of {chunk.width} x {chunk.height} pixels is too large to be shown here")
    return png(shrunk(spool.frame(chunk, number), longest=LONGEST_SIDE), effort=_QUICK)


class TooLarge(SpoolError):
    """A frame is larger than a page should show; 'framespool export' writes it."""

    hint = "'framespool export' writes it to a file."


class Trend:
    """How bright the frames are that were recorded last; what was decoded once is kept.

    Bright is the mean grey value of the brightest hundredth of the pixels: the spots, wherever they are.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._known: OrderedDict[tuple[str, int], list[Point]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, stream_id: str, fps: float, chunk_idxs: list[int]) -> tuple[list[Point], bool]:
        """When and how bright, for some frames of each chunk.

        Args:
            stream_id: the stream.
            fps: frames per second.
            chunk_idxs: in order; the latest are decoded first.

        Returns:
            ``(milliseconds UTC, 0 to 255)``, and whether that is all: one call decodes only so many.
        """
        with self._lock:
            left = _DECODED_AT_ONCE
            for idx in reversed(chunk_idxs):
                if (stream_id, idx) in self._known:
                    continue
                if left <= 0:
                    break
                points = self._points(stream_id, fps, idx)
                left -= max(1, len(points))
                self._known[stream_id, idx] = points
            while len(self._known) > _KEPT_CHUNKS:
                self._known.popitem(last=False)
            found = [one for idx in chunk_idxs for one in self._known.get((stream_id, idx), ())]
            return found, all((stream_id, idx) in self._known for idx in chunk_idxs)

    def _points(self, stream_id: str, fps: float, idx: int) -> list[Point]:
        chunk = self._spool.chunk(stream_id, idx)
        if chunk is None or not chunk.disk_bytes or chunk.height * chunk.width > PIXELS_MAX:
            return []
        step = max(1, -(-chunk.n // _FRAMES_EACH))
        points: list[Point] = []
        for number in range(0, chunk.n, step):
            try:
                bright = _bright(self._spool.frame(chunk, number))
            except SpoolError:
                return points  # pruned meanwhile, or damaged, which the map and 'verify' tell
            points.append((chunk.capture_start_ms_utc + round(number * 1000 / fps), round(bright, 2)))
        return points


def _bright(frame: NDArray[np.uint8]) -> float:
    """The mean of the brightest hundredth; of a histogram, which takes no time."""
    counts = np.bincount(shrunk(frame, longest=_LOOKED_AT).ravel(), minlength=256)[::-1]
    wanted = max(1, int(counts.sum()) // 100)
    taken = np.minimum(counts, np.maximum(0, wanted - (np.cumsum(counts) - counts)))
    return float((taken * np.arange(255, -1, -1)).sum() / wanted)
