"""A person's text opens the source that it names, or says what would be understood."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

import uploader.sources
from uploader.sources import Scaling, Simulator, Source, SourceError, open_source

if TYPE_CHECKING:
    from pathlib import Path

LAZY_CHECK = """
import sys, uploader
before = set(sys.modules)
import uploader.sources
new = {name.partition(".")[0] for name in set(sys.modules) - before}
sys.exit(", ".join(sorted(new & {"imageio", "imageio_ffmpeg", "PIL", "h5py", "tifffile", "zarr"})) or 0)
"""


def test_importing_the_package_imports_no_decoder() -> None:
    subprocess.run([sys.executable, "-c", LAZY_CHECK], check=True)


def test_the_exported_names_are_sorted_and_exist() -> None:
    names = uploader.sources.__all__
    assert names == sorted(names)
    assert all(hasattr(uploader.sources, name) for name in names)


@pytest.mark.parametrize("text", ["sim:", "SIM:seed=2", "sim:frames=3,rpm=15"])
def test_sim_opens_the_simulator(text: str) -> None:
    assert isinstance(open_source(text), Simulator)


def test_the_simulator_refuses_a_scaling_that_would_do_nothing() -> None:
    with pytest.raises(SourceError, match="shift8"):
        open_source("sim:", scaling=Scaling.parse("shift8"))


@pytest.mark.parametrize(
    "name", ["a b.png", "ünï.PNG", "50%.png", "x:y.png", "#1 [a]{b}.png", "sim.png", "-v.png"]
)
def test_odd_names_are_only_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32" and ":" in name:
        name = name.replace(":", "_")
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / name)
    assert open_source(name).shape == (4, 5)


@pytest.mark.parametrize("text", [r"C:\frames\a.npy", "D:/frames"])
def test_a_windows_drive_is_not_taken_for_a_scheme(text: str) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(text)


@pytest.mark.parametrize(
    "text", ["https://example.org/a.mp4", "rtsp://camera", "simulator:", "s3://bucket/a.zarr"]
)
def test_an_unknown_scheme_is_refused_with_what_is_understood(text: str) -> None:
    with pytest.raises(SourceError, match="is not a kind of source") as refusal:
        open_source(text)
    assert "sim:" in refusal.value.hint
    assert ".npy" in refusal.value.hint


@pytest.mark.parametrize("text", ["", "nowhere.npy", "a\0b.npy"])
def test_what_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        open_source(text)


@pytest.mark.parametrize("name", ["notes.txt", "frames", "a.mat"])
def test_an_unknown_suffix_is_refused_with_what_is_understood(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(SourceError, match="not understood") as refusal:
        open_source(str(tmp_path / name))
    assert ".tiff" in refusal.value.hint


def test_k_space_files_are_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "growth.imm").write_bytes(b"x" * 700)
    with pytest.raises(SourceError, match="size of an image stands is not public") as refusal:
        open_source(str(tmp_path / "growth.imm"))
    assert "as a video" in refusal.value.hint


def test_every_source_says_what_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 4, 5), np.uint8))
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.bmp")
    opened = [open_source(str(tmp_path / "a.npy")), open_source(str(tmp_path)), open_source("sim:")]
    assert all(isinstance(source, Source) for source in opened)
    assert [source.describe() for source in opened] == [
        "array a.npy, 2 frames, 4 x 5 px",
        f"images {tmp_path.name}, 1 frame, 4 x 5 px",
        "simulated RHEED, 200 frames, 300 x 500 px, 10 frames/s, seed 0",
    ]
