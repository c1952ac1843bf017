"""A TIFF stack gives one frame for each page, and never fewer without a sign."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from uploader.sources import Scaling, SourceError, open_source
from uploader.sources.base import times_of
from uploader.sources.images import read_image
from uploader.sources.tiff import open_tiff

if TYPE_CHECKING:
    from pathlib import Path

STACK = np.random.default_rng(0).integers(0, 256, (5, 6, 9), dtype=np.uint8)


def test_a_stack_comes_back_exactly_and_again(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    source = open_source(str(tmp_path / "a.tif"))
    assert source.length == 5
    assert np.array_equal(list(source.frames()), STACK)
    assert np.array_equal(list(source.frames()), STACK)


def test_a_single_page_is_a_stack_of_one(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0])
    assert np.array_equal(list(open_tiff(tmp_path / "a.tif").frames()), STACK[:1])


def test_a_compressed_stack_comes_back_exactly(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", compression="zlib")
    assert np.array_equal(list(open_tiff(tmp_path / "a.tif").frames()), STACK)


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_colour_is_read_whichever_way_its_planes_lie(tmp_path: Path, planar: str) -> None:
    grey = STACK[0]
    colour = np.stack([grey] * 3, axis=2 if planar == "contig" else 0)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb", planarconfig=planar)
    assert np.array_equal(next(open_tiff(tmp_path / "a.tif").frames()), grey)


def test_twelve_bits_are_refused_without_a_scaling_and_read_with_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(np.uint16) * 16 + 15, photometric="minisblack")
    with pytest.raises(SourceError, match="page 0: the pixels are uint16"):
        open_tiff(tmp_path / "a.tif")
    source = open_tiff(tmp_path / "a.tif", scaling=Scaling.parse("shift4"))
    assert np.array_equal(list(source.frames()), STACK)


def test_a_page_of_another_size_is_refused_by_its_number(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK[0])
        writer.write(STACK[1][:3])
    with pytest.raises(SourceError, match=r"page 1: this frame is 3 x 9.*6 x 9"):
        list(open_tiff(tmp_path / "a.tif").frames())


def test_images_hidden_behind_one_page_are_refused_and_not_dropped(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", truncate=True)
    with pytest.raises(SourceError, match="behind one page"):
        open_tiff(tmp_path / "a.tif")


def test_inverted_grey_is_refused_instead_of_read_as_its_negative(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="miniswhite")
    with pytest.raises(SourceError, match="MINISWHITE"):
        open_tiff(tmp_path / "a.tif")


def test_a_palette_is_refused_instead_of_read_as_its_indices(tmp_path: Path) -> None:
    colours = np.zeros((3, 256), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", STACK[0], photometric="palette", colormap=colours)
    with pytest.raises(SourceError, match="PALETTE"):
        open_tiff(tmp_path / "a.tif")


def test_a_stack_inside_a_folder_is_refused_with_the_way_to_read_it(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    with pytest.raises(SourceError, match="5 pages") as refusal:
        read_image(tmp_path / "a.tif")
    assert "naming the file" in refusal.value.hint


@pytest.mark.parametrize("contiguous", [True, False])
def test_a_torn_stack_is_refused_unless_only_padding_is_missing(tmp_path: Path, contiguous: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for frame in STACK:
            writer.write(frame, contiguous=contiguous)
    whole = path.read_bytes()
    for kept in range(0, len(whole), 7):
        path.write_bytes(whole[:kept])
        assert frames_or_refusal(path) in (None, STACK.tobytes())


def test_without_tifffile_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(SourceError, match="tifffile") as refusal:
        open_tiff(tmp_path / "a.tif")
    assert "framespool[media]" in refusal.value.hint


def frames_or_refusal(path: Path) -> bytes | None:
    try:
        return np.array(list(open_tiff(path).frames())).tobytes()
    except SourceError:
        return None


def timed(path: Path) -> list[float]:
    source = times_of(open_tiff(path))
    assert source is not None
    return [time for _, time in source.timed_frames()]


def test_ome_times_are_the_frames_own(tmp_path: Path) -> None:
    planes = {"DeltaT": [0.5, 0.6, 0.8, 1.1, 1.5], "DeltaTUnit": ["s"] * 5}
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX", "Plane": planes})
    assert timed(tmp_path / "a.ome.tif") == pytest.approx([0, 100, 300, 600, 1000])
    assert open_tiff(tmp_path / "a.ome.tif").frame_rate == pytest.approx(4)


def test_imagej_tells_the_distance_of_frames(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, imagej=True, metadata={"axes": "TYX", "finterval": 0.05})
    assert timed(tmp_path / "a.tif") == pytest.approx([0, 50, 100, 150, 200])
    assert open_tiff(tmp_path / "a.tif").frame_rate == pytest.approx(20)


def test_an_ome_stack_comes_back_exactly(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX"})
    assert np.array_equal(list(open_tiff(tmp_path / "a.ome.tif").frames()), STACK)


@pytest.mark.parametrize(
    "planes",
    [
        {"DeltaT": [0, 1, 2, 1, 4]},
        {"DeltaT": [0, 1, 2, 3, None]},
        {"DeltaT": [0, 1, 2, 3, 4], "DeltaTUnit": ["lightyear"] * 5},
        {"ExposureTime": [1] * 5},
    ],
)
def test_ome_times_that_cannot_be_are_left_alone(tmp_path: Path, planes: dict[str, list[float]]) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX", "Plane": planes})
    assert times_of(open_tiff(tmp_path / "a.ome.tif")) is None
    assert open_tiff(tmp_path / "a.ome.tif").length == 5


def test_a_plain_stack_has_no_times(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    assert times_of(open_tiff(tmp_path / "a.tif")) is None
