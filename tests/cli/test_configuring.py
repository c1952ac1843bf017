"""``framespool config``: what is set, and from where."""

import re
from pathlib import Path

import pytest

from tests.cli.shell import KEY, Shell
from uploader.cli.common import command_line


@pytest.fixture
def config_file(tmp_path: Path, reader: Shell) -> Path:
    path = tmp_path / "config.toml"
    path.write_text("verbosity = 2\n[[spool]]\ndir = 'mbe1'\nmax_bytes = 7\n[[spool]]\ndir = 'pld'\n")
    reader.environment["FRAMESPOOL_CONFIG"] = str(path)
    del reader.environment["ATOMSCALE_SPOOL_DIR"]
    return path


def test_each_setting_is_shown_with_its_origin_and_the_key_is_not(reader: Shell, config_file: Path) -> None:
    told = reader.run("config", "--retention-s", "never", "--json").json()
    assert told["file"] == str(config_file)
    assert told["api_key"] == {"set": True, "origin": "environment AS_API_KEY"}
    assert told["settings"]["verbosity"] == {"value": 2, "origin": f"file {config_file}"}
    assert told["settings"]["log_file"] == {"value": None, "origin": "default"}
    mbe1, pld = told["spools"]
    assert (mbe1["name"], mbe1["dir"]) == ("mbe1", str(config_file.parent / "mbe1"))
    assert mbe1["settings"]["max_bytes"] == {"value": 7, "origin": f"file {config_file}, spool mbe1"}
    assert pld["settings"]["max_bytes"] == {"value": None, "origin": "default"}
    assert pld["settings"]["retention_s"] == {"value": "never", "origin": "flag"}
    assert pld["settings"]["endpoint"]["origin"] == "environment AS_API_ENDPOINT"


def test_people_see_the_same_as_a_table(reader: Shell, config_file: Path) -> None:
    said = reader.run("config").out
    assert f"file  {config_file}" in said
    assert re.search(r"^  api_key +set +environment AS_API_KEY$", said, re.MULTILINE)
    assert re.search(rf"^  verbosity +2 +file {config_file}$", said, re.MULTILINE)
    assert "\nspool pld\n" in said
    assert KEY not in said


def test_without_key_and_file_that_is_said(reader: Shell, config_file: Path) -> None:
    config_file.write_text("")
    without = reader.without("AS_API_KEY")
    assert re.search(r"^  api_key +not set$", without.run("config").out, re.MULTILINE)
    assert without.run("config", "--json").json()["api_key"] == {"set": False, "origin": None}


def test_a_broken_file_stops_every_command_with_its_place(reader: Shell, config_file: Path) -> None:
    config_file.write_text("max_byte = 5")
    for command in ("config", "status", "worker"):
        said = reader.run(command)
        assert said.code == 2
        assert said.err == f"framespool: {config_file}: max_byte is no setting\n  Did you mean max_bytes?\n"


def test_a_command_for_one_spool_asks_which_of_several(reader: Shell, config_file: Path) -> None:
    said = reader.run("status")
    assert said.code == 2
    assert "2 spools: mbe1, pld" in said.err
    assert str(config_file.parent / "mbe1") in reader.run("status", "--spool", "mbe1").err


def test_what_a_command_advises_to_type_names_the_spool_where_it_must(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one configured spool nothing has to be typed; with two the folder has."""
    monkeypatch.delenv("ATOMSCALE_SPOOL_DIR", raising=False)
    monkeypatch.setenv("FRAMESPOOL_CONFIG", str(config_file))
    root = config_file.parent / "mbe1"
    assert command_line(root, "status") == f"framespool status --spool {root}"
    config_file.write_text("[[spool]]\ndir = 'mbe1'\n")
    assert command_line(root, "status") == "framespool status"
