"""A whole file of every kind that a source of frames reads: what damage begins with."""

import atexit
import io
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
import tifffile
import zarr
from PIL import Image

VIDEOS = (".mkv", ".avi", ".mp4")


@cache
def templates() -> Mapping[str, bytes]:
    """A whole file of every kind that is read."""
    frames = np.random.default_rng(0).integers(0, 256, (5, 34, 40), dtype=np.uint8)
    wide = frames.astype(np.uint16) * 16
    colour = np.stack([frames[0]] * 3, axis=2)
    found: dict[str, bytes] = {}

    def keep(name: str, write: Callable[[io.BytesIO], object]) -> None:
        file = io.BytesIO()
        write(file)
        found[name] = file.getvalue()

    grey: dict[str, Any] = {"photometric": "minisblack"}
    keep("stack.tif", lambda file: tifffile.imwrite(file, frames, **grey))
    keep("wide.tif", lambda file: tifffile.imwrite(file, wide, bigtiff=True, byteorder=">", **grey))
    keep("packed.tif", lambda file: tifffile.imwrite(file, frames, compression="zlib", tile=(16, 16), **grey))
    keep("imagej.tif", lambda file: tifffile.imwrite(file, frames, imagej=True))
    keep("page.tif", lambda file: tifffile.imwrite(file, colour, photometric="rgb"))
    keep("grey.npy", lambda file: np.save(file, frames))
    keep("colour.npy", lambda file: np.save(file, np.stack([colour] * 2)))
    keep("fortran.npy", lambda file: np.save(file, np.asfortranarray(wide)))
    keep("plain.npz", lambda file: np.savez(file, frames=frames, times_ms=np.arange(5)))
    keep("packed.npz", lambda file: np.savez_compressed(file, frames=wide))
    keep("grey.h5", _hdf5(frames))
    keep("packed.h5", _hdf5(wide, chunks=(2, 17, 20), compression="gzip"))
    for name, pixels in (("grey", frames[0]), ("rgb", colour), ("grey16", wide[0])):
        for suffix in ("png", "bmp", "jpg", "tif")[: 1 if name == "grey16" else 4]:
            form = {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix)
            keep(f"{name}.{suffix}", lambda file, p=pixels, f=form: Image.fromarray(p).save(file, f))  # type: ignore[misc]
    keep("palette.png", lambda file: Image.fromarray(frames[0]).convert("P").save(file, "png"))
    with tempfile.TemporaryDirectory() as folder:
        for suffix, codec in zip(VIDEOS, ("ffv1", "rawvideo", "mpeg4"), strict=True):
            path = Path(folder) / f"v{suffix}"
            command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "gray"]
            command += ["-s", "40x34", "-r", "10", "-i", "-", "-c:v", codec, str(path)]
            subprocess.run(command, input=frames.tobytes(), check=True)
            found[path.name] = path.read_bytes()
    return found


def _hdf5(frames: Any, **settings: Any) -> Callable[[io.BytesIO], object]:  # noqa: ANN401 - as h5py takes them
    def write(file: io.BytesIO) -> None:
        with h5py.File(file, "w") as made:
            made.create_dataset("entry/frames", data=frames, **settings)
            made.create_dataset("entry/time", data=np.arange(5)).attrs["units"] = "ms"

    return write


@cache
def store(version: int) -> Path:
    """A whole Zarr group with frames, kept for as long as the process lives."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-zarr-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    frames = np.random.default_rng(0).integers(0, 256, (5, 34, 40), dtype=np.uint8)
    group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=version)  # type: ignore[arg-type]
    group.attrs["fps"] = 10.0
    array = group.create_array("frames", shape=frames.shape, chunks=(2, 34, 40), dtype="uint8")
    array[...] = frames
    return folder / "a.zarr"
