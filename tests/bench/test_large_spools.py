"""The spools that benchmarks measure with are spools that the product could have left."""

from pathlib import Path

import zarr

from spool import Receipt, Spool, audit
from spool.testing import check_invariants, some_frames
from tools.bench.large_spools import make_large_spool


def test_a_large_spool_is_whole_and_goes_on_like_any_other(tmp_path: Path) -> None:
    stream_id = make_large_spool(tmp_path / "s", acknowledged=70, waiting=5)
    with Spool(tmp_path / "s") as spool:
        check_invariants(spool)
        stream = spool.stream(stream_id)
        assert (stream.watermark, stream.next_chunk_idx, stream.tally.spooled) == (69, 75, 5)
        lease = spool.lease(stream_id, "worker", ttl_s=60)
        assert lease is not None
        while (chunk := lease.next_waiting()) is not None:
            lease.read(chunk)
            lease.attempt_started(chunk)
            lease.acknowledge(chunk, Receipt(status=200, etag="e", confirmed=True, at_ms=1))
        spool.push(stream_id, 75, some_frames(4))
        check_invariants(spool)
        found = audit(spool, stream_id)
        assert [len(one.attempt_history) for one in found.chunks] == [1] * 75 + [0]
        frames = zarr.open_group(spool.zarr_path(stream_id), mode="r")["frames"]
        assert isinstance(frames, zarr.Array)
        assert frames.shape == (76 * 4, 12, 16)
