"""At random: two producers and a worker on one spool, each killed at some step or at some instant.

What each process was told by the spool is kept outside, in the pipe that it writes to: a chunk is owed from the
moment at which its ``push()`` had returned, a receipt from that of ``acknowledge()``. After every round the spool
is opened, by children that are killed too, and everything owed is looked for.
"""

import contextlib
import hashlib
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spool import (
    ChunkMoved,
    ChunkState,
    IllegalTransition,
    Limits,
    Receipt,
    ShardDamaged,
    Spool,
    StreamSealed,
    shards,
)
from spool.testing import FakeClock, some_settings
from tools.kills.dying import ChildFailed, DyingDisk, Say, ending_of, fork
from tools.kills.owed import Owed, etag_of, frames_of, judged
from tools.kills.steps import Kill, killed_while_opening, open_quietly

ROUNDS = 4
PRODUCERS = ("a", "b")
LONGEST_S = 0.15
STEPS_MAX = 70
NESTED_MAX = 3
BY_STEP, PARKED, SEALED = 0.7, 0.1, 0.05
"""How often a process dies at a step and not at an instant, a chunk is parked, a stream is sealed."""


def lives(folder: Path, seed: str) -> Iterator[Kill]:
    """One life with everything in it, of some rounds; yields each process that died."""
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    root, owed = folder / f"crowd-{seed}", Owed()
    open_quietly(root).close()
    for number in range(ROUNDS):
        died = _round(root, chance, owed)
        for again in range(1 + chance.randrange(NESTED_MAX)):
            was_killed, labels = killed_while_opening(root, chance.randint(1, 4))
            if not was_killed:
                break
            yield Kill(number, 0, again + 1, labels[-1])
        why = judged(root, owed)
        for label in died:
            yield Kill(number, 1, 0, label, why=why)
            why = ""
        if why:
            yield Kill(number, 0, 0, "nobody", why=why)
    shutil.rmtree(root)


def _round(root: Path, chance: random.Random, owed: Owed) -> list[str]:
    """Let all three work until each has died or has done its part; what killed them."""
    running = []
    for name in (*PRODUCERS, "worker"):
        by_step = chance.random() < BY_STEP
        at = chance.randint(1, STEPS_MAX) if by_step else 0
        until = None if by_step else time.monotonic() + chance.random() * LONGEST_S
        seed = chance.random()
        play = _worker if name == "worker" else _producer

        def played(say: Say, play=play, name=name, at=at, seed=seed) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
            with Spool(root, limits=Limits(min_free_bytes=0), clock=FakeClock(), disk=DyingDisk(at)) as spool:
                play(spool, name, random.Random(seed), say)  # noqa: S311 - chosen to be repeatable

        running.append((*fork(played), until, "a step of many" if by_step else "some instant"))
    died = []
    for child, _, until, _ in sorted(running, key=lambda one: one[2] or 0.0):
        if until is not None:
            time.sleep(max(0.0, until - time.monotonic()))
            os.kill(child, signal.SIGKILL)
    failed: list[ChildFailed] = []
    for child, reading, _, what in running:
        try:
            ending = ending_of(child, reading)
        except ChildFailed as error:
            failed.append(error)  # the others are waited for: nobody is left behind
            continue
        owed.hear(ending)
        if ending.was_killed:
            died.append(what)
    if failed:
        raise failed[0]
    return died


def _producer(spool: Spool, name: str, chance: random.Random, say: Say) -> None:
    """Go on with the stream: new chunks, some again, some left out; now and then give one up, or end."""
    mine = [stream for stream in spool.streams() if stream.settings.name == name]
    stream = mine[0] if mine else spool.open_stream(some_settings(name=name), data_id=f"data-{name}")
    say(f"stream {name}")
    idx = stream.next_chunk_idx
    for _ in range(chance.randint(3, 9)):
        verb = chance.choices(("new", "again", "gap", "discard", "prune"), (10, 3, 1, 1, 1))[0]
        chosen = chance.randrange(idx) if idx and verb in ("again", "discard") else idx
        if verb == "prune":
            spool.prune()
        elif verb == "discard":
            _discard(spool, stream.stream_id, f"{name}.{chosen}", say)
        else:
            idx = max(idx, chosen + 1 + (verb == "gap"))
            chunk = spool.chunk(stream.stream_id, chosen)
            if chunk is None or chunk.state is not ChunkState.DISCARDED:
                _push(spool, stream.stream_id, f"{name}.{chosen}", say)


def _push(spool: Spool, ref: str, name: str, say: Say) -> None:
    stream, _, idx = name.partition(".")
    say(f"push {name}")
    try:
        spool.push(ref, int(idx), frames_of(stream, int(idx)))
    except StreamSealed:
        return
    say(f"pushed {name}")


def _discard(spool: Spool, ref: str, name: str, say: Say) -> None:
    say(f"discard {name}")
    try:
        spool.discard(ref, [int(name.partition(".")[2])], why="at random")
    except ChunkMoved:
        return  # it is not there, or delivered
    say(f"discarded {name}")


def _worker(spool: Spool, _name: str, chance: random.Random, say: Say) -> None:
    """Deliver what waits, in order; park some, take them up again, end what can be ended."""
    for stream in spool.streams():
        name = stream.settings.name
        leased = spool.lease(stream.stream_id, f"worker {os.getpid()}", ttl_s=60, take_over=True)
        assert leased is not None
        if stream.state != "finalized":
            spool.retry(stream.stream_id)
        after_idx = -1
        while (chunk := leased.next_waiting(after_idx=after_idx)) is not None:
            after_idx = chunk.chunk_idx
            what = f"{name}.{chunk.chunk_idx}"
            try:
                leased.attempt_started(chunk)
                body = leased.read(chunk)
                sent = shards.decode(body, n=chunk.n, height=chunk.height, width=chunk.width)
                assert np.array_equal(sent, frames_of(name, chunk.chunk_idx)), f"{what} is sent with other frames"
                say(f"sent {what} {hashlib.sha256(body).hexdigest()}")
                if chance.random() < PARKED:
                    leased.park(chunk, "at random")
                    continue
                say(f"acknowledge {what}")
                receipt = Receipt(status=200, etag=etag_of(what), confirmed=True, at_ms=1)
                leased.acknowledge(chunk, receipt)
                say(f"acknowledged {what}")
            except ChunkMoved:
                pass  # its producer has given it up meanwhile
            except ShardDamaged:
                now = spool.chunk(stream.stream_id, chunk.chunk_idx)
                if now is None or now.state is not ChunkState.DISCARDED:
                    raise
        if chance.random() < SEALED:
            spool.seal(stream.stream_id)
            with contextlib.suppress(IllegalTransition):  # something came, or is parked
                leased.finalize({})
        leased.release()
        spool.keep_within_limits()
