"""HDF5: one dataset of a file, named as in `FILE.h5::/entry/frames`, or the only one that could be frames.

What the file itself does not hold is never read: links to other files, data that lies in other files, and virtual
datasets are refused, because they name paths that nobody here has chosen.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from uploader.sources.arrays import block_frames, frame_count, noted_rate
from uploader.sources.base import (
    Frame,
    SourceError,
    bearable,
    decoding,
    missing_extra,
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

    # h5py ships no types.
    Dataset = Any
    Group = Any

HDF5_SUFFIXES: Final = frozenset({".h5", ".hdf", ".hdf5", ".nxs"})
SEPARATOR: Final = "::"
_TIMES: Final = ("time", "times", "timestamp", "timestamps")
_RATES: Final = ("fps", "frame_rate")
_IMAGE_AXES: Final = 3
_CHUNK_BYTES_MAX: Final = 2**31
_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Hdf5Frames:
    """A dataset `(T, H, W)`, `(T, H, W, 3 | 4)` or `(H, W)`.

    Attributes:
        name: The file's name.
        path: The file.
        dataset: The dataset's name in it, from its root.
        length: Number of frames.
        shape: `(height, width)` of every frame.
        scaling: How other pixel types become `uint8`.
        times_ms: From the scale of its first axis, or a dataset `time` beside it, if that has a unit.
        frame_rate: The attribute `fps` or `frame_rate` of the dataset or its group; else by the times.
    """

    name: str
    path: Path
    dataset: str
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
        """Say which dataset, how many frames of which size, and how fast."""
        return summary(
            f"HDF5 {self.name}{SEPARATOR}{self.dataset}",
            self.shape,
            length=self.length,
            frame_rate=self.frame_rate,
            has_times=self.has_times,
        )

    def frames(self) -> Iterator[Frame]:
        """Yield a copy of each frame; see `Source.frames`. Chunks are read in blocks, each once."""
        with _opened(self.path) as file:
            for number, image in enumerate(_images(_named(file, self.dataset, self.path), self._where)):
                where = f"{self._where}, frame {number}"
                yield same_shape(to_grey(image, self.scaling, where), self.shape, where)

    def timed_frames(self) -> Iterator[tuple[Frame, float]]:
        """Yield each frame with its time; see `TimedSource.timed_frames`."""
        yield from with_times(self.frames(), () if self.times_ms is None else self.times_ms.tolist(), self._where)

    @property
    def _where(self) -> str:
        return f"{self.path}{SEPARATOR}{self.dataset}"


def open_hdf5(path: Path, *, dataset: str | None = None, scaling: Scaling | None = None) -> Hdf5Frames:
    """Open a dataset of an HDF5 file; its first block is read.

    Args:
        path: The file.
        dataset: Its name from the root; None for the only one of three axes.
        scaling: How other pixel types become `uint8`.

    Raises:
        SourceError: It is not there, holds no frames, lies in another file, or its pixels need a scaling; or h5py
            is not installed.
    """
    with _opened(path) as file:
        found = _named(file, dataset, path) if dataset is not None else _only(file, path)
        where = f"{path}{SEPARATOR}{found.name}"
        length = frame_count(found.shape, where)
        height, width = to_grey(next(_images(found, where)), scaling, f"{where}, frame 0").shape
        with decoding(where):
            times = _times(found, length)
            fps = _rate(found)
        return Hdf5Frames(
            name=path.name,
            path=path,
            dataset=found.name,
            length=length,
            shape=(height, width),
            scaling=scaling,
            times_ms=times,
            frame_rate=usual_rate(times) if fps is None and times is not None else fps,
        )


@contextmanager
def _opened(path: Path) -> Iterator[Group]:
    try:
        import h5py  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise missing_extra("h5py", "read HDF5 files", extra="hdf5") from error
    with decoding(str(path)):
        # A share may know no locks, and a file that is only read needs none.
        file = h5py.File(path, "r", locking="best-effort")
    with file:
        yield file


def _only(file: Group, path: Path) -> Dataset:
    """The one dataset that could be frames; datasets behind links are not looked for."""
    import h5py  # noqa: PLC0415 - it is there: the file is open

    found: list[Dataset] = []

    def look(_: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and len(node.shape or ()) >= _IMAGE_AXES:
            found.append(node)

    with decoding(str(path)):
        file.visititems(look)
    if len(found) != 1:
        known = ", ".join(one.name for one in found[:_SHOWN_MAX]) or "none"
        raise SourceError(
            f"{path}: has {len(found)} datasets that could be frames ({known})",
            hint=f"Name the dataset: {path.name}{SEPARATOR}/entry/frames",
        )
    return _own(found[0], file, path)


def _named(file: Group, name: str, path: Path) -> Dataset:
    import h5py  # noqa: PLC0415 - it is there: the file is open

    with decoding(f"{path}{SEPARATOR}{name}"):
        at: Group = file
        for part in (part for part in name.split("/") if part):
            link = at.get(part, getlink=True) if isinstance(at, h5py.Group) else None
            if isinstance(link, h5py.ExternalLink):
                raise SourceError(
                    f"{path}{SEPARATOR}{name}: leads to another file ({link.filename})",
                    hint="Name that file itself.",
                )
            at = None if link is None else at.get(part)
        if not isinstance(at, h5py.Dataset):
            raise SourceError(
                f"{path}{SEPARATOR}{name}: there is no such dataset",
                hint=f"See what is there: h5ls -r {path.name}",
            )
    return _own(at, file, path)


def _own(dataset: Dataset, file: Group, path: Path) -> Dataset:
    """Refuse what is not all in this file."""
    with decoding(str(path)):
        if dataset.external or dataset.is_virtual or dataset.file.filename != file.file.filename:
            raise SourceError(
                f"{path}{SEPARATOR}{dataset.name}: its frames lie in other files",
                hint="Copy them into one file: h5repack, or h5copy.",
            )
        if dataset.dtype.kind not in "biuf":
            raise SourceError(f"{path}{SEPARATOR}{dataset.name}: holds {dataset.dtype}, and no numbers")
    return dataset


def _images(dataset: Dataset, where: str) -> Iterator[NDArray[Any]]:
    shape, size = dataset.shape, dataset.dtype.itemsize
    count = frame_count(shape, where)
    if len(shape) < _IMAGE_AXES:
        bearable(shape, size, where)
        with decoding(where):
            image = np.asarray(dataset[...])
        yield image
        return
    chunk = dataset.chunks or (1, *shape[1:])
    bearable(shape[1:], size, where)
    bearable(chunk, size, f"{where}, a chunk", most=_CHUNK_BYTES_MAX)
    pieces = math.prod(-(-side // each) for side, each in zip(shape[1:], chunk[1:], strict=True))
    step = block_frames(chunk[0], size * math.prod(shape[1:]), pieces)
    for start in range(0, count, step):
        with decoding(f"{where}, frames {start} to {min(start + step, count) - 1}"):
            block = np.asarray(dataset[start : start + step])
        yield from block


def _times(dataset: Dataset, count: int) -> NDArray[np.float64] | None:
    import h5py  # noqa: PLC0415 - it is there: the file is open

    beside = dataset.parent
    named = [beside.get(name) for name in _TIMES if isinstance(beside.get(name, getlink=True), h5py.HardLink)]
    for one in [*dataset.dims[0].values(), *named]:
        if isinstance(one, h5py.Dataset) and one.shape == (count,) and not one.external and not one.is_virtual:
            bearable(one.shape, one.dtype.itemsize, one.name)
            times = noted_ms(np.asarray(one[...]), one.attrs.get("units"), count)
            if times is not None:
                return times
    return None


def _rate(dataset: Dataset) -> float | None:
    for node in (dataset, dataset.parent):
        for name in _RATES:
            noted = node.attrs.get(name)
            rate = noted_rate(noted.item() if isinstance(noted, np.generic) else noted)
            if rate is not None:
                return rate
    return None
