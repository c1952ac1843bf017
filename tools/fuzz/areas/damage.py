"""A spool that somebody or something has damaged, opened and worked with, while the clock jumps."""

import hashlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spool import ChunkState, Limits, Receipt, Spool, SpoolError, Stream, audit, shards
from spool.shards import read_description
from spool.testing import START_MS, FakeClock, some_frames
from tools.fuzz.finding import Finding
from tools.fuzz.spools import harmed, whole_spool
from tools.fuzz.strain import Hangs, strained

NAME = "damage"
_YEAR_MS = 31_557_600_000
_JUMPS_MS = (0, 0, 1, -1, 3_600_000, -3_600_000, _YEAR_MS, -_YEAR_MS, 100 * _YEAR_MS, -START_MS, -2 * START_MS)


def inputs(seed: int, count: int, folder: Path, *, only: int | None = None) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`."""
    whole = whole_spool(folder / "whole", "x")
    for number in range(count) if only is None else (only,):
        chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
        root = folder / "spool"
        shutil.copytree(whole, root)
        what = "; ".join(harmed(chance, root) for _ in range(chance.choice((1, 1, 1, 2, 3))))
        before = _shards(root)
        why = _tried(chance, root)
        if not why and (gone := before - _shards(root)):
            why = f"{len(gone)} whole shards are gone"
        shutil.rmtree(root)
        yield Finding(area=NAME, number=number, what=what, why=why) if why else None


def _shards(root: Path) -> set[str]:
    """The whole shards that lie anywhere in the folder, by their digest; pruned ones are none."""
    found = set()
    for path in root.rglob("*c.*.0.0*"):
        if path.is_file() and not path.is_symlink():
            found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


def _tried(chance: random.Random, root: Path) -> str | None:
    clock = FakeClock()
    try:
        with strained() as strain:
            why = _worked(chance, root, clock)
    except Hangs as error:
        return str(error)
    except SpoolError:
        return None
    except Exception as error:  # noqa: BLE001 - any other is the finding
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    return why or strain.why(bytes_max=300 << 20, cpu_s_max=20.0)


def _worked(chance: random.Random, root: Path, clock: FakeClock) -> str | None:
    """What everybody does with a spool: look, deliver, push."""
    with Spool(root, limits=Limits(min_free_bytes=0, retention_s=None), clock=clock) as spool:
        spool.status()
        for stream in spool.streams():
            clock.set_ms(max(0, START_MS + chance.choice(_JUMPS_MS)))
            audit(spool, stream.stream_id).to_json()
            list(spool.events(stream.stream_id))
            if why := _delivered(chance, spool, stream, clock):
                return why
            if stream.state == "open":
                spool.push(stream.stream_id, 7, some_frames(seed=7))
        spool.ledger_break()
    return None


def _delivered(chance: random.Random, spool: Spool, stream: Stream, clock: FakeClock) -> str | None:
    lease = spool.lease(stream.stream_id, "another", ttl_s=60, take_over=True)
    assert lease is not None
    while (chunk := lease.next_waiting()) is not None:
        lease.attempt_started(chunk)
        try:
            body = lease.read(chunk)
        except (SpoolError, OSError) as error:
            lease.park(chunk, str(error)[:100])
            continue
        if hashlib.sha256(body).hexdigest() != chunk.sha256:
            return f"chunk {chunk.chunk_idx} was sent with another digest"
        sent = shards.decode(body, n=chunk.n, height=chunk.height, width=chunk.width)
        if not np.array_equal(sent, some_frames(seed=chunk.chunk_idx)) and _is_honest(
            spool, chunk.stream_id, chunk.chunk_idx
        ):
            return f"chunk {chunk.chunk_idx} was sent with other frames"
        clock.set_ms(max(0, START_MS + chance.choice(_JUMPS_MS)))
        lease.acknowledge(chunk, Receipt(status=200, etag="e", confirmed=True, at_ms=clock.now_ms()))
        found = spool.chunk(stream.stream_id, chunk.chunk_idx)
        if found is None or found.state is not ChunkState.ACKNOWLEDGED:
            return f"chunk {chunk.chunk_idx} was acknowledged, and is not"
    lease.release()
    return None


def _is_honest(spool: Spool, stream_id: str, idx: int) -> bool:
    """Whether the shard says of itself that it is this chunk: one that was swapped for another may say so too."""
    path = spool.zarr_path(stream_id) / "frames" / f"c.{idx}.0.0"
    return read_description(path).chunk_idx == idx
