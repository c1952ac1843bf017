"""HDF5 gives the frames of one dataset, all of it from the file that was named."""

from __future__ import annotations

import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from uploader.sources import Scaling, SourceError, open_source, times_of
from uploader.sources.hdf5 import open_hdf5

STACK = np.random.default_rng(0).integers(0, 256, (7, 6, 9), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "a.h5"
    with h5py.File(made, "w") as file:
        file.create_dataset("entry/frames", data=STACK, chunks=(3, 6, 9), compression="gzip")
        file["entry/dark"] = STACK[0]
        file["entry/count"] = 7
    return made


def test_the_only_dataset_of_frames_comes_back_exactly_and_again(path: Path) -> None:
    source = open_source(str(path))
    assert source.describe() == "HDF5 a.h5::/entry/frames, 7 frames, 6 x 9 px"
    next(source.frames())
    assert np.array_equal(list(source.frames()), STACK)


def test_a_dataset_is_named_behind_the_file(path: Path) -> None:
    assert np.array_equal(list(open_source(f"{path}::/entry/dark").frames()), STACK[:1])
    assert np.array_equal(list(open_source(f"{path}::entry/frames").frames()), STACK)


@pytest.mark.parametrize("chunks", [None, (1, 6, 9), (7, 3, 4)])
def test_it_comes_back_exactly_whatever_its_chunks(
    tmp_path: Path, chunks: tuple[int, ...] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.sources.arrays._BLOCK_BYTES_MAX", 2 * 6 * 9)
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("frames", data=STACK, chunks=chunks)
    assert np.array_equal(list(open_source(str(tmp_path / "a.hdf5")).frames()), STACK)


def test_several_datasets_are_refused_with_their_names(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["other"] = STACK
    with pytest.raises(SourceError, match="2 datasets that could be frames") as refusal:
        open_source(str(path))
    assert "/other" in str(refusal.value)
    assert "a.h5::/entry/frames" in refusal.value.hint


@pytest.mark.parametrize("name", ["/entry", "/entry/nothing", "/entry/frames/0", "/", ""])
def test_what_is_no_dataset_is_refused_by_name(path: Path, name: str) -> None:
    with pytest.raises(SourceError, match="no such dataset"):
        open_source(f"{path}::{name}")


def test_deeper_pixels_need_a_scaling(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"] = STACK.astype(np.uint16) * 256
    with pytest.raises(SourceError, match="how to scale"):
        open_hdf5(tmp_path / "a.h5")
    assert np.array_equal(list(open_hdf5(tmp_path / "a.h5", scaling=Scaling.parse("shift8")).frames()), STACK)


TIMES_S = np.array([5, 6, 8, 11, 15, 20, 26]) / 10


@pytest.mark.parametrize("attached", [True, False])
def test_times_beside_it_or_on_its_axis_are_the_frames_own(path: Path, attached: bool) -> None:
    with h5py.File(path, "a") as file:
        times = file.create_dataset("axis" if attached else "entry/timestamps", data=TIMES_S)
        times.attrs["units"] = "s"
        if attached:
            times.make_scale()
            file["entry/frames"].dims[0].attach_scale(times)
    source = times_of(open_hdf5(path))
    assert source is not None
    assert [time for _, time in source.timed_frames()] == pytest.approx([0, 100, 300, 600, 1000, 1500, 2100])
    assert source.frame_rate == pytest.approx(1000 / 350)


def test_times_without_a_unit_are_left_alone(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["entry/time"] = TIMES_S
        file["entry/frames"].attrs["fps"] = 25
    assert times_of(open_hdf5(path)) is None
    assert open_hdf5(path).frame_rate == 25


def test_what_lies_in_other_files_is_never_read(path: Path, tmp_path: Path) -> None:
    assert path.exists()
    (tmp_path / "secret.raw").write_bytes(STACK.tobytes())
    layout = h5py.VirtualLayout(STACK.shape, np.uint8)
    layout[:] = h5py.VirtualSource("a.h5", "entry/frames", STACK.shape)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["linked"] = h5py.ExternalLink("a.h5", "/entry/frames")
        file["round"] = h5py.SoftLink("/linked")
        file.create_virtual_dataset("virtual", layout)
        file.create_dataset(
            "raw", STACK.shape, np.uint8, external=[(str(tmp_path / "secret.raw"), 0, h5py.h5f.UNLIMITED)]
        )
    for name in ("linked", "round", "virtual", "raw"):
        with pytest.raises(SourceError, match="other file"):
            open_source(f"{tmp_path / 'b.h5'}::/{name}")


@pytest.mark.parametrize("kept", [0, 100, 2000])
def test_a_torn_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SourceError, match=r"a\.h5"):
        list(open_source(str(path)).frames())


def test_without_h5py_the_error_names_the_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(SourceError, match="h5py") as refusal:
        open_source(str(path))
    assert "framespool[hdf5]" in refusal.value.hint
