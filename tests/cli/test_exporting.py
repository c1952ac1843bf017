"""export: the frames can always be got out, bit for bit, and what is missing is never passed over."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from spool import Spool
from spool.testing import some_frames, some_settings
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, record
from uploader.sources.opening import open_source


def recorded(*idxs: int) -> np.ndarray:
    return np.concatenate([some_frames(seed=idx) for idx in idxs])


def read(path: Path) -> Any:
    match path.suffix:
        case ".npy":
            return np.load(path)
        case ".zarr":
            return np.asarray(zarr.open_group(path, mode="r")["frames"])
        case _:
            return tifffile.imread(path)


@pytest.mark.parametrize("suffix", [".npy", ".zarr", ".tif"])
def test_what_was_recorded_comes_out_bit_for_bit(reader: Shell, spool: Spool, tmp_path: Path, suffix: str) -> None:
    stream = record(spool, 0, 1)
    spool.push(stream.stream_id, 2, some_frames(n=3, seed=2))
    path = tmp_path / f"growth{suffix}"
    said = reader.run("export", "data-1", str(path))
    assert said.code == 0, said
    assert f"{path}: 11 frames of 12 x 16, uint8." in said.out
    np.testing.assert_array_equal(read(path), np.concatenate([recorded(0, 1), some_frames(n=3, seed=2)]))
    told = json.loads((tmp_path / f"growth{suffix}.json").read_text())
    assert [(one["chunk_idx"], one["first_frame"], one["n"]) for one in told["chunks"]] == [
        (0, 0, 4), (1, 4, 4), (2, 8, 3),
    ]  # fmt: skip
    assert (told["fps"], told["shape"], told["stream_id"]) == (10.0, [11, 12, 16], stream.stream_id)
    last = list(spool.events("data-1"))[-1]
    assert (last.event, last.detail["file"], last.detail["frames"]) == ("exported", path.name, 11)


def test_a_video_has_the_right_rate_and_size(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = spool.open_stream(some_settings(fps=30000 / 1001), data_id="data-2")
    frames = np.zeros((4, 33, 47), dtype=np.uint8)
    frames[:, 5:20, 10:30] = 200
    spool.push(stream.stream_id, 0, frames)
    path = tmp_path / "growth.mp4"
    said = reader.run("export", "data-2", str(path))
    assert said.code == 0, said
    assert "A video is lossy" in said.out
    video = open_source(str(path))
    assert video.frame_rate == pytest.approx(30000 / 1001, rel=1e-4)
    shown = [np.asarray(frame) for frame in video.frames()]
    assert len(shown) == 4
    assert shown[0].shape == (34, 48), "made even"
    assert abs(int(shown[0][12, 20]) - 200) < 12


def test_what_is_not_here_is_named_and_left_out_only_when_asked(
    reader: Shell, spool: Spool, tmp_path: Path
) -> None:
    stream = record(spool, 0, 1, 2, 3, 6)
    acknowledge(spool, stream, 0)
    spool.prune()
    spool.discard("data-1", [2], why="dark")
    shard = spool.zarr_path(stream.stream_id) / "frames" / "c.3.0.0"
    shard.write_bytes(b"\0" + shard.read_bytes()[1:])
    path = tmp_path / "a.npy"
    said = reader.run("export", "data-1", str(path))
    assert said.code == 1
    assert "chunks 0 to 0 are not here: acknowledged, and pruned here, and 3 more such stretches" in said.err
    assert list(tmp_path.glob("*a.npy*")) == []
    dry = reader.run("export", "data-1", str(path), "--dry-run", "--json")
    assert dry.code == 1
    assert [(one["first"], one["last"], one["why"].split(" (")[0]) for one in dry.json()["missing"]] == [
        (0, 0, "acknowledged, and pruned here"), (2, 2, "discarded"), (3, 3, "damaged"), (4, 5, "never pushed"),
    ]  # fmt: skip
    done = reader.run("export", "data-1", str(path), "--leave-out")
    assert done.code == 0
    assert "Left out: chunk 4-5: never pushed" in done.out
    np.testing.assert_array_equal(np.load(path), recorded(1, 6))


def test_nothing_is_overwritten_and_nothing_half_is_left(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    record(spool, 0)
    path = tmp_path / "a.npy"
    path.write_bytes(b"mine")
    assert "is there already" in reader.run("export", "data-1", str(path)).err
    assert path.read_bytes() == b"mine"
    assert reader.run("export", "data-1", str(tmp_path / "a.gif")).code == 2
    said = reader.run("export", "data-1", str(tmp_path / "no" / "b.npy"))
    assert said.code == 1
    assert not (tmp_path / "no").exists()


def test_all_here_is_said_by_a_dry_run(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    record(spool, 0, 1)
    said = reader.run("export", "data-1", str(tmp_path / "a.npy"), "--dry-run")
    assert (said.code, said.out) == (0, "Every chunk is here, whole.\n")
    assert list(tmp_path.glob("*.npy")) == []
