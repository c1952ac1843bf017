"""One writer for each kind of file. Each takes arrays of frames in order and is closed when all are there."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_PATIENCE_S = 600.0
_FRACTION_MAX = 1_001_000
"""Holds 30000/1001 and its like."""


class ExportError(Exception):
    """The frames cannot be written; `hint` says what to do next. What is in the spool is untouched."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class Writer(Protocol):
    """Takes frames, uint8 ``(n, height, width)``, in order."""

    def add(self, frames: NDArray[np.uint8]) -> None:
        """Write some more."""

    def close(self) -> None:
        """Make the file whole; `ExportError` when it is not."""


class _Npy:
    def __init__(self, path: Path, shape: tuple[int, int, int], _fps: float, _facts: Mapping[str, Any]) -> None:
        self._array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
        self._count = 0

    def add(self, frames: NDArray[np.uint8]) -> None:
        self._array[self._count : self._count + len(frames)] = frames
        self._count += len(frames)

    def close(self) -> None:
        self._array.flush()


class _Zarr:
    """A Zarr v3 array ``frames`` in a group, as the spool's, but compact and without what only the spool needs."""

    def __init__(self, path: Path, shape: tuple[int, int, int], fps: float, facts: Mapping[str, Any]) -> None:
        import zarr  # noqa: PLC0415 - takes half a second

        group = zarr.open_group(path, mode="w", attributes={"fps": fps, **facts})
        self._array = group.create_array(
            "frames",
            shape=shape,
            chunks=(1, *shape[1:]),
            shards=(min(shape[0], 256), *shape[1:]),
            dtype="uint8",
            attributes={"fps": fps},
            dimension_names=("time", "y", "x"),
        )
        self._held: list[NDArray[np.uint8]] = []
        self._count = 0

    def add(self, frames: NDArray[np.uint8]) -> None:
        # Whole shards only: a part of one would be read, changed and written again.
        self._held.append(frames)
        length = self._array.shards[0] if self._array.shards else 1
        held = np.concatenate(self._held)
        whole = len(held) // length * length
        self._write(held[:whole])
        self._held = [held[whole:]]

    def close(self) -> None:
        self._write(np.concatenate(self._held))

    def _write(self, frames: NDArray[np.uint8]) -> None:
        if len(frames):
            self._array[self._count : self._count + len(frames)] = frames
            self._count += len(frames)


class _Tiff:
    def __init__(self, path: Path, shape: tuple[int, int, int], fps: float, _facts: Mapping[str, Any]) -> None:
        try:
            import tifffile  # noqa: PLC0415 - an extra
        except ImportError:
            raise _missing_extra("a TIFF stack") from None
        self._file = tifffile.TiffWriter(path, bigtiff=np.prod(shape, dtype=float) > 2**31)
        self._fps = fps

    def add(self, frames: NDArray[np.uint8]) -> None:
        for frame in frames:
            self._file.write(frame, photometric="minisblack", contiguous=True, metadata=None)

    def close(self) -> None:
        self._file.close()


class _Mp4:
    """H.264 at the declared frame rate, sizes made even with a black line; lossy, and so said."""

    def __init__(self, path: Path, shape: tuple[int, int, int], fps: float, _facts: Mapping[str, Any]) -> None:
        try:
            import imageio_ffmpeg  # type: ignore[import-untyped] # noqa: PLC0415 - an extra
        except ImportError:
            raise _missing_extra("a video") from None
        _, height, width = shape
        rate = Fraction(fps).limit_denominator(_FRACTION_MAX)
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as ffmpeg
        self._ffmpeg = subprocess.Popen(  # noqa: S603 - its own program, with arguments of our own
            [
                *(imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y"),
                *("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{width}x{height}"),
                *("-r", f"{rate.numerator}/{rate.denominator}", "-i", "-", "-an"),
                *("-c:v", "libx264", "-crf", "12", "-pix_fmt", "yuv420p"),
                *("-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-f", "mp4", str(path)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    def add(self, frames: NDArray[np.uint8]) -> None:
        assert self._ffmpeg.stdin is not None
        try:
            self._ffmpeg.stdin.write(np.ascontiguousarray(frames).tobytes())
        except OSError:
            self.close()

    def close(self) -> None:
        assert self._ffmpeg.stdin is not None
        if self._log.closed:
            return
        with self._log as log:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its log says why
                self._ffmpeg.stdin.close()
            code = self._ffmpeg.wait(_PATIENCE_S)
            log.seek(0)
            said = log.read().decode("utf-8", "replace").strip()
        if code:
            raise ExportError(f"ffmpeg could not write the video: {said[-300:]}", hint="Export to .zarr or .npy.")


def _missing_extra(what: str) -> ExportError:
    return ExportError(f"{what} needs the extra 'media'", hint='Install it with: pip install "framespool[media]"')


WRITERS: dict[str, Callable[[Path, tuple[int, int, int], float, Mapping[str, Any]], Writer]] = {
    ".zarr": _Zarr,
    ".npy": _Npy,
    ".tif": _Tiff,
    ".tiff": _Tiff,
    ".mp4": _Mp4,
}
SUFFIXES = tuple(WRITERS)
