"""A recording in processes of their own: server, a line with faults, `framespool record`, and who kills what."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spool import Spool, SpoolError
from tools.fault_proxy import Fault, FaultProxy
from tools.soak.detached import kill_detached_worker
from uploader.loopback.process import LoopbackServer

REPOSITORY = Path(__file__).resolve().parents[2]
_END_S = 600.0


@dataclass
class Session:
    """What a campaign works with.

    Attributes:
        work: a folder of its own.
        server: the far end.
        proxy: the line to it.
        strikes: what was done to them, in words.
        kills: how often which process was killed.
    """

    work: Path
    server: LoopbackServer
    proxy: FaultProxy
    strikes: list[str] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=lambda: {"worker": 0, "record": 0})

    @property
    def spool(self) -> Path:
        """The spool's folder."""
        return self.work / "spool"

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """Of a process of ours: nothing of whoever runs this."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AS_", "ATOMSCALE_"))}
        path = os.pathsep.join([str(REPOSITORY), str(self.work / "plugins"), kept.get("PYTHONPATH", "")])
        own = {"XDG_CONFIG_HOME": str(self.work / "config"), "PYTHONPATH": path, "AS_API_KEY": self.server.api_key}
        return {**kept, **own, "AS_API_ENDPOINT": self.proxy.url, **more}

    def start(self, *arguments: str, more: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """A command of framespool on this spool."""
        with (self.work / "record.err").open("a") as complaints:
            return subprocess.Popen(
                [sys.executable, "-m", "uploader", *arguments, "--spool", str(self.spool)],
                cwd=self.work,
                env=self.environment(more or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            )

    def audit(self, ref: str) -> dict[str, Any]:
        """What the audit says of a stream."""
        said = self.start("audit", ref, "--json").communicate(timeout=_END_S)[0]
        told: dict[str, Any] = json.loads(said)
        return told

    def only_stream(self) -> str:
        """The stream_id of the one that is there.

        Raises:
            ValueError: there are none, or several.
        """
        said = self.start("streams", "--json").communicate(timeout=_END_S)[0]
        (stream,) = json.loads(said)["streams"]
        return str(stream["stream_id"])

    def summary(self, ref: str) -> str:
        """The audit's own line of the source."""
        lines = self.start("audit", ref).communicate(timeout=_END_S)[0].splitlines()
        at = next(k for k, line in enumerate(lines) if line.startswith("Source"))
        more = [line.strip() for line in lines[at + 1 :]]
        end = next(k for k, line in enumerate(lines[at + 1 :]) if not line.startswith(" "))
        return " ".join([lines[at].strip(), *more[:end]])

    def kill_worker(self) -> None:
        """``kill -9`` the detached worker, if one is there."""
        with contextlib.suppress(SpoolError), Spool(self.spool, create=False) as spool:
            self.kills["worker"] += kill_detached_worker(spool, self.proxy.url)

    def kill(self, process: subprocess.Popen[str]) -> None:
        """``kill -9`` a recording."""
        if process.poll() is None:
            process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
            self.kills["record"] += 1
        process.communicate()


@contextmanager
def session(work: Path) -> Iterator[Session]:
    """Server and line; a plug-in that brings `tools.grabbing.stamped`."""
    info = work / "plugins" / "framespool_stamped-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: framespool-stamped\nVersion: 1\n", "utf-8")
    entry = "[framespool.sources]\nstamped = tools.grabbing.stamped:open_stamped\n"
    (info / "entry_points.txt").write_text(entry, "utf-8")
    with LoopbackServer(work / "server") as server:
        host, port = server.url.removeprefix("http://").split(":")
        with FaultProxy(host, int(port)) as proxy:
            yield Session(work, server, proxy)


@contextmanager
def outages(
    one: Session, *, every_s: tuple[float, float], lasting_s: tuple[float, float], seed: int
) -> Iterator[None]:
    """Until the block ends: the line fails now and then, and now and then the worker is killed."""
    dice, over = random.Random(seed), threading.Event()  # noqa: S311 - no secret

    def strike() -> None:
        while not over.wait(dice.uniform(*every_s)):
            fault = dice.choice((Fault.REFUSE, Fault.RESET, Fault.BLACK_HOLE))
            lasts_s = dice.uniform(*lasting_s)
            one.strikes.append(f"{fault} for {lasts_s:.1f} s")
            one.proxy.set(fault)
            over.wait(lasts_s)
            if dice.random() < 0.5:  # noqa: PLR2004 - every other time
                one.kill_worker()
            one.proxy.clear()

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        one.proxy.clear()
