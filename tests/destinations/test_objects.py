"""A bucket as a destination: moto's S3 server as a process of its own, obstore as it is."""

import hashlib
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from obstore.store import from_url
from zarr.storage import ObjectStore as ZarrObjectStore

from spool import Limits, Spool, Stream, read_proof
from spool.testing import some_frames, some_settings
from tests.destinations.s3_server import SECRET, S3Server, free_port, point_to
from uploader import ConfigurationError, RHEEDStreamer
from uploader.destinations.stores.base import StoreTrouble
from uploader.destinations.stores.objects import ObjectStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.worker import Until, UploadWorker

NO_LIMITS = Limits(min_free_bytes=0)
URL = "s3://growths/lab-1"


@pytest.fixture
def server(shared: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    point_to(shared.url, monkeypatch)
    return shared


def frames(chunk_idx: int, chunks: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return some_frames(4 if chunk_idx < chunks - 1 else 3, seed=chunk_idx)


def record(spool: Spool, chunks: int = 3) -> Stream:
    stream = spool.open_stream(some_settings(name="GaAs / 7", destination=URL))
    for idx in range(chunks):
        spool.push(stream.stream_id, idx, frames(idx, chunks))
    spool.seal(stream.stream_id)
    return stream


def zarr_group(name: str) -> ZarrObjectStore[Any]:
    return ZarrObjectStore(from_url(f"{URL}/{name}", client_options={"allow_http": True}), read_only=True)


def assert_arrived(spool: Spool, stream: Stream, chunks: int = 3) -> None:
    now = spool.stream(stream.stream_id)
    assert now.state == "finalized"
    assert now.data_id is not None
    store = ObjectStore(URL)
    for chunk in spool.chunks(stream.stream_id):
        assert chunk.receipt is not None
        assert chunk.receipt.confirmed
        content = store.read(f"{now.data_id}/frames/c.{chunk.chunk_idx}.0.0")
        assert content is not None
        assert hashlib.sha256(content[: chunk.wire_bytes]).hexdigest() == chunk.sha256
        assert chunk.receipt.etag == hashlib.md5(content).hexdigest()
    pushed = np.concatenate([frames(idx, chunks) for idx in range(chunks)])
    with xarray.open_zarr(zarr_group(now.data_id)) as found:
        np.testing.assert_array_equal(found["frames"].values, pushed)
    group = zarr.open_group(zarr_group(now.data_id), mode="r")
    np.testing.assert_array_equal(np.asarray(group["frames"][:]), pushed)  # type: ignore[index]
    proof = store.read(f"{now.data_id}.proof.json")
    assert proof is not None
    assert read_proof(proof).audit.stream.stream_id == stream.stream_id


def test_a_stream_lands_in_the_bucket_confirmed_and_opens_there(server: S3Server, tmp_path: Path) -> None:
    del server
    with Spool(tmp_path / "spool", limits=NO_LIMITS) as spool:
        stream = record(spool)
        with closing(ZarrDestination(ObjectStore(URL))) as destination:
            assert UploadWorker(spool, destination, until=Until.DRY).run()
        assert_arrived(spool, stream)


def test_a_store_that_cannot_be_used_is_trouble_in_one_line_without_secrets(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StoreTrouble) as no_bucket:
        ObjectStore("s3://no-such-bucket").create("a", [b"x"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreTrouble) as nobody:
        ObjectStore(URL).create("a", [b"x"])
    for trouble in (no_bucket.value, nobody.value):
        assert trouble.outage
        assert "\n" not in str(trouble)
        assert SECRET not in str(trouble)
    assert server.process.poll() is None


def test_a_script_names_a_bucket_and_a_worker_process_brings_it_there_after_an_outage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AS_API_KEY", raising=False)
    port = free_port()
    server = S3Server(port)
    try:
        point_to(server.url, monkeypatch)
        server.end()
        with RHEEDStreamer(spool_dir=tmp_path / "spool", destination=URL) as streamer:
            stream_id = streamer.initialize(2, 0, 4, stream_name="through an outage")
            for idx in range(3):
                streamer.push(stream_id, idx, frames(idx, 3))
            assert not streamer.finalize(stream_id, drain_timeout_s=1).finalized
            patience = time.monotonic() + 60
            while "growths" not in str(streamer.spool_status().trouble):
                assert time.monotonic() < patience
                time.sleep(0.1)
            server = S3Server(port)
            assert streamer.finalize(stream_id, drain_timeout_s=60).finalized
        with Spool(tmp_path / "spool", limits=NO_LIMITS) as spool:
            assert_arrived(spool, spool.stream(stream_id))
    finally:
        server.end()


def test_without_the_extra_nothing_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploader.destinations.stores.making.find_spec", lambda _name: None)
    with pytest.raises(ConfigurationError, match="needs the extra 'objects'") as refused:
        RHEEDStreamer(spool_dir=tmp_path / "spool", destination=URL)
    assert "pip install 'framespool[objects]'" in refused.value.hint
    assert not (tmp_path / "spool").exists()


def test_an_environment_that_cannot_be_used_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(ConfigurationError, match="Account must be specified"):
        ObjectStore("az://container/x")
