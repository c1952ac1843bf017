"""A source of another package is found, listed and used; one that is broken is told and disturbs nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "own_source"
BROKEN = {
    "missing": "mylab_nowhere:open_it",
    "raises": "mylab_broken:open_it",
    "pylon": "mylab_broken:taken",
}
USE = """
import socket, sys
from uploader.sources.installed import open_live
from uploader.sources.live import LiveSource, Wanted
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
source = open_live(f"MyCamera:{port}", Wanted())
for _ in range(2):
    source.start()
    assert isinstance(source, LiveSource)
    assert source.grab(0.01) is None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as camera:
        for number in (5, 6, 9):
            camera.sendto(number.to_bytes(8, "big") + bytes([number]) * 4096, ("127.0.0.1", port))
    taken = [source.grab(5) for _ in range(3)]
    assert [(one.number, one.frame.shape, int(one.frame[0, 0])) for one in taken] == [
        (number, (64, 64), number) for number in (5, 6, 9)
    ]
    source.stop()
print(source.describe())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example, really installed, and a package of which nothing can be used."""
    target = tmp_path_factory.mktemp("site")
    build = tmp_path_factory.mktemp("own") / "own_source"
    build.mkdir()
    for name in ("pyproject.toml", "mylab_cameras.py"):
        (build / name).write_bytes((EXAMPLE / name).read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    said = subprocess.run([*pip, "--target", target, build], capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    (target / "mylab_broken.py").write_text('raise RuntimeError("no licence \\x1b[31m found")\n', "ascii")
    info = target / "mylab_broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mylab-broken\nVersion: 1.0\n", "ascii")
    points = "\n".join(f"{name} = {where}" for name, where in BROKEN.items())
    (info / "entry_points.txt").write_text(f"[framespool.sources]\n{points}\n", "ascii")
    return target


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(installed), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"},
    )


def test_the_example_is_short() -> None:
    code = (EXAMPLE / "mylab_cameras.py").read_text("utf-8")
    body = code[code.index("    def begin") : code.index("def open_mycamera")]
    lines = [line for line in body.splitlines() if line.strip() and '"""' not in line]
    assert len(lines) <= 20


def test_a_source_of_another_package_is_used_by_its_name(installed: Path) -> None:
    said = run(installed, "-W", "error", "-c", USE)
    assert said.returncode == 0, said.stderr
    assert said.stdout.startswith("UDP camera mycamera ")


def test_sources_of_other_packages_are_listed_and_a_broken_one_says_why(installed: Path) -> None:
    said = run(installed, "-m", "uploader", "sources", "--json")
    assert said.returncode == 0, said.stderr
    sources: list[dict[str, Any]] = json.loads(said.stdout)["sources"]
    by_name = {one["scheme"]: one for one in sources}
    assert len(by_name) == len(sources), "a name of ours was taken"
    assert by_name["pylon"]["opener"] == "uploader.sources.pylon:open_pylon"
    assert by_name["mycamera"]["says"] == "from mylab-cameras"
    assert by_name["mycamera"]["problem"] is None
    assert "No module named 'mylab_nowhere'" in by_name["missing"]["problem"]["words"]
    assert "no licence" in by_name["raises"]["problem"]["words"]
    told = run(installed, "-m", "uploader", "sources")
    assert told.returncode == 0, told.stderr
    assert "no licence ?[31m found" in told.stdout, "a terminal would obey it"
    assert "mycamera:" in told.stdout


def test_using_a_broken_one_says_what_to_do(installed: Path) -> None:
    code = """
from uploader.sources import SourceError
from uploader.sources.installed import open_live
from uploader.sources.live import Wanted
try:
    open_live("raises:1", Wanted())
except SourceError as error:
    print(error, error.hint)
"""
    said = run(installed, "-c", code)
    assert "raises: what opens it (mylab_broken:open_it) cannot be imported: no licence" in said.stdout
    assert "ask whoever made it" in said.stdout
