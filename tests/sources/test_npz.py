"""A `.npz` file gives the frames of its one array, straight out of the archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uploader.sources import Scaling, SourceError, open_source, times_of
from uploader.sources.npz import open_npz

STACK = np.random.default_rng(0).integers(0, 256, (7, 6, 9), dtype=np.uint8)


def save(folder: Path, *, compressed: bool = False, **arrays: Any) -> Path:
    (np.savez_compressed if compressed else np.savez)(folder / "a.npz", **arrays)
    return folder / "a.npz"


@pytest.mark.parametrize("compressed", [True, False])
def test_the_frames_come_back_exactly_and_again(tmp_path: Path, compressed: bool) -> None:
    source = open_source(str(save(tmp_path, compressed=compressed, frames=STACK, dark=STACK[:2])))
    assert (source.length, source.shape, source.frame_rate) == (7, (6, 9), None)
    assert source.describe() == "array a.npz, 7 frames, 6 x 9 px"
    next(source.frames())
    assert np.array_equal(list(source.frames()), STACK)


def test_the_only_array_that_could_be_frames_is_taken(tmp_path: Path) -> None:
    path = save(tmp_path, images=STACK, dark=STACK[0], fps=12.5)
    assert np.array_equal(list(open_npz(path).frames()), STACK)
    assert open_npz(path).frame_rate == 12.5


def test_several_that_could_be_are_refused_with_their_names(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"2 arrays that could be frames.*it has left, right"):
        open_npz(save(tmp_path, left=STACK, right=STACK))


def test_a_single_image_and_deeper_pixels(tmp_path: Path) -> None:
    path = save(tmp_path, frames=np.asfortranarray(STACK[0].astype(np.uint16) * 256))
    source = open_npz(path, scaling=Scaling.parse("shift8"))
    assert np.array_equal(list(source.frames()), STACK[:1])


@pytest.mark.parametrize(
    "times",
    [
        {"times_ms": np.array([5, 6, 8, 11, 15, 20, 26])},
        {"time_s": np.array([5, 6, 8, 11, 15, 20, 26]) / 1000},
        {"time": np.datetime64("2026-01-01T00:00:00", "us") + np.array([0, 1, 3, 6, 10, 15, 21]) * 1000},
    ],
)
def test_times_that_it_holds_are_the_frames_own(tmp_path: Path, times: dict[str, Any]) -> None:
    source = times_of(open_npz(save(tmp_path, frames=STACK, **times)))
    assert source is not None
    assert [time for _, time in source.timed_frames()] == pytest.approx([0, 1, 3, 6, 10, 15, 21])
    assert source.describe().endswith("with times")


@pytest.mark.parametrize(
    "times",
    [
        {"times": np.arange(7)},
        {"times_ms": np.arange(6)},
        {"times_ms": -np.arange(7)},
        {"times_ms": np.full(7, np.nan)},
        {"time": np.full(7, np.datetime64("NaT", "us"))},
    ],
)
def test_times_that_cannot_be_meant_are_left_alone(tmp_path: Path, times: dict[str, Any]) -> None:
    assert times_of(open_npz(save(tmp_path, frames=STACK, **times))) is None


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.asfortranarray(STACK), "Fortran order"),
        (np.array([[[{}]]]), "Python objects"),
        (np.zeros((0, 4, 4), np.uint8), "is empty"),
        (np.zeros((4,), np.uint8), "not a sequence"),
    ],
)
def test_what_is_no_frames_is_refused(tmp_path: Path, array: Any, found: str) -> None:
    with pytest.raises(SourceError, match=found):
        open_npz(save(tmp_path, frames=array))


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path, frames=STACK)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(SourceError, match=r"a\.npz"):
        open_npz(path)


def test_a_damaged_frame_is_an_error_and_not_left_out(tmp_path: Path) -> None:
    path = save(tmp_path, frames=STACK)
    content = bytearray(path.read_bytes())
    content[content.index(STACK[5].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.npz.*CRC"):
        list(open_npz(path).frames())
