"""What plain zarr-python, the judge, reads from a stream and from the bytes on the wire."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from spool import Chunk, Receipt, ShardDamaged, Spool, Stream, shards
from spool.testing import check_invariants, some_frames, some_settings


def read(spool: Spool, stream: Stream) -> NDArray[np.uint8]:
    group: Any = zarr.open(str(spool.zarr_path(stream.stream_id)), mode="r")
    return np.asarray(group["frames"][:])


def wire_form(spool: Spool, chunk: Chunk) -> bytes:
    lease = spool.lease(chunk.stream_id, "reader", ttl_s=1)
    assert lease is not None
    return bytes(lease.read(chunk))


def shard_file(spool: Spool, chunk: Chunk) -> Path:
    return spool.zarr_path(chunk.stream_id) / "frames" / f"c.{chunk.chunk_idx}.0.0"


def test_a_stream_without_chunks_opens_as_an_empty_array(spool: Spool, stream: Stream) -> None:
    assert read(spool, stream).shape == (0, 1, 1)


def test_plain_zarr_reads_every_frame_after_every_push(spool: Spool, stream: Stream) -> None:
    pushed = []
    for idx, n in enumerate((4, 4, 4, 2)):
        pushed.append(some_frames(n, seed=idx))
        spool.push(stream.stream_id, idx, pushed[-1])
        assert np.array_equal(read(spool, stream), np.concatenate(pushed))


def test_dark_frames_are_stored_as_a_shard_and_not_skipped(spool: Spool, stream: Stream) -> None:
    dark = np.zeros((4, 12, 16), dtype=np.uint8)
    chunk = spool.push(stream.stream_id, 0, dark)
    assert shard_file(spool, chunk).stat().st_size == chunk.disk_bytes > 0
    assert np.array_equal(read(spool, stream), dark)


def test_short_chunks_and_gaps_read_as_the_fill_value_where_nothing_was_pushed(
    spool: Spool, stream: Stream
) -> None:
    first, last = some_frames(3, seed=1), some_frames(1, seed=2)
    spool.push(stream.stream_id, 2, last)
    spool.push(stream.stream_id, 0, first)
    expected = np.zeros((9, 12, 16), dtype=np.uint8)
    expected[0:3], expected[8:9] = first, last
    assert np.array_equal(read(spool, stream), expected)


def test_the_array_opens_while_the_stream_is_drained_and_pruned(spool: Spool, stream: Stream) -> None:
    chunks = [spool.push(stream.stream_id, idx, some_frames(seed=idx)) for idx in range(3)]
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.acknowledge(chunks[0], Receipt(status=200, etag=None, confirmed=False, at_ms=1))
    spool.prune()
    seen = read(spool, stream)
    assert seen.shape == (12, 12, 16)
    assert np.array_equal(seen[8:], some_frames(seed=2))


def test_a_reader_never_sees_a_broken_array_while_a_producer_pushes(spool: Spool, stream: Stream) -> None:
    lengths = []
    for idx in range(8):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        group: Any = zarr.open(str(spool.zarr_path(stream.stream_id)), mode="r")
        lengths.append(group["frames"].shape[0])
    assert lengths == [4 * k for k in range(1, 9)]


@pytest.mark.parametrize("n", [1, 3, 4])
def test_the_wire_form_is_a_zarr_shard_with_an_index_of_exactly_n_entries(
    spool: Spool, stream: Stream, tmp_path: Path, n: int
) -> None:
    frames = some_frames(n, seed=n)
    body = wire_form(spool, spool.push(stream.stream_id, 0, frames))
    array = json.loads((spool.zarr_path(stream.stream_id) / "frames" / "zarr.json").read_text())
    array["shape"] = array["chunk_grid"]["configuration"]["chunk_shape"] = list(frames.shape)
    store = tmp_path / "one-shard.zarr"
    store.mkdir()
    (store / "zarr.json").write_text(json.dumps(array))
    (store / "c.0.0.0").write_bytes(body)
    opened: Any = zarr.open(str(store), mode="r")
    assert np.array_equal(opened[:], frames)
    # Exact: the frames, 16 bytes for each, the CRC, and not a byte more.
    entries = np.frombuffer(body[-(16 * n + 4) : -4], dtype="<u8").reshape(n, 2)
    assert entries[0, 0] == 0
    assert int(entries[-1].sum()) + 16 * n + 4 == len(body)


def test_the_wire_form_is_what_the_index_says_of_it(spool: Spool, stream: Stream) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames(2))
    body = wire_form(spool, chunk)
    assert len(body) == chunk.wire_bytes
    decoded = shards.decode(body, n=2, height=12, width=16)
    assert np.array_equal(decoded, some_frames(2))


@pytest.mark.parametrize("chunk_size", [1, 4, 1000])
@pytest.mark.parametrize("known", [True, False])
def test_a_shard_says_what_it_is_with_and_without_its_chunk_size(
    spool: Spool, chunk_size: int, *, known: bool
) -> None:
    stream = spool.open_stream(some_settings(chunk_size=chunk_size))
    chunk = spool.push(stream.stream_id, 5, some_frames(1), capture_start_ms_utc=77)
    said = shards.read_description(shard_file(spool, chunk), chunk_size=chunk_size if known else None)
    assert (said.stream_id, said.chunk_idx, said.chunk_size, said.n) == (stream.stream_id, 5, chunk_size, 1)
    assert (said.sha256, said.wire_bytes) == (chunk.sha256, chunk.wire_bytes)
    assert said.capture_start_ms_utc == 77


def test_a_flipped_bit_anywhere_in_what_is_sent_is_noticed_and_never_sent(spool: Spool, stream: Stream) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames(3, 4, 4))
    path = shard_file(spool, chunk)
    whole = path.read_bytes()
    frame_bytes = chunk.wire_bytes - 16 * 3 - 4
    index_at = len(whole) - 16 * 4 - 4
    for at in [*range(0, frame_bytes, 7), *range(index_at, index_at + 16 * 3)]:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(ShardDamaged):
            wire_form(spool, chunk)
    path.write_bytes(whole)
    assert len(wire_form(spool, chunk)) == chunk.wire_bytes
    check_invariants(spool)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_shard_that_was_cut_short_is_noticed(spool: Spool, stream: Stream, keep: int) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    path = shard_file(spool, chunk)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ShardDamaged):
        wire_form(spool, chunk)
    with pytest.raises(ShardDamaged):
        shards.read_description(path)


def test_a_shard_that_is_gone_is_damaged_and_not_an_empty_chunk(spool: Spool, stream: Stream) -> None:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    shard_file(spool, chunk).unlink()
    with pytest.raises(ShardDamaged, match="missing"):
        wire_form(spool, chunk)
