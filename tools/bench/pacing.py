"""Rows `cpu` and `cameras`: chunks that come at the pace of a camera."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tools.bench import frames as making
from tools.bench.asked import OURS, PEER, Bench
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.sessions import FPS, Session

_GB = 1e9
_DURATION = "the chunk's duration"


def cpu(bench: Bench) -> list[Comparison]:
    """CPU seconds for each gigabyte of raw frames at 120 frames a second, of all processes of a client together.

    From when the first chunk has arrived, so that no start of a process counts, until the last one has.
    """
    figures = in_turns(
        {one: _cpu_of(bench, one) for one in bench.clients}, repeats=min(bench.repeats, 3), warm_ups=0
    )
    target = Target(of=OURS, to=(PEER,), at_most=0.8)
    return [compare("cpu", "poisson", "s/GB", figures, target=target, absent=bench.absent)]


def cameras(bench: Bench) -> list[Comparison]:
    """Four streams of 120 frames a second each, while a worker drains: the worst push, from when it was due."""
    cameras = bench.amount(4, 2)
    found = []
    target = Target(of=OURS, to=(_DURATION,), at_most=1.0)
    for case, processes in (("one process", 1), (f"{cameras} processes", cameras)):
        plays = {OURS: _worst_of(bench, cameras, processes)}
        figures = in_turns(plays, repeats=min(bench.repeats, 3), warm_ups=0)
        duration = {_DURATION: [_chunk_s(bench)]}
        found.append(compare("cameras", f"{cameras} cameras, {case}", "s", figures | duration, target=target))
    return found


def _chunk_frames(bench: Bench) -> int:
    return bench.amount(240, 12)


def _chunk_s(bench: Bench) -> float:
    return _chunk_frames(bench) / FPS


def _cpu_of(bench: Bench, client: str) -> Callable[[], float]:
    frames = making.poisson(bench.work, _chunk_frames(bench))
    chunks = bench.amount(8, 3)

    def play() -> float:
        with Session(bench=bench) as session:
            producer = session.producer(client, frames)
            producer.push(1, counts=False)
            session.wait_until(lambda: session.received() == 1, f"the first chunk of {client} at the sink")
            before_s = producer.cpu_s()
            producer.push(chunks, every_s=_chunk_s(bench))
            session.wait_until(lambda: session.received() == chunks + 1, f"the last chunk of {client} at the sink")
            return (producer.cpu_s() - before_s) / (chunks * frames.raw_bytes / _GB)

    return play


def _worst_of(bench: Bench, cameras: int, processes: int) -> Callable[[], float]:
    frames = making.poisson(bench.work, _chunk_frames(bench))
    chunks = bench.amount(8, 3)

    def play() -> float:
        with Session(bench=bench) as session, ExitStack() as stack:
            producers = [session.producer(OURS, frames, streams=cameras // processes) for _ in range(processes)]
            threads = stack.enter_context(ThreadPoolExecutor(processes))
            list(threads.map(lambda one: one.push(1, counts=False), producers))
            session.wait_until(lambda: session.received() == cameras, "the first chunks at the sink")
            took = threads.map(lambda one: max(one.push(chunks, every_s=_chunk_s(bench))), producers)
            worst: float = max(took)
            session.wait_until(lambda: session.received() == cameras * (chunks + 1), "the last chunks at the sink")
            return worst

    return play
