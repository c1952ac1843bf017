"""Rows `index` and `opening`: what must stay flat as the work grows."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spool import LeasedStream, Limits, Receipt, Spool
from spool.testing import some_frames
from tools.bench.asked import Bench
from tools.bench.large_spools import make_large_spool
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.producers import NotMeasured, environment

OURS, _SECOND = "framespool", "a second"
_FRAMES = 4
_SCREEN_BYTES = 4000
"""About what a terminal of 50 lines shows."""


def index(bench: Bench) -> list[Comparison]:
    """Push, claim and acknowledge, with many chunks in the index and with few."""
    many, few = bench.amount(1_000_000, 3000), bench.amount(1000, 300)
    with _spool_of(bench, acknowledged=many) as large, _spool_of(bench, acknowledged=few) as small:
        lives = {OURS: _Life(large), _few(few): _Life(small)}
        rounds = bench.amount(40, 4)
        for life in lives.values():
            life.begin()
        figures = in_turns(
            {name: life.step for name, life in lives.items()},
            repeats=bench.repeats * rounds,
            warm_ups=bench.warm_ups * rounds,
        )
        for life in lives.values():
            life.end()
    target = Target(of=OURS, to=(_few(few),), at_most=1.2)
    return [
        compare(
            "index",
            f"{name} at {many:,} chunks",
            "ms",
            {who: [one[number] for one in found] for who, found in figures.items()},
            target=target,
        )
        for number, name in enumerate(("push", "claim", "acknowledge"))
    ]


def opening(bench: Bench) -> list[Comparison]:
    """Reopening with many that wait; ``status`` and the first screen of ``audit`` with many in the index."""
    waiting, many = bench.amount(100_000, 200), bench.amount(1_000_000, 3000)
    target = Target(of=OURS, to=(_SECOND,), at_most=1.0)
    found = []
    with _spool_of(bench, acknowledged=0, waiting=waiting) as (root, _):
        took = in_turns({OURS: lambda: _reopened(root)}, repeats=bench.repeats, warm_ups=bench.warm_ups)
        case = f"reopening with {waiting:,} waiting"
        found.append(compare("opening", case, "s", took | {_SECOND: [1.0]}, target=target))
    with _spool_of(bench, acknowledged=many) as (root, stream_id):
        for case, arguments in (("status", ["status"]), ("first screen of audit", ["audit", stream_id])):
            took = in_turns({OURS: _first_screen(root, arguments)}, repeats=bench.repeats, warm_ups=bench.warm_ups)
            said = f"{case} at {many:,} chunks"
            found.append(compare("opening", said, "s", took | {_SECOND: [1.0]}, target=target))
    return found


@dataclass(slots=True)
class _Life:
    """One spool, in which a chunk is pushed, claimed and acknowledged at each step."""

    made: tuple[Path, str]
    _spool: Spool = field(init=False)
    _lease: LeasedStream = field(init=False)
    _next_idx: int = field(init=False)
    _frames: NDArray[np.uint8] = field(init=False)
    _receipt: Receipt = field(init=False)

    def begin(self) -> None:
        """Open it."""
        root, stream_id = self.made
        self._spool = Spool(root, limits=Limits(min_free_bytes=0))
        lease = self._spool.lease(stream_id, "bench", ttl_s=3600, take_over=True)
        assert lease is not None
        self._lease = lease
        self._next_idx = self._spool.stream(stream_id).next_chunk_idx
        self._frames = some_frames(_FRAMES, seed=1)
        self._receipt = Receipt(
            status=200, etag=32 * "0", confirmed=True, at_ms=self._spool.stream(stream_id).created_at_ms
        )

    def step(self) -> tuple[float, float, float]:
        """The milliseconds of a push, a claim and an acknowledgement."""
        began = time.perf_counter()
        self._spool.push(self.made[1], self._next_idx, self._frames)
        pushed = time.perf_counter()
        chunk = self._lease.next_waiting()
        assert chunk is not None
        self._lease.attempt_started(chunk)
        claimed = time.perf_counter()
        self._lease.acknowledge(chunk, self._receipt)
        acknowledged = time.perf_counter()
        self._next_idx += 1
        return 1000 * (pushed - began), 1000 * (claimed - pushed), 1000 * (acknowledged - claimed)

    def end(self) -> None:
        """Close it."""
        self._lease.release()
        self._spool.close()


def _few(number: int) -> str:
    return f"at {number:,}"


@contextmanager
def _spool_of(bench: Bench, *, acknowledged: int, waiting: int = 0) -> Iterator[tuple[Path, str]]:
    """A fresh spool of that size, and its stream; removed afterwards."""
    root = bench.work / f"large-{acknowledged}-{waiting}"
    shutil.rmtree(root, ignore_errors=True)
    try:
        yield root, make_large_spool(root, acknowledged=acknowledged, waiting=waiting)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _reopened(root: Path) -> float:
    began = time.perf_counter()
    with Spool(root, limits=Limits(min_free_bytes=0), create=False):
        return time.perf_counter() - began


def _first_screen(root: Path, arguments: list[str]) -> Callable[[], float]:
    """Seconds until so much of the output is there, or all of it when it is less; the process starts anew."""

    def play() -> float:
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "uploader", *arguments, "--spool", str(root)],
            env=environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process:
            assert process.stdout is not None
            seen = 0
            while seen < _SCREEN_BYTES and (piece := os.read(process.stdout.fileno(), _SCREEN_BYTES)):
                seen += len(piece)
            took = time.perf_counter() - began
            process.kill()
        if not seen:
            raise NotMeasured(f"{' '.join(arguments)} said nothing")
        return took

    return play
