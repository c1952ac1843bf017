"""From the text that a person typed to a source: by prefix first, then by what is on disk and its suffix."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from uploader.sources.arrays import open_npy, open_zarr
from uploader.sources.base import Source, SourceError, decoding
from uploader.sources.hdf5 import HDF5_SUFFIXES, SEPARATOR, open_hdf5
from uploader.sources.images import IMAGE_SUFFIXES, TIFF_SUFFIXES, open_folder, open_image
from uploader.sources.npz import open_npz
from uploader.sources.pixels import Scaling, ScalingKind
from uploader.sources.simulator import Simulator
from uploader.sources.simulator_text import parse_simulator
from uploader.sources.tiff import open_tiff
from uploader.sources.video import VIDEO_SUFFIXES, open_video

if TYPE_CHECKING:
    from collections.abc import Callable

UNDERSTOOD = (
    "Understood are: sim: or sim:frames=200,rpm=15 (simulated camera); a folder of images "
    "(.bmp .jpg .jpeg .png .tif .tiff); a TIFF stack (.tif .tiff); .npy; .npz; .zarr; "
    f"HDF5 ({' '.join(sorted(HDF5_SUFFIXES))}), one of several datasets as in FILE.h5::/entry/frames; "
    f"a video ({' '.join(sorted(VIDEO_SUFFIXES))})."
)

_SIMULATOR_SCHEME = "sim"
_SHOWN_CHARS = 300  # of what was typed
# At least two letters: a single one before a colon is a Windows drive.
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
# What marks the root of a Zarr array or group: format 3, then format 2.
_ZARR_MARKS = ("zarr.json", ".zarray", ".zgroup")


def open_source(text: str, *, scaling: Scaling | None = None) -> Source:
    """Open what `text` names.

    Args:
        text: `sim:` with optional settings, or the path of a folder, file or Zarr store. Any other
            `scheme:` is refused unless a file of that very name exists.
        scaling: How pixels that are not `uint8` become so; None refuses them.

    Returns:
        A source whose first frame could be read; simulated ones are always ready.

    Raises:
        SourceError: It is not understood, not there, or not readable.
    """
    scheme = _SCHEME.match(text)
    if scheme is not None and scheme[1].lower() == _SIMULATOR_SCHEME:
        return _open_simulator(text[scheme.end() :], scaling)
    path, dataset = _parted(text)
    # The name may be too long for the disk, or in a folder that is closed to us.
    with decoding(str(path)[:_SHOWN_CHARS]):
        if not text or "\0" in text or not path.exists():
            raise _not_there(text, scheme[1] if scheme is not None else None)
        opener = _opener(path)
    return opener(path, scaling=scaling) if dataset is None else open_hdf5(path, dataset=dataset, scaling=scaling)


def _parted(text: str) -> tuple[Path, str | None]:
    """Return the path, and the dataset of an HDF5 file that is named behind it."""
    before, separator, dataset = text.rpartition(SEPARATOR)
    if separator and Path(before).suffix.lower() in HDF5_SUFFIXES:
        return Path(before), dataset
    return Path(text), None


def _open_simulator(settings: str, scaling: Scaling | None) -> Simulator:
    if scaling is not None and scaling.kind is not ScalingKind.NONE:
        raise SourceError(
            f"the simulator gives 8-bit frames, to which the scaling {scaling} does not apply",
            hint="Leave the scaling out; its gain and offset can be set: sim:gain=0.2,offset=4",
        )
    return Simulator(parse_simulator(settings))


def _opener(path: Path) -> Callable[..., Source]:
    suffix = path.suffix.lower()
    if path.is_dir():
        is_zarr = suffix == ".zarr" or any((path / mark).exists() for mark in _ZARR_MARKS)
        return open_zarr if is_zarr else open_folder
    if not path.is_file():
        # Reading a pipe or a device would wait for ever.
        raise SourceError(f"{path}: is neither a file nor a folder", hint=UNDERSTOOD)
    by_suffix: dict[str, Callable[..., Source]] = {
        ".npy": open_npy,
        ".npz": open_npz,
        **dict.fromkeys(HDF5_SUFFIXES, open_hdf5),
        **dict.fromkeys(IMAGE_SUFFIXES, open_image),
        **dict.fromkeys(TIFF_SUFFIXES, open_tiff),
        **dict.fromkeys(VIDEO_SUFFIXES, open_video),
    }
    if suffix == ".imm":
        raise SourceError(
            f"{path}: k-Space's .imm is not read: where in its header the size of an image stands is not public",
            hint="Save it as a video, or as images, with the program that recorded it.",
        )
    if suffix not in by_suffix:
        raise SourceError(
            f"{path}: files of the kind {suffix or '(no suffix)'} are not understood", hint=UNDERSTOOD
        )
    return by_suffix[suffix]


def _not_there(text: str, scheme: str | None) -> SourceError:
    shown = text[:_SHOWN_CHARS]
    if scheme is not None:
        return SourceError(
            f"{shown!r}: {scheme}: is not a kind of source, and no such file exists", hint=UNDERSTOOD
        )
    return SourceError(f"{shown!r}: no such file or folder", hint=f"Check the path. {UNDERSTOOD}")
