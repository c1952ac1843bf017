"""A session: a work folder, a sink in a process of its own, and producers that push to it; all gone afterwards."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tools.bench import frames as making
from tools.bench.frames import Frames
from tools.bench.machine import version_of_peer
from uploader.loopback.process import LoopbackServer

OURS, PEER = "framespool", "atomscale"
FPS = 120.0
_ROOT = Path(__file__).resolve().parents[2]
_DRIVER = Path(__file__).with_name("driver.py")
_PATIENCE_S = 300.0
_LOOK_S = 0.02


class NotMeasured(Exception):
    """Something did not do what was to be timed; there is no figure then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How the harness was asked to measure.

    Attributes:
        work: a folder on the disk that is measured.
        repeats: of each measurement, besides those that are dropped.
        quick: everything small, to see that it runs; the figures mean nothing.
        peer: the Python of the environment with the official client; ``None`` when there is none.
        images: a folder of real frames.
    """

    work: Path
    repeats: int = 5
    quick: bool = False
    peer: Path | None = None
    images: Path | None = None

    @property
    def clients(self) -> tuple[str, ...]:
        """Who can be asked."""
        return (OURS,) if self.peer is None else (OURS, PEER)

    @property
    def absent(self) -> tuple[str, ...]:
        """Who cannot, and what to do about it."""
        if self.peer is not None:
            return ()
        return (f"{PEER} (not installed; see run.py install-peer DIR and --peer)",)

    @property
    def warm_ups(self) -> int:
        """How many repeats are dropped."""
        return 0 if self.quick else 1

    def amount(self, full: int, quick: int) -> int:
        """As much as the occasion asks for."""
        return quick if self.quick else full

    def kinds(self) -> list[Frames]:
        """A chunk of each kind of frames that can be had."""
        n = self.amount(240, 4)
        made = [making.poisson(self.work, n)]
        if not self.quick:
            made.append(making.white(self.work, n))
        if self.images is not None:
            made.append(making.real(self.work, self.amount(64, 4), self.images))
        return made

    def session(self) -> "Session":
        """A new one; a context manager."""
        return Session(bench=self)


@dataclass(slots=True, kw_only=True)
class Session:
    """A folder with a sink; removed with everything that was started in it."""

    bench: Bench
    folder: Path = field(init=False)
    sink: LoopbackServer = field(init=False)
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="session-", dir=self.bench.work))
        self._open.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.sink = self._open.enter_context(LoopbackServer(self.folder / "sink"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def spool(self) -> Path:
        """Where our spool is; the peer has its own."""
        return self.folder / "spool"

    def refuse_uploads(self) -> None:
        """From now on no URL is given out: what is pushed stays where it is."""
        self.sink.faults([{"match": {"path": "upload_urls"}, "action": "status", "status": 503}])

    def producer(
        self,
        client: str,
        frames: Frames,
        *,
        worker: str = "process",
        url: str | None = None,
        streams: int = 1,
        spool: Path | None = None,
    ) -> "Producer":
        """A process of that client that has opened its streams and loaded the frames."""
        started = Producer(client, self.bench.peer if client == PEER else Path(sys.executable))
        self._open.callback(started.end)
        started.ask("load", path=str(frames.path))
        opened = started.ask(
            "open",
            url=url or self.sink.url,
            key=self.sink.api_key,
            spool=str(spool or (self.spool if client == OURS else self.folder / "peer-spool")),
            worker=worker,
            # A chunk is at least two seconds of frames, whatever its size.
            fps=min(FPS, frames.n / 2),
            chunk_size=frames.n,
            streams=streams,
        )
        started.data_ids = tuple(opened["data_ids"])
        return started

    def worker(
        self, *arguments: str, url: str | None = None, spool: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """``framespool worker`` for the session's spool, as a process of its own."""
        command = [sys.executable, "-P", "-m", "uploader", "worker", "--spool", str(spool or self.spool)]
        started = subprocess.Popen(
            [*command, "--endpoint", url or self.sink.url, *arguments],
            env=environment({"AS_API_KEY": self.sink.api_key}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._open.callback(_put_to_an_end, started)
        return started

    def was_refused(self) -> bool:
        """Whether somebody has asked for a URL."""
        return any("upload_urls" in route for route in self.sink.state()["requests"])

    def received(self) -> int:
        """How many chunks the sink has, over all streams."""
        # Its files are read, for asking it would take its time.
        return sum(len(self.arrivals(one.parent.name)) for one in self.sink.root.glob("received/*/log.jsonl"))

    def arrivals(self, data_id: str) -> list[dict[str, Any]]:
        """The sink's record of each chunk of a stream, in order of their arrival."""
        return [line for line in self.sink.log(data_id) if line["event"] == "received"]

    def wait_until(self, holds: Callable[[], bool], what: str) -> None:
        """Look every so often.

        Raises:
            NotMeasured: it took minutes.
        """
        patience = time.monotonic() + _PATIENCE_S
        while not holds():
            if time.monotonic() > patience:
                raise NotMeasured(f"waited in vain: {what}")
            time.sleep(_LOOK_S)


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


@contextlib.contextmanager
def bench_in(work: Path | None, **asked: Any) -> Iterator[Bench]:  # noqa: ANN401 - the fields of `Bench`
    """A bench in that folder, or in one that is removed afterwards."""
    with contextlib.ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="framespool-bench-")))
        work.mkdir(parents=True, exist_ok=True)
        yield Bench(work=work, **asked)


def usable_peer(python: Path | None) -> Path | None:
    """That Python, if it has the peer."""
    return python if python is not None and version_of_peer(python) is not None else None


def _put_to_an_end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()
