"""A process that plays on a spool and is killed before a chosen step; see ``crash_script.py``."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    status: int
    done: list[str]
    labels: list[str]

    @property
    def killed(self) -> bool:
        return self.status == -signal.SIGKILL


Run = Callable[..., Ending]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Play on a spool in a child process that is killed before the ``at``-th step with a label."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("crash_script.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    ) as process:

        def ask(root: Path, play: str, label: str = "", at: int = 1) -> Ending:
            assert process.stdin is not None
            assert process.stdout is not None
            order = {"root": str(root), "play": play, "label": label, "at": at}
            process.stdin.write(json.dumps(order) + "\n")
            process.stdin.flush()
            ending = Ending(**json.loads(process.stdout.readline()))
            assert not any(word.startswith("failed") for word in ending.done), ending.done
            return ending

        yield ask
        assert process.stdin is not None
        process.stdin.close()
