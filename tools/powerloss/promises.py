"""What the workload does, step by step, and what each step promises once it has returned."""

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spool import Spool
from spool.testing import START_MS, some_frames
from tools.powerloss.volume import Op

Promised = dict[str, dict[str, Any]]
"""Every stream by name: its state and its chunks by index, as far as a step promises anything about them."""

DARK_IDX, SHORT_IDX = 1, 2
DATA_IDS = {"a": "data-1", "b": None}
CLOCK = (12.5, 3.0)
HEIGHT, WIDTH = 48, 64


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the spool: what, of which stream, which chunk."""

    do: str
    stream: str = ""
    idx: int = -1


def _steps(text: str) -> tuple[Step, ...]:
    words = [(*word.split("."), "", "-1") for word in text.split()]
    return tuple(Step(do, stream, int(idx or -1)) for do, stream, idx, *_ in words)


STEPS = _steps(
    """
    open
    stream.a push.a.0 push.a.1 push.a.2 push.a.1 clock.a
    stream.b push.b.0 push.a.3
    attempt.a.0 acknowledge.a.0 attempt.a.1 failed.a.1 attempt.a.1 acknowledge.a.1 push.a.1
    park.a.2 retry.a.2 park.a.3 discard.a.3 push.b.1 discard.b.1
    prune push.a.5 hold.b retry.b
    attempt.a.2 acknowledge.a.2 close
    open
    push.a.4 push.b.2 attempt.b.0 acknowledge.b.0 park.b.2
    seal.b retry.b.2 acknowledge.b.2 finalize.b
    acknowledge.a.4 prune push.a.6 acknowledge.a.5
    seal.a acknowledge.a.6 finalize.a prune
    close
    """
)
"""Two streams: dark and short chunks, pushes repeated, a gap, every move of the tables, two openings."""


_STREAM_MOVES: dict[str, dict[str, object]] = {
    "hold": {"held": "a reason"},
    "retry": {"held": None},
    "clock": {"clock": list(CLOCK)},
    "seal": {"state": "sealed"},
    "finalize": {"state": "finalized"},
}


@lru_cache(maxsize=64)
def frames_of(stream: str, idx: int) -> NDArray[np.uint8]:
    """The frames of a chunk: always the same."""
    n = 2 if idx == SHORT_IDX else 4
    if idx == DARK_IDX:
        return np.zeros((n, HEIGHT, WIDTH), np.uint8)
    return some_frames(n, HEIGHT, WIDTH, seed=1000 * ord(stream) + idx)


def capture_start(idx: int) -> int:
    """When a chunk was captured."""
    return START_MS + 1000 * idx


def etag_of(stream: str, idx: int) -> str:
    """What the far end answers for a chunk."""
    return f"etag-{stream}-{idx}"


def after(state: Promised, step: Step) -> Promised:
    """The state once the step has been taken."""
    state = copy.deepcopy(state)
    if step.do == "prune":
        for stream in state.values():
            for chunk in stream["chunks"].values():
                chunk["pruned"] |= chunk["state"] == "acknowledged"
    elif step.do == "stream":
        state[step.stream] = {
            "state": "open",
            "data_id": DATA_IDS[step.stream],
            "held": None,
            "clock": [None, None],
            "chunks": {},
        }
    elif step.do not in ("open", "close"):
        _change(state[step.stream], step)
    return state


def _change(stream: dict[str, Any], step: Step) -> None:
    chunk = stream["chunks"].get(step.idx, {})
    match step.do:
        case "push":
            fresh = {"state": "spooled", "attempts": 0, "etag": None, "parked": None, "pruned": False}
            stream["chunks"].setdefault(step.idx, fresh)
        case "attempt":
            chunk["attempts"] += 1
        case "failed":
            pass
        case _ if step.idx >= 0:
            chunk.update(_moved(step))
        case _:
            stream.update(_STREAM_MOVES[step.do])


def _moved(step: Step) -> dict[str, object]:
    moves: dict[str, dict[str, object]] = {
        "acknowledge": {"state": "acknowledged", "etag": etag_of(step.stream, step.idx)},
        "park": {"state": "parked", "parked": f"refused {step.idx}"},
        "retry": {"state": "spooled", "parked": None},
        "discard": {"state": "discarded", "parked": None},
    }
    return moves[step.do]


def observed(spool: Spool) -> Promised:
    """The same, as an open spool tells it."""
    return {
        stream.settings.name: {
            "state": str(stream.state),
            "data_id": stream.data_id,
            "held": stream.held,
            "clock": [stream.clock_offset_ms, stream.clock_uncertainty_ms],
            "chunks": {
                chunk.chunk_idx: {
                    "state": str(chunk.state),
                    "attempts": chunk.attempts,
                    "etag": chunk.receipt.etag if chunk.receipt else None,
                    "parked": chunk.parked_reason if chunk.state == "parked" else None,
                    "pruned": chunk.pruned_at_ms is not None,
                }
                for chunk in spool.chunks(stream.stream_id)
            },
        }
        for stream in spool.streams()
    }


def digest(state: Promised) -> str:
    """Short and equal for equal states."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def allowed(ops: list[Op], before: list[Promised] | None = None) -> list[Promised]:
    """The states that a cut after these operations may leave: what returned, and what was under way or not.

    Args:
        ops: with the notes of the workload.
        before: what was allowed when these operations began; nothing at all for a new spool.
    """
    states: list[Promised] = before or [{}]
    for op in ops:
        if op.kind != "note":
            continue
        note = json.loads(op.data)
        if "begun" in note:
            states = [*states, after(states[-1], STEPS[note["begun"]])]
        elif "returned" in note:
            states = states[-1:]
        else:
            # A reopened spool has been looked at: from then on it must stay what it was.
            seen = [state for state in states if digest(state) == note["seen"]]
            states = seen or states
    return states
