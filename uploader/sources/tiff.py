"""TIFF: a stack, one frame for each page; and the single page of an image file.

tifffile gives the stored samples at their stored depth. Layouts in which the samples are not light
intensities (palettes, inverted grey) are refused: reading them as grey levels would be wrong without a sign.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np

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
from uploader.sources.tiff_times import page_times_ms

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from numpy.typing import NDArray
    from tifffile import TiffFile

    # tifffile's own classes for a page, of which we use only what they have in common.
    Page: TypeAlias = Any

_UNDERSTOOD = ("MINISBLACK", "RGB")
_HINT = "Save it as plain grey or RGB TIFF without compression."


@dataclass(frozen=True, slots=True, kw_only=True)
class TiffStack:
    """A TIFF file, one frame for each page.

    Attributes:
        name: The file's name.
        path: The file.
        length: Number of pages.
        shape: `(height, width)` of the first page, which all must have.
        scaling: How other pixel types become `uint8`.
        times_ms: When each page was captured, in milliseconds, if OME or ImageJ have noted it.
        frame_rate: By those times; None without them.
    """

    name: str
    path: Path
    length: int
    shape: tuple[int, int]
    scaling: Scaling | None = None
    times_ms: tuple[float, ...] | None = None
    frame_rate: float | None = None

    @property
    def has_times(self) -> bool:
        """Whether somebody noted when each page was captured."""
        return self.times_ms is not None

    def describe(self) -> str:
        """Say how many pages of which size."""
        return summary(
            f"TIFF stack {self.name}",
            self.shape,
            length=self.length,
            frame_rate=self.frame_rate,
            has_times=self.has_times,
        )

    def frames(self) -> Iterator[Frame]:
        """Yield one new frame for each page; see `Source.frames`."""
        for number, frame in enumerate(decode_pages(self.path, self.scaling, str(self.path))):
            yield same_shape(frame, self.shape, f"{self.path}, page {number}")

    def timed_frames(self) -> Generator[tuple[Frame, float], None, None]:
        """Yield each page with its time; see `TimedSource.timed_frames`."""
        yield from with_times(self.frames(), self.times_ms or (), str(self.path))


def open_tiff(path: Path, *, scaling: Scaling | None = None) -> TiffStack:
    """Open a TIFF file; pages are counted and the first one is read.

    Raises:
        SourceError: It is not a TIFF file that can be read, or its pixels need a scaling.
    """
    with _opened(path, str(path)) as tiff:
        length = _page_count(tiff, str(path))
        where = f"{path}, page 0"
        height, width = to_grey(_read_page(tiff, 0, where), scaling, where).shape
        times_ms = page_times_ms(tiff, length)
    return TiffStack(
        name=path.name,
        path=path,
        length=length,
        shape=(height, width),
        scaling=scaling,
        times_ms=None if times_ms is None else tuple(times_ms.tolist()),
        frame_rate=None if times_ms is None else usual_rate(times_ms),
    )


def decode_pages(
    source: Path | IO[bytes], scaling: Scaling | None, where: str, *, start: int = 0
) -> Generator[Frame, None, None]:
    """Yield each page of a TIFF file, or of one that is open, as a new `uint8` array `(H, W)`.

    Args:
        source: The file.
        scaling: How other pixel types become `uint8`.
        where: The file, for messages.
        start: The page to begin with; those before it are not decoded.

    Raises:
        SourceError: It is not a TIFF file that can be read to its end, or its pixels need a scaling.
    """
    with _opened(source, where) as tiff:
        for number in range(start, _page_count(tiff, where)):
            page = f"{where}, page {number}"
            yield to_grey(_read_page(tiff, number, page), scaling, page)


def count_pages(source: Path | IO[bytes], where: str) -> tuple[int, NDArray[np.float64] | None]:
    """Return how many pages a TIFF file has, and when each was captured (see `page_times_ms`).

    Raises:
        SourceError: It is not a TIFF file that can be read to its end.
    """
    with _opened(source, where) as tiff:
        count = _page_count(tiff, where)
        return count, page_times_ms(tiff, count)


def read_single_page(path: Path) -> NDArray[Any]:
    """Return the samples, `(H, W)` or `(H, W, channels)`, of a TIFF file that has exactly one page."""
    with _opened(path, str(path)) as tiff:
        length = _page_count(tiff, str(path))
        if length != 1:
            raise SourceError(
                f"{path}: holds {length} pages, where one image was expected",
                hint="Stream the stack by naming the file itself, not its folder.",
            )
        return _read_page(tiff, 0, str(path))


def _opened(source: Path | IO[bytes], where: str) -> TiffFile:
    try:
        import tifffile  # noqa: PLC0415 - an extra, and slow to import
    except ImportError as error:
        raise missing_extra("tifffile", "read TIFF files") from error
    with decoding(where):
        # OME may name other files that belong to this one, wherever they are: they are not for us to open.
        return tifffile.TiffFile(source, name=Path(where).name, is_ome=False)


def _page_count(tiff: TiffFile, where: str) -> int:
    """Return the number of pages, refusing a file that has, or had, more images than pages.

    ImageJ and tifffile may describe a whole stack by its first page alone, and a torn file lost its last ones;
    reading the pages that can be found would drop the rest without a sign.
    """
    with decoding(where):
        count = len(tiff.pages)
        torn = count > 0 and _offset_after_last_page(tiff) != 0
        behind_one_page = any(series.is_truncated for series in tiff.series)
    if torn:
        raise SourceError(
            f"{where}: is torn: only the first {count} of its pages can be found",
            hint="Copy the file again from where it was recorded.",
        )
    if behind_one_page:
        raise SourceError(
            f"{where}: its images are stored behind one page (a truncated TIFF series)",
            hint="Save it as .npy, or as a TIFF with a page for each image.",
        )
    if count == 0:
        raise SourceError(f"{where}: has no pages", hint="The recording is empty.")
    return count


def _offset_after_last_page(tiff: TiffFile) -> int:
    """Return where the page after the last one that was found should be: 0 if it was really the last.

    Pages are a chained list, each holding the offset of the next. tifffile stops where the chain leads out of the
    file, and only logs it.

    Source:
        TIFF 6.0, section 2: image file directory.
    """
    layout, file, last = tiff.tiff, tiff.filehandle, tiff.pages[-1]
    file.seek(last.offset)
    (tags,) = struct.unpack(layout.tagnoformat, file.read(layout.tagnosize))
    file.seek(last.offset + layout.tagnosize + tags * layout.tagsize)
    (following,) = struct.unpack(layout.offsetformat, file.read(layout.offsetsize))
    return int(following)


def _read_page(tiff: TiffFile, number: int, where: str) -> NDArray[Any]:
    with decoding(where):
        page: Page = tiff.pages[number]
        photometric = getattr(page.photometric, "name", str(page.photometric))
        if photometric not in _UNDERSTOOD:
            raise SourceError(f"{where}: TIFF with {photometric} samples is not understood", hint=_HINT)
        # tifffile would read a part that was never written as zeros.
        if any(count == 0 for count in page.databytecounts):
            raise SourceError(f"{where}: some of its pixels were never written", hint=_HINT)
        bearable(page.shape, page.dtype.itemsize, where)
        pixels: NDArray[Any] = page.asarray()
        if page.axes == "SYX":
            return np.moveaxis(pixels, 0, 2)
        if page.axes not in {"YX", "YXS"}:
            raise SourceError(f"{where}: TIFF with the axes {page.axes} is not understood", hint=_HINT)
        return pixels
