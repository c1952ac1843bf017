"""A reader who does what a page says, in a fresh folder, one block after the other."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self

from tests.documents.blocks import ROOT, Block

PATIENCE_S = 60.0

# What differs from one run to the next, as little of it as can be.
_ANY = (
    (re.compile(r"\b\d{8}t\d{6}-[0-9a-f]{12}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "UUID"),
    (re.compile(r"\b(?=[0-9]*[a-f])(?=[a-f]*[0-9])[0-9a-f]{8,64}\b(\.\.)?|\b\d{8}\b|\b[0-9a-f]{12}\.\."), "HEX"),
    (re.compile(r"\b\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?Z?\b"), "TIME"),
    (re.compile(r"\b\d{4}-\d{2}-\d{2}\b"), "DATE"),
    (re.compile(r"\b\d{2}:\d{2}:\d{2}\b"), "TIME"),
    (re.compile(r"\b[\d.]+ (B|[kMG]B)\b"), "SIZE"),
    (re.compile(r"\b(\d+) ledger rows|\bat row (\d+)|\bup to row (\d+)"), "ROWS"),
    (re.compile(r"\bframespool \d+\.\d+\.\S+"), "VERSION"),
)
_PRELUDE = """
import os
import numpy as np
from uploader import RHEEDStreamer
frames = np.zeros((240, 8, 8), np.uint8)
chunks_of_frames = iter([frames, frames[:100]])
data_id = os.environ.get("DATA_ID")
ring_the_bell = print
"""
_CODA = """
if "streamer" in globals():
    streamer.close()
"""


class Session:
    """One reader; as a context manager, what was started in the background ends with the block.

    Args:
        folder: the reader's own, empty.
        variables: what the reader's environment has beside PATH.
        places: text of the page, and what stands for it here.
        is_notebook: its Python blocks are cells, each of which knows what those before it have made.
    """

    def __init__(
        self, folder: Path, variables: dict[str, str], places: dict[str, str], *, is_notebook: bool = False
    ) -> None:
        self.folder = folder
        self._is_notebook = is_notebook
        self._cells = ""
        self._places = places
        self._state = folder.parent / f"{folder.name}.environment"
        self._background: dict[str, tuple[str, subprocess.Popen[str]]] = {}
        kept = {
            name: worth
            for name, worth in os.environ.items()
            if not name.startswith(("AS_", "ATOMSCALE_", "FRAMESPOOL_", "AWS_", "XDG_"))
        }
        self._environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder.parent / "home"),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            "COLUMNS": "80",
            **variables,
        }
        self._state.write_text(f"cd {str(folder)!r}\n", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in [*self._background]:
            self._stop(name)

    def follow(self, blocks: Iterable[Block]) -> int:
        """Do what the blocks say; how many were run."""
        done = 0
        for block in blocks:
            if block.mark.startswith("run: "):
                self._obey(block)
            elif block.is_run:
                self._doing[block.language](self, block)
                done += 1
        return done

    def _obey(self, block: Block) -> None:
        name, _, what = block.mark.removeprefix("run: ").partition(" is ")
        if what == "stopped":
            self._stop(name)
        elif name.isupper():
            with self._state.open("a", encoding="utf-8") as state:
                state.write(f"export {name}={what}\n")
        else:
            assert what == "started", block.mark
            self._start(name, self._background[name][0], until=None)

    def _console(self, block: Block) -> None:
        for command, expected in block.exchanges():
            if block.mark.startswith("run in the background: "):
                name = block.mark.removeprefix("run in the background: ")
                said = self._start(name, self._here(command), until=expected[-1])
            else:
                said = self._run(block, command)
            assert_says(str(block), said.splitlines(), [self._here(line) for line in expected])

    def _shell(self, block: Block) -> None:
        # "…" is what only the reader knows; here it is set already.
        lines = [line for line in block.text.splitlines() if not re.fullmatch(r"export \w+=…", line)]
        self._run(block, "\n".join(["set -e", *lines, "set +e"]))

    def _python(self, block: Block) -> None:
        script = self.folder.parent / f"{self.folder.name}.py"
        text = f"{self._cells}\n{self._here(block.text)}\n"
        self._cells = text if self._is_notebook else ""
        script.write_text(_PRELUDE + text + _CODA, encoding="utf-8")
        self._run(block, f"python -W error {str(script)!r}")

    _doing: dict[str, Callable[["Session", Block], None]] = {  # noqa: RUF012 - never changed
        "bash": _shell,
        "console": _console,
        "python": _python,
        "sh": _shell,
    }

    def _run(self, block: Block, command: str) -> str:
        """Run one thing in the reader's shell, whose variables and folder go on to the next."""
        state = str(self._state)
        keep = f"(export -p; echo \"cd '$PWD'\") > {state!r}"
        said = subprocess.run(
            [
                "bash",
                "-c",
                f'. {state!r}\ntrap "code=\\$?; {_quoted(keep)}; exit \\$code" EXIT\n{self._here(command)}',
            ],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert said.returncode == block.exit_code, (
            f"{block}: exit code {said.returncode}\n{command}\n{said.stdout}"
        )
        assert "Traceback" not in said.stdout, f"{block}\n{said.stdout}"
        return said.stdout

    def _start(self, name: str, command: str, *, until: str | None) -> str:
        output = self.folder.parent / f"{self.folder.name}.{len(self._background)}.output"
        with output.open("w", encoding="utf-8") as to:
            process = subprocess.Popen(
                ["bash", "-c", f". {str(self._state)!r}\nexec {command}"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=to,
                stderr=subprocess.STDOUT,
                text=True,
            )
        self._background[name] = (command, process)
        deadline = time.monotonic() + PATIENCE_S
        while until is not None and until not in (said := output.read_text("utf-8")):
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.02)
        return output.read_text("utf-8")

    def _stop(self, name: str) -> None:
        _, process = self._background[name]
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(PATIENCE_S)

    def _here(self, text: str) -> str:
        for written, here in self._places.items():
            text = text.replace(written, here)
        return text


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")


def assert_says(where: str, said: list[str], expected: list[str]) -> None:
    """A line ``…`` stands for any lines, ``…`` within one for any text; what differs each time may differ."""
    pattern = "".join(_pattern(line) for line in expected)
    text = "".join(f"{_plain(line)}\n" for line in said)
    assert re.fullmatch(pattern, text), f"{where}\n--- it says\n{text}\n--- expected\n" + "\n".join(
        _plain(line) for line in expected
    )


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(.*\n)*?"
    return ".*".join(re.escape(part) for part in _plain(line).split("…")) + r"\n"


def _plain(line: str) -> str:
    for pattern, word in _ANY:
        line = pattern.sub(word, line)
    return " ".join(line.split())
