"""From a source's frames to chunks with capture times, at the camera's pace or as fast as it goes.

Frame k is stamped ``start + k / fps``, paced or not; or, where the source knows better, as long after the start
as it was captured after the first one. Whatever ends the recording (the source's end, its error, a person), the
frames taken so far still make a last, shorter chunk.
"""

import threading
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from uploader.sources import Frame, Source, SourceError, times_of


class Recording:
    """One pass through a source; iterate `chunks` once.

    Args:
        source: where the frames come from.
        fps: frames per second.
        chunk_size: the most frames in a chunk.
        paced: whether a frame is taken no earlier than it is due after the start.
        own_times: whether frames are due by the source's own times, if it has them, and not evenly.

    Attributes:
        frames: how many were taken.
        error: what broke the source, if something did.
    """

    def __init__(
        self, source: Source, *, fps: float, chunk_size: int, paced: bool, own_times: bool = False
    ) -> None:
        self._source = source
        self._timed = times_of(source) if own_times else None
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
        first_ms = 0.0
        for frame, after_ms in self._taken():
            if not taken:
                first_ms = after_ms
            taken.append(frame)
            if len(taken) == self._chunk_size:
                yield np.stack(taken), start_ms + first_ms
                taken = []
        if taken:
            yield np.stack(taken), start_ms + first_ms

    def _taken(self) -> Iterator[tuple[Frame, float]]:
        """The frames, and how many milliseconds after the start each is due."""
        start_s = time.monotonic()
        try:
            for frame, after_ms in self._given():
                due_s = start_s + after_ms / 1000 if self._paced else 0.0
                if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                    return
                self.frames += 1
                yield frame, after_ms
        except SourceError as error:
            self.error = error

    def _given(self) -> Iterator[tuple[Frame, float]]:
        if self._timed is not None:
            return self._timed.timed_frames()
        return ((frame, number * 1000 / self._fps) for number, frame in enumerate(self._source.frames()))
