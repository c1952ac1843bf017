"""Image files become frames in natural order, without loss."""

from __future__ import annotations

import struct
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from uploader.sources import Scaling, SourceError, open_source
from uploader.sources.images import natural_key, open_folder, read_image

if TYPE_CHECKING:
    import random
    from pathlib import Path


def grey(seed: int = 0, shape: tuple[int, int] = (6, 9)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    if path.suffix.lower().startswith(".tif"):
        tifffile.imwrite(path, pixels)
    else:
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif", ".tiff", ".BMP"])
def test_a_lossless_format_comes_back_exactly(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"a{suffix}", grey())
    assert np.array_equal(read_image(tmp_path / f"a{suffix}"), grey())


def test_a_jpeg_is_read_at_its_size(tmp_path: Path) -> None:
    save(tmp_path / "a.jpeg", grey())
    assert read_image(tmp_path / "a.jpeg").shape == (6, 9)


def test_grey_stored_as_colour_comes_back_exactly(tmp_path: Path) -> None:
    save(tmp_path / "a.png", np.repeat(grey()[:, :, np.newaxis], 3, axis=2))
    assert np.array_equal(read_image(tmp_path / "a.png"), grey())


def test_a_palette_gives_its_colours_and_not_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode=None)
    image.putpalette([200, 200, 200, 7, 7, 7, 90, 90, 90])
    image.save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[200, 7, 90]]


def test_frame2_comes_before_frame10(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        save(tmp_path / f"frame{number}.png", grey(number))
    seen = list(open_folder(tmp_path).frames())
    assert [np.array_equal(frame, grey(number)) for frame, number in zip(seen, (1, 2, 10), strict=True)] == [
        True
    ] * 3


@given(st.lists(st.integers(0, 10**12), unique=True), st.sampled_from(["{}.bmp", "f{}.bmp", "run3_{}_b.png"]))
def test_names_that_differ_by_a_number_sort_as_numbers(numbers: list[int], form: str) -> None:
    names = [form.format(number) for number in numbers]
    assert sorted(names, key=natural_key) == [form.format(number) for number in sorted(numbers)]


@given(st.lists(st.text(st.sampled_from("aB01²٣._-"), max_size=6), unique=True), st.randoms())
def test_the_order_does_not_depend_on_how_the_disk_lists_the_files(
    names: list[str], chance: random.Random
) -> None:
    shuffled = names.copy()
    chance.shuffle(shuffled)
    assert sorted(shuffled, key=natural_key) == sorted(names, key=natural_key)


def test_hidden_files_other_files_and_subfolders_are_left_out(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey())
    save(tmp_path / ".b.png", grey())
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "folder.png").mkdir()
    assert open_folder(tmp_path).length == 1


def test_an_empty_folder_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "day1").mkdir()
    with pytest.raises(SourceError, match=r"no images in this folder \(1 subfolders") as refusal:
        open_folder(tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert ".bmp" in refusal.value.hint


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif", ".jpg"])
@pytest.mark.parametrize("kept", [0, 30, 100])
def test_a_damaged_image_is_refused_by_name(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"torn{suffix}"
    save(path, grey(shape=(40, 50)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SourceError, match="torn"):
        read_image(path)


def test_a_damaged_image_stops_the_stream_after_the_whole_ones(tmp_path: Path) -> None:
    save(tmp_path / "a1.png", grey())
    (tmp_path / "a2.png").write_bytes(b"not a png")
    frames = open_folder(tmp_path).frames()
    assert np.array_equal(next(frames), grey())
    with pytest.raises(SourceError, match=r"a2\.png"):
        next(frames)


def test_an_image_of_another_size_is_refused_with_both_sizes(tmp_path: Path) -> None:
    save(tmp_path / "a1.png", grey())
    save(tmp_path / "a2.png", grey(shape=(4, 9)))
    with pytest.raises(SourceError, match=r"a2\.png: this frame is 4 x 9.*6 x 9"):
        list(open_folder(tmp_path).frames())


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_refused_without_a_scaling(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"a{suffix}", grey().astype(np.uint16) * 257)
    with pytest.raises(SourceError, match=r"uint16|int32"):
        open_source(str(tmp_path))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_read_by_the_scaling_that_was_chosen(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / f"a{suffix}", grey().astype(np.uint16) * 256 + 99)
    (frame,) = open_source(str(tmp_path), scaling=Scaling.parse("shift8")).frames()
    assert np.array_equal(frame, grey())


def test_a_png_with_sixteen_bit_colour_is_refused_instead_of_halved(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(sixteen_bit_colour_png())
    with pytest.raises(SourceError, match="16 bits"):
        read_image(tmp_path / "a.png")


def test_several_pictures_in_one_image_file_are_refused(tmp_path: Path) -> None:
    first, second = Image.fromarray(grey(1)), Image.fromarray(grey(2))
    first.save(tmp_path / "a.png", save_all=True, append_images=[second])
    with pytest.raises(SourceError, match="2 pictures"):
        read_image(tmp_path / "a.png")


def test_a_colour_mode_without_a_plain_meaning_is_refused(tmp_path: Path) -> None:
    Image.new("CMYK", (4, 4)).save(tmp_path / "a.jpg")
    with pytest.raises(SourceError, match="CMYK"):
        read_image(tmp_path / "a.jpg")


def test_a_folder_can_be_read_again_from_its_start(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.bmp", grey(number))
    source = open_folder(tmp_path)
    next(source.frames())
    assert np.array_equal(list(source.frames()), [grey(number) for number in range(3)])


def test_a_frame_belongs_to_its_receiver(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey())
    source = open_folder(tmp_path)
    next(source.frames())[:] = 0
    assert np.array_equal(next(source.frames()), grey())


def test_without_pillow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", grey())
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SourceError, match="pillow") as refusal:
        read_image(tmp_path / "a.png")
    assert "framespool[media]" in refusal.value.hint


def sixteen_bit_colour_png() -> bytes:
    def part(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + b"\x12\x34" * 3)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")
