"""The scenario of ``framespool demo``: a simulated growth, recorded and delivered through an outage and a crash.

Everything is real: the recording, the spool, the worker process and its ``kill -9``, the HTTP server in a process
of its own on loopback. Only the camera and the server's analysis are stand-ins.
"""

import os
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spool import ChunkState, Spool
from uploader.loopback.process import LoopbackServer
from uploader.sources import Simulator, SimulatorSettings
from uploader.streamer import RHEEDStreamer

CHUNKS = 12
FPS = 10.0
CHUNK_SIZE = 20
OUTAGE_BEGINS_S = 7.0
WORKER_DIES_S = 11.0
OUTAGE_ENDS_S = 17.0
_TICK_S = 0.1
_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What there is to see at one moment.

    Attributes:
        at_s: since the growth began.
        news: what has just happened, in words; empty for nothing new.
        states: of each chunk that was pushed, in order.
        network_up: whether the server answers.
    """

    at_s: float
    news: str
    states: tuple[ChunkState, ...]
    network_up: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended.

    Attributes:
        frames: captured; ``frames_equal`` of them arrived bit for bit.
        in_order: the server received the chunks in the order of their chunk_idx.
        finalized: the server accepted the end of the stream.
    """

    stream_id: str
    spool_dir: Path
    frames: int
    frames_equal: int
    in_order: bool
    finalized: bool
    received: Path

    @property
    def is_good(self) -> bool:
        """Nothing lost, nothing changed, in order, finalized."""
        return self.finalized and self.in_order and self.frames == self.frames_equal


@dataclass(slots=True)
class _Stage:
    """What the scenes share."""

    server: LoopbackServer
    spool: Spool
    tell: Callable[[Scene], None]
    began_s: float
    data_id: str = ""
    network_up: bool = True
    done: set[str] = field(default_factory=set)

    def say(self, news: str = "") -> None:
        states = tuple(chunk.state for chunk in self.spool.chunks(self.data_id))
        at_s = time.monotonic() - self.began_s
        self.tell(Scene(at_s=at_s, news=news, states=states, network_up=self.network_up))

    def is_time(self, name: str, at_s: float) -> bool:
        """Whether this turn of events is due, once."""
        if name in self.done or time.monotonic() - self.began_s < at_s:
            return False
        self.done.add(name)
        return True


def run_demo(folder: Path, tell: Callable[[Scene], None]) -> Outcome:
    """Play the scenario in an empty folder; takes about 30 s.

    Raises:
        LoopbackError: the server could not be started, for example because its extra is not installed.
    """
    camera = Simulator(SimulatorSettings(height=240, width=320, fps=FPS, frames=CHUNKS * CHUNK_SIZE, seed=7))
    spool_dir = folder / "spool"
    key = secrets.token_urlsafe(16)
    with (
        LoopbackServer(folder / "server", api_key=key, analysis_s=1.0) as server,
        RHEEDStreamer(key, server.url, verbosity=0, spool_dir=spool_dir, spool_min_free_bytes=0) as streamer,
        Spool(spool_dir) as spool,
    ):
        stage = _Stage(server=server, spool=spool, tell=tell, began_s=time.monotonic())
        stage.data_id = streamer.initialize(
            fps=FPS,
            rotations_per_min=0.0,
            chunk_size=CHUNK_SIZE,
            stream_name="demo growth",
            physical_sample="GaAs 001",
        )
        stage.say("the growth begins; the camera records")
        _record(stage, streamer, camera)
        stage.say("the growth is over; what waits is delivered, then the stream is finalized")
        report = streamer.finalize(stage.data_id, drain_timeout_s=_DRAIN_S)
        stage.say("finalized" if report.finalized else "not finalized")
        return _compare(stage, camera, finalized=report.finalized, spool_dir=spool_dir)


def _record(stage: _Stage, streamer: RHEEDStreamer, camera: Simulator) -> None:
    for chunk_idx in range(CHUNKS):
        frames = _captured(camera, chunk_idx)
        due_s = (chunk_idx + 1) * CHUNK_SIZE / FPS
        while time.monotonic() - stage.began_s < due_s:
            _turn_events(stage)
            stage.say()
            time.sleep(_TICK_S)
        streamer.push(stage.data_id, chunk_idx, frames)
        stage.say()


def _turn_events(stage: _Stage) -> None:
    if stage.is_time("outage", OUTAGE_BEGINS_S):
        stage.network_up = False
        stage.server.outage(True)
        stage.say("the network goes away")
    if stage.is_time("kill", WORKER_DIES_S):
        pid = _worker_pid(stage.spool)
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        stage.say(f"the worker is killed (kill -9 {pid}); the next push starts another")
    if stage.is_time("back", OUTAGE_ENDS_S):
        stage.network_up = True
        stage.server.outage(False)
        stage.say("the network is back")


def _worker_pid(spool: Spool) -> int:
    started = [event for event in spool.events() if event.event == "worker_started"]
    return int(started[-1].detail["pid"])


def _captured(camera: Simulator, chunk_idx: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    first = chunk_idx * CHUNK_SIZE
    return np.stack([camera.frame(first + k) for k in range(CHUNK_SIZE)])


def _compare(stage: _Stage, camera: Simulator, *, finalized: bool, spool_dir: Path) -> Outcome:
    """Hold what the server has against what the camera saw, frame by frame."""
    received = stage.server.received(stage.data_id)
    equal = sum(
        bool(np.array_equal(received[k], camera.frame(k)))
        for k in range(min(received.shape[0], CHUNKS * CHUNK_SIZE))
    )
    order = [line["chunk_idx"] for line in stage.server.log(stage.data_id) if line["event"] == "received"]
    return Outcome(
        stream_id=stage.spool.stream(stage.data_id).stream_id,
        spool_dir=spool_dir,
        frames=CHUNKS * CHUNK_SIZE,
        frames_equal=equal,
        in_order=order == sorted(order) and set(order) == set(range(CHUNKS)),
        finalized=finalized,
        received=stage.server.root / "received" / stage.data_id / "frames.zarr",
    )
