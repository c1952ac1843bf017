"""What each step of a workload promises once it has returned."""

import copy
import hashlib
import json
from collections.abc import Container, Iterator
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spool import Chunk, Receipt, Spool, Stream, shard_name
from spool.testing import START_MS, some_frames
from tools.powerloss.steps import COPY, DATA_IDS, DELIVERIES, DESTINATIONS, STEPS, Step

__all__ = ["STEPS", "Promised", "Step", "after", "digest", "name_of", "observed", "outcomes"]

Promised = dict[str, dict[str, Any]]
"""Every stream by name: its state and its chunks by index, as far as a step promises anything about them."""

DARK_IDX, SHORT_IDX = 1, 2
CLOCK = (12.5, 3.0)
HEIGHT, WIDTH = 48, 64
MISSING = "its file is missing from the spool"
FOLDERS = "the folder's"
"""A data_id or a receipt as a folder gives them."""

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
    return some_frames(n, HEIGHT, WIDTH, seed=1000 * ord(stream.removesuffix(COPY)) + idx)


def name_of(stream: Stream) -> str:
    """What a stream is called here: a copy has its original's name, and something behind it."""
    return stream.settings.name + COPY * (stream.settings.copy_of is not None)


def capture_start(idx: int) -> int:
    """When a chunk was captured."""
    return START_MS + 1000 * idx


def etag_of(stream: str, idx: int) -> str:
    """What the far end answers for a chunk."""
    return f"etag-{stream}-{idx}"


def receipt_of(stream: str, idx: int) -> Receipt:
    """The same with all that comes with it."""
    return Receipt(status=200, etag=etag_of(stream, idx), confirmed=True, at_ms=START_MS + idx)


def after(state: Promised, step: Step) -> Promised:
    """The state once the step has been taken."""
    if step.do in ("open", "second", "close", "spoil", "mark"):
        return state
    if step.do in DELIVERIES:
        return outcomes(state, step)[-1]
    state = copy.deepcopy(state)
    if step.do == "prune":
        for stream in state.values():
            for chunk in stream["chunks"].values():
                chunk["pruned"] |= chunk["state"] == "acknowledged"
    elif step.do == "stream":
        for name in _with_copies(step.stream, DESTINATIONS):
            state[name] = {
                "state": "open",
                "data_id": DATA_IDS[name],
                "held": None,
                "clock": [None, None],
                "chunks": {},
            }
    elif step.do in ("push", "die", "clock", "seal"):
        for name in _with_copies(step.stream, state):
            _change(state[name], step)
    else:
        _change(state[step.stream], step)
    return state


def _with_copies(name: str, among: Container[str]) -> list[str]:
    """A stream, and its copy if there is one: what is recorded of it is recorded of both."""
    return [name, *([name + COPY] if name + COPY in among else [])]


def outcomes(state: Promised, step: Step) -> list[Promised]:
    """What may be found of a step that has begun: nothing, a part of it where it has parts, and all of it."""
    if step.do in DELIVERIES:
        return list(_delivered(state, step.stream, failures=int(step.do == "garble")))
    return [state, after(state, step)]


def _delivered(state: Promised, name: str, *, failures: int) -> Iterator[Promised]:
    """What a worker makes of a stream, commit by commit; the first chunk is tried again after failures."""
    state = copy.deepcopy(state)
    stream = state.get(name, {"chunks": {}, "state": "", "data_id": ""})
    moves = [(stream, {"data_id": FOLDERS})] if stream["data_id"] is None else []
    for _, chunk in sorted(stream["chunks"].items()):
        if chunk["state"] == "spooled":
            moves += [(chunk, {"attempts": chunk["attempts"] + 1 + failed}) for failed in range(failures + 1)]
            failures = 0
            moves.append((chunk, {"state": "acknowledged", "receipt": FOLDERS}))
    if stream["state"] == "sealed":
        moves.append((stream, {"state": "finalized"}))
    yield copy.deepcopy(state)
    for what, change in moves:
        what.update(change)
        yield copy.deepcopy(state)


def _change(stream: dict[str, Any], step: Step) -> None:
    chunk = stream["chunks"].get(step.idx, {})
    match step.do:
        case "push" | "die":
            fresh = {"state": "spooled", "attempts": 0, "receipt": None, "parked": None, "pruned": False}
            stream["chunks"].setdefault(step.idx, fresh)
            if chunk.get("parked") == MISSING:
                chunk.update(_moved(step))
        case "attempt":
            chunk["attempts"] += 1
        case "failed":
            pass
        case _ if step.idx >= 0:
            chunk.update(_moved(step))
        case _:
            stream.update(_STREAM_MOVES[step.do])
    if step.do == "retry":
        stream["held"] = None
        for other in stream["chunks"].values() if step.idx < 0 else ():
            if other["state"] == "parked":
                other.update(_moved(step))


def _moved(step: Step) -> dict[str, object]:
    waits: dict[str, object] = {"state": "spooled", "parked": None}
    moves: dict[str, dict[str, object]] = {
        "acknowledge": {"state": "acknowledged", "receipt": asdict(receipt_of(step.stream, step.idx))},
        "park": {"state": "parked", "parked": f"refused {step.idx}"},
        "vanish": {"state": "parked", "parked": MISSING},
        "discard": {"state": "discarded", "parked": None},
    }
    return moves.get(step.do, waits)


def observed(spool: Spool) -> Promised:
    """The same, as an open spool tells it."""
    return {
        name_of(stream): {
            "state": str(stream.state),
            "data_id": _data_id(stream),
            "held": stream.held,
            "clock": [stream.clock_offset_ms, stream.clock_uncertainty_ms],
            "chunks": {
                chunk.chunk_idx: {
                    "state": str(chunk.state),
                    "attempts": chunk.attempts,
                    "receipt": _receipt(chunk),
                    "parked": chunk.parked_reason if chunk.state == "parked" else None,
                    "pruned": chunk.pruned_at_ms is not None,
                }
                for chunk in spool.chunks(stream.stream_id)
            },
        }
        for stream in spool.streams()
    }


def _data_id(stream: Stream) -> str | None:
    return FOLDERS if stream.data_id == f"{stream.settings.name}-{stream.stream_id}" else stream.data_id


def _receipt(chunk: Chunk) -> dict[str, Any] | str | None:
    receipt = chunk.receipt
    if receipt is None:
        return None
    key = f"/{receipt.data_id}/frames/{shard_name(chunk.chunk_idx)}"
    return FOLDERS if receipt.confirmed and f"/{receipt.url_path}".endswith(key) else asdict(receipt)


def digest(state: Promised) -> str:
    """Short and equal for equal states."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
