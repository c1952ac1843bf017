"""Swift, which the conformance suite runs against on demand: what is said where it cannot run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[2] / "tools/swift/run.py"


@pytest.mark.parametrize(
    ("named", "words"), [("/nowhere/python3", "there is no"), (sys.executable, "apt-get install")]
)
def test_a_swift_that_is_not_there_is_said_in_words(named: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN)],
        env={**os.environ, "SWIFT_PYTHON": named},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr
