"""Frames that come one by one, put together to chunks with what their source says of them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spool import Capture
from uploader.grabbing.grabber import Figures, Grabber, Happened, Taken
from uploader.grabbing.ring import Ring
from uploader.sources.live import LiveSource

DEFAULT_RING_BYTES = 512 * 1024 * 1024
DEFAULT_CHUNK_S = 10.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A chunk that is ready to be pushed.

    Attributes:
        frames: ``uint8`` ``(n, H, W)``.
        capture_start_ms_utc: when its first frame was captured, milliseconds UTC by the host's clock.
        capture: what the source says of it.
    """

    frames: NDArray[np.uint8]
    capture_start_ms_utc: float
    capture: Capture


class Assembler:
    """One recording from a live source; iterate it once, and push each chunk before the next one is asked for.

    Args:
        source: not started yet; it is stopped when the iteration ends.
        chunk_size: the most frames in a chunk.
        chunk_s: the longest time from a chunk's first frame to its push, seconds: a camera that stops, or slows
            down, leaves no frames in memory.
        ring_bytes: room for frames that came while a chunk is being pushed.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        chunk_size: int,
        chunk_s: float = DEFAULT_CHUNK_S,
        ring_bytes: int = DEFAULT_RING_BYTES,
    ) -> None:
        self._chunk_size = chunk_size
        self._chunk_s = chunk_s
        self._ring: Ring[Taken | Happened] = Ring(ring_bytes)
        self._grabber = Grabber(source, self._ring)

    @property
    def figures(self) -> Figures:
        """What has happened so far."""
        return self._grabber.figures

    @property
    def ring(self) -> Ring[Taken | Happened]:
        """The room for frames; to be looked at."""
        return self._ring

    def stop(self) -> None:
        """Take no more frames; those that were taken still come as chunks. Safe from a signal's function."""
        self._grabber.stop()

    def __iter__(self) -> Iterator[Assembled | Happened]:
        """Chunks and what happens between them, in order; the last one is ``source_stopped``."""
        self._grabber.start()
        try:
            yield from self._assembled()
        finally:
            self._grabber.stop()
            self._grabber.join()

    def _assembled(self) -> Iterator[Assembled | Happened]:
        waiting: list[Taken] = []
        while True:
            item = self._ring.get(self._patience_s(waiting))
            if isinstance(item, Taken):
                waiting.append(item)
            if waiting and (len(waiting) == self._chunk_size or not self._patience_s(waiting) or _ends(item)):
                yield _chunk(waiting)
                waiting = []
            if isinstance(item, Happened):
                yield item
                if item.event == "source_stopped":
                    return

    def _patience_s(self, waiting: list[Taken]) -> float:
        if not waiting:
            return _LOOK_S
        return max(0.0, waiting[0].arrived_s + self._chunk_s - time.monotonic())


def _ends(item: Taken | Happened | None) -> bool:
    """Whether a chunk ends with it: what happened is told behind the frames that came before."""
    return isinstance(item, Happened) and item.event != "source_notice"


def _chunk(waiting: list[Taken]) -> Assembled:
    first, last = waiting[0].grabbed, waiting[-1].grabbed
    captured_ns = waiting[0].captured_ns
    files = [one.grabbed.file for one in waiting]
    capture = Capture(
        first=first.number,
        last=last.number,
        losses=tuple(loss for one in waiting for loss in one.losses),
        device_ns=first.device_ns,
        offset_ns=None if first.device_ns is None else captured_ns - first.device_ns,
        files=tuple(one for one in files if one is not None),
    )
    return Assembled(
        frames=np.stack([one.grabbed.frame for one in waiting]),
        capture_start_ms_utc=captured_ns / 1e6,
        capture=capture,
    )
