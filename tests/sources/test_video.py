"""A video gives every frame that is in it, once."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import imageio.v3 as iio
import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
import pytest

from uploader.sources import Scaling, SourceError, open_source
from uploader.sources.video import _every_frame_once, open_video

if TYPE_CHECKING:
    from pathlib import Path

STACK = np.random.default_rng(0).integers(0, 256, (9, 48, 64), dtype=np.uint8)


def write_lossless(path: Path, *options: str, stored: str = "gray") -> Path:
    """Write STACK at 10 frames/s with ffmpeg's own options between input and output."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "gray"]
    command += ["-s", "64x48", "-r", "10", "-i", "-", "-c:v", "ffv1", "-pix_fmt", stored, *options, str(path)]
    subprocess.run(command, input=STACK.tobytes(), check=True)
    return path


def test_a_lossless_grey_video_comes_back_exactly_and_again(tmp_path: Path) -> None:
    source = open_source(str(write_lossless(tmp_path / "a.mkv")))
    assert source.shape == (48, 64)
    assert np.array_equal(list(source.frames()), STACK)
    assert np.array_equal(list(source.frames()), STACK)


def test_a_lossless_colour_video_comes_back_exactly(tmp_path: Path) -> None:
    source = open_video(write_lossless(tmp_path / "a.mkv", stored="bgr0"))
    assert source.pixel_format == "rgb24"
    assert np.array_equal(list(source.frames()), STACK)


def test_an_ordinary_video_gives_its_frames_and_its_rate(tmp_path: Path) -> None:
    flat = np.repeat(np.arange(0, 250, 25, dtype=np.uint8), 48 * 64 * 3).reshape(-1, 48, 64, 3)
    iio.imwrite(tmp_path / "a.mp4", flat, plugin="FFMPEG", fps=25)
    source = open_source(str(tmp_path / "a.mp4"))
    frames = np.array(list(source.frames()))
    assert source.frame_rate == 25
    assert frames.shape == (10, 48, 64)
    assert np.abs(frames.astype(int) - flat[..., 0]).max() <= 4


def test_an_uneven_frame_rate_neither_drops_nor_repeats_frames(tmp_path: Path) -> None:
    uneven = ("-vf", "setpts='N*N/100/TB'", *_every_frame_once(imageio_ffmpeg.get_ffmpeg_version()))
    source = open_video(write_lossless(tmp_path / "a.mkv", *uneven))
    assert np.array_equal(list(source.frames()), STACK)


def test_the_option_against_evening_out_has_the_name_that_the_version_knows() -> None:
    options = [_every_frame_once(version)[0] for version in ("4.2.2-static", "5.1", "n7.0.2-3-gab", "unknown")]
    assert options == ["-vsync", "-fps_mode", "-fps_mode", "-fps_mode"]


def test_more_than_eight_bits_are_refused_instead_of_narrowed(tmp_path: Path) -> None:
    write_lossless(tmp_path / "a.mkv", stored="gray16le")
    with pytest.raises(SourceError, match="gray16le"):
        open_video(tmp_path / "a.mkv")


def test_a_window_can_be_chosen_for_the_levels(tmp_path: Path) -> None:
    source = open_video(write_lossless(tmp_path / "a.mkv"), scaling=Scaling.parse("minmax:0:1"))
    assert np.array_equal(next(iter(source.frames())), np.where(STACK[0] > 0, 255, 0))


def test_a_name_with_a_colon_is_not_taken_for_a_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lossless(tmp_path / "plain.mkv").rename(tmp_path / "run:7 %03d 'ä'.mkv")
    monkeypatch.chdir(tmp_path)
    assert np.array_equal(list(open_source("run:7 %03d 'ä'.mkv").frames()), STACK)


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.6])
def test_a_torn_video_ends_in_an_error_and_not_early(tmp_path: Path, suffix: str, kept: float) -> None:
    path = write_lossless(tmp_path / f"a{suffix}")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(SourceError, match=r"a\.(mkv|avi).*: cannot be read"):
        list(open_video(path).frames())


def test_a_damaged_frame_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    path = write_lossless(tmp_path / "a.mkv", "-slicecrc", "1", "-level", "3")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 50] = bytes(50)
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.mkv, frame"):
        list(open_video(path).frames())


def test_what_is_not_a_video_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(SourceError, match=r"a\.mp4: cannot be read"):
        open_video(tmp_path / "a.mp4")


def test_leaving_early_ends_the_decoder(tmp_path: Path) -> None:
    frames = open_video(write_lossless(tmp_path / "a.mkv")).frames()
    next(frames)
    frames.close()
    assert next(frames, None) is None


def test_without_imageio_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").touch()
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(SourceError, match="imageio") as refusal:
        open_video(tmp_path / "a.mp4")
    assert "framespool[media]" in refusal.value.hint


def test_a_video_gives_the_times_that_its_container_has(tmp_path: Path) -> None:
    once = _every_frame_once(imageio_ffmpeg.get_ffmpeg_version())
    uneven = ("-vf", "settb=1/1000,setpts='N*N*10'", "-enc_time_base", "1/1000", *once)
    source = open_video(write_lossless(tmp_path / "a.mkv", *uneven))
    frames, times = zip(*source.timed_frames(), strict=True)
    assert np.array_equal(frames, STACK)
    assert times == pytest.approx([number**2 * 10 for number in range(9)], abs=1)


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".mov"])
def test_an_even_video_gives_even_times(tmp_path: Path, suffix: str) -> None:
    times = [time for _, time in open_video(write_lossless(tmp_path / f"a{suffix}")).timed_frames()]
    assert times == pytest.approx([number * 100 for number in range(9)], abs=1)


def test_a_torn_video_ends_in_an_error_also_with_times(tmp_path: Path) -> None:
    path = write_lossless(tmp_path / "a.mkv")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    with pytest.raises(SourceError, match=r"a\.mkv.*: cannot be read"):
        list(open_video(path).timed_frames())
