"""A spool folder that is copied while it is used: the spool loses nothing, and the copy invents nothing."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import zarr

from spool import Spool
from spool.problems import MISSING
from spool.repair import repair
from spool.states import ChunkState
from spool.testing import check_invariants, some_frames

COPIES = 12
PRODUCER = """
import itertools, sys
from spool import Receipt, Spool
from spool.testing import some_frames, some_settings

with Spool(sys.argv[1]) as spool:
    stream = spool.open_stream(some_settings()).stream_id
    lease = spool.lease(stream, "worker", ttl_s=60)
    for idx in itertools.count():
        chunk = spool.push(stream, idx, some_frames(seed=idx))
        if idx % 3 == 0:
            lease.acknowledge(chunk, Receipt(status=200, etag="e", confirmed=True, at_ms=1))
        print(stream, idx, flush=True)
"""


@contextmanager
def producer(root: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PRODUCER, str(root)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def copied_while_used(root: Path, folder: Path) -> tuple[str, int, list[Path]]:
    """The stream, the last chunk that was accepted, and the copies; while the last was taken, chunks came in."""
    copies = []
    with producer(root) as process:
        assert process.stdout is not None
        stream, last = process.stdout.readline().split()
        for number in range(COPIES):
            copy = folder / f"copy-{number}"
            # Files come and go meanwhile; a copying person's tool goes on too.
            shutil.copytree(root, copy, ignore=shutil.ignore_patterns("*.part"), copy_function=_copied_if_there)
            copies.append(copy)
            stream, last = process.stdout.readline().split()
        process.kill()
        for line in process.stdout:
            if line.endswith("\n"):  # the last one may have been cut off
                stream, last = line.split()
    return stream, int(last), copies


def _copied_if_there(source: str, target: str) -> str:
    try:
        return str(shutil.copy2(source, target))
    except FileNotFoundError:
        return target


def frames_are_those_pushed(root: Path) -> int:
    """How many chunks are in the copy, each seen to hold what was pushed."""
    there = 0
    with Spool(root) as spool:
        for stream in spool.streams():
            frames = zarr.open_group(spool.zarr_path(stream.stream_id), mode="r")["frames"]
            assert isinstance(frames, zarr.Array)
            for chunk in spool.chunks(stream.stream_id):
                if chunk.state is not ChunkState.PARKED:  # a row that was copied, and its file was not yet
                    start = chunk.chunk_idx * 4
                    np.testing.assert_array_equal(frames[start : start + 4], some_frames(seed=chunk.chunk_idx))
                    there += 1
    return there


def test_the_spool_loses_nothing_and_a_copy_invents_nothing(tmp_path: Path) -> None:
    root = tmp_path / "spool"

    stream, last, copies = copied_while_used(root, tmp_path)

    with Spool(root) as spool:
        check_invariants(spool)
        assert [chunk.chunk_idx for chunk in spool.chunks(stream)][: last + 1] == list(range(last + 1))
    there = 0
    for copy in copies:
        # An index that was copied while it changed may be torn, in a way that only verifying shows.
        repaired = repair(copy)
        # What was copied as a row without its file is parked.
        assert {problem.kind for problem in repaired.after.problems} <= {MISSING}
        there += frames_are_those_pushed(copy)
    assert there > 0


def test_a_copy_whose_index_is_left_out_is_rebuilt(tmp_path: Path) -> None:
    _, last, copies = copied_while_used(tmp_path / "spool", tmp_path)

    for copy in copies:
        for path in copy.glob("index.sqlite3*"):
            path.unlink()
        copied = len(list(copy.glob("streams/*/frames.zarr/frames/c.*")))

        assert frames_are_those_pushed(copy) == copied
    assert 0 < copied <= last + 2, "one may have been under way"
