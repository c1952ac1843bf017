"""From a decoder's pixels to `uint8` grey levels, without guessing.

Invariants:

1. `uint8` grey pixels come back exactly as they were; so does colour with three equal channels.
2. Any other depth is converted only by a `Scaling` that somebody chose. Nothing is cast, wrapped or stretched
   silently; only an explicit window clips.
3. The result never shares memory with the input.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from uploader.sources.base import Frame, SourceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_OPTIONS = (
    "shift8 (16 bit: value >> 8), shift4 (12 bit stored in 16: value >> 4), "
    "minmax:LO:HI (LO becomes 0, HI becomes 255, the rest is clipped)"
)
# Thousandths, so that the weights are exact integers and their sum leaves a grey pixel as it is.
_RED, _GREEN, _BLUE, _WHOLE = 299, 587, 114, 1000
_GREY_CHANNELS = (1, 2)
_COLOUR_CHANNELS = (3, 4)


class ScalingNeeded(SourceError):
    """The pixels are not `uint8`, and nobody chose how they become so."""


class ScalingKind(enum.Enum):
    """The ways to bring pixels to 8 bits."""

    NONE = "none"
    SHIFT8 = "shift8"
    SHIFT4 = "shift4"
    MINMAX = "minmax"


_SHIFT_BITS = {ScalingKind.SHIFT8: 8, ScalingKind.SHIFT4: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """A person's choice of how other pixel types become `uint8`.

    Attributes:
        kind: `NONE` accepts `uint8` only; `SHIFT8` and `SHIFT4` drop the low bits of 16-bit and 12-bit
            integers; `MINMAX` maps a window linearly onto 0..255, rounds to nearest and clips.
        low: The value that becomes 0 (`MINMAX` only), in the source's units.
        high: The value that becomes 255 (`MINMAX` only), in the source's units.
    """

    kind: ScalingKind
    low: float = 0.0
    high: float = 0.0

    def __post_init__(self) -> None:
        if self.kind is not ScalingKind.MINMAX:
            return
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise SourceError(
                f"minmax needs two finite numbers LO < HI, and got {self.low:g} and {self.high:g}",
                hint="Write for example minmax:0:4095",
            )

    def __str__(self) -> str:
        if self.kind is ScalingKind.MINMAX:
            return f"minmax:{self.low!r}:{self.high!r}"
        return str(self.kind.value)

    @classmethod
    def parse(cls, text: str) -> Scaling:
        """Read `none`, `shift8`, `shift4` or `minmax:LO:HI`.

        Raises:
            SourceError: It is none of these; the hint lists them.
        """
        kind, *numbers = text.strip().split(":")
        try:
            if kind == ScalingKind.MINMAX.value:
                low, high = (float(number) for number in numbers)
                return cls(kind=ScalingKind.MINMAX, low=low, high=high)
            if not numbers:
                return cls(kind=ScalingKind(kind))
        except ValueError:
            pass  # The refusal below is the clearer message for every way of getting it wrong.
        raise SourceError(f"unknown scaling {text!r}", hint=f"Choose none (uint8 only), {_OPTIONS}.")


def to_grey(pixels: NDArray[Any], scaling: Scaling | None, where: str) -> Frame:
    """Return one decoded image as a frame.

    Args:
        pixels: `(H, W)` grey, `(H, W, 1 | 2)` grey with alpha or `(H, W, 3 | 4)` colour with alpha, of any
            dtype. Alpha is ignored. It is not written to.
        scaling: How to bring other types to 8 bits; None accepts `uint8` only. Colour is scaled before its
            luminance is taken.
        where: The file and frame, for messages.

    Returns:
        A new `uint8` array `(H, W)`, C-contiguous, owned by the caller.

    Raises:
        SourceError: The layout is not an image, it is empty, or the type needs a choice that was not made.
    """
    planes = _planes(pixels, where)
    levels = _scaled(planes, scaling, where)
    if levels.ndim == 3:  # noqa: PLR2004 - (H, W, RGB)
        return luminance(levels)
    return np.array(levels, dtype=np.uint8, order="C", copy=True)


def luminance(colour: NDArray[np.uint8]) -> Frame:
    """Return 0.299 R + 0.587 G + 0.114 B, rounded half up.

    Args:
        colour: `uint8`, `(H, W, 3)` or `(H, W, 4)`; the fourth channel is ignored.

    Returns:
        A new `uint8` array `(H, W)`. Where the three channels are equal, exactly their value.

    Source:
        ITU-R BT.601-7, 2.5.1.
    """
    total = colour[..., 0] * np.uint32(_RED)
    total += colour[..., 1] * np.uint32(_GREEN)
    total += colour[..., 2] * np.uint32(_BLUE)
    total += np.uint32(_WHOLE // 2)
    total //= np.uint32(_WHOLE)
    # The weights sum to one, so that the result is at most 255: this cast cannot wrap.
    return np.ascontiguousarray(total.astype(np.uint8))


def _planes(pixels: NDArray[Any], where: str) -> NDArray[Any]:
    """Return `(H, W)` or `(H, W, 3)`: alpha and the axis of a single channel are dropped."""
    if pixels.size and pixels.ndim == 2:  # noqa: PLR2004 - (H, W)
        return pixels
    if pixels.size and pixels.ndim == 3:  # noqa: PLR2004 - (H, W, channels)
        if pixels.shape[2] in _GREY_CHANNELS:
            return pixels[:, :, 0]
        if pixels.shape[2] in _COLOUR_CHANNELS:
            return pixels[:, :, :3]
    raise SourceError(
        f"{where}: an array of shape {pixels.shape} is not an image",
        hint="An image is (H, W), or (H, W, 3) or (H, W, 4) for colour, with at least one pixel.",
    )


def _scaled(pixels: NDArray[Any], scaling: Scaling | None, where: str) -> NDArray[np.uint8]:
    kind = scaling.kind if scaling is not None else ScalingKind.NONE
    if kind is ScalingKind.NONE:
        if pixels.dtype == np.uint8:
            return pixels
        raise _needs_choice(pixels, where)
    if scaling is not None and kind is ScalingKind.MINMAX:
        return _windowed(pixels, scaling, where)
    return _shifted(pixels, kind, where)


def _shifted(pixels: NDArray[Any], kind: ScalingKind, where: str) -> NDArray[np.uint8]:
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize == 1:
        raise SourceError(
            f"{where}: {kind.value} is for integers wider than 8 bits, and the pixels are {pixels.dtype}",
            hint="Choose none for uint8, or minmax:LO:HI.",
        )
    low, high = int(pixels.min()), int(pixels.max())
    highest = (256 << _SHIFT_BITS[kind]) - 1
    if low < 0 or high > highest:
        raise SourceError(
            f"{where}: {kind.value} is for values 0..{highest}, and the pixels ({pixels.dtype}) range "
            f"from {low} to {high}",
            hint=f"Choose another scaling: {_OPTIONS}.",
        )
    # The range was checked just above: this cast cannot wrap.
    shifted: NDArray[np.uint8] = np.right_shift(pixels, _SHIFT_BITS[kind]).astype(np.uint8)
    return shifted


def _windowed(pixels: NDArray[Any], scaling: Scaling, where: str) -> NDArray[np.uint8]:
    if pixels.dtype.kind not in "biuf":
        raise SourceError(f"{where}: pixels of type {pixels.dtype} cannot be scaled", hint=f"Known: {_OPTIONS}.")
    values = pixels.astype(np.float64)
    if np.isnan(values).any():
        raise SourceError(
            f"{where}: {int(np.isnan(values).sum())} pixels are not a number (NaN)",
            hint="Replace them before streaming; no grey level stands for them.",
        )
    np.clip(values, scaling.low, scaling.high, out=values)
    values -= scaling.low
    values *= 255.0 / (scaling.high - scaling.low)
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _needs_choice(pixels: NDArray[Any], where: str) -> ScalingNeeded:
    found = f"{where}: the pixels are {pixels.dtype}"
    if pixels.dtype.kind in "biuf":
        found += f", ranging from {_number(pixels.min())} to {_number(pixels.max())}"
    return ScalingNeeded(
        f"{found}, and frames are uint8: how to scale them must be chosen",
        hint=f"Choose a scaling: {_OPTIONS}.",
    )


def _number(value: Any) -> str:  # noqa: ANN401 - a numpy scalar of any type
    return f"{float(value):.6g}" if value.dtype.kind == "f" else str(int(value))
