"""Rows `push` and `limit`: how fast frames become durable, against the peer and against the machine."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from spool.encoding import RUN_BYTES
from spool.frame_codec import compress
from tools.bench.asked import OURS, PEER, Bench
from tools.bench.frames import Frames
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.sessions import Session

# What is wanted of the simulator's frames is nobody's target; they are held to the least of the others'.
AT_LEAST: Final = {"poisson": 4.0, "white": 2.2, "simulator": 2.0, "real": 2.0}
LIMIT_AT_LEAST: Final = 0.85
_MB: Final = 1e6
_WRITTEN: Final = "limit.bytes"
_COMPRESSING, _WRITING = "compressing alone", "writing alone"
_NO_IMAGES = "real frames (no folder given; see --frames)"


def push(bench: Bench) -> list[Comparison]:
    """Durable push of every kind of frames, with nothing uploaded meanwhile, and while uploading."""
    found = []
    for frames in bench.kinds():
        target = Target(of=OURS, to=(PEER,), at_least=AT_LEAST[frames.kind])
        for is_uploading, case in ((False, "spooling only"), (True, "while uploading")):
            figures = in_turns(
                {one: _pushes(bench, one, frames, is_uploading=is_uploading) for one in bench.clients},
                repeats=bench.repeats,
                warm_ups=bench.warm_ups,
            )
            rates = {one: _rates(frames, each) for one, each in figures.items()}
            found.append(
                compare(
                    "push",
                    f"{frames.kind}, {case}",
                    "MB/s",
                    rates,
                    target=target,
                    absent=_absent(bench, bench.absent),
                )
            )
    return found


def limit(bench: Bench) -> list[Comparison]:
    """Durable push against the slower of what any push must do: compress the frames, and put them on the disk."""
    found = []
    for frames in bench.kinds():
        loaded = frames.load()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            pieces = [one for run in threads.map(compress, _runs(loaded)) for one in run]
            contenders: dict[str, Callable[[], list[float]]] = {
                OURS: _pushes(bench, OURS, frames, is_uploading=False),
                _COMPRESSING: _several(bench, lambda: _compress(loaded, threads)),  # noqa: B023 - called in here
                _WRITING: _several(bench, lambda: _written(bench.work / _WRITTEN, pieces)),  # noqa: B023
            }
            figures = in_turns(contenders, repeats=bench.repeats, warm_ups=bench.warm_ups)
        (bench.work / _WRITTEN).unlink()
        rates = {name: _rates(frames, each) for name, each in figures.items()}
        target = Target(of=OURS, to=(_COMPRESSING, _WRITING), at_least=LIMIT_AT_LEAST)
        found.append(compare("limit", frames.kind, "MB/s", rates, target=target, absent=_absent(bench, ())))
    return found


def _absent(bench: Bench, others: Sequence[str]) -> tuple[str, ...]:
    return (*others, *(() if bench.images is not None else (_NO_IMAGES,)))


def _rates(frames: Frames, sessions: Sequence[Sequence[float]]) -> list[float]:
    """Megabytes of raw frames a second: of each push of each session."""
    return [frames.raw_bytes / _MB / seconds for session in sessions for seconds in session]


def _pushes(bench: Bench, client: str, frames: Frames, *, is_uploading: bool) -> Callable[[], list[float]]:
    def play() -> list[float]:
        with Session(bench=bench) as session:
            producer = session.producer(client, frames)
            if not is_uploading:
                session.refuse_uploads()
            # Memory that is touched for the first time is slow, and a worker takes its time to start.
            producer.push(bench.amount(3, 1), counts=False)
            if is_uploading:
                session.wait_until(lambda: session.received() > 0, f"the first chunk of {client} at the sink")
            else:
                session.wait_until(session.was_refused, f"{client} to ask for an upload")
            return producer.push(bench.amount(5, 2))

    return play


def _several(bench: Bench, play: Callable[[], object]) -> Callable[[], list[float]]:
    def timed() -> list[float]:
        took = []
        for number in range(bench.amount(6, 2)):
            began = time.perf_counter()
            play()
            if number:
                took.append(time.perf_counter() - began)
        return took

    return timed


def _compress(frames: NDArray[np.uint8], threads: ThreadPoolExecutor) -> None:
    """The frames on every core, in the spool's own runs; nothing is kept, so that its memory is used again."""
    for _ in threads.map(compress, _runs(frames)):
        pass


def _runs(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    step = max(1, RUN_BYTES // frames[0].nbytes)
    return [frames[start : start + step] for start in range(0, len(frames), step)]


def _written(path: Path, pieces: Sequence[bytes]) -> None:
    """The pieces in a new file, and that on the disk; the one before is removed first, by the one after."""
    path.unlink(missing_ok=True)
    with path.open("xb", buffering=0) as file:
        for piece in pieces:
            file.write(piece)
        os.fsync(file.fileno())
