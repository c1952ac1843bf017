"""A Basler camera, through pypylon: USB3, GigE, and the SDK's emulated one.

Frames are taken one by one in the order in which they came (never "the latest image"), out of a queue that the
driver fills. What the driver itself loses, or what came incomplete, is a gap in the block numbers.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Final

from uploader.sources.base import same_shape
from uploader.sources.camera import Begun, Camera
from uploader.sources.camera_settings import set_up, tick_frequency_hz
from uploader.sources.drivers import Found, queue_length, speaking_to, version_of
from uploader.sources.frame_numbers import FrameNumbers, nanoseconds
from uploader.sources.live import Grabbed, LiveSource, Notice, SourceLost, Wanted
from uploader.sources.node_map import NodeMap
from uploader.sources.pixel_formats import PixelFormat

with warnings.catch_warnings():  # where warnings are errors, its import would end the process
    warnings.simplefilter("ignore")
    from pypylon import pylon

_NO_BLOCK_ID: Final = 2**64 - 1
_GIGE: Final = "BaslerGigE"
# What the driver counts, and what it means.
_LOSSES: Final = {
    "Statistic_Buffer_Underrun_Count": "found no empty buffer (this machine was too slow)",
    "Statistic_Failed_Buffer_Count": "came incomplete",
    "Statistic_Missed_Frame_Count": "were missed",
}


def open_pylon(rest: str, wanted: Wanted) -> LiveSource:
    """A camera by its serial number or the name that was given to it; the first one for an empty text."""
    return PylonCamera(rest.strip(), wanted)


def look() -> list[Found]:
    """Every camera that the SDK sees now.

    Raises:
        SourceError: the SDK itself cannot look.
    """
    with speaking_to("pylon"):
        return [_found(one) for one in pylon.TlFactory.GetInstance().EnumerateDevices()]


class PylonCamera(Camera):
    """See `uploader.sources.live.LiveSource`.

    Args:
        wish: serial number or user-defined name; the first camera when empty.
        wanted: how it is to be set up.
    """

    def __init__(self, wish: str, wanted: Wanted) -> None:
        super().__init__("Basler camera", wish)
        self._wanted = wanted
        self._camera: Any = None
        self._format: PixelFormat
        self._numbers: FrameNumbers
        self._frequency_hz = 1

    def begin(self) -> Begun:
        """See `Camera`."""
        factory = pylon.TlFactory.GetInstance()
        info = _chosen(factory.EnumerateDevices(), self.wish)
        name = f"{info.GetModelName()} {info.GetSerialNumber()}"
        self._camera = camera = pylon.InstantCamera(factory.CreateDevice(info))
        self.undo(camera.DestroyDevice)
        camera.Open()
        self.undo(camera.Close)
        nodes = NodeMap.of_pypylon(camera.GetNodeMap())
        set_to = set_up(nodes, self._wanted, name)
        length = queue_length(set_to.frame_rate, int(nodes.read("PayloadSize") or math.prod(set_to.shape)))
        camera.MaxNumBuffer.SetValue(length)
        self._format, self._frequency_hz = set_to.format, tick_frequency_hz(nodes)
        self._numbers = FrameNumbers(may_turn=info.GetDeviceClass() == _GIGE)
        camera.StartGrabbing(pylon.GrabStrategy_OneByOne)
        self.undo(camera.StopGrabbing)
        self.undo(lambda: self._tell_losses(name))
        facts = {
            **set_to.facts,
            "source": "pylon",
            "model": info.GetModelName(),
            "serial": info.GetSerialNumber(),
            "transport": info.GetDeviceClass(),
            "driver": f"pypylon {version_of('pypylon')}, pylon {pylon.GetPylonVersionString()}",
            "driver_queue_frames": length,
            "tick_frequency_hz": self._frequency_hz,
        }
        return Begun(name=name, shape=set_to.shape, frame_rate=set_to.frame_rate, facts=facts)

    def next_frame(self, timeout_s: float) -> Grabbed | None:
        """See `Camera`."""
        result = self._camera.RetrieveResult(round(timeout_s * 1000), pylon.TimeoutHandling_Return)
        try:
            return self._taken(result)
        finally:
            result.Release()

    def _taken(self, result: Any) -> Grabbed | None:  # noqa: ANN401 - pypylon has no types
        if not result.IsValid():
            self._incomplete.tell(self.name)
            self._must_be_there()
            return None
        block = result.GetBlockID()
        if not result.GrabSucceeded():
            # Its number is left out, which is how it is counted.
            self._numbers.skip()
            self._incomplete.add(None if block == _NO_BLOCK_ID else block, result.GetErrorDescription())
            self._must_be_there()
            return None
        number = self._numbers.follow(None if block == _NO_BLOCK_ID else block)
        self.tell_if_uncounted(self._numbers)
        self._incomplete.tell(self.name)
        where = f"{self.name}, frame {block}"
        # The buffer is the driver's, and is filled again once the result is released.
        pixels = self._format.pixels(
            result.GetImageMemoryView(), (result.GetHeight(), result.GetWidth()), padding=result.GetPaddingX()
        )
        return Grabbed(
            frame=same_shape(self._format.frame(pixels, self._wanted.scaling, where), self.shape, where),
            number=number,
            device_ns=nanoseconds(result.GetTimeStamp(), self._frequency_hz),
        )

    def _must_be_there(self) -> None:
        if self._camera.IsCameraDeviceRemoved():
            raise SourceLost(f"{self.name} was unplugged", hint="Plug it in again: the recording goes on then.")
        if not self._camera.IsGrabbing():  # else every further call would return at once
            raise SourceLost(f"{self.name} has stopped by itself", hint="It is started again.")

    def _tell_losses(self, name: str) -> None:
        """What the driver has counted: why numbers are missing."""
        nodes = NodeMap.of_pypylon(self._camera.GetStreamGrabberNodeMap())
        counts = {one: int(nodes.read(one) or 0) for one in _LOSSES}
        told = ", ".join(f"{count} {_LOSSES[one]}" for one, count in counts.items() if count)
        if told:
            words = f"The driver of {name} says of its frames: {told}."
            self._notices.add(Notice(what="driver_losses", words=words, detail=counts))


def _chosen(infos: Sequence[Any], wish: str) -> Any:  # noqa: ANN401 - pypylon has no types
    for info in infos:
        if not wish or wish in {info.GetSerialNumber(), info.GetUserDefinedName()}:
            return info
    there = "; ".join(f"{one.name}: {one.says}" for one in map(_found, infos))
    raise SourceLost(
        f"no Basler camera {wish} is there" if wish else "no Basler camera is there",
        hint=f"There is {there}." if there else "Check cable and power, and look with pylon Viewer.",
    )


def _found(info: Any) -> Found:  # noqa: ANN401 - pypylon has no types
    serial, model, given = info.GetSerialNumber(), info.GetModelName(), info.GetUserDefinedName()
    says = f"{info.GetVendorName()} {model}, {info.GetDeviceClass()}"
    return Found(name=f"pylon:{serial}", says=f"{says}, {given}" if given else says, serial=serial, model=model)
