"""The processes of a soak: producers and worker, each in a process group of its own, killed and started again."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tools.soak.obligations import SUFFIX
from uploader.config import KEY_VARIABLES, SKIP_CLOCK_VARIABLE

_CHECKOUT = Path(__file__).resolve().parents[2]
_STOP_S = 20.0


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Starts, kills and ends processes; whatever it started is gone after `end`.

    Attributes:
        folder: where records, logs and the spool are.
        endpoint: the proxy's URL, which everybody takes for the server's.
    """

    folder: Path
    endpoint: str
    api_key: str
    seed: int
    push_every_s: float
    impatient: bool
    worker_kind: str = "external"
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _lives: dict[str, int] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.folder / "spool"

    @property
    def stop_file(self) -> Path:
        """Producers end when it appears."""
        return self.folder / "stop"

    def start_producer(self, name: str) -> None:
        """Start one more life of a producer."""
        life = self._lives[name] = self._lives.get(name, -1) + 1
        arguments = {
            "name": name,
            "seed": self.seed,
            "life": life,
            "endpoint": self.endpoint,
            "spool": self.spool,
            "record": self.folder / f"{name}{SUFFIX}",
            "stop": self.stop_file,
            "push-every-s": self.push_every_s,
            "worker": self.worker_kind,
        }
        command = [f"--{key}={value}" for key, value in arguments.items()]
        self._start(name, ["-m", "tools.soak.producer", *command])

    def start_worker(self) -> None:
        """Start the worker."""
        patience = ["--impatient"] if self.impatient else []
        arguments = ["worker", "--spool", str(self.spool), "--endpoint", self.endpoint, "--min-free-bytes", "0"]
        self._start("worker", ["-m", "tools.soak.worker", *patience, *arguments])

    def kill(self, name: str) -> None:
        """``kill -9`` a process and what it has started."""
        process = self._running.pop(name)
        _signal(process, getattr(signal, "SIGKILL", signal.SIGTERM))
        process.wait()

    def wait_for_push(self, name: str, within_s: float) -> None:
        """Wait until a producer is inside ``push()``, as far as its record tells: the best moment to kill it."""
        record = self.folder / f"{name}{SUFFIX}"
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            if record.exists() and _last_line(record).startswith(b'{"event": "meant"'):
                return
            time.sleep(0.001)

    def fallen(self) -> list[str]:
        """Those that ended by themselves, which nobody asked them to."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def wait(self, name: str, within_s: float) -> int | None:
        """The exit code of a process that is to end by itself; ``None`` when it does not."""
        try:
            return self._running[name].wait(within_s)
        except subprocess.TimeoutExpired:
            return None

    def stop_worker(self) -> int | None:
        """Ask the worker to end; its exit code."""
        _signal(self._running["worker"], signal.SIGTERM)
        return self.wait("worker", _STOP_S)

    def end(self) -> None:
        """Kill whatever still runs."""
        for name in list(self._running):
            self.kill(name)

    def _start(self, name: str, arguments: list[str]) -> None:
        environment = {
            **os.environ,
            KEY_VARIABLES[0]: self.api_key,
            SKIP_CLOCK_VARIABLE: "1",
            "PYTHONPATH": str(_CHECKOUT),
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-P", *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=os.name != "nt",
            )


def _last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1000))
        return file.read().rstrip(b"\n").rpartition(b"\n")[2]


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is not None:
        return
    if sys.platform == "win32":
        process.terminate()
    else:
        # Not reaped yet, so the group cannot be anybody else's.
        os.killpg(process.pid, number)
