"""The example of a day of growths finds what was simulated, where it lies."""

import importlib.util
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from obstore.store import from_url

from tests.destinations.s3_server import S3Server, free_port, point_to
from tools import draw_growths
from tools.draw_growths import EXAMPLE, FPS, Planned, record
from uploader.sources.diffraction import Screen

DAY = date(2026, 11, 26)
HEIGHT, WIDTH = 96, 150


def planned(name: str, hour: int, period_s: float, *, day: int = 26, seconds: float = 30.0) -> Planned:
    return Planned(name, "wafer $7$", datetime(2026, 11, day, hour, tzinfo=UTC), period_s, seconds)


GROWTHS = (
    planned("slow", 16, 6.5),
    planned("quick", 8, 2.3),
    planned("flat", 12, math.inf),
    planned("short", 14, 20.0),
    planned("yesterday", 23, 4.0, day=25, seconds=4.0),
    planned("tomorrow", 0, 4.0, day=27, seconds=4.0),
)
OF_THE_DAY = {"quick": 2.3, "flat": None, "short": None, "slow": 6.5}


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("a_day_of_growths", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("day")
    record(GROWTHS, root / "spool", root / "growths", height=HEIGHT, width=WIDTH)
    return root / "growths"


@pytest.fixture(scope="module")
def growths(example: ModuleType, folder: Path) -> list[Any]:
    """Those of the day, read."""
    found: list[Any] = example.growths_of(str(folder), DAY)
    assert not any(one.frames._in_memory for one in found), "more than a sample was read"
    example.read_all(found)
    return found


def test_the_growths_of_the_day_are_found_in_their_order(growths: list[Any]) -> None:
    assert [one.name for one in growths] == list(OF_THE_DAY)
    assert [one.began.hour for one in growths] == [8, 12, 14, 16]
    assert {one.path.rpartition("/")[0] for one in growths} == {f"garching/mbe-3/{datetime.now(UTC):%Y-%m-%d}"}


def test_the_specular_spot_is_where_the_camera_saw_it(growths: list[Any]) -> None:
    screen = Screen(height=HEIGHT, width=WIDTH)
    for one in growths:
        for found, expected in zip(one.region, (screen.specular_row, screen.centre_column), strict=True):
            assert abs((found.start + found.stop - 1) / 2 - expected) <= 1.5


def test_the_period_is_that_of_the_layers_and_none_where_nothing_grows_or_too_little(growths: list[Any]) -> None:
    for one in growths:
        expected = OF_THE_DAY[one.name]
        assert one.period_s == (None if expected is None else pytest.approx(expected, rel=0.03)), one.name


def test_every_frame_has_its_time_and_its_intensity(growths: list[Any]) -> None:
    for one in growths:
        np.testing.assert_allclose(one.seconds, np.arange(300) / FPS, atol=2e-3)
        assert one.intensity.shape == (300,)
        assert one.intensity.min() > 10


def test_chunks_that_never_came_are_left_out(example: ModuleType, folder: Path, tmp_path: Path) -> None:
    proof = next((folder / "garching").rglob("quick-*.proof.json"))
    copy = tmp_path / "growths" / proof.name.removesuffix(".proof.json")
    shutil.copytree(proof.with_name(copy.name), copy)  # without its proof it is one that grows
    (copy / "frames" / "c.2.0.0").unlink()
    (copy / "time" / "c.2").unlink()
    (one,) = example.growths_of(str(copy.parent), DAY)
    example.read_all([one])
    assert len(one.seconds) == 300 - 40
    assert one.period_s == pytest.approx(2.3, rel=0.03)


def test_the_period_is_told_from_noise_and_drift(example: ModuleType) -> None:
    random = np.random.default_rng(7)
    seconds = np.arange(600) / 10
    noise = random.normal(size=600)
    drift = 40 - 0.3 * seconds + 0.004 * seconds**2
    assert example.period_s(seconds, noise) is None
    assert example.period_s(seconds, drift + noise) is None
    seen = drift + noise + 3 * np.cos(2 * np.pi * seconds / 4.7)
    assert example.period_s(seconds, seen) == pytest.approx(4.7, rel=0.02)
    assert example.period_s(seconds[:5], seen[:5]) is None
    assert example.period_s(seconds, np.full(600, 0.3)) is None


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", EXAMPLE, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(EXAMPLE.parents[2])},
    )


def assert_drawn(picture: Path, growths: int) -> None:
    pixels = image.imread(picture)[..., :3]
    assert pixels.shape[0] > 100 * growths
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10, "nothing is drawn"


def test_as_a_command_it_tells_the_periods_and_draws_them(folder: Path, tmp_path: Path) -> None:
    said = run(folder, "--day", f"{DAY}", "--picture", tmp_path / "day.png")
    assert said.returncode == 0, said.stderr
    rows = [line.split() for line in said.stdout.splitlines()[:-1]]
    assert [row[0] for row in rows] == ["08:00", "12:00", "14:00", "16:00"]
    assert float(rows[0][3]) == pytest.approx(2.3, rel=0.03)
    assert rows[1][3:5] == ["no", "oscillation"]
    assert_drawn(tmp_path / "day.png", growths=4)


def test_a_region_that_is_given_is_the_one_that_is_read(folder: Path, tmp_path: Path) -> None:
    # In a corner there is no spot.
    said = run(folder, "--day", f"{DAY}", "--region", "0,0,5", "--picture", tmp_path / "day.png")
    assert said.returncode == 0, said.stderr
    assert said.stdout.count("no oscillation") == 4


def test_a_day_without_growths_and_a_folder_that_is_not_there_are_said(folder: Path, tmp_path: Path) -> None:
    said = run(folder, "--day", "2026-01-01")
    assert said.returncode == 1
    assert "No growth began on 2026-01-01" in said.stderr
    said = run(tmp_path / "nowhere")
    assert said.returncode == 2
    assert "there is no folder" in said.stderr


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = S3Server(free_port())
    try:
        point_to(server.url, monkeypatch)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        yield "s3://growths/site"
    finally:
        server.end()


def test_it_reads_a_bucket_in_place(bucket: str, tmp_path: Path) -> None:
    record(GROWTHS[:2], tmp_path / "spool", bucket, height=HEIGHT, width=WIDTH)
    said = run(bucket, "--day", f"{DAY}", "--picture", tmp_path / "day.png")
    assert said.returncode == 0, said.stderr
    found = [float(line.split()[3]) for line in said.stdout.splitlines()[:-1]]
    assert found == [pytest.approx(2.3, rel=0.03), pytest.approx(6.5, rel=0.03)]
    assert_drawn(tmp_path / "day.png", growths=2)
    assert sum(1 for page in from_url(bucket).list() for _ in page) > 0


def test_the_picture_of_the_documents_can_be_drawn_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw_growths, "PICTURE", tmp_path / "day.png")
    monkeypatch.setattr(draw_growths, "GROWTHS", draw_growths.GROWTHS[:1])
    draw_growths.main()
    assert_drawn(tmp_path / "day.png", growths=1)
    assert_drawn(EXAMPLE.parents[2] / "docs" / "pictures" / "a-day-of-growths.png", growths=4)
