"""What `spool.verify` finds and a machine may mend, because something else that is intact still tells it.

Nothing is deleted: an index that cannot be used is set aside, and a shard stays whatever is wrong with it.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spool.clock import HostClock
from spool.disk import Disk
from spool.errors import ShardDamaged, SpoolError
from spool.folder import INDEX_NAME, LIMITS_NAME, SpoolFolder
from spool.ledger_file import LEDGER_NAME, rows_that_hold
from spool.locks import ProcessLock
from spool.model import Chunk
from spool.problems import DAMAGED, DERIVED, DISAGREES, INDEX, LEDGER, LEDGER_FILE, MISSING, Problem
from spool.spool import Spool
from spool.states import ChunkState
from spool.verify import Progress, Verified, verify


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What `repair` has done.

    Attributes:
        before: what was found.
        done: what was done, in words.
        after: what is found now.
    """

    before: Verified
    done: tuple[str, ...]
    after: Verified


def repair(root: Path, *, disk: Disk | None = None, progress: Progress | None = None) -> Repaired:
    """Verify a spool, mend what can be mended, and verify it again.

    A producer or worker that is at work meanwhile goes on, unless the index itself must be set aside.

    Args:
        root: the spool's folder.
        disk: the file system.
        progress: see `verify`.

    Raises:
        SpoolError: the disk refused, or the index must be set aside while somebody uses it.
    """
    disk = disk or Disk()
    before = verify(root, progress=progress)
    if before.is_sound:
        return Repaired(before=before, done=(), after=before)
    done = [*_set_aside(root, before, disk)]
    # Opening it is the greater part: recovery derives what is derived, takes up and sweeps what is left over.
    with Spool(root, disk=disk) as spool:
        for problem in before.problems:
            done += _mended(spool, problem)
    return Repaired(before=before, done=tuple(done), after=verify(root, progress=progress))


def _set_aside(root: Path, before: Verified, disk: Disk) -> Iterator[str]:
    """Take out of the way what is told again by something else that holds."""
    kinds = {problem.kind for problem in before.problems}
    path = root / LEDGER_NAME
    if LEDGER_FILE in kinds and not kinds & {INDEX, LEDGER}:
        name = f"{LEDGER_NAME}.{uuid.uuid4().hex}.aside"
        disk.rename(path, root / name, label="repair")
        yield f"{LEDGER_NAME} is set aside as {name}, and written again from the index"
    if not kinds & {INDEX, LEDGER, DISAGREES}:
        return
    _refuse_if_in_use(root)
    if not kinds & {INDEX, LEDGER}:
        # The ledger holds, and the rows are not what it amounts to: all of it must stand in the file first. Not by
        # opening the spool: recovery would go by those rows, and write into the ledger what it makes of them.
        folder = SpoolFolder.open(root, disk=disk, clock=HostClock())
        try:
            folder.take_up_ledger_file()
        finally:
            folder.close()
    told = sum(1 for _ in rows_that_hold(path)) if path.exists() else 0
    if INDEX not in kinds and told < before.last_whole_event:
        # A ledger that does not hold is evidence. It gives way only to one that does, and that tells no less.
        return
    aside = f"{uuid.uuid4().hex}.aside"
    was_there = (root / INDEX_NAME).exists()
    # The journal first: without its database nobody can take it for the one of the next.
    for name in (f"{INDEX_NAME}-journal", INDEX_NAME):
        if (root / name).exists():
            disk.rename(root / name, root / f"{name}.{aside}", label="repair")
    if was_there:
        yield f"the index is set aside as {INDEX_NAME}.{aside}"
    if told:
        yield f"{told} rows of {LEDGER_NAME}, and the shards, tell the index again"
    else:
        yield (
            "the shards tell the index again; what became of the chunks is forgotten (attempts, receipts, and"
            " chunks that were pruned): those that are here wait for delivery again, with the same bytes"
        )


def _refuse_if_in_use(root: Path) -> None:
    for lock in (*root.glob("incoming/*.lock"), *root.glob("workers/*.lock")):
        if ProcessLock(lock).is_held_elsewhere():
            raise SpoolError(
                "the index must be set aside, and a producer or worker is using it",
                hint="Stop the recording and 'framespool worker', then repair; what they have spooled is safe.",
            )


def _mended(spool: Spool, problem: Problem) -> Iterator[str]:
    """What an opening does not do by itself."""
    path = spool.root / problem.where
    if problem.kind == DERIVED:
        if problem.where in ("reserve", LIMITS_NAME) and path.exists():
            path.unlink()
            yield f"{problem.where} is removed, and written again with the next chunk"
        else:
            yield f"{problem.where} is written again"
        return
    if problem.chunk_idx is None or problem.stream_id is None:
        return
    chunk = spool.chunk(problem.stream_id, problem.chunk_idx)
    if chunk is None:
        return
    name = f"chunk {chunk.chunk_idx} of {chunk.stream_id}"
    if problem.kind == MISSING:
        if chunk.state is ChunkState.ACKNOWLEDGED and spool.note_gone(chunk):
            yield f"{name} was acknowledged; it is noted that its bytes are gone here"
        elif chunk.state is ChunkState.PARKED:
            yield f"{name} is parked: its file is missing"
    elif problem.kind == DAMAGED and chunk.state is ChunkState.SPOOLED:
        yield _parked(spool, chunk, name, problem.says)


def _parked(spool: Spool, chunk: Chunk, name: str, why: str) -> str:
    lease = spool.lease(chunk.stream_id, "repair", ttl_s=60)
    if lease is None:
        return f"{name} is damaged, and a worker has its stream: what cannot be sent it will park"
    try:
        lease.read(chunk)
    except ShardDamaged:
        lease.park(chunk, f"its shard is damaged: {why}")
    else:
        return f"{name} has all its frames, to the last byte, and waits on as it is"
    finally:
        lease.release()
    return f"{name} is parked: its shard is damaged, and stays"
