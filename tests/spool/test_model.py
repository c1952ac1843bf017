"""The real spool against a model of it in a few lines, through seeded random lives of a stream."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spool import Chunk, ChunkConflict, ChunkMoved, ChunkState, Limits, Receipt, Spool, StreamSealed
from spool.testing import FakeClock, check_invariants, some_frames, some_settings

RECEIPT = Receipt(status=200, etag=None, confirmed=False, at_ms=1)
STEPS = 150
Call = Callable[[], object]
WEIGHTS = {"push": 10, "acknowledge": 4, "park": 4, "retry": 4, "discard": 1, "prune": 3, "limits": 3}
MOVES = {
    "acknowledge": ({ChunkState.SPOOLED}, ChunkState.ACKNOWLEDGED),
    "park": ({ChunkState.SPOOLED}, ChunkState.PARKED),
    "retry": ({ChunkState.PARKED}, ChunkState.SPOOLED),
    "discard": ({ChunkState.SPOOLED, ChunkState.PARKED}, ChunkState.DISCARDED),
}


@dataclass
class Model:
    """What must be true: which frames (by seed) each chunk holds, and its state."""

    seeds: dict[int, int] = field(default_factory=dict)
    states: dict[int, ChunkState] = field(default_factory=dict)
    sealed: bool = False

    def push(self, idx: int, seed: int) -> type[Exception] | None:
        if self.sealed:
            return StreamSealed
        if idx in self.seeds and (self.seeds[idx] != seed or self.states[idx] == ChunkState.DISCARDED):
            return ChunkConflict
        self.seeds.setdefault(idx, seed)
        self.states.setdefault(idx, ChunkState.SPOOLED)
        return None

    def expect(self, verb: str, idx: int, seed: int) -> type[Exception] | None:
        if verb == "push":
            return self.push(idx, seed)
        if verb not in MOVES:
            return None
        expects, becomes = MOVES[verb]
        if self.states.get(idx) not in expects:
            return ChunkMoved
        self.states[idx] = becomes
        return None


def act(spool: Spool, chunk: Chunk, verb: str, seed: int) -> type[Exception] | None:
    """Do it to the real one; the error it answers with."""
    ref, idx = chunk.stream_id, chunk.chunk_idx
    lease = spool.lease(ref, "worker", ttl_s=60)
    assert lease is not None
    calls: dict[str, Call] = {
        "push": lambda: spool.push(ref, idx, frames_of(idx, seed)),
        "acknowledge": lambda: lease.acknowledge(chunk, RECEIPT),
        "park": lambda: lease.park(chunk, "refused"),
        "retry": lambda: spool.retry(ref, [idx]),
        "discard": lambda: spool.discard(ref, [idx], why="the dice said so"),
        "prune": lambda: spool.prune(older_than_s=10),
        "limits": spool.keep_within_limits,
    }
    try:
        calls[verb]()
    except (ChunkConflict, StreamSealed, ChunkMoved) as error:
        return type(error)
    return None


def frames_of(idx: int, seed: int) -> NDArray[np.uint8]:
    return some_frames(1 + idx % 4, 6, 6, seed=seed)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_happens_in_whatever_order_the_spool_is_what_the_model_says(tmp_path: Path, seed: int) -> None:
    dice, clock, model = random.Random(seed), FakeClock(), Model()
    limits = Limits(min_free_bytes=0, retention_s=30)
    spool = Spool(tmp_path / "spool", limits=limits, clock=clock)
    ref = spool.open_stream(some_settings()).stream_id
    some_chunk = spool.push(ref, 0, frames_of(0, 0))
    model.push(0, 0)
    for step in range(STEPS):
        clock.advance_s(dice.random() * 5)
        if step == STEPS - 20:
            spool.seal(ref)
            model.sealed = True
        if dice.random() < 0.1:
            spool.close()
            spool = Spool(tmp_path / "spool", limits=limits, clock=clock)
        idx = dice.randrange(12)
        (verb,) = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
        frames_seed = idx + 100 * (dice.random() < 0.2)
        outcome = act(spool, replace(some_chunk, chunk_idx=idx), verb, frames_seed)
        assert outcome is model.expect(verb, idx, frames_seed), f"step {step}: {verb} {idx}"
        assert {chunk.chunk_idx: chunk.state for chunk in spool.chunks(ref)} == model.states
        check_invariants(spool)
    spool.close()
