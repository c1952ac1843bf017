"""How a chunk becomes its file: written while it is encoded, never whole in memory, with nothing left at work."""

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spool import ChunkState, DiskFailed, Limits, Spool, Stream
from spool.disk import Disk
from spool.encoding import RUN_BYTES, Encoding, file_bytes_max
from spool.testing import FaultyDisk, some_frames, some_settings, wire_sha256

FRAME = (256, 256)


class AtOnce(Executor):
    """Does what it is asked for at once, and counts it."""

    def __init__(self) -> None:
        self.runs = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.runs += 1
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def noise(n: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def hashing_threads() -> int:
    return sum(thread.name == "framespool-hash" for thread in threading.enumerate())


def test_a_chunk_is_given_out_before_more_than_a_few_runs_of_it_were_compressed() -> None:
    threads = AtOnce()
    runs = Encoding(noise(12 * RUN_BYTES // (256 * 256), *FRAME), threads, ahead=3).runs()
    next(runs)
    assert threads.runs == 4, "the whole chunk is compressed before its file is begun"
    assert sum(1 for _ in runs) == 11
    assert threads.runs == 12


def test_nothing_is_left_at_work_for_an_encoding_that_is_given_up() -> None:
    with ThreadPoolExecutor(2) as threads:
        runs = Encoding(noise(60, *FRAME), threads, ahead=4).runs()
        next(runs)
        assert hashing_threads() == 1
        runs.close()
        assert hashing_threads() == 0


def test_the_digest_is_that_of_frames_and_index_whatever_the_strides() -> None:
    frames = some_frames(9, 20, 30)
    upside_down = np.asfortranarray(frames)[:, ::-1, ::-1]
    with ThreadPoolExecutor(2) as threads:
        encoding = Encoding(upside_down, threads, ahead=1)
        list(encoding.runs())
    assert wire_sha256(upside_down) == wire_sha256(np.ascontiguousarray(upside_down)) != wire_sha256(frames)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 17), (2, 300, 500), (2, 1038, 1388), (40, 1, 1)])
def test_no_file_is_longer_than_its_chunk_was_reckoned_to_be(spool: Spool, shape: tuple[int, int, int]) -> None:
    stream = spool.open_stream(some_settings(chunk_size=40))
    chunk = spool.push(stream.stream_id, 0, noise(*shape))
    assert chunk.wire_bytes < chunk.disk_bytes <= file_bytes_max(noise(*shape), 40)


def test_a_chunk_that_fits_only_once_it_is_compressed_is_accepted(spool: Spool, stream: Stream) -> None:
    dark = np.zeros((4, 300, 400), dtype=np.uint8)
    with Spool(spool.root, limits=Limits(min_free_bytes=0, max_bytes=dark.nbytes // 4)) as small:
        assert small.push(stream.stream_id, 0, dark).state is ChunkState.SPOOLED


def test_the_bytes_of_the_file_are_those_that_were_hashed(spool: Spool, stream: Stream) -> None:
    chunk = spool.push(stream.stream_id, 0, noise(4, 700, 900))
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    assert hashlib.sha256(lease.read(chunk)).hexdigest() == chunk.sha256 == wire_sha256(noise(4, 700, 900))


def test_a_push_that_fails_leaves_nothing_at_work(spool: Spool, stream: Stream, disk: FaultyDisk) -> None:
    disk.fail("shard.fsync")
    with pytest.raises(DiskFailed, match="could not be stored"):
        spool.push(stream.stream_id, 0, noise(4, 700, 900))
    assert hashing_threads() == 0


def test_parts_are_written_whole_even_if_the_system_takes_only_some_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [bytes([k % 256]) * (k % 7) for k in range(1300)]
    monkeypatch.setattr(os, "writev", lambda fd, some: os.write(fd, b"".join(some)[:100]))
    Disk().write_new(tmp_path / "file", [parts, b"end"], label="test")
    assert (tmp_path / "file").read_bytes() == b"".join(parts) + b"end"


def test_more_parts_than_a_system_takes_at_once_are_written(tmp_path: Path) -> None:
    parts = [bytes([k % 256]) for k in range(5000)]
    Disk().write_new(tmp_path / "file", [parts], label="test")
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_a_digest_that_could_not_be_computed_fails_the_push_and_leaves_nothing(
    spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("spool.encoding._Hashing._hash", without_memory)
    with pytest.raises(MemoryError):
        spool.push(stream.stream_id, 0, noise(4, 700, 900))
    assert spool.chunk(stream.stream_id, 0) is None
    assert hashing_threads() == 0
