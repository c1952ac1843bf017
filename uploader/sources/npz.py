"""NumPy's `.npz`: frames straight out of the archive, one at a time, also where they are compressed."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np

from uploader.sources.arrays import frame_count, noted_rate
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

FRAMES_NAME: Final = "frames"
_UNITS: Final = ("s", "ms", "us", "ns")
_TIMES: Final = ("time", "times")
_IMAGE_AXES: Final = 3
_SMALL_BYTES_MAX: Final = 2**28


@dataclass(frozen=True, slots=True, kw_only=True)
class NpzFrames:
    """The array of frames in a `.npz` file: the one called `frames`, or the only one that could be.

    Attributes:
        name: The file's name.
        path: The file.
        member: The array's name in it.
        length: Number of frames.
        shape: `(height, width)` of every frame.
        scaling: How other pixel types become `uint8`.
        times_ms: From an array `time` of numpy's moments, or `time_s`, `time_ms`, `time_us` or `time_ns`.
        frame_rate: The single number `fps`, if there is one; else by the times.
    """

    name: str
    path: Path
    member: str
    length: int
    shape: tuple[int, int]
    scaling: Scaling | None = None
    times_ms: NDArray[np.float64] | None = None
    frame_rate: float | None = None

    @property
    def has_times(self) -> bool:
        """Whether the file says when each frame was captured."""
        return self.times_ms is not None

    def describe(self) -> str:
        """Say how many frames of which size, and how fast."""
        return summary(
            f"array {self.name}",
            self.shape,
            length=self.length,
            frame_rate=self.frame_rate,
            has_times=self.has_times,
        )

    def frames(self) -> Iterator[Frame]:
        """Yield a copy of each frame; see `Source.frames`."""
        for number, image in enumerate(_images(self.path, self.member)):
            where = f"{self.path}, frame {number}"
            yield same_shape(to_grey(image, self.scaling, where), self.shape, where)

    def timed_frames(self) -> Iterator[tuple[Frame, float]]:
        """Yield each frame with its time; see `TimedSource.timed_frames`."""
        yield from with_times(
            self.frames(), () if self.times_ms is None else self.times_ms.tolist(), str(self.path)
        )


def open_npz(path: Path, *, scaling: Scaling | None = None) -> NpzFrames:
    """Open a `.npz` file; the headers of its arrays and the first frame are read.

    Raises:
        SourceError: No array of frames is in it, or several are; it is empty, or its pixels need a scaling.
    """
    heads = _heads(path)
    member = _choice(heads, path)
    length = frame_count(heads[member][0], f"{path}, {member}")
    height, width = to_grey(next(_images(path, member)), scaling, f"{path}, frame 0").shape
    times, fps = _times(path, heads, length), None
    if "fps" in heads and heads["fps"][0] == ():
        fps = noted_rate(_small(path, "fps").item())
    return NpzFrames(
        name=path.name,
        path=path,
        member=member,
        length=length,
        shape=(height, width),
        scaling=scaling,
        times_ms=times,
        frame_rate=usual_rate(times) if fps is None and times is not None else fps,
    )


def _heads(path: Path) -> dict[str, tuple[tuple[int, ...], bool, np.dtype[Any]]]:
    """Return shape, order and type of each array that is in it."""
    heads = {}
    with decoding(str(path)), zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            if entry.endswith(".npy"):
                with archive.open(entry) as file:
                    heads[entry.removesuffix(".npy")] = _head(file)
    return heads


def _head(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, is_fortran, dtype = read(file)
    return shape, is_fortran, dtype


def _choice(heads: dict[str, tuple[tuple[int, ...], bool, np.dtype[Any]]], path: Path) -> str:
    possible = [name for name, (shape, _, _) in heads.items() if len(shape) >= _IMAGE_AXES]
    if FRAMES_NAME in heads:
        return FRAMES_NAME
    if len(possible) != 1:
        known = ", ".join(sorted(heads)[:20]) or "nothing"
        raise SourceError(
            f"{path}: has {len(possible)} arrays that could be frames, and none called frames; it has {known}",
            hint="Save the frames under that name: numpy.savez(FILE, frames=…).",
        )
    return possible[0]


def _images(path: Path, member: str) -> Iterator[NDArray[Any]]:
    where = f"{path}, {member}"
    with decoding(where), zipfile.ZipFile(path) as archive, archive.open(f"{member}.npy") as file:
        shape, is_fortran, dtype = _head(file)
        if dtype.hasobject:
            raise SourceError(f"{where}: holds Python objects, which are never loaded", hint="Save plain numbers.")
        count = frame_count(shape, where)
        image = shape if len(shape) == _IMAGE_AXES - 1 else shape[1:]
        bearable(image, dtype.itemsize, where)
        if is_fortran and len(shape) > len(image):
            raise SourceError(
                f"{where}: its frames lie across each other (Fortran order)",
                hint="Save it with numpy.ascontiguousarray.",
            )
        size = int(np.prod(image)) * dtype.itemsize
        for number in range(count):
            raw = file.read(size)
            if len(raw) < size:
                raise SourceError(f"{where}: ends in frame {number} of {count}", hint="Copy the file again.")
            yield np.frombuffer(raw, dtype).reshape(image, order="F" if is_fortran else "C")
        # Only at its end does the archive check what it gave.
        if file.read(1):
            raise SourceError(f"{where}: has more in it than {count} frames", hint="Copy the file again.")


def _times(
    path: Path, heads: dict[str, tuple[tuple[int, ...], bool, np.dtype[Any]]], count: int
) -> NDArray[np.float64] | None:
    units: dict[str, str | None] = dict.fromkeys(_TIMES) | {
        f"{name}_{unit}": unit for name in _TIMES for unit in _UNITS
    }
    for name, unit in units.items():
        if name in heads and heads[name][0] == (count,):
            times = noted_ms(_small(path, name), unit, count)
            if times is not None:
                return times
    return None


def _small(path: Path, member: str) -> NDArray[Any]:
    where = f"{path}, {member}"
    with decoding(where), np.load(path, allow_pickle=False) as archive, zipfile.ZipFile(path) as listed:
        if listed.getinfo(f"{member}.npy").file_size > _SMALL_BYTES_MAX:
            raise SourceError(f"{where}: is larger than any list of times")
        small: NDArray[Any] = archive[member]
        return small
