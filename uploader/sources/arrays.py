"""Arrays on disk: NumPy's `.npy`, memory-mapped, and Zarr."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from uploader.sources.base import (
    Frame,
    SourceError,
    bearable,
    decoding,
    same_shape,
    summary,
    usual_rate,
    with_times,
)
from uploader.sources.pixels import Scaling, to_grey
from uploader.sources.units import noted_ms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from zarr import Array

    # zarr's types are generic in its metadata; the array is only indexed here.
    ZarrArray: TypeAlias = Array[Any]

FRAMES_NAME, TIME_NAME = "frames", "time"
"""Names of the arrays to look for in a Zarr group."""

_BLOCK_BYTES_MAX = 64 * 2**20
_CHUNK_BYTES_MAX = 2**31  # the codecs take no more
_FPS_MAX = 1e9
_PIECES_MAX = 4096
_COLOUR_CHANNELS = (3, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class NumpyFile:
    """A `.npy` file, `(T, H, W)`, `(T, H, W, 3 | 4)` or a single `(H, W)`.

    Attributes:
        name: The file's name.
        path: The file; memory-mapped while it is read, so that it may be larger than the memory.
        length: Number of frames.
        shape: `(height, width)` of every frame.
        scaling: How other pixel types become `uint8`.
        frame_rate: Always None: the format does not say.
    """

    name: str
    path: Path
    length: int
    shape: tuple[int, int]
    scaling: Scaling | None = None
    frame_rate: float | None = None

    def describe(self) -> str:
        """Say how many frames of which size."""
        return summary(f"array {self.name}", self.shape, length=self.length)

    def frames(self) -> Iterator[Frame]:
        """Yield a copy of each frame; see `Source.frames`."""
        for number, image in enumerate(_mapped(self.path)):
            where = f"{self.path}, frame {number}"
            yield same_shape(to_grey(image, self.scaling, where), self.shape, where)


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrFrames:
    """A Zarr array `(T, H, W)`, `(T, H, W, 3 | 4)` or `(H, W)`, or a group with such an array, `frames`.

    A chunk that the store does not have reads as its fill value, as Zarr defines it.

    Attributes:
        name: The store's name.
        path: Its directory.
        length: Number of frames.
        shape: `(height, width)` of every frame.
        scaling: How other pixel types become `uint8`.
        times_ms: When each frame was captured, if the group has an array `time` with a unit.
        frame_rate: The attribute `fps` of the array or group, if it is a positive number; else by the times.
    """

    name: str
    path: Path
    length: int
    shape: tuple[int, int]
    scaling: Scaling | None = None
    times_ms: NDArray[np.float64] | None = None
    frame_rate: float | None = None

    @property
    def has_times(self) -> bool:
        """Whether the store says when each frame was captured."""
        return self.times_ms is not None

    def describe(self) -> str:
        """Say how many frames of which size, and how fast."""
        return summary(
            f"Zarr {self.name}",
            self.shape,
            length=self.length,
            frame_rate=self.frame_rate,
            has_times=self.has_times,
        )

    def frames(self) -> Iterator[Frame]:
        """Yield a copy of each frame; see `Source.frames`.

        Chunks are decoded in blocks of up to 64 MiB, so that one chunk is not decoded again for each frame.
        """
        array, _, _ = _zarr_array(self.path)
        for number, image in enumerate(_zarr_images(array, self.path)):
            where = f"{self.path}, frame {number}"
            yield same_shape(to_grey(image, self.scaling, where), self.shape, where)

    def timed_frames(self) -> Iterator[tuple[Frame, float]]:
        """Yield each frame with its time; see `TimedSource.timed_frames`."""
        times = () if self.times_ms is None else self.times_ms.tolist()
        yield from with_times(self.frames(), times, str(self.path))


def open_npy(path: Path, *, scaling: Scaling | None = None) -> NumpyFile:
    """Open a `.npy` file; its header and first frame are read.

    Raises:
        SourceError: It is not an array of frames, it is empty, or its pixels need a scaling.
    """
    images = _mapped(path)
    height, width = to_grey(images[0], scaling, f"{path}, frame 0").shape
    return NumpyFile(name=path.name, path=path, length=len(images), shape=(height, width), scaling=scaling)


def open_zarr(path: Path, *, scaling: Scaling | None = None) -> ZarrFrames:
    """Open a Zarr store; its metadata and first block are read.

    Raises:
        SourceError: It holds no array of frames, it is empty, or its pixels need a scaling.
    """
    array, fps, time = _zarr_array(path)
    first = next(_zarr_images(array, path))
    height, width = to_grey(first, scaling, f"{path}, frame 0").shape
    length = frame_count(array.shape, str(path))
    times = None if time is None else _zarr_times(time, length, path)
    return ZarrFrames(
        name=path.resolve().name,
        path=path,
        length=length,
        shape=(height, width),
        scaling=scaling,
        times_ms=times,
        frame_rate=usual_rate(times) if fps is None and times is not None else fps,
    )


def _mapped(path: Path) -> NDArray[Any]:
    """Return `(T, H, W)` or `(T, H, W, channels)`, read-only, backed by the file."""
    with decoding(str(path)):
        # Pickled objects could run code: an array of frames never needs them.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise SourceError(f"{path}: is not a single array", hint="Save the frames with numpy.save.")
    frame_count(array.shape, str(path))
    return array[np.newaxis] if array.ndim == 2 else array  # noqa: PLR2004 - (H, W)


def frame_count(shape: tuple[int, ...], path: str) -> int:
    """Return T of an array `(T, H, W)`, refusing shapes that are not frames or that could be read in two ways."""
    if math.prod(shape) == 0:
        raise SourceError(f"{path}: the array of shape {shape} is empty", hint="The recording has no frames.")
    if len(shape) == 3 and shape[2] in _COLOUR_CHANNELS:  # noqa: PLR2004 - (H, W, channels)
        raise SourceError(
            f"{path}: an array of shape {shape} looks like one colour image",
            hint="Save frames as (T, H, W), or colour frames as (T, H, W, 3).",
        )
    match shape:
        case (_, _):
            return 1
        case (count, _, _):
            return count
        case (count, _, _, channels) if channels in _COLOUR_CHANNELS:
            return count
        case _:
            raise SourceError(
                f"{path}: an array of shape {shape} is not a sequence of frames",
                hint="Frames are (T, H, W), colour frames (T, H, W, 3), a single frame (H, W).",
            )


def _zarr_array(path: Path) -> tuple[ZarrArray, float | None, ZarrArray | None]:
    """Return the frames, their rate, and the times beside them."""
    import zarr  # noqa: PLC0415 - slow to import

    time = None
    with decoding(str(path)):
        node = zarr.open(str(path), mode="r")
        recorded = node.attrs.get("fps")
        if isinstance(node, zarr.Group):
            if FRAMES_NAME not in node:
                known = ", ".join(sorted(node.keys())) or "nothing"
                raise SourceError(
                    f"{path}: this Zarr group has no array named {FRAMES_NAME}; it has {known}",
                    hint="Name the array itself, as in store.zarr/images.",
                )
            time = node.get(TIME_NAME)
            node = node[FRAMES_NAME]
            recorded = node.attrs.get("fps", recorded)
        if isinstance(node, zarr.Group):
            raise SourceError(f"{path}: {FRAMES_NAME} is a group, not an array", hint="Name the array itself.")
    return node, noted_rate(recorded), time if isinstance(time, zarr.Array) else None


def _zarr_times(time: ZarrArray, count: int, path: Path) -> NDArray[np.float64] | None:
    if time.shape != (count,):
        return None
    with decoding(f"{path}, {TIME_NAME}"):
        bearable(time.shape, time.dtype.itemsize, f"{path}, {TIME_NAME}")
        return noted_ms(np.asarray(time[...]), time.attrs.get("units"), count)


def noted_rate(recorded: object) -> float | None:
    """Return frames per second as somebody noted them, or `None` if that is no rate."""
    if isinstance(recorded, int | float) and 0 < recorded <= _FPS_MAX:  # neither NaN nor what no float can hold
        return float(recorded)
    return None


def _zarr_images(array: ZarrArray, path: Path) -> Iterator[NDArray[Any]]:
    count = frame_count(array.shape, str(path))
    is_single = array.ndim == 2  # noqa: PLR2004 - (H, W)
    pieces = _pieces_of(array, array.shape if is_single else array.shape[1:], path)
    if is_single:
        with decoding(str(path)):
            image = np.asarray(array[...])
        yield image
        return
    frame_bytes = array.dtype.itemsize * math.prod(array.shape[1:])
    step = block_frames(array.chunks[0], frame_bytes, pieces)
    for start in range(0, count, step):
        with decoding(f"{path}, frames {start} to {min(start + step, count) - 1}"):
            block = np.asarray(array[start : start + step])
        yield from block


def _pieces_of(array: ZarrArray, image: tuple[int, ...], path: Path) -> int:
    """Return how many chunks an image of this shape is in, refusing what only damaged metadata asks for.

    Any of it could be read: what a store does not have reads as its fill value.
    """
    with decoding(str(path)):
        bearable(image, array.dtype.itemsize, str(path))
        bearable(array.chunks, array.dtype.itemsize, f"{path}, a chunk", most=_CHUNK_BYTES_MAX)
        chunk = array.chunks[-len(image) :]
        pieces = math.prod(-(-size // each) for size, each in zip(image, chunk, strict=True))
    if pieces > _PIECES_MAX:
        raise SourceError(
            f"{path}: an image is in {pieces} pieces, more than {_PIECES_MAX}",
            hint="Its metadata may be damaged; if it is not, save the frames with larger chunks.",
        )
    return pieces


def block_frames(chunk_frames: int, frame_bytes: int, pieces: int) -> int:
    """Return how many frames to read at a time: whole chunks if they fit, within the limits."""
    fitting = max(1, min(_BLOCK_BYTES_MAX // frame_bytes, chunk_frames * (_PIECES_MAX // pieces)))
    return fitting - fitting % chunk_frames if fitting > chunk_frames else min(fitting, chunk_frames)
