"""The command as people run it: a process of its own, judged by its output and exit code."""

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner

from uploader.cli import main

KEY = "a-key-that-must-not-be-seen"
CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0

# A job in the background of a script is born deaf to Ctrl-C, and so is all that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Said:
    """What a run left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """Runs commands on one spool, against one server.

    Every run is checked for what must never appear: a traceback, an escape code, the API key.
    """

    def __init__(self, spool: Path, endpoint: str) -> None:
        self.spool = spool
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("AS_", "ATOMSCALE_"))},
            "AS_API_KEY": KEY,
            "AS_API_ENDPOINT": endpoint,
            "ATOMSCALE_SPOOL_DIR": str(spool),
            # The keys of whoever runs the tests are not theirs to use.
            "XDG_CONFIG_HOME": str(spool.parent / "config"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "COLUMNS": "80",
            "FORCE_COLOR": "1",  # must not matter: nobody looks
        }

    def without(self, *names: str) -> Self:
        other = copy.copy(self)
        other.environment = {name: value for name, value in self.environment.items() if name not in names}
        return other

    def run(self, *arguments: str) -> Said:
        with self.running(*arguments) as process:
            return finished(process)

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        process = subprocess.Popen(
            [sys.executable, "-m", "uploader", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def status(self) -> Any:
        return self.run("status", "--json").json()


class Reader(Shell):
    """The same inside this process, which takes a tenth of the time: for commands that only read or decide."""

    def run(self, *arguments: str) -> Said:
        environment = {name: None for name in os.environ if name.startswith(("AS_", "ATOMSCALE_"))}
        result = CliRunner(env={**environment, **self.environment}).invoke(main, arguments)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return checked(Said(result.exit_code, result.stdout, result.stderr))


def finished(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=PATIENCE_S)
    return checked(Said(process.returncode, out, err))


def checked(said: Said) -> Said:
    for text in (said.out, said.err):
        assert "Traceback" not in text, text
        assert "\x1b" not in text, text
        assert KEY not in text
    return said


def until(holds: Callable[[], bool]) -> None:
    """Look until it holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def interrupt(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
