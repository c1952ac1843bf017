"""Files that ask for what no file has: refused by name, before memory or time is spent on them."""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from tools.fuzz.areas import files
from uploader.sources import SourceError, arrays, open_source
from uploader.sources.base import bearable, decoding

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = np.zeros((4, 34, 40), dtype=np.uint8)


def test_a_tiff_whose_header_asks_for_half_a_terabyte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FRAMES[0], photometric="minisblack")
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHII", 257, 4, 1, 34))  # the tag ImageLength: one LONG
    data[at : at + 12] = struct.pack("<HHII", 257, 4, 1, 0xFFFFFFFF)
    path.write_bytes(data)
    with pytest.raises(SourceError, match="more than any image has"):
        open_source(str(path))


@pytest.mark.parametrize(
    ("shape", "chunks", "found"),
    [
        ([1, 1 << 20, 1 << 20], [1, 64, 64], "more than any image has"),
        ([1 << 20, 1 << 20], [64, 64], "more than any image has"),
        ([1 << 20, 1 << 11, 1 << 10], [1 << 20, 1 << 11, 1 << 10], "a chunk.*more than any image has"),
        ([1, 1 << 14, 1 << 14], [1, 1, 1], "an image is in 268435456 pieces"),
    ],
)
def test_zarr_metadata_that_asks_for_absurd_images_is_refused(
    tmp_path: Path, shape: list[int], chunks: list[int], found: str
) -> None:
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(1,) * len(shape), chunks=(1,) * len(shape), dtype="uint8", zarr_format=2)
    told = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps({**told, "shape": shape, "chunks": chunks}))
    with pytest.raises(SourceError, match=found):
        open_source(str(path))


@pytest.mark.parametrize("fps", [10**400, -3, float("nan"), float("inf"), "10", None, 0])
def test_a_frame_rate_that_is_none_is_not_taken_for_one(tmp_path: Path, fps: Any) -> None:
    """The first was found by fuzzing: no float holds it."""
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=FRAMES, attributes={"fps": fps})
    assert open_source(str(path)).frame_rate is None


def test_the_first_frame_of_a_zarr_array_without_end_is_there_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By metadata alone a block of 64 MiB could be a million chunks, none of which is there."""
    monkeypatch.setattr(arrays, "_PIECES_MAX", 8)
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(1 << 40, 64, 1), chunks=(2, 16, 1), dtype="uint8", fill_value=7)
    read: list[Any] = []
    get = zarr.Array.__getitem__

    def noted(array: zarr.Array[Any], where: Any) -> Any:
        read.append(where)
        return get(array, where)

    monkeypatch.setattr(zarr.Array, "__getitem__", noted)
    assert next(iter(open_source(str(path)).frames())).max() == 7
    assert read == [slice(0, 4), slice(0, 4)]


def test_an_image_just_as_large_as_one_may_be_is_read() -> None:
    bearable((1 << 15, 1 << 15), 1, "a.tif")
    with pytest.raises(SourceError, match=r"^a\.tif: 32768 x 32769 samples of 1 bytes"):
        bearable((1 << 15, (1 << 15) + 1), 1, "a.tif")


def test_a_name_that_no_disk_takes_is_refused_in_few_words() -> None:
    with pytest.raises(SourceError) as caught:
        open_source("x" * 100_000)
    assert len(f"{caught.value}{caught.value.hint}") < 2000


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in folders")
@pytest.mark.parametrize("name", ["a.npy", "a.tif", "a.png", "a.mkv"])
def test_a_pipe_that_nobody_writes_to_is_refused_instead_of_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match="neither a file nor a folder"):
        open_source(str(tmp_path / name))


@pytest.mark.parametrize("text", ["sim:growth_period=1e-320", "sim:fps=1e-320"])
def test_a_simulated_time_without_measure_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="must be 1e-06 or more"):
        open_source(text)


def test_a_decoders_words_are_told_in_a_bearable_length() -> None:
    with pytest.raises(SourceError) as caught, decoding("a.png"):
        raise ValueError("x" * 100_000)
    assert len(str(caught.value)) < 1000


def test_whatever_stands_in_a_file_ends_in_frames_or_a_clear_error(tmp_path: Path) -> None:
    found = list(files.inputs(3, 200, tmp_path))
    assert len(found) == 200
    assert [one for one in found if one is not None] == []
