"""A camera that never was: frames at any size and rate, each with its number in its first pixels.

It behaves as a driver does: so many frames wait for whoever takes them, and what finds no place is dropped, and
shows as a number that is skipped. Frames are made beforehand, so that it takes next to no processor.
"""

import time
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from uploader.sources.live import Grabbed, LiveSource, Notice, Wanted

_WAITING_MAX = 16
_DIFFERENT = 8
_NUMBER_BYTES = 8


def stamp(frame: NDArray[np.uint8], number: int) -> None:
    """Write a frame's number into its first eight pixels."""
    frame.reshape(-1)[:_NUMBER_BYTES] = np.frombuffer(number.to_bytes(_NUMBER_BYTES, "big"), dtype=np.uint8)


def numbers_in(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers of frames ``(n, H, W)`` that were stamped."""
    flat = frames.reshape(len(frames), -1)[:, :_NUMBER_BYTES]
    return [int.from_bytes(one.tobytes(), "big") for one in flat]


def dots(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Something between a dark screen and noise, as a RHEED image is."""
    return np.random.default_rng(seed).poisson(12.0, (height, width)).astype(np.uint8)


class Stamped:
    """See `uploader.sources.live.LiveSource`; ends after so many frames."""

    def __init__(self, *, height: int, width: int, fps: float, frames: int) -> None:
        self.shape = (height, width)
        self.frame_rate: float | None = fps
        self._fps = fps
        self._frames = frames
        self._base = [dots(height, width, seed) for seed in range(_DIFFERENT)]
        self._next = 1
        self._began_s = 0.0
        self.dropped = 0

    @property
    def name(self) -> str:
        """See `LiveSource.name`."""
        return "stamped"

    @property
    def is_over(self) -> bool:
        """See `LiveSource.is_over`."""
        return self._next > self._frames

    def describe(self) -> str:
        """See `LiveSource.describe`."""
        return f"stamped frames, {self.shape[0]} x {self.shape[1]} px, {self._fps:g} frames/s"

    def facts(self) -> Mapping[str, object]:
        """See `LiveSource.facts`."""
        return {"fps": self._fps, "frames": self._frames}

    def start(self) -> None:
        """See `LiveSource.start`."""
        self._next, self._began_s = 1, time.monotonic()

    def grab(self, timeout_s: float) -> Grabbed | None:
        """See `LiveSource.grab`."""
        if self.is_over:
            return None
        due_s = self._began_s + self._next / self._fps
        left_s = due_s - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, timeout_s))
            if left_s > timeout_s:
                return None
        late = int(-left_s * self._fps) - _WAITING_MAX
        if late > 0:
            self.dropped += late
            self._next = min(self._next + late, self._frames)
        number, self._next = self._next, self._next + 1
        frame = self._base[number % _DIFFERENT].copy()
        stamp(frame, number)
        device_ns = number * 10**9 // int(self._fps)
        return Grabbed(frame=frame, number=number, device_ns=device_ns)

    def stop(self) -> None:
        """See `LiveSource.stop`."""

    def notices(self) -> Sequence[Notice]:
        """See `LiveSource.notices`."""
        return ()


def open_stamped(rest: str, wanted: Wanted) -> LiveSource:
    """``stamped:height=300,width=500,frames=3600`` at ``--fps``."""
    told = dict(_pairs(rest.split(",")))
    return Stamped(
        height=int(told.get("height", 300)),
        width=int(told.get("width", 500)),
        fps=wanted.fps or 120.0,
        frames=int(told.get("frames", 1200)),
    )


def _pairs(parts: Iterable[str]) -> Iterable[tuple[str, str]]:
    return ((one.partition("=")[0], one.partition("=")[2]) for one in parts if one)
