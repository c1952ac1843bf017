"""A session: a work folder, a sink in a process of its own, and producers that push to it; all gone afterwards."""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tools.bench.asked import OURS, PEER, Bench
from tools.bench.background import again_and_again
from tools.bench.frames import Frames
from tools.bench.producers import NotMeasured, Producer, environment
from uploader.loopback.process import LoopbackServer

FPS = 120.0
_PATIENCE_S = 300.0
_LOOK_S = 0.02
_SWEEP_S = 0.1


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
        self._open.enter_context(_swept(self.sink.root / "received"))
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


def _put_to_an_end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def _swept(received: Path) -> AbstractContextManager[None]:
    """Remove what the sink has stored, soon after: its log is enough.

    Else each upload takes its pages from memory that nobody has touched for a while. A virtual machine has to get
    such pages from its host, at half the speed, and who goes first has the better ones.
    """

    def sweep() -> None:
        for chunk in received.glob("*/**/c/*/0/0"):
            chunk.unlink(missing_ok=True)

    return again_and_again(sweep, every_s=_SWEEP_S)
