"""One soak: everything is real; faults by seed for a time; then quiet, the drain, and the judgement.

::

    producers ──push──▶ spool ──▶ worker ──▶ fault proxy ──▶ loopback server
        └── obligations, outside the spool                          │
                     └────────────────── judge ◀── received bytes ──┘
"""

import contextlib
import http.client
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from spool import Limits, Spool, SpoolError, StreamState
from tools.fault_proxy import FaultProxy
from tools.soak.chaos import Chaos, Strike
from tools.soak.detached import kill_detached_worker
from tools.soak.figures import Figures
from tools.soak.fleet import Fleet
from tools.soak.judge import judge
from uploader.loopback.process import LoopbackError, LoopbackServer

_LOOK_S = 0.1
_PRODUCER_END_S = 45.0
_PUSH_SOON_S = 1.0
_KEY = "soak-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a soak is to be.

    Attributes:
        seconds: how long faults go on.
        impatient: the worker's waits are shorter, of the same shape.
        detached: the streamers start the worker, as a lab's would; it keeps its full patience.
    """

    seed: int
    seconds: float
    producers: int = 2
    push_every_s: float = 0.3
    impatient: bool = False
    detached: bool = False

    @property
    def patience_s(self) -> float:
        """Longer than any recovery may take: a stalled body, then the longest backoff."""
        return 30.0 if self.impatient else 150.0


def run_soak(plan: Plan, folder: Path, tell: Callable[[str], None]) -> Figures:
    """Play and judge one soak in an empty folder; nothing that it started is left running."""
    figures = Figures(seed=plan.seed)
    began = time.monotonic()
    with LoopbackServer(folder / "server", api_key=_KEY, analysis_s=1.0) as server:
        address = urlsplit(server.url)
        with FaultProxy(str(address.hostname), address.port or 0) as proxy:
            fleet = Fleet(
                folder=folder,
                endpoint=proxy.url,
                api_key=_KEY,
                seed=plan.seed,
                push_every_s=plan.push_every_s,
                impatient=plan.impatient,
                worker_kind="process" if plan.detached else "external",
            )
            try:
                _Soak(plan, fleet, proxy, server, figures, tell).run()
            finally:
                fleet.end()
                if plan.detached:
                    with Spool(fleet.spool) as spool:
                        kill_detached_worker(spool, proxy.url)
            figures.struck = {k: v for k, v in proxy.counters().items() if not k.startswith("bytes")}
        complaints = server.complaints.read_text().strip()
        if complaints:
            figures.violations.append(f"the server complained: {complaints[-500:]}")
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


class _Soak:
    def __init__(
        self,
        plan: Plan,
        fleet: Fleet,
        proxy: FaultProxy,
        server: LoopbackServer,
        figures: Figures,
        tell: Callable[[str], None],
    ) -> None:
        self._plan, self._fleet, self._proxy, self._server = plan, fleet, proxy, server
        self._figures, self._tell = figures, tell
        self._chaos = Chaos(plan.seed, longest_s=3.0 if plan.impatient else 6.0)
        self._names = [f"producer-{k}" for k in range(plan.producers)]
        self._spool = Spool(fleet.spool, limits=Limits(min_free_bytes=0))
        self._began = time.monotonic()

    def run(self) -> None:
        with self._spool:
            self._start("worker")
            for name in self._names:
                self._fleet.start_producer(name)
            self._wait_for_acknowledged(0, self._plan.patience_s)
            while time.monotonic() - self._began < self._plan.seconds:
                self._play(self._chaos.next())
            self._settle()
            judge(self._fleet.folder, self._spool, self._server, self._figures)

    # The faults -----------------------------------------------------------------------------------------

    def _play(self, strike: Strike) -> None:
        self._figures.faults[strike.name] += 1
        before = self._acknowledged()
        self._begin(strike)
        time.sleep(strike.lasts_s / 2)
        if strike.kill:
            self._kill(strike.kill)
        time.sleep(strike.lasts_s / 2)
        self._clear(strike)
        during = self._acknowledged() - before
        cleared = time.monotonic()
        recovered = self._wait_for_acknowledged(self._acknowledged(), self._plan.patience_s)
        took_s = time.monotonic() - cleared
        words = f"{strike.name}, {strike.lasts_s:.1f} s" + (f", {strike.kill} killed" if strike.kill else "")
        self._say(f"{words}: {during} acknowledged during it; the next one {took_s:.1f} s after it")
        if recovered:
            self._figures.recovered(strike.name, took_s)
        else:
            self._figures.violate("hangs", f"{words}: nothing was acknowledged for {took_s:.0f} s after it")
        self._check_fallen()
        time.sleep(self._chaos.pause_s(1.0))

    def _begin(self, strike: Strike) -> None:
        if strike.kind == "network":
            self._proxy.set(**strike.settings)
        elif strike.kind == "server":
            self._server.faults([strike.settings])
        else:
            self._set_status("stream_active", "stream_paused")

    def _clear(self, strike: Strike) -> None:
        self._proxy.clear()
        if strike.kind == "server":
            self._server.clear_faults()
        elif strike.kind == "pause":
            self._set_status("stream_paused", "stream_active")

    def _set_status(self, now: str, then: str) -> None:
        for data_id, stream in self._server.state()["streams"].items():
            if stream["status"] == now:
                with contextlib.suppress(LoopbackError):
                    self._server.set_status(data_id, then)

    def _kill(self, who: str) -> None:
        self._figures.kills[who] += 1
        victims = ["worker"] if "worker" in who else []
        victims += [self._chaos.choose(self._names)] if "producer" in who else []
        for name in victims:
            if name == "worker" and self._plan.detached:
                kill_detached_worker(self._spool, self._proxy.url)
                continue
            if name != "worker":
                self._fleet.wait_for_push(name, _PUSH_SOON_S)
            self._fleet.kill(name)
        if who == "server":
            self._server.kill()
        time.sleep(self._chaos.pause_s(1.0))
        if who == "server":
            self._server.start()
        for name in victims:
            self._start(name)

    def _start(self, name: str) -> None:
        if name != "worker":
            self._fleet.start_producer(name)
        elif not self._plan.detached:
            self._fleet.start_worker()

    def _check_fallen(self) -> None:
        for name in self._fleet.fallen():
            log = (self._fleet.folder / f"{name}.log").read_text(errors="replace")
            self._figures.violations.append(f"{name} ended by itself: {log[-800:]}")
            self._start(name)

    # The end --------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Stop the faults, end the recording, and wait until everything is finalized."""
        self._proxy.clear()
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._server.clear_faults()
        self._fleet.stop_file.touch()
        for name in self._names:
            code = self._fleet.wait(name, _PRODUCER_END_S)
            if code != 0:
                self._figures.violate("hangs", f"{name} did not end in order, but with {code}")
        if self._plan.detached:
            # The one that the streamers started may end before what follows; this one waits for its turn.
            self._fleet.start_worker()
        began = time.monotonic()
        for stream in self._spool.streams():
            self._spool.seal(stream.stream_id)
        left = len(self._unfinished())
        self._say(f"the faults are over; {left} streams are to be finalized")
        while (unfinished := self._unfinished()) and time.monotonic() - began < 2 * self._plan.patience_s:
            time.sleep(_LOOK_S)
        self._figures.drain_s = round(time.monotonic() - began, 1)
        for stream_id in unfinished:
            stream = self._spool.stream(stream_id)
            words = f"{stream.data_id} is {stream.state}, held: {stream.held}, trouble: {stream.trouble}"
            self._figures.violate(
                "hangs", f"not finalized after {self._figures.drain_s} s: {words}, {stream.tally}"
            )
        if self._fleet.stop_worker() is None:
            self._figures.violate("hangs", "the worker did not stop when asked to")

    def _unfinished(self) -> list[str]:
        return [s.stream_id for s in self._spool.streams() if s.state is not StreamState.FINALIZED]

    def _acknowledged(self) -> int:
        return sum(stream.tally.acknowledged for stream in self._spool.streams())

    def _wait_for_acknowledged(self, more_than: int, within_s: float) -> bool:
        ends = time.monotonic() + within_s
        while time.monotonic() < ends:
            with contextlib.suppress(SpoolError):
                if self._acknowledged() > more_than:
                    return True
            time.sleep(_LOOK_S)
        return False

    def _say(self, words: str) -> None:
        self._tell(f"{time.monotonic() - self._began:7.1f} s  {self._acknowledged():5d} acknowledged  {words}")
