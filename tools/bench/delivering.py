"""Rows `throughput` and `worst-push`: pushing as fast as it goes while everything is uploaded."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from tools.bench import frames as making
from tools.bench.asked import OURS, PEER, Bench
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.producers import NotMeasured
from tools.bench.sessions import Session

_MB = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One stream from its first push to its end."""

    push_s: tuple[float, ...]
    whole_s: float
    raw_bytes: int


def throughput(bench: Bench) -> list[Comparison]:
    """From the first push until the stream is finalized, uploading from the start."""
    played = _played(bench, chunks=bench.amount(30, 3))
    rates = {name: [one.raw_bytes / _MB / one.whole_s for one in found] for name, found in played.items()}
    target = Target(of=OURS, to=(PEER,), at_least=1.5)
    return [compare("throughput", "poisson", "MB/s", rates, target=target, absent=bench.absent)]


def worst_push(bench: Bench) -> list[Comparison]:
    """The pushes of a stream that is uploaded at full speed: the worst, and for comparison the others."""
    played = _played(bench, chunks=bench.amount(30, 3))
    found = []
    for case, of in (("the worst", max), ("nine of ten are quicker", _p90), ("the median", statistics.median)):
        figures = {name: [1000 * of(one.push_s) for one in each] for name, each in played.items()}
        target = Target(of=OURS, to=(PEER,), at_most=0.7) if of is max else None
        found.append(compare("worst-push", case, "ms", figures, target=target, absent=bench.absent))
    return found


def _p90(push_s: tuple[float, ...]) -> float:
    return sorted(push_s)[round(0.9 * (len(push_s) - 1))]


def _played(bench: Bench, *, chunks: int) -> dict[str, list[Delivery]]:
    return in_turns(
        {one: _delivery(bench, one, chunks=chunks) for one in bench.clients},
        repeats=bench.repeats,
        warm_ups=bench.warm_ups,
    )


def _delivery(bench: Bench, client: str, *, chunks: int) -> Callable[[], Delivery]:
    frames = making.poisson(bench.work, bench.amount(240, 4))

    def play() -> Delivery:
        with Session(bench=bench) as session:
            producer = session.producer(client, frames)
            # One chunk before, to the end: memory is touched, connections stand, the worker has started.
            producer.push(1, counts=False)
            session.wait_until(lambda: session.received() == 1, f"the first chunk of {client} at the sink")
            push_s = producer.push(chunks)
            whole_s = producer.ask("finalize")["since_first_push_s"]
            if session.received() != chunks + 1:
                raise NotMeasured(
                    f"{client} ended its stream when {session.received()} of {chunks + 1} had arrived"
                )
        return Delivery(push_s=tuple(push_s), whole_s=whole_s, raw_bytes=chunks * frames.raw_bytes)

    return play
