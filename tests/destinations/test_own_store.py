"""Somebody else's store is held against the contract as docs/destinations.md says."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_store_of_the_documentation_passes_the_suite_by_the_command_that_is_given(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "destinations.md").read_text("utf-8")
    (command,) = [line for line in text.splitlines() if "FRAMESPOOL_RIG=own_store" in line]
    words = shlex.split(command)
    at = words.index(".venv/bin/pytest")
    given = dict(word.split("=", 1) for word in words[:at])
    assert given.keys() == {"PYTHONPATH", "FRAMESPOOL_RIG"}
    paths = os.pathsep.join([given["PYTHONPATH"], *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *words[at + 1 :],
            "-p",
            "no:cacheprovider",
            "--basetemp",
            tmp_path / "of",
        ],
        env={**_without_pytest(), **given, "PYTHONPATH": paths},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout


def _without_pytest() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
