"""At random: two producers and a worker or two on one spool, each killed at some step or at some instant.

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
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from spool import (
    Chunk,
    ChunkMoved,
    ChunkState,
    Disk,
    IllegalTransition,
    Limits,
    Receipt,
    ShardDamaged,
    Spool,
    StreamSealed,
    shards,
)
from spool.testing import FakeClock, some_settings
from tools.kills.dying import ChildFailed, DyingDisk, Say, ending_of, fork, play_in_child
from tools.kills.owed import Owed, etag_of, frames_of, judged
from tools.kills.steps import Kill, killed_while_opening, open_quietly
from tools.powerloss.arrival import check_arrived, check_shares, deliver
from tools.powerloss.promises import name_of
from tools.powerloss.steps import COPY, FOLDER_URL, FOLDERS
from uploader.destinations.base import Delivered, Refused, Ticket, TryLater
from uploader.destinations.stores.folder import FolderStore, mark
from uploader.destinations.zarr_store import ZarrDestination

ROUNDS = 4
PRODUCERS = ("a", "b")
LONGEST_S = 0.15
STEPS_MAX = 70
COURIER_STEPS_MAX = 400
"""A folder takes many steps for each chunk."""
NESTED_MAX = 3
BY_STEP, PARKED, SEALED = 0.7, 0.1, 0.05
"""How often a process dies at a step and not at an instant, a chunk is parked, a stream is sealed."""


def lives(folder: Path, seed: str, *, shares: int = 0) -> Iterator[Kill]:
    """One life with everything in it, of some rounds; yields each process that died.

    Args:
        folder: to work in.
        seed: what decides.
        shares: to so many folders do the streams go; each has an `UploadWorker`, in place of the worker.
    """
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    above, owed = folder / f"crowd-{seed}", Owed()
    above.mkdir()
    root = above / "spool"
    open_quietly(root).close()
    urls = tuple(FOLDERS)[:shares]
    for url in urls:
        mark(above / FOLDERS[url])
    for number in range(ROUNDS):
        died = _round(root, chance, owed, urls)
        for again in range(1 + chance.randrange(NESTED_MAX)):
            was_killed, labels = killed_while_opening(root, chance.randint(1, 4))
            if not was_killed:
                break
            yield Kill(number, 0, again + 1, labels[-1])
        why = judged(root, owed) or (urls and _judged_shares(root, is_last=number == ROUNDS - 1)) or ""
        for label in died:
            yield Kill(number, 1, 0, label, why=why)
            why = ""
        if why:
            yield Kill(number, 0, 0, "nobody", why=why)
    shutil.rmtree(above)


def _judged_shares(root: Path, *, is_last: bool) -> str:
    """What a child finds wrong in the folders; a worker has threads, and no process that has some is forked."""
    check = check_shares if is_last else check_arrived
    try:
        play_in_child(lambda _say: check(root, FakeClock(), frames_of))
    except ChildFailed as error:
        return str(error)
    return ""


def _round(root: Path, chance: random.Random, owed: Owed, urls: Sequence[str]) -> list[str]:
    """Let all of them work until each has died or has done its part; what killed them."""
    running = []
    for name in (*PRODUCERS, *(urls or ["worker"])):
        by_step = chance.random() < BY_STEP
        is_courier = name in urls
        at = chance.randint(1, COURIER_STEPS_MAX if is_courier else STEPS_MAX) if by_step else 0
        until = None if by_step else time.monotonic() + chance.random() * LONGEST_S
        seed = chance.random()
        play = _courier if is_courier else _worker if name == "worker" else partial(_producer, urls=urls)

        def played(say: Say, play=play, name=name, at=at, seed=seed) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001
            disk = DyingDisk(at)
            with Spool(root, limits=Limits(min_free_bytes=0), clock=FakeClock(), disk=disk) as spool:
                play(spool, disk, name, random.Random(seed), say)  # noqa: S311 - chosen to be repeatable

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


def _producer(
    spool: Spool, _disk: Disk, name: str, chance: random.Random, say: Say, *, urls: Sequence[str]
) -> None:
    """Go on with the stream: new chunks, some again, some left out; now and then give one up, or end."""
    mine = [stream for stream in spool.streams() if name_of(stream) == name]
    settings = some_settings(name=name)
    if urls:  # the folder gives the data_id
        settings = replace(settings, destination=urls[0])
    data_id = None if urls else f"data-{name}"
    stream = mine[0] if mine else spool.open_stream(settings, also=urls[1:], data_id=data_id)
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


class _Telling(ZarrDestination):
    """Says what is about to be delivered."""

    def __init__(self, url: str, share: Path, disk: Disk, say: Say) -> None:
        super().__init__(FolderStore(url, share, disk))
        self._say = say
        self._behind = "" if url == FOLDER_URL else COPY

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """See `Destination.deliver`."""
        what = f"{ticket.data_id.partition('-')[0]}{self._behind}.{chunk.chunk_idx}"
        self._say(f"sent {what} {hashlib.sha256(body).hexdigest()}")
        self._say(f"acknowledge {what}")
        return super().deliver(chunk, ticket, body)


def _courier(spool: Spool, disk: Disk, url: str, chance: random.Random, say: Say) -> None:
    """Deliver what waits for a folder; now and then end a stream."""
    for stream in spool.streams():
        if stream.settings.copy_of is None and chance.random() < SEALED:
            spool.seal(stream.stream_id)
    deliver(spool.root, _Telling(url, spool.root.with_name(FOLDERS[url]), disk, say), disk, FakeClock())


def _worker(spool: Spool, _disk: Disk, _name: str, chance: random.Random, say: Say) -> None:
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
