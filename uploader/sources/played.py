"""A recording, or the simulated camera, played as a live source: at its rate, and each frame once."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from uploader.sources.live import Grabbed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from uploader.sources.base import Frame, Source
    from uploader.sources.live import Notice


class Played:
    """See `uploader.sources.live.LiveSource`.

    Args:
        source: what is played, from its first frame.
        fps: frames per second; as it was recorded without. A camera's number of each frame is its place, from 1.
    """

    def __init__(self, source: Source, fps: float | None = None) -> None:
        self._source = source
        self._fps = fps or source.frame_rate
        self._frames: Iterator[Frame] | None = None
        self._next: Frame | None = None
        self._count = 0
        self._began_s = 0.0
        self._wakes = threading.Event()

    @property
    def name(self) -> str:
        """See `LiveSource.name`."""
        return self._source.name

    @property
    def shape(self) -> tuple[int, int]:
        """See `LiveSource.shape`."""
        return self._source.shape

    @property
    def frame_rate(self) -> float | None:
        """See `LiveSource.frame_rate`."""
        return self._fps

    @property
    def is_over(self) -> bool:
        """Whether the last frame was played."""
        return self._frames is not None and self._next is None

    def describe(self) -> str:
        """See `LiveSource.describe`."""
        return self._source.describe()

    def facts(self) -> Mapping[str, object]:
        """See `LiveSource.facts`."""
        return {"played": self.describe(), "fps": self._fps}

    def start(self) -> None:
        """Begin with the first frame."""
        self._frames = self._source.frames()
        self._next = next(self._frames, None)
        self._count, self._began_s = 0, time.monotonic()

    def grab(self, timeout_s: float) -> Grabbed | None:
        """See `LiveSource.grab`."""
        if self._next is None or self._frames is None:
            return None
        due_s = self._began_s + (self._count / self._fps if self._fps else 0.0)
        left_s = due_s - time.monotonic()
        if left_s > 0:
            self._wakes.wait(min(left_s, timeout_s))
            if left_s > timeout_s:
                return None
        frame, self._next = self._next, next(self._frames, None)
        self._count += 1
        return Grabbed(frame=frame, number=self._count)

    def stop(self) -> None:
        """See `LiveSource.stop`."""
        self._frames = self._next = None

    def notices(self) -> Sequence[Notice]:
        """Nothing ever happens to a recording."""
        return ()
