"""When the pages of a TIFF stack were captured, where OME or ImageJ have noted it in its description.

TIFF's own `DateTime` is left alone here: it counts whole seconds, which is no time for a video.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from uploader.sources.units import in_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    # tifffile ships no types.
    TiffFile = Any

_DESCRIPTION_CHARS_MAX = 32 * 2**20
# An entity that is defined in the document itself can grow without bound; OME documents have none.
_DEFINES_ENTITIES = re.compile(r"<!(DOCTYPE|ENTITY)", re.IGNORECASE)


def page_times_ms(tiff: TiffFile, pages: int) -> NDArray[np.float64] | None:
    """Return one time for each page in milliseconds, from any start, `float64` `(pages,)`.

    ``None`` when nothing is noted, or it is not about every page, or the times go back.
    """
    times = _from_ome(tiff.pages[0].description, pages)
    if times is None and tiff.is_imagej:
        times = _from_imagej(tiff.imagej_metadata or {}, pages)
    if times is None or not np.isfinite(times).all() or (np.diff(times) < 0).any():
        return None
    return times


def _from_ome(text: str, pages: int) -> NDArray[np.float64] | None:
    """One image with a plane for each page: its `DeltaT`, in seconds unless it says otherwise."""
    if not text.rstrip().endswith("OME>") or len(text) > _DESCRIPTION_CHARS_MAX or _DEFINES_ENTITIES.search(text):
        return None
    try:
        document = ET.fromstring(text)  # noqa: S314 - without entities, and of a bounded size
    except ET.ParseError:
        return None  # the pixels do not depend on it
    planes = [one for one in document.iter() if one.tag.rpartition("}")[2] == "Plane"]
    if len(planes) != pages:
        return None
    found: list[float] = []
    for place, plane in enumerate(sorted(planes, key=_number_of)):
        delta = in_ms(plane.get("DeltaT", ""), plane.get("DeltaTUnit", "s"))
        if delta is None or _number_of(plane) != place:
            return None
        found.append(delta)
    return np.array(found, dtype=np.float64)


def _number_of(plane: ET.Element) -> int:
    """Which image in time it is; -1 for a plane of several channels or depths, which no frame of a video is."""
    numbers = [plane.get(name, "0") for name in ("TheT", "TheC", "TheZ")]
    return int(numbers[0]) if numbers[0].isascii() and numbers[0].isdigit() and numbers[1:] == ["0", "0"] else -1


def _from_imagej(noted: dict[str, Any], pages: int) -> NDArray[np.float64] | None:
    """An even distance of frames, or frames per second."""
    distance = in_ms(noted.get("finterval"), noted.get("tunit", "s"))
    if not distance:
        fps = noted.get("fps")
        distance = 1000 / fps if isinstance(fps, int | float) and math.isfinite(fps) and fps > 0 else None
    return np.arange(pages, dtype=np.float64) * distance if distance and distance > 0 else None
