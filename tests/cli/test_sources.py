"""`framespool sources` tells what frames can be taken from, and what an extra would add."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.sources.cameras import VIKY, needs_viky
from uploader.cli import main
from uploader.sources.base import SourceError
from uploader.sources.installed import OURS, Kind, open_live
from uploader.sources.live import Wanted

ROOT = Path(__file__).parents[2]
# What a machine without the packages of the extras is like.
BARE = """
import sys
from importlib.machinery import PathFinder
class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pypylon", "harvesters", "genicam", "cv2", "pymmcore", "PIL"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hiding())
import importlib.util
real = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return real(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
from uploader.cli import main
main(sys.argv[1:])
"""


def sources(*options: str) -> dict[str, dict[str, Any]]:
    said = CliRunner().invoke(main, ["sources", "--json", *options], catch_exceptions=False)
    assert said.exit_code == 0, said.output
    return {one["scheme"]: one for one in json.loads(said.stdout)["sources"]}


def test_what_is_not_installed_says_which_extra_brings_it() -> None:
    said = subprocess.run(
        [sys.executable, "-c", BARE, "sources", "--json"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert said.returncode == 0, said.stderr
    by_name = {one["scheme"]: one for one in json.loads(said.stdout)["sources"]}
    for scheme in ("pylon", "genicam", "opencv", "micromanager"):
        one = by_name[scheme]
        assert (one["installed"], one["problem"]) == (False, None)
        assert one["install"] == f'pip install "framespool[{scheme}]"'
    told = subprocess.run(
        [sys.executable, "-c", BARE, "sources", "--look"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert told.returncode == 0, told.stderr
    assert 'pip install "framespool[pylon]"' in told.stdout
    assert "not installed" in told.stdout
    assert ".zarr" in told.stdout, "the recordings are listed too"


def test_the_kinds_that_are_installed_can_be_imported() -> None:
    for scheme, one in sources().items():
        if scheme in {"pylon", "genicam", "opencv", "micromanager"}:
            assert (one["installed"], one["problem"], one["devices"]) == (True, None, None)


def test_looking_finds_the_cameras_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    monkeypatch.setenv("GENICAM_GENTL64_PATH", "")
    found = sources("--look")
    assert [(one["name"], one["serial"], one["model"]) for one in found["pylon"]["devices"]] == [
        ("pylon:0815-0000", "0815-0000", "Emulation")
    ]
    assert "no GenTL producer is known" in found["genicam"]["problem"]["words"]
    said = CliRunner().invoke(main, ["sources", "--look"], catch_exceptions=False)
    assert said.exit_code == 0
    assert "pylon:0815-0000  Basler Emulation" in said.stdout


@needs_viky
def test_looking_asks_every_producer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "0")
    monkeypatch.setenv("GENICAM_GENTL64_PATH", str(VIKY.parent))
    found = sources("--look")
    assert [one["name"] for one in found["genicam"]["devices"]] == ["genicam:0", "genicam:1", "genicam:2"]
    assert found["pylon"]["devices"] == []


def test_what_is_not_installed_is_said_when_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Kind(
        scheme="odd", says="", opener="uploader.sources.odd:open", needs="not_there_at_all", extra="odd"
    )
    monkeypatch.setattr("uploader.sources.installed.OURS", (*OURS, missing))
    with pytest.raises(SourceError, match="odd: needs not_there_at_all") as refusal:
        open_live("odd:1", Wanted())
    assert 'pip install "framespool[odd]"' in refusal.value.hint
    assert open_live("unknown:1", Wanted()) is None
    assert open_live(r"C:\frames", Wanted()) is None
