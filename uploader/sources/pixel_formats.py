"""Pixels as cameras send them: which of the formats of GenICam are understood, and a buffer of one as an array.

The codes are those of the Pixel Format Naming Convention (PFNC) of the EMVA. A format that is not in the table is
refused by its name: nothing is guessed from a number of bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from uploader.sources.base import Frame, SourceError
from uploader.sources.pixels import Scaling, ScalingKind, to_grey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How a picture lies in a buffer.

    Attributes:
        name: in the naming convention.
        bits: of a sample.
        samples: of a pixel.
        is_blue_first: a colour's samples come in the order blue, green, red.
    """

    name: str
    bits: int
    samples: int = 1
    is_blue_first: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a sample; deeper ones lie in two bytes, the lower first."""
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype("<u2")  # noqa: PLR2004 - a byte

    def pixels(
        self, buffer: bytes | memoryview, shape: tuple[int, int], *, padding: int = 0, offset: int = 0
    ) -> NDArray[Any]:
        """The picture in a buffer, without a copy: ``(H, W)``, or ``(H, W, samples)`` with red first.

        Args:
            buffer: what the driver filled.
            shape: ``(height, width)``, pixels.
            padding: bytes behind each line.
            offset: bytes before the first line.

        Raises:
            SourceError: the buffer is shorter than that.
        """
        height, width = shape
        line = width * self.samples * self.dtype.itemsize
        have = memoryview(buffer).nbytes - offset
        need = height * (line + padding) - padding
        if have < need:
            raise SourceError(f"a frame of {height} x {width} {self.name} has {need} bytes, and {have} came")
        return np.ndarray(
            (height, width, self.samples) if self.samples > 1 else (height, width),
            self.dtype,
            buffer,
            offset,
            (line + padding, self.samples * self.dtype.itemsize, self.dtype.itemsize)[: 2 + (self.samples > 1)],
        )

    def frame(self, pixels: NDArray[Any], scaling: Scaling | None, where: str) -> Frame:
        """Pixels as a frame of the receiver's own; see `to_grey`."""
        if self.is_blue_first:
            pixels = pixels[:, :, 2::-1]
        return to_grey(pixels, scaling, where)

    def must_fit(self, scaling: Scaling | None, where: str) -> None:
        """Refuse pixels that need a scaling and have none, or have one that they cannot take.

        Raises:
            SourceError: with the scaling that would fit.
        """
        is_chosen = scaling is not None and scaling.kind is not ScalingKind.NONE
        if self.bits > 8 and not is_chosen:  # noqa: PLR2004 - a byte
            fitting = {12: "shift4", 16: "shift8"}.get(self.bits, f"minmax:0:{(1 << self.bits) - 1}")
            raise SourceError(
                f"{where} gives {self.name}, {self.bits} bits a pixel, and frames are uint8: how to scale them "
                "must be chosen",
                hint=f"Choose {fitting} (or a window, minmax:LO:HI), or let the camera give Mono8.",
            )
        to_grey(np.zeros((1, 1), self.dtype), scaling, where)  # refuses what cannot be scaled so


KNOWN: Final = {
    0x01080001: PixelFormat(name="Mono8", bits=8),
    0x01100003: PixelFormat(name="Mono10", bits=10),
    0x01100005: PixelFormat(name="Mono12", bits=12),
    0x01100025: PixelFormat(name="Mono14", bits=14),
    0x01100007: PixelFormat(name="Mono16", bits=16),
    0x02180014: PixelFormat(name="RGB8", bits=8, samples=3),
    0x02180015: PixelFormat(name="BGR8", bits=8, samples=3, is_blue_first=True),
    0x02200016: PixelFormat(name="RGBa8", bits=8, samples=4),
    0x02200017: PixelFormat(name="BGRa8", bits=8, samples=4, is_blue_first=True),
}
# Of old, the names of the four with colour were others.
_OLD_NAMES = {"RGB8Packed", "BGR8Packed", "RGBA8Packed", "BGRA8Packed"}
NAMES: Final = frozenset({one.name for one in KNOWN.values()} | _OLD_NAMES)


def pixel_format(code: int, name: str, offered: Iterable[str], where: str) -> PixelFormat:
    """The format with this code.

    Args:
        code: of the naming convention.
        name: what the camera calls it, for the message.
        offered: every format that the camera could give, by its own name.
        where: the camera, for the message.

    Raises:
        SourceError: it is not understood; the hint names those of the camera that are.
    """
    known = KNOWN.get(code)
    if known is not None:
        return known
    usable = [one for one in offered if one in NAMES]
    raise SourceError(
        f"{where} gives pixels as {name}, which is not understood here",
        hint=f"Let it give one of these: {', '.join(usable)} (--set PixelFormat={usable[0]})."
        if usable
        else "None of the formats that this camera offers is understood; Mono8 would be.",
    )
