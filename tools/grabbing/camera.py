"""A camera at its full rate into the spool, with outages and worker kills: every frame number is accounted for."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired
from typing import Any

import numpy as np

from tools.grabbing.session import Session, outages, session
from tools.grabbing.stamped import numbers_in

_END_S = 900.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a campaign found.

    Attributes:
        problems: what is wrong; none when all is well.
        lines: what there is to say.
    """

    problems: list[str]
    lines: list[str]


def camera(
    work: Path, source: str, *, seconds: float, options: Sequence[str], seed: int, more: dict[str, str], calm: bool
) -> Found:
    """Record from a camera for so long, and judge.

    Args:
        work: an empty folder.
        source: for ``framespool record``.
        seconds: how long to record.
        options: further ones for ``framespool record``.
        seed: of what happens to the line and the worker.
        more: for the environment.
        calm: nothing happens to them.
    """
    with session(work) as one:
        began_s = time.monotonic()
        process = one.start(
            "record", source, *options, "--for", f"{seconds}s", "--drain-timeout", "600", more=more
        )
        if calm:
            said = process.communicate(timeout=seconds + _END_S)[0]
        else:
            # Until the recording is over; what is left is then delivered in peace.
            with outages(one, every_s=(3.0, 12.0), lasting_s=(1.0, 8.0), seed=seed), suppress(TimeoutExpired):
                process.wait(seconds)
            said = process.communicate(timeout=_END_S)[0]
        took_s = time.monotonic() - began_s
        ref = one.only_stream()
        told = one.audit(ref)
        problems = (
            [] if process.returncode == 0 else [f"framespool record ended with {process.returncode}: {said}"]
        )
        problems += accounted(told)
        if source.startswith("stamped:"):
            problems += stamps_agree(one, told)
        struck = f"{len(one.strikes)} outages, worker killed {one.kills['worker']} times"
        listed = f"{len(told['outages'])} outages in the audit"
        lines = [one.summary(ref), f"recorded and delivered in {took_s:.0f} s; {struck}; {listed}"]
        return Found(problems=problems, lines=lines)


def accounted(told: dict[str, Any]) -> list[str]:
    """Whether each number from the first to the last is in a chunk or lost, once, and all arrived.

    Args:
        told: the audit.
    """
    problems = [] if told["complete"] else ["the audit says that the stream is not complete"]
    problems += [] if told["state"] == "finalized" else [f"the stream is {told['state']}"]
    expected = None
    for chunk in told["chunks"]:
        capture = chunk["capture"]
        lost = sum(one["frames"] for one in capture["losses"])
        first = capture["first"] if expected is None else expected
        span = capture["last"] - first + 1
        if span != chunk["n"] + lost:
            problems.append(f"chunk {chunk['chunk_idx']}: {span} numbers, but {chunk['n']} frames and {lost} lost")
        expected = capture["last"] + 1
        if not (chunk["receipt"] or {}).get("confirmed"):
            problems.append(f"chunk {chunk['chunk_idx']} is not confirmed")
    source = told["source"]
    if source["frames_spooled"] != sum(one["n"] for one in told["chunks"]):
        problems.append("the source's line has other frames than the chunks")
    if source["frames_captured"] != source["frames_spooled"] + sum(source["frames_lost"].values()):
        problems.append("the source's line does not add up")
    return problems


def stamps_agree(one: Session, told: dict[str, Any]) -> list[str]:
    """Whether the frames at the far end are those whose numbers the audit tells."""
    received = one.server.received(told["data_id"])
    size = (received.shards or received.chunks)[0]
    problems, before = [], 0
    for chunk in told["chunks"]:
        start = chunk["chunk_idx"] * size
        numbers = numbers_in(np.asarray(received[start : start + chunk["n"]]))
        capture = chunk["capture"]
        if (numbers[0], numbers[-1]) != (capture["first"], capture["last"]) or numbers[0] <= before:
            problems.append(f"chunk {chunk['chunk_idx']} at the far end has {numbers[0]} to {numbers[-1]}")
        if numbers != sorted(set(numbers)):
            problems.append(f"chunk {chunk['chunk_idx']} at the far end is out of order")
        before = numbers[-1]
    return problems
