"""What starts quickly loads little: fresh processes are asked what they have loaded, never how long it took."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from spool import Spool, StreamSettings
from uploader.cli import COMMANDS, main

NETWORK = {"httpx", "httpcore", "ssl", "tenacity"}
SCREEN = {"click", "rich"}
ARRAYS = {"numpy", "numcodecs", "zarr"}

_SHOW_AT_END = """
import atexit, json, sys
atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))
"""
_COMMAND = """
from uploader.cli import main
main(sys.argv[1:])
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """The modules that a fresh process has loaded when it ends."""
    said = subprocess.run(
        [sys.executable, "-c", _SHOW_AT_END + code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert said.returncode in (0, 1), said.stderr
    modules: list[str] = json.loads(said.stderr.splitlines()[-1])
    return set(modules)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The folder of a small spool, and its stream."""
    root = tmp_path_factory.mktemp("starting") / "spool"
    settings = StreamSettings(
        name="growth", destination="http://127.0.0.1:9", fps=10.0, rotations_per_min=0.0, chunk_size=20
    )
    with Spool(root) as made:
        stream = made.open_stream(settings)
        made.push(stream.stream_id, 0, np.zeros((2, 8, 8), np.uint8))
    return str(root), stream.stream_id


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_help_and_the_version_load_no_command(option: str) -> None:
    modules = loaded(_COMMAND, option)
    assert not modules & (NETWORK | ARRAYS | {"rich", "spool", "sqlite3"})
    assert [name for name in COMMANDS if f"uploader.cli.{name}" in modules] == []


def test_importing_the_uploader_loads_nothing_until_a_name_is_used() -> None:
    assert not loaded("import uploader") & (NETWORK | SCREEN | ARRAYS | {"spool"})


def test_the_spool_loads_neither_network_nor_screen_nor_zarr() -> None:
    assert not loaded("import spool") & (NETWORK | SCREEN | {"zarr"})


@pytest.mark.parametrize(
    "command",
    [["status"], ["status", "--json"], ["streams"], ["audit"], ["audit", "--json"], ["verify"], ["prune"]],
)
def test_looking_at_a_spool_loads_neither_network_nor_rich_nor_zarr(
    spool: tuple[str, str], command: list[str]
) -> None:
    root, stream_id = spool
    stream = [stream_id] if command[0] == "audit" else []
    modules = loaded(_COMMAND, *command, *stream, "--spool", root)
    assert f"uploader.cli.{command[0]}" in modules
    assert not modules & (NETWORK | {"rich", "zarr", "uploader.streamer", "uploader.worker"})


def test_the_catalogue_loads_neither_network_nor_rich_nor_zarr() -> None:
    assert not loaded("import uploader.cli.catalog") & (NETWORK | {"rich", "zarr", "obstore", "uploader.worker"})


def test_no_command_and_no_public_name_loads_zarr() -> None:
    names = [f"uploader.cli.{name}" for name in COMMANDS]
    code = f"""
import importlib
import uploader
for name in {names}:
    importlib.import_module(name)
assert all(getattr(uploader, name) for name in uploader.__all__)
"""
    modules = loaded(code)
    assert modules.issuperset(names)
    assert "zarr" not in modules


def test_a_push_loads_nothing(tmp_path: Path) -> None:
    code = f"""
import numpy as np
from uploader import RHEEDStreamer
streamer = RHEEDStreamer(
    "key", "http://127.0.0.1:9", spool_dir={str(tmp_path / "spool")!r}, worker="external", open_timeout_s=0
)
stream = streamer.initialize(10.0, 0.0, 20)
before = set(sys.modules)
streamer.push(stream, 0, np.zeros((20, 8, 8), np.uint8))
loaded = set(sys.modules) - before
assert not loaded, loaded
streamer.close()
"""
    assert "uploader.streamer" in loaded(code)


def test_the_help_says_a_whole_line_of_every_command() -> None:
    said = CliRunner().invoke(main, ["--help"], terminal_width=80).output
    lines = {line.split(maxsplit=1)[0]: line for line in said.splitlines() if line.startswith("  ")}
    for name, line in COMMANDS.items():
        assert lines[name].endswith(f"  {line}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_looks_for_it(name: str) -> None:
    command = import_module(f"uploader.cli.{name}").command
    assert isinstance(command, click.Command)
    assert command.help
