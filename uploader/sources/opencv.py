"""A USB camera, a network camera's stream, or a video file given at its own pace, through OpenCV.

OpenCV tells neither a number nor a time of a frame, so that what is dropped before it came here cannot be seen.
That is said where it is recorded. Cameras that count are better taken by `pylon` or `genicam`.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from uploader.sources.base import Frame, SourceError, same_shape
from uploader.sources.camera import Begun, Camera
from uploader.sources.drivers import Found, speaking_to
from uploader.sources.live import Grabbed, LiveSource, SourceLost, Wanted
from uploader.sources.pixels import to_grey

_PREFIX: Final = "CAP_PROP_"
_OPEN_MS, _READ_MS = 10_000, 5_000
_FPS_MAX: Final = 1_000.0  # streams that do not know theirs tell that of their clock
_RATE_OFF_MAX: Final = 0.01
_FILE_FPS: Final = 25.0  # of one that does not say
_LOOKED_AT: Final = 5  # where the system has no list of its cameras
_V4L: Final = Path("/sys/class/video4linux")

# Its own lines on the terminal say less than ours; those of FFmpeg stay, for they say why a stream cannot be had.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def open_opencv(rest: str, wanted: Wanted) -> LiveSource:
    """A USB camera by its number (0 for an empty text), a stream by its URL, or a video file by its path.

    Raises:
        SourceError: no such file, or something is wanted that OpenCV cannot do.
    """
    wish = rest.strip() or "0"
    if wanted.binning is not None:
        raise SourceError(
            "OpenCV cannot bin pixels",
            hint="Ask for a smaller picture: --set FRAME_WIDTH=640 --set FRAME_HEIGHT=480",
        )
    if not wish.isdecimal() and "://" not in wish and not Path(wish).is_file():
        raise SourceError(f"{wish}: no such file", hint="Give a camera's number, a URL, or the path of a video.")
    return OpenCVCamera(wish, wanted)


def look() -> list[Found]:
    """Every USB camera; on Linux by the system's list, else by trying the first numbers."""
    with speaking_to("the cameras"):
        if _V4L.is_dir():
            return sorted(_listed(), key=lambda one: one.name)
        return [one for number in range(_LOOKED_AT) for one in _tried(number)]


class OpenCVCamera(Camera):
    """See `uploader.sources.live.LiveSource`. A file is over at its end; `grab` may take `_READ_MS` for a stream.

    Args:
        wish: a number, a URL, or the path of a file.
        wanted: how it is to be set up.
    """

    def __init__(self, wish: str, wanted: Wanted) -> None:
        super().__init__("OpenCV", wish)
        self._wanted = wanted
        self._is_file = not wish.isdecimal() and "://" not in wish
        self._is_over = False
        self._capture: cv2.VideoCapture
        self._first: Frame | None = None
        self._given = 0
        self._began_s = 0.0
        self._length = 0

    @property
    def is_over(self) -> bool:
        """See `LiveSource`."""
        return self._is_over

    def begin(self) -> Begun:
        """See `Camera`."""
        self._capture = capture = self._opened()
        self.undo(capture.release)
        settings = {name: _set(capture, name, text) for name, text in self._wanted.settings.items()}
        if self._wanted.fps is not None and self.wish.isdecimal():
            capture.set(cv2.CAP_PROP_FPS, self._wanted.fps)
        pixels = self._read()
        if pixels is None:
            raise SourceLost(f"{self._shown} gives no picture", hint="Does another program use it?")
        self._first = self._frame(pixels)
        self._given, self._began_s, self._is_over = 0, time.monotonic(), False
        rate = self._rate()
        self._length = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if self._is_file else 0
        facts = {
            "source": "opencv",
            "driver": f"OpenCV {cv2.__version__}, {capture.getBackendName()}",
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "pixel_format": f"{pixels.dtype}, {pixels.shape[2] if pixels.ndim > 2 else 1} channels",  # noqa: PLR2004
            "region": self._wanted.region,
            "frame_rate": rate,
            "settings": settings,
            "counts_frames": self._is_file,
        }
        return Begun(name=self._shown, shape=_shape(self._first), frame_rate=rate, facts=facts)

    def next_frame(self, timeout_s: float) -> Grabbed | None:
        """See `Camera`."""
        if self._is_over or not self._is_due(timeout_s):
            return None
        frame, self._first = self._first, None
        if frame is None:
            pixels = self._read()
            if pixels is None:
                self._end()
                return None
            frame = same_shape(self._frame(pixels), self.shape, f"{self.name}, frame {self._given}")
        if not self._is_file:
            self.tell_if_uncounted()
        self._given += 1
        return Grabbed(frame=frame, number=self._given - 1 if self._is_file else None)

    def _rate(self) -> float | None:
        """A file's is that which is asked for; a camera's what it says, and what people say where it does not."""
        said, asked = float(self._capture.get(cv2.CAP_PROP_FPS)), self._wanted.fps
        if self._is_file:
            return asked or said or _FILE_FPS
        if not 0 < said <= _FPS_MAX:
            return asked
        if asked is not None and abs(said - asked) > asked * _RATE_OFF_MAX:
            raise SourceError(
                f"{self._shown} does not give {asked:g} frames/s, but {said:g}",
                hint="Ask for that rate, or set it in the camera.",
            )
        return said

    def _opened(self) -> cv2.VideoCapture:
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _READ_MS]
        if self.wish.isdecimal():
            capture = cv2.VideoCapture(int(self.wish))
        else:
            capture = cv2.VideoCapture(self.wish, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            capture.release()
            if self._is_file:
                raise SourceError(f"{self._shown} is no video that can be read", hint="It may be damaged.")
            raise SourceLost(
                f"{self._shown} cannot be opened",
                hint="Check that it is there and that no other program uses it: framespool sources --look",
            )
        return capture

    def _read(self) -> NDArray[Any] | None:
        is_there, pixels = self._capture.read()
        return pixels if is_there else None

    def _frame(self, pixels: NDArray[Any]) -> Frame:
        if self._wanted.region is not None:
            x, y, width, height = self._wanted.region
            if not (0 <= x < x + width <= pixels.shape[1] and 0 <= y < y + height <= pixels.shape[0]):
                raise SourceError(
                    f"region {x},{y},{width},{height} is not inside the picture",
                    hint=f"It is {pixels.shape[1]} wide and {pixels.shape[0]} high.",
                )
            pixels = pixels[y : y + height, x : x + width]
        if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3:  # noqa: PLR2004 - blue, green, red
            # Quick, and beside other threads; grey that came as colour stays exactly as it is.
            return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_BGR2GRAY), np.uint8)
        return to_grey(pixels, self._wanted.scaling, self._shown)

    def _is_due(self, timeout_s: float) -> bool:
        """A file is given at its pace: waits for the next frame's turn, at most so long."""
        if not self._is_file:
            return True
        due_s = self._began_s + self._given / (self.frame_rate or 1.0)
        left_s = due_s - time.monotonic()
        if left_s > 0:
            time.sleep(min(left_s, timeout_s))
        return left_s <= timeout_s

    def _end(self) -> None:
        if not self._is_file:
            raise SourceLost(
                f"{self.name} gives no more pictures",
                hint="Check its cable, power and network: it is opened again.",
            )
        self._is_over = True
        if self._given < self._length:
            raise SourceError(
                f"{self.name} ends after {self._given} of its {self._length} frames",
                hint="It may be damaged; what came is recorded.",
            )

    @property
    def _shown(self) -> str:
        """Without what a URL may carry of a password or a token."""
        if self.wish.isdecimal():
            return f"camera {self.wish}"
        if self._is_file:
            return Path(self.wish).name
        parts = urlsplit(self.wish)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _set(capture: cv2.VideoCapture, name: str, text: str) -> float:
    """Set a property, and read it back: OpenCV knows no bounds, and a camera takes what is nearest."""
    known = _properties()
    key = known.get(name.upper().removeprefix(_PREFIX))
    if key is None:
        near = difflib.get_close_matches(name.upper().removeprefix(_PREFIX), known, n=3)
        raise SourceError(
            f"OpenCV has no setting {name}",
            hint=f"Did you mean {' or '.join(near)}?" if near else "It has those of its list of CAP_PROP_….",
        )
    try:
        worth = float(text)
    except ValueError:
        raise SourceError(f"{name}={text}: it is a number", hint="All settings of OpenCV are.") from None
    if not capture.set(key, worth):
        raise SourceError(
            f"{name}={text} is not taken", hint=f"It is {capture.get(key):g} now; not all cameras let all be set."
        )
    return float(capture.get(key))


def _properties() -> Mapping[str, int]:
    return {name.removeprefix(_PREFIX): getattr(cv2, name) for name in dir(cv2) if name.startswith(_PREFIX)}


def _shape(frame: Frame) -> tuple[int, int]:
    height, width = frame.shape
    return height, width


def _listed() -> list[Found]:
    """Linux has a node of each camera, and further ones for what else it gives."""
    found = []
    for node in _V4L.glob("video*"):
        if (node / "index").read_text("ascii").strip() == "0":
            model = (node / "name").read_text("utf-8", "replace").strip()
            found.append(Found(name=f"opencv:{node.name.removeprefix('video')}", says=model, model=model))
    return found


def _tried(number: int) -> list[Found]:
    capture = cv2.VideoCapture(number)
    try:
        return [Found(name=f"opencv:{number}", says=capture.getBackendName())] if capture.isOpened() else []
    finally:
        capture.release()
