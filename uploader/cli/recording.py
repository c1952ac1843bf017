"""From a source's frames to chunks with capture times, at the camera's pace or as fast as it goes.

Frame k is stamped ``start + k / fps``, paced or not. Whatever ends the recording (the source's end, its error, a
person), the frames taken so far still make a last, shorter chunk.
"""

import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from uploader.sources import Frame, Source, SourceError


class Recording:
    """One pass through a source; iterate `chunks` once.

    Args:
        source: where the frames come from.
        fps: frames per second.
        chunk_size: the most frames in a chunk.
        paced: whether frame k is taken no earlier than ``k / fps`` seconds after the start.

    Attributes:
        frames: how many were taken.
        error: what broke the source, if something did.
    """

    def __init__(self, source: Source, *, fps: float, chunk_size: int, paced: bool) -> None:
        self._source = source
        self._fps = fps
        self._chunk_size = chunk_size
        self._paced = paced
        self._stopped = threading.Event()
        self.frames = 0
        self.error: SourceError | None = None

    def stop(self) -> None:
        """Take no more frames; safe from a signal's function."""
        self._stopped.set()

    @property
    def was_stopped(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stopped.is_set()

    def chunks(self) -> Iterator[tuple[NDArray[np.uint8], float]]:
        """``uint8`` arrays ``(n, H, W)`` with the capture time of their first frame, milliseconds UTC."""
        start_ms = time.time() * 1000
        taken: list[Frame] = []
        for frame in self._taken():
            taken.append(frame)
            if len(taken) == self._chunk_size:
                yield self._chunk(taken, start_ms)
                taken = []
        if taken:
            yield self._chunk(taken, start_ms)

    def _chunk(self, taken: list[Frame], start_ms: float) -> tuple[NDArray[np.uint8], float]:
        first = self.frames - len(taken)
        return np.stack(taken), start_ms + first * 1000 / self._fps

    def _taken(self) -> Iterator[Frame]:
        start_s = time.monotonic()
        try:
            for frame in self._source.frames():
                due_s = start_s + self.frames / self._fps if self._paced else 0.0
                if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                    return
                self.frames += 1
                yield frame
        except SourceError as error:
            self.error = error
