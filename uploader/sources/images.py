"""Image files: a folder of them in natural order, or one alone.

Pillow reads BMP, PNG and JPEG; TIFF goes through `uploader.sources.tiff`. Pixels are taken as stored: EXIF
orientation and embedded colour profiles are not applied.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from uploader.sources.base import Frame, SourceError, decoding, missing_extra, same_shape, summary
from uploader.sources.pixels import Scaling, to_grey
from uploader.sources.tiff import read_single_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL.Image import Image

TIFF_SUFFIXES = frozenset({".tif", ".tiff"})
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png"}) | TIFF_SUFFIXES

_DIGITS = re.compile("([0-9]+)")
# Pillow's modes whose samples numpy sees as they are stored.
_PLAIN_MODES = frozenset({"1", "L", "LA", "RGB", "RGBA", "I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
# A palette is only a code for colours: looking them up loses nothing, using the indices as grey levels would.
_PALETTE_MODES = {"P": "RGB", "PA": "RGBA"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_BIT_DEPTH_AT, _PNG_COLOUR_TYPE_AT, _PNG_GREY = 24, 25, 0
_WIDE_BITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFiles:
    """Image files, one frame each, in a fixed order.

    Attributes:
        name: The folder's name, or the file's if it stands alone.
        paths: The files, in the order of their frames; listed once, when the source was opened.
        shape: `(height, width)` of the first one, which all must have.
        scaling: How other pixel types become `uint8`.
        frame_rate: Always None: image files do not say.
    """

    name: str
    paths: tuple[Path, ...]
    shape: tuple[int, int]
    scaling: Scaling | None = None
    frame_rate: float | None = None

    @property
    def length(self) -> int:
        """Number of files."""
        return len(self.paths)

    def describe(self) -> str:
        """Say how many images of which size, and from which file to which."""
        line = summary(f"images {self.name}", self.shape, length=self.length)
        return f"{line} ({self.paths[0].name} … {self.paths[-1].name})" if self.length > 1 else line

    def frames(self) -> Iterator[Frame]:
        """Yield one new frame for each file; see `Source.frames`."""
        for path in self.paths:
            yield same_shape(read_image(path, self.scaling), self.shape, str(path))


def open_folder(folder: Path, *, scaling: Scaling | None = None) -> ImageFiles:
    """Open the images directly inside `folder`, in natural order of their names.

    Hidden files, subfolders and files that are not images are left out.

    Raises:
        SourceError: No image is there, or the first one cannot be read.
    """
    with decoding(str(folder)):
        inside = list(folder.iterdir())
        found = [path for path in inside if _is_image(path)]
    if not found:
        subfolders = sum(path.is_dir() for path in inside)
        where = f" ({subfolders} subfolders are not searched)" if subfolders else ""
        raise SourceError(
            f"{folder}: no images in this folder{where}",
            hint=f"Name the folder that holds the images; read are {', '.join(sorted(IMAGE_SUFFIXES))}.",
        )
    paths = tuple(sorted(found, key=lambda path: natural_key(path.name)))
    shape = _shape(read_image(paths[0], scaling))
    return ImageFiles(name=folder.resolve().name or str(folder), paths=paths, shape=shape, scaling=scaling)


def open_image(path: Path, *, scaling: Scaling | None = None) -> ImageFiles:
    """Open a single image file as a source of one frame."""
    shape = _shape(read_image(path, scaling))
    return ImageFiles(name=path.name, paths=(path,), shape=shape, scaling=scaling)


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Return the sort key that puts `frame2.bmp` before `frame10.bmp`.

    Runs of digits compare as numbers and the rest without regard to case. The full name settles ties, such as
    `a1` and `a01`, so that the order never depends on how the disk lists its files.
    """
    stem, dot, _ = name.rpartition(".")
    # Splitting by a group alternates text, digits, text ...: equal places always hold equal types.
    pieces = _DIGITS.split(stem if dot else name)
    return tuple(int(piece) if place % 2 else piece.casefold() for place, piece in enumerate(pieces)), name


def read_image(path: Path, scaling: Scaling | None = None) -> Frame:
    """Return the image in `path` as a new `uint8` array `(H, W)`.

    Raises:
        SourceError: It is not a whole image of a known kind, holds several, or its pixels need a scaling.
    """
    if path.suffix.lower() in TIFF_SUFFIXES:
        return to_grey(read_single_page(path), scaling, str(path))
    with decoding(str(path)), path.open("rb") as file:
        return decode_image(file, scaling, str(path))


def decode_image(file: IO[bytes], scaling: Scaling | None, where: str) -> Frame:
    """Return the BMP, PNG or JPEG image in an open file as a new `uint8` array `(H, W)`.

    Raises:
        SourceError: as `read_image`.
    """
    return to_grey(_pillow_pixels(file, where), scaling, where)


def _is_image(path: Path) -> bool:
    return not path.name.startswith(".") and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def _shape(frame: Frame) -> tuple[int, int]:
    height, width = frame.shape
    return height, width


def _pillow_pixels(file: IO[bytes], where: str) -> NDArray[Any]:
    try:
        from PIL import Image  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise missing_extra("pillow", "read images") from error
    with decoding(where):
        _refuse_narrowed_png(file, where)
        with Image.open(file) as image:
            return _samples(image, where)


def _samples(image: Image, where: str) -> NDArray[Any]:
    pictures = getattr(image, "n_frames", 1)
    if pictures != 1:
        raise SourceError(
            f"{where}: holds {pictures} pictures, where one was expected",
            hint="Save each picture to its own file, or all of them as one TIFF stack or .npy array.",
        )
    if image.mode in _PALETTE_MODES:
        return np.asarray(image.convert(_PALETTE_MODES[image.mode]))
    if image.mode not in _PLAIN_MODES:
        raise SourceError(
            f"{where}: the colour mode {image.mode} has no plain conversion to grey",
            hint="Save it as a grey or RGB image.",
        )
    return np.asarray(image)


def _refuse_narrowed_png(file: IO[bytes], where: str) -> None:
    """Refuse a 16-bit colour PNG, of which Pillow would silently drop the low bytes."""
    start = file.read(_PNG_COLOUR_TYPE_AT + 1)
    file.seek(0)
    if not start.startswith(_PNG_SIGNATURE) or len(start) <= _PNG_COLOUR_TYPE_AT:
        return
    if start[_PNG_BIT_DEPTH_AT] == _WIDE_BITS and start[_PNG_COLOUR_TYPE_AT] != _PNG_GREY:
        raise SourceError(
            f"{where}: a PNG with 16 bits a channel and several channels would lose half of the bits here",
            hint="Save it as a 16-bit grey PNG, or as TIFF, and choose a scaling.",
        )
