"""A camera that Micro-Manager knows, through pymmcore: set up by a configuration file of its Hardware Wizard.

Micro-Manager's core takes frames into a ring of its own. It is told to stop when that runs over, where it would
empty the ring without a word: the recording is told of the loss, and the camera is started anew.
"""

from __future__ import annotations

import difflib
import os
import time
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from uploader.sources.base import Frame, SourceError, same_shape
from uploader.sources.camera import Begun, Camera
from uploader.sources.drivers import version_of
from uploader.sources.frame_numbers import FrameNumbers
from uploader.sources.live import Grabbed, LiveSource, SourceLost, Wanted
from uploader.sources.pixels import to_grey

with warnings.catch_warnings():  # as of every module that SWIG has made
    warnings.simplefilter("ignore")
    import pymmcore

ADAPTERS: Final = "MICROMANAGER_PATH"
_RING_MB: Final = 256
_LOOK_S: Final = 0.001
_WITHOUT_END: Final = 2**31 - 1  # frames: eight months at 100 a second
_NUMBER: Final = "ImageNumber"
_ELAPSED_MS: Final = "ElapsedTime-ms"
_8_BITS: Final = ("8bit", "Mono8", "GRAY8")


def open_micromanager(rest: str, wanted: Wanted) -> LiveSource:
    """The camera of a configuration file; the device adapters lie in ``MICROMANAGER_PATH``, or beside the file.

    Raises:
        SourceError: there is no such file.
    """
    path = Path(rest.strip())
    if not path.is_file():
        raise SourceError(
            f"{path}: no such configuration",
            hint="Name the .cfg file that Micro-Manager's Hardware Wizard has saved.",
        )
    return MicroManagerCamera(path, wanted)


class MicroManagerCamera(Camera):
    """See `uploader.sources.live.LiveSource`.

    Args:
        path: the configuration.
        wanted: how it is to be set up besides.
    """

    def __init__(self, path: Path, wanted: Wanted) -> None:
        super().__init__("Micro-Manager", path.name)
        self._path, self._wanted = path, wanted
        self._core: Any = None
        self._numbers = FrameNumbers(may_turn=False)

    def begin(self) -> Begun:
        """See `Camera`."""
        self._core = core = pymmcore.CMMCore()
        self.undo(core.reset)
        core.setDeviceAdapterSearchPaths([os.environ.get(ADAPTERS) or str(self._path.resolve().parent)])
        core.loadSystemConfiguration(str(self._path))
        camera = core.getCameraDevice()
        if not camera:
            raise SourceError(f"{self._path.name} names no camera", hint="Choose one in the Hardware Wizard.")
        settings = {name: self._set(camera, name, text) for name, text in self._wanted.settings.items()}
        if self._wanted.binning is not None:
            self._set(camera, "Binning", str(self._wanted.binning))
        if self._wanted.region is not None:
            self._cut(self._wanted.region)
        self._make_8_bits(camera)
        core.setCircularBufferMemoryFootprint(_RING_MB)
        core.startSequenceAcquisition(_WITHOUT_END, 0, True)
        self.undo(core.stopSequenceAcquisition)
        self._numbers = FrameNumbers(may_turn=False)
        facts = {
            "source": "micromanager",
            "model": f"{core.getDeviceLibrary(camera)} {core.getDeviceName(camera)}",
            "configuration": str(self._path),
            "driver": f"pymmcore {version_of('pymmcore')}, {core.getVersionInfo()}",
            "exposure_us": core.getExposure() * 1000,
            "binning": self._read(camera, "Binning"),
            "gain": self._read(camera, "Gain"),
            "pixel_format": self._read(camera, "PixelType"),
            "bits": core.getImageBitDepth(),
            "region": list(core.getROI()),
            "settings": settings,
        }
        shape = (core.getImageHeight(), core.getImageWidth())
        return Begun(name=core.getDeviceName(camera), shape=shape, frame_rate=self._wanted.fps, facts=facts)

    def next_frame(self, timeout_s: float) -> Grabbed | None:
        """See `Camera`."""
        core, until_s = self._core, time.monotonic() + timeout_s
        while core.getRemainingImageCount() == 0:  # it has no way to wait for one
            if core.isBufferOverflowed():
                raise SourceLost(
                    f"the ring of Micro-Manager ran over: {self.name} lost frames, and it is not known how many",
                    hint="It is started again. Lower the rate, or make the region smaller.",
                )
            if not core.isSequenceRunning():
                raise SourceLost(f"{self.name} has stopped by itself", hint="It is started again.")
            if time.monotonic() >= until_s:
                return None
            time.sleep(_LOOK_S)
        tags = pymmcore.Metadata()
        pixels = core.popNextImageMD(tags)
        said = {name: tags.GetSingleTag(name).GetValue() for name in (_NUMBER, _ELAPSED_MS) if tags.HasTag(name)}
        number = self._numbers.follow(int(said[_NUMBER]) if _NUMBER in said else None)
        self.tell_if_uncounted(self._numbers)
        where = f"{self.name}, frame {number}"
        elapsed_ns = round(float(said[_ELAPSED_MS]) * 1e6) if _ELAPSED_MS in said else None
        return Grabbed(
            frame=same_shape(self._frame(pixels, where), self.shape, where), number=number, device_ns=elapsed_ns
        )

    def _frame(self, pixels: NDArray[Any], where: str) -> Frame:
        if pixels.dtype == np.uint32:  # four samples, blue first
            pixels = pixels.view(np.uint8).reshape(*pixels.shape, 4)[:, :, 2::-1]
        return to_grey(pixels, self._wanted.scaling, where)

    def _set(self, camera: str, name: str, text: str) -> str:
        """Set a property within what the core knows of it, and read it back."""
        core, known = self._core, self._core.getDevicePropertyNames(camera)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            raise SourceError(
                f"{camera} has no setting {name}",
                hint=f"Did you mean {' or '.join(near)}?" if near else f"It has {', '.join(known)}.",
            )
        if core.isPropertyReadOnly(camera, name):
            raise SourceError(f"{name} cannot be set", hint="It is only told by this camera.")
        choices = core.getAllowedPropertyValues(camera, name)
        if choices and text not in choices:
            raise SourceError(f"{name}={text} is not taken", hint=f"It takes {', '.join(choices)}.")
        if core.hasPropertyLimits(camera, name):
            low, high = core.getPropertyLowerLimit(camera, name), core.getPropertyUpperLimit(camera, name)
            if not low <= _number(name, text) <= high:
                raise SourceError(f"{name}={text} is not taken", hint=f"It takes {low:g} to {high:g}.")
        core.setProperty(camera, name, text)
        return str(core.getProperty(camera, name))

    def _read(self, camera: str, name: str) -> str | None:
        return str(self._core.getProperty(camera, name)) if self._core.hasProperty(camera, name) else None

    def _cut(self, region: tuple[int, int, int, int]) -> None:
        core = self._core
        core.clearROI()
        x, y, width, height = region
        whole = core.getImageWidth(), core.getImageHeight()
        if not (0 <= x < x + width <= whole[0] and 0 <= y < y + height <= whole[1]):
            raise SourceError(
                f"region {','.join(map(str, region))} is not on the sensor",
                hint=f"It is {whole[0]} wide and {whole[1]} high, after binning.",
            )
        core.setROI(*region)
        now = tuple(core.getROI())
        if now != region:
            raise SourceError(
                f"region {','.join(map(str, region))}: the camera does not take it",
                hint=f"What it has made of it is {','.join(map(str, now))} (x, y, width, height).",
            )

    def _make_8_bits(self, camera: str) -> None:
        """What is recorded is 8 bits deep, so that is what is asked for, unless somebody chose otherwise."""
        core = self._core
        is_chosen = self._wanted.scaling is not None or "PixelType" in self._wanted.settings
        if not is_chosen and core.hasProperty(camera, "PixelType"):
            fitting = [one for one in core.getAllowedPropertyValues(camera, "PixelType") if one in _8_BITS]
            if fitting:
                core.setProperty(camera, "PixelType", fitting[0])
        if core.getNumberOfComponents() == 1:
            sample = np.dtype(f"u{core.getBytesPerPixel()}")
            to_grey(np.zeros((1, 1), sample), self._wanted.scaling, camera)  # refuses what cannot be scaled so


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SourceError(f"{name}={text}: it is a number", hint="Write it with a point, as 12.5.") from None
