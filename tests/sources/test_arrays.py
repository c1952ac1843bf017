"""Arrays on disk give their frames exactly, and shapes that could mean two things are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import zarr

from uploader.sources import Scaling, SourceError, open_source, times_of
from uploader.sources.arrays import open_npy, open_zarr

if TYPE_CHECKING:
    from pathlib import Path

STACK = np.random.default_rng(0).integers(0, 256, (7, 6, 9), dtype=np.uint8)


def save_npy(folder: Path, array: np.ndarray) -> Path:
    np.save(folder / "a.npy", array)
    return folder / "a.npy"


def save_zarr(path: Path, array: np.ndarray, *, chunk: int = 3) -> Path:
    made = zarr.create_array(str(path), shape=array.shape, dtype=array.dtype, chunks=(chunk, *array.shape[1:]))
    made[...] = array
    return path


def test_a_numpy_stack_comes_back_exactly_and_again(tmp_path: Path) -> None:
    source = open_source(str(save_npy(tmp_path, STACK)))
    assert (source.length, source.shape) == (7, (6, 9))
    next(source.frames())
    assert np.array_equal(list(source.frames()), STACK)


def test_a_single_numpy_image_is_one_frame(tmp_path: Path) -> None:
    source = open_npy(save_npy(tmp_path, STACK[0]))
    assert source.length == 1
    assert np.array_equal(list(source.frames()), STACK[:1])


def test_a_fortran_ordered_array_gives_contiguous_frames(tmp_path: Path) -> None:
    frames = list(open_npy(save_npy(tmp_path, np.asfortranarray(STACK))).frames())
    assert all(frame.flags.c_contiguous for frame in frames)
    assert np.array_equal(frames, STACK)


def test_colour_frames_are_turned_to_grey(tmp_path: Path) -> None:
    source = open_npy(save_npy(tmp_path, np.repeat(STACK[..., np.newaxis], 3, axis=3)))
    assert np.array_equal(list(source.frames()), STACK)


def test_writing_to_a_frame_does_not_reach_the_file(tmp_path: Path) -> None:
    source = open_npy(save_npy(tmp_path, STACK))
    next(source.frames())[:] = 0
    assert np.array_equal(next(source.frames()), STACK[0])


def test_what_looks_like_one_colour_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="one colour image"):
        open_npy(save_npy(tmp_path, np.zeros((6, 9, 3), np.uint8)))


@pytest.mark.parametrize("shape", [(0, 6, 9), (4,), (2, 2, 6, 9), ()])
def test_an_array_that_is_no_sequence_of_frames_is_refused_with_its_shape(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with pytest.raises(SourceError, match="array of shape"):
        open_npy(save_npy(tmp_path, np.zeros(shape, np.uint8)))


def test_wide_pixels_are_refused_without_a_scaling_and_read_with_it(tmp_path: Path) -> None:
    path = save_npy(tmp_path, STACK.astype(np.float32) / 255)
    with pytest.raises(SourceError, match="frame 0: the pixels are float32"):
        open_npy(path)
    assert np.array_equal(list(open_npy(path, scaling=Scaling.parse("minmax:0:1")).frames()), STACK)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SourceError, match=r"a\.npy: cannot be read"):
        open_npy(tmp_path / "a.npy")


def test_a_torn_numpy_file_is_refused(tmp_path: Path) -> None:
    path = save_npy(tmp_path, STACK)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(SourceError, match=r"a\.npy"):
        open_npy(path)


def test_a_numpy_file_that_was_replaced_by_another_size_is_refused(tmp_path: Path) -> None:
    source = open_npy(save_npy(tmp_path, STACK))
    save_npy(tmp_path, STACK[:, :4])
    with pytest.raises(SourceError, match=r"frame 0: this frame is 4 x 9.*6 x 9"):
        next(source.frames())


@pytest.mark.parametrize("chunk", [1, 3, 7])
def test_a_zarr_array_comes_back_exactly_whatever_its_chunks(tmp_path: Path, chunk: int) -> None:
    source = open_source(str(save_zarr(tmp_path / "a.zarr", STACK, chunk=chunk)))
    assert (source.length, source.shape) == (7, (6, 9))
    assert np.array_equal(list(source.frames()), STACK)
    assert np.array_equal(list(source.frames()), STACK)


def test_a_zarr_stack_larger_than_one_block_comes_back_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.sources.arrays._BLOCK_BYTES_MAX", 2 * 6 * 9)
    source = open_zarr(save_zarr(tmp_path / "a.zarr", STACK, chunk=3))
    assert np.array_equal(list(source.frames()), STACK)


def test_a_zarr_group_gives_its_array_named_frames(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path / "a.zarr"), attributes={"fps": 12.5})
    group.create_array("frames", data=STACK)
    source = open_zarr(tmp_path / "a.zarr")
    assert np.array_equal(list(source.frames()), STACK)
    assert source.frame_rate == 12.5


def test_a_zarr_group_without_frames_is_refused_with_what_it_has(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    group.create_array("images", data=STACK)
    with pytest.raises(SourceError, match="no array named frames; it has images"):
        open_zarr(tmp_path / "a.zarr")


def test_a_zarr_store_without_the_suffix_is_known_by_its_metadata(tmp_path: Path) -> None:
    save_zarr(tmp_path / "run 7", STACK)
    assert open_source(str(tmp_path / "run 7")).describe().startswith("Zarr run 7")


def test_a_folder_that_only_claims_to_be_zarr_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(SourceError, match=r"a\.zarr"):
        open_source(str(tmp_path / "a.zarr"))


def test_a_damaged_zarr_chunk_is_refused(tmp_path: Path) -> None:
    save_zarr(tmp_path / "a.zarr", STACK, chunk=1)
    source = open_zarr(tmp_path / "a.zarr")
    (tmp_path / "a.zarr" / "c" / "5" / "0" / "0").write_bytes(b"torn")
    with pytest.raises(SourceError, match=r"a\.zarr, frames"):
        list(source.frames())


def test_a_zarr_group_with_times_gives_them_as_they_were_delivered(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    group.create_array("frames", data=STACK)
    moments = 1_700_000_000_000_000 + np.array([0, 100_000, 200_001, 300_000, 400_000, 500_000, 900_000])
    time = group.create_array("time", data=moments)
    time.attrs["units"] = "microseconds since 1970-01-01"
    source = times_of(open_zarr(tmp_path / "a.zarr"))
    assert source is not None
    assert [time for _, time in source.timed_frames()] == [0, 100, 200.001, 300, 400, 500, 900]
    assert source.frame_rate == pytest.approx(10)


def test_a_zarr_array_named_time_without_a_unit_is_left_alone(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    group.create_array("frames", data=STACK)
    group.create_array("time", data=np.arange(7))
    assert times_of(open_zarr(tmp_path / "a.zarr")) is None
