"""A client in a process of its own, driven by the harness."""

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psutil

from tools.bench.asked import OURS

_ROOT = Path(__file__).resolve().parents[2]
_DRIVER = Path(__file__).with_name("driver.py")


class NotMeasured(Exception):
    """Something did not do what was to be timed; there is no figure then."""


class Producer:
    """A process that runs `tools.bench.driver`."""

    def __init__(self, client: str, python: Path | None) -> None:
        assert python is not None
        # Our checkout is no business of the peer's process, whose environment has neither us nor our libraries.
        command = [str(python), "-P", str(_DRIVER), client]
        self._process = subprocess.Popen(
            command,
            env=environment({}) if client == OURS else {**os.environ, "PYTHONPATH": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.client = client
        self.pid = self._process.pid
        self.data_ids: tuple[str, ...] = ()

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """Let it do something, and wait for the answer.

        Raises:
            NotMeasured: it could not, or is no more.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
            answer: dict[str, Any] = json.loads(self._process.stdout.readline() or "{}")
        except (OSError, ValueError) as error:
            raise NotMeasured(f"{self.client}: {do}: {error}") from error
        if "failed" in answer or self._process.poll() is not None:
            raise NotMeasured(f"{self.client}: {do}: {answer.get('failed', 'its process has ended')}")
        return answer

    def push(self, chunks: int, *, every_s: float | None = None, counts: bool = True) -> list[float]:
        """Push so many chunks to each stream; how long each took, in seconds."""
        told = self.ask("push", chunks=chunks, every_s=every_s, counts=counts)
        return [each for stream in told["push_s"] for each in stream]

    def family(self) -> list[psutil.Process]:
        """Its process and those that it has started: our worker is one."""
        own = psutil.Process(self.pid)
        return [own, *own.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU seconds of the family so far."""
        return float(sum(times.user + times.system for times in (one.cpu_times() for one in self.family())))

    def end(self) -> None:
        """End the family at once: whatever is still under way is not measured any more."""
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in reversed(self.family()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def environment(more: dict[str, str]) -> dict[str, str]:
    """That of a process of ours: this checkout, and nobody's configuration."""
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "FRAMESPOOL_CONFIG": os.devnull, **more}
