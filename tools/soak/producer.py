"""One producer process: a camera that pushes through `RHEEDStreamer` until a stop file appears.

Started again after a kill it reads its own record, and goes on with its last stream or opens a new one. A chunk
that was in doubt is mostly pushed again with the same frames, which has to be a no-op or its first arrival, and
sometimes left in doubt.
"""

import argparse
import contextlib
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from tools.soak.obligations import Frames, Promised, Record, promised
from uploader import RHEEDStreamer, ServerUnreachable
from uploader.errors import KeyRefused, RequestRefused
from uploader.own_worker import WorkerKind

FPS = 4.0
CHUNK_SIZE = 8
HEIGHT, WIDTH = 96, 128
_STREAM_CHUNKS_MAX = 80
_PAUSE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a producer was started.

    Attributes:
        life: counts the starts of this producer.
        push_every_s: on average.
    """

    name: str
    seed: int
    life: int
    endpoint: str
    spool: Path
    record: Path
    stop: Path
    push_every_s: float
    worker: WorkerKind = "external"


def frames_of(seed: int, name: str, ordinal: int, chunk_idx: int) -> Frames:
    """The frames of one chunk: the same ones in every life; sometimes dark, sometimes a short chunk."""
    dice = np.random.default_rng([seed, *name.encode(), ordinal, chunk_idx])
    n = CHUNK_SIZE if dice.random() < 0.85 else int(dice.integers(1, CHUNK_SIZE))  # noqa: PLR2004 - mostly whole
    if dice.random() < 0.05:  # noqa: PLR2004 - now and then
        return np.zeros((n, HEIGHT, WIDTH), np.uint8)
    return dice.integers(0, 256, (n, HEIGHT, WIDTH), dtype=np.uint8)


class Producer:
    """One life of a producer."""

    def __init__(self, terms: Terms, streamer: RHEEDStreamer) -> None:
        self._terms = terms
        self._streamer = streamer
        self._record = Record(terms.record)
        self._dice = random.Random(f"{terms.seed} {terms.name} {terms.life}")  # noqa: S311 - repeatable
        self._before = promised(terms.record)

    def run(self) -> None:
        """Push until the stop file appears."""
        stream = self._last_stream()
        while not self._terms.stop.exists():
            if stream is None:
                stream = self._open()
                continue
            self._push(stream)
            if len(stream.chunks) >= _STREAM_CHUNKS_MAX or self._dice.random() < 1 / _STREAM_CHUNKS_MAX:
                self._end(stream)
                stream = None
            time.sleep(self._dice.uniform(0, 2 * self._terms.push_every_s))

    def _last_stream(self) -> Promised | None:
        if not self._before or self._before[-1].ended:
            return None
        last = self._before[-1]
        # Only the newest one: an older one would come after its followers, and the order would be ours to blame.
        newest = max(last.chunks, default=-1)
        is_in_doubt = newest >= 0 and not last.chunks[newest].accepted
        if is_in_doubt and self._dice.random() < 0.75:  # noqa: PLR2004 - some lives leave it and go on after it
            self._push(last, newest)
        if self._dice.random() < 0.3:  # noqa: PLR2004 - some lives begin with a new stream
            self._end(last)
            return None
        return last

    def _open(self) -> Promised | None:
        terms = self._terms
        ordinal = 1 + max((stream.ordinal for stream in self._before), default=-1)
        try:
            data_id = self._streamer.initialize(FPS, 0.0, CHUNK_SIZE, stream_name=f"{terms.name} {ordinal}")
        except (ServerUnreachable, KeyRefused, RequestRefused) as error:
            print(f"no stream yet: {error}", file=sys.stderr)
            time.sleep(_PAUSE_S)
            return None
        self._record.write("opened", stream=data_id, ordinal=ordinal, chunk_size=CHUNK_SIZE)
        self._before = promised(terms.record)
        return self._before[-1]

    def _push(self, stream: Promised, chunk_idx: int | None = None) -> None:
        if chunk_idx is None:
            skipped = 1 if stream.chunks and self._dice.random() < 0.02 else 0  # noqa: PLR2004 - a gap, rarely
            chunk_idx = max(stream.chunks, default=-1) + 1 + skipped
        frames = frames_of(self._terms.seed, self._terms.name, stream.ordinal, chunk_idx)
        self._record.chunk("meant", stream.data_id, chunk_idx, frames)
        began = time.monotonic()
        self._streamer.push(stream.data_id, chunk_idx, frames)
        took_ms = round((time.monotonic() - began) * 1000, 1)
        stream.chunks[chunk_idx] = self._record.chunk("accepted", stream.data_id, chunk_idx, frames)
        self._record.write("took", push_ms=took_ms)

    def _end(self, stream: Promised) -> None:
        self._streamer.finalize(stream.data_id, drain_timeout_s=0)
        self._record.write("ended", stream=stream.data_id)


def main() -> int:
    """Run one life; everything but the API key comes as arguments."""
    parser = argparse.ArgumentParser()
    for name in ("name", "endpoint"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("seed", "life"):
        parser.add_argument(f"--{name}", required=True, type=int)
    for name in ("spool", "record", "stop"):
        parser.add_argument(f"--{name}", required=True, type=Path)
    parser.add_argument("--push-every-s", required=True, type=float)
    parser.add_argument("--worker", choices=get_args(WorkerKind), default="external")
    terms = Terms(**vars(parser.parse_args()))
    with (
        contextlib.suppress(KeyboardInterrupt),
        RHEEDStreamer(
            endpoint=terms.endpoint,
            spool_dir=terms.spool,
            spool_min_free_bytes=0,
            verbosity=2,
            worker=terms.worker,
        ) as streamer,
    ):
        Producer(terms, streamer).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
