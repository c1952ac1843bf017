"""Row `memory`: what producer and worker hold while a long backlog waits, over what they hold when idle."""

import time
from collections.abc import Sequence

import httpx
import psutil

from tools.bench import frames as making
from tools.bench.asked import OURS, Bench
from tools.bench.background import again_and_again
from tools.bench.frames import Frames
from tools.bench.large_spools import make_large_spool
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.sessions import Session

_LIMIT = "three raw chunks"
_IDLE_S, _LOOK_S = 1.5, 0.005
_WHO = ("producer", "worker", "both")


def memory(bench: Bench) -> list[Comparison]:
    """In raw chunks of the stream that is pushed and sent while the backlog waits and is sent beside it."""
    waiting = bench.amount(100_000, 200)
    frames = making.poisson(bench.work, bench.amount(240, 24))
    figures = in_turns({OURS: lambda: _over_idle(bench, frames, waiting)}, repeats=min(bench.repeats, 3))
    target = Target(of=OURS, to=(_LIMIT,), at_most=1.0)
    limit = {_LIMIT: [3.0]}
    return [
        compare(
            "memory",
            f"{who}, {waiting:,} chunks waiting",
            "raw chunks",
            {OURS: [one[number] for one in figures[OURS]]} | limit,
            target=target,
        )
        for number, who in enumerate(_WHO)
    ]


def _over_idle(bench: Bench, frames: Frames, waiting: int) -> tuple[float, float, float]:
    """The peaks of producer and worker over what they have when idle, and both together, in raw chunks."""
    with Session(bench=bench) as session:
        producer = session.producer(OURS, frames)
        session.wait_until(lambda: len(producer.family()) > 1, "the worker")
        time.sleep(_IDLE_S)  # this is what is measured: two processes that have nothing to do
        idle = [_rss(one) for one in producer.family()]
    with Session(bench=bench) as session:
        data_id = _opened(session)
        make_large_spool(
            session.spool, acknowledged=0, waiting=waiting, destination=session.sink.url, data_id=data_id
        )
        producer = session.producer(OURS, frames)
        session.wait_until(lambda: len(producer.family()) > 1, "the worker")
        chunks = bench.amount(10, 2)
        watch = _Watch(producer.family())
        with again_and_again(watch.look, every_s=_LOOK_S):
            (camera,) = producer.data_ids
            producer.push(chunks)
            session.wait_until(
                lambda: len(session.arrivals(camera)) == chunks, "the camera's last chunk at the sink"
            )
            session.wait_until(lambda: len(session.arrivals(data_id)) > 0, "something of the backlog at the sink")
        over = [(peak - rss) / frames.raw_bytes for peak, rss in zip(watch.peaks, idle, strict=True)]
    return over[0], over[1], sum(over)


def _opened(session: Session) -> str:
    """The data_id of a stream at the sink, for the backlog."""
    answer = httpx.post(
        f"{session.sink.url}/rheed/stream/",
        headers={"X-API-KEY": session.sink.api_key},
        json={
            "data_item_name": "backlog",
            "rotational_period": None,
            "rotations_per_min": 0.0,
            "fps_capture_rate": 8.0,
        },
        timeout=60,
    )
    answer.raise_for_status()
    return str(answer.json())


def _rss(process: psutil.Process) -> int:
    return int(process.memory_info().rss)


class _Watch:
    """Looks at processes again and again; ``peaks`` are the most that each has had.

    The operating systems' own peaks are of a process's whole life, and each system has them elsewhere.
    """

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self._processes = processes
        self.peaks = [0] * len(processes)

    def look(self) -> None:
        """Look at each once more."""
        self.peaks = [max(peak, _rss(one)) for peak, one in zip(self.peaks, self._processes, strict=True)]
