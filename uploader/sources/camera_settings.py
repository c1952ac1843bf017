"""A GenICam camera set up as somebody wants it, and what it is set to then.

The order: settings as they were given, binning, region, pixel format, rate. Each may change what the next one may
be, so each is checked against the camera when its turn comes; and all are read back at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from uploader.sources.base import SourceError
from uploader.sources.live import Wanted
from uploader.sources.node_map import Feature, NodeMap, Type, Worth
from uploader.sources.pixel_formats import PixelFormat, pixel_format

_MONO8: Final = "Mono8"
_CONTINUOUS: Final = "Continuous"
_RATE: Final = ("AcquisitionFrameRate", "AcquisitionFrameRateAbs")
_RATE_ENABLE: Final = ("AcquisitionFrameRateEnable", "AcquisitionFrameRateEnabled")
_RESULTING: Final = (
    "BslResultingAcquisitionFrameRate",
    "ResultingFrameRate",
    "ResultingFrameRateAbs",
    "AcquisitionResultingFrameRate",
    *_RATE,
)
# As a share of the rate that was asked for: cameras count in whole ticks.
_RATE_OFF_MAX: Final = 0.01
# What the ledger keeps, under our name: the names of makers and of times, the first that is there.
_KEPT: Final[Mapping[str, tuple[str, ...]]] = {
    "vendor": ("DeviceVendorName",),
    "firmware": ("DeviceFirmwareVersion", "DeviceVersion"),
    "exposure_us": ("ExposureTime", "ExposureTimeAbs", "ExposureTimeRaw"),
    "exposure_auto": ("ExposureAuto",),
    "gain": ("Gain", "GainRaw"),
    "gain_auto": ("GainAuto",),
    "gamma": ("Gamma",),
    "black_level": ("BlackLevel", "BlackLevelRaw"),
    "pixel_format": ("PixelFormat",),
    "width": ("Width",),
    "height": ("Height",),
    "offset_x": ("OffsetX",),
    "offset_y": ("OffsetY",),
    "binning_horizontal": ("BinningHorizontal",),
    "binning_vertical": ("BinningVertical",),
    "trigger": ("TriggerMode",),
    "temperature_c": ("DeviceTemperature", "TemperatureAbs"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """What a camera is set to.

    Attributes:
        shape: ``(height, width)`` of its frames, pixels.
        frame_rate: that it will give, frames per second; that which was asked for when it waits for a trigger or
            cannot say, and ``None`` without one.
        format: of its pixels.
        facts: for the ledger.
    """

    shape: tuple[int, int]
    frame_rate: float | None
    format: PixelFormat
    facts: Mapping[str, Any]


def set_up(nodes: NodeMap, wanted: Wanted, where: str) -> SetUp:
    """Set a camera up and read it back.

    Args:
        nodes: of the camera, not grabbing.
        wanted: how.
        where: the camera, for messages.

    Raises:
        SourceError: it cannot be set up so; the hint says what it would take.
    """
    _continuous(nodes, wanted)
    given = {name: _set(nodes.must(name), text) for name, text in wanted.settings.items()}
    if wanted.binning is not None:
        _bin(nodes, wanted.binning)
    if wanted.region is not None:
        _cut(nodes, wanted.region)
    format_ = _pixels(nodes, wanted, where)
    if wanted.fps is not None:
        _pace(nodes, wanted.fps)
    kept = _read_back(nodes, given)
    rate = _frame_rate(nodes) or wanted.fps
    if wanted.fps is not None and rate is not None and abs(rate - wanted.fps) > wanted.fps * _RATE_OFF_MAX:
        raise SourceError(
            f"{where} cannot give {wanted.fps:g} frames/s as it is set up, but {rate:.4g}",
            hint="Shorten the exposure (--set ExposureTime=…), make the region smaller, or ask for that rate.",
        )
    facts = {name: worth for name, worth in _facts(nodes) if worth is not None}
    shape = int(_must_read(nodes, "Height")), int(_must_read(nodes, "Width"))
    return SetUp(
        shape=shape, frame_rate=rate, format=format_, facts={**facts, "frame_rate": rate, "settings": kept}
    )


def tick_frequency_hz(nodes: NodeMap) -> int:
    """How fast the camera's clock counts; in nanoseconds where it does not say, as later standards have it."""
    found = nodes.read("GevTimestampTickFrequency", "TimestampTickFrequency", "DeviceTimestampFrequency")
    return int(found) if found else 1_000_000_000


def _set(feature: Feature, text: str) -> Worth:
    worth = feature.parse(text)
    feature.set(worth)
    return worth


def _continuous(nodes: NodeMap, wanted: Wanted) -> None:
    """Another program may have left it giving one frame only."""
    mode = nodes.writable("AcquisitionMode")
    if mode is not None and "AcquisitionMode" not in wanted.settings and _CONTINUOUS in mode.choices:
        mode.set(_CONTINUOUS)


def _bin(nodes: NodeMap, binning: int) -> None:
    ways = [nodes.writable(name) for name in ("BinningHorizontal", "BinningVertical")]
    for way in ways:
        if way is None:
            raise SourceError(
                "this camera cannot bin both ways",
                hint="Leave the binning out; a region makes frames smaller too.",
            )
        # With some makers it is a number, with others a word.
        _set(way, str(binning))


def _cut(nodes: NodeMap, region: tuple[int, int, int, int]) -> None:
    """Set the region: first the size, with the corner out of its way, then the corner."""
    corner, size = _pair(nodes, "OffsetX", "OffsetY"), _pair(nodes, "Width", "Height")
    if None in size:
        raise SourceError("this camera's region cannot be set", hint="Leave the region out.")
    for one in corner:
        if one is not None:
            one.set(int(one.bounds[0]))
    nearest: list[int] = []
    for one, number in zip((*size, *corner), (*region[2:], *region[:2]), strict=True):
        # A corner that cannot be moved is where it is.
        taken = one.nearest(number) if one is not None else (0,)
        closest = int(min(taken, key=lambda other, number=number: abs(other - number)))
        if one is not None:
            one.set(closest)
        nearest.append(closest)
    width, height, x, y = nearest
    if (x, y, width, height) != region:
        limits = "; ".join(f"{one.name} {one.says()}" for one in (*corner, *size) if one is not None)
        raise SourceError(
            f"region {','.join(map(str, region))}: the camera does not take it",
            hint=f"The nearest that it takes is {x},{y},{width},{height} (x, y, width, height). "
            f"With that, it takes {limits}.",
        )


def _pair(nodes: NodeMap, *names: str) -> tuple[Feature | None, ...]:
    return tuple(map(nodes.writable, names))


def _pixels(nodes: NodeMap, wanted: Wanted, where: str) -> PixelFormat:
    """What is recorded is 8 bits deep, so that is what is asked for, unless somebody chose otherwise."""
    feature = nodes.find("PixelFormat")
    if feature is None or not feature.is_readable:
        raise SourceError(f"{where} does not say how its pixels are", hint="Its driver may be incomplete.")
    offered = feature.choices
    is_chosen = wanted.scaling is not None or "PixelFormat" in wanted.settings
    if not is_chosen and feature.is_writable and _MONO8 in offered:
        feature.set(_MONO8)
    name = str(feature.value)
    found = pixel_format(feature.code_of(name), name, offered, where)
    found.must_fit(wanted.scaling, where)
    return found


def _pace(nodes: NodeMap, fps: float) -> None:
    """Set the rate, where the camera has one to be set: of one that is triggered, it is what people expect."""
    if nodes.read("TriggerMode") == "On":
        return
    enable = nodes.writable(*_RATE_ENABLE)
    if enable is not None and enable.type is Type.BOOLEAN:
        enable.set(True)
    rate = nodes.writable(*_RATE)
    if rate is not None:
        rate.set(rate.check(float(fps)))


def _frame_rate(nodes: NodeMap) -> float | None:
    if nodes.read("TriggerMode") == "On":
        return None
    found = nodes.read(*_RESULTING)
    return float(found) if found else None


def _read_back(nodes: NodeMap, given: Mapping[str, Worth]) -> dict[str, Worth | None]:
    """The settings as they are now.

    Raises:
        SourceError: one is another than was set. Cameras round a number that is no whole one.
    """
    now = {name: nodes.read(name) for name in given}
    for name, worth in given.items():
        if now[name] != worth and now[name] is not None and not isinstance(worth, float):
            raise SourceError(
                f"{name} was set to {worth}, and is {now[name]} in the end",
                hint="Another setting changes it: leave one of the two out, or give them in another order.",
            )
    return now


def _facts(nodes: NodeMap) -> Iterator[tuple[str, Worth | None]]:
    for name, spelt in _KEPT.items():
        yield name, nodes.read(*spelt)


def _must_read(nodes: NodeMap, name: str) -> Worth:
    found = nodes.read(name)
    if found is None:
        raise SourceError(f"the camera does not say its {name}", hint="Its driver may be incomplete.")
    return found
