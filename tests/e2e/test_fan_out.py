"""One recording, several destinations: a server and a share, each of which may be away, and gets everything."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from spool import ChunkState, Spool, StreamState
from spool.testing import check_invariants, some_frames
from uploader import ConfigurationError, RHEEDStreamer
from uploader.destinations.stores.folder import mark
from uploader.loopback.process import LoopbackServer

CHUNKS = 4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "server") as running:
        yield running


@pytest.fixture
def share(tmp_path: Path) -> Path:
    folder = tmp_path / "share" / "growths"
    folder.parent.mkdir()
    assert mark(folder)
    return folder


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    patience = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.02)


def frames() -> list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]]:
    return [some_frames(4, seed=idx) for idx in range(CHUNKS)]


def assert_both_have_everything(spool: Spool, stream_id: str, server: LoopbackServer, share: Path) -> None:
    stream = spool.stream(stream_id)
    copy = spool.stream(stream.settings.copies[0])
    assert stream.state is copy.state is StreamState.FINALIZED
    assert stream.data_id is not None
    assert copy.data_id is not None
    wanted = np.concatenate(frames())
    np.testing.assert_array_equal(server.received(stream.data_id), wanted)
    found = zarr.open_array(share / copy.data_id / "frames", mode="r")
    np.testing.assert_array_equal(np.asarray(found[:]), wanted)
    assert (share / f"{copy.data_id}.proof.json").is_file()
    for one in (stream, copy):
        for chunk in spool.chunks(one.stream_id):
            assert chunk.receipt is not None
            assert chunk.receipt.data_id == one.data_id
    check_invariants(spool)


def test_a_share_that_is_away_holds_up_nobody_and_gets_everything_later(
    tmp_path: Path, server: LoopbackServer, share: Path
) -> None:
    away = share.with_name("away")
    with RHEEDStreamer(
        api_key=server.api_key,
        endpoint=server.url,
        also=[share],
        spool_dir=tmp_path / "spool",
        spool_min_free_bytes=0,
        spool_retention_s=0,
        worker="thread",
    ) as streamer:
        data_id = streamer.initialize(2, 0, 4)
        streamer.push(data_id, 0, frames()[0])
        with Spool(tmp_path / "spool") as spool:
            stream = spool.stream(data_id)
            copy_id = stream.settings.copies[0]
            wait_until(lambda: spool.stream(copy_id).watermark == 0)
            share.rename(away)
            for idx in range(1, CHUNKS):
                streamer.push(data_id, idx, frames()[idx])
            wait_until(lambda: spool.stream(data_id).watermark == CHUNKS - 1)
            report = streamer.finalize(data_id, drain_timeout_s=5)
            assert not report.finalized
            assert not report.drained
            assert report.chunks_uploaded == CHUNKS
            assert report.copies[0].chunks_pending == CHUNKS - 1
            # What the server has may go from its side; the share's bytes stay.
            spool.prune()
            waiting = [one for one in spool.chunks(copy_id) if one.state is ChunkState.SPOOLED]
            assert [spool.frames(one).shape[0] for one in waiting] == [4] * (CHUNKS - 1)
            away.rename(share)
            assert streamer.finalize(data_id, drain_timeout_s=60).finalized
            assert_both_have_everything(spool, data_id, server, share)


_RECORD = """
import os, signal, sys
from spool.testing import some_frames
from uploader import RHEEDStreamer
root, url, share = sys.argv[1:]
streamer = RHEEDStreamer(endpoint=url, also=[share], spool_dir=root, spool_min_free_bytes=0, worker="thread")
data_id = streamer.initialize(2, 0, 4)
print(data_id, flush=True)
for idx in range(2):
    streamer.push(data_id, idx, some_frames(4, seed=idx))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_recorder_that_is_killed_goes_on_for_both(tmp_path: Path, server: LoopbackServer, share: Path) -> None:
    root = tmp_path / "spool"
    killed = subprocess.run(
        [sys.executable, "-c", _RECORD, str(root), server.url, str(share)],
        env={**os.environ, "AS_API_KEY": server.api_key},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    data_id = killed.stdout.strip()
    given: dict[str, Any] = {"api_key": server.api_key, "spool_dir": root, "spool_min_free_bytes": 0}
    with (
        RHEEDStreamer(endpoint=server.url, worker="thread", **given) as other,
        pytest.raises(ConfigurationError, match="and this streamer to") as refused,
    ):
        other.resume(data_id)
    assert share.as_uri() in str(refused.value)
    with RHEEDStreamer(endpoint=server.url, also=[str(share)], worker="thread", **given) as streamer:
        for idx in range(streamer.resume(data_id), CHUNKS):
            streamer.push(data_id, idx, frames()[idx])
        assert streamer.finalize(data_id, drain_timeout_s=60).finalized
    with Spool(root) as spool:
        assert_both_have_everything(spool, data_id, server, share)


def test_destinations_that_cannot_be_meant_are_refused_before_anything_begins(tmp_path: Path) -> None:
    share = tmp_path / "share"
    for given, words in (
        ({"destination": share, "also": [share]}, "named twice"),
        ({"destination": share, "also": [tmp_path / "x", f"{tmp_path.as_uri()}/x/"]}, "named twice"),
        ({"endpoint": "http://127.0.0.1:9", "also": ["http://127.0.0.1:8"]}, "two servers"),
        ({"destination": share, "also": ["ftp://somewhere"]}, "not an http or https URL"),
    ):
        with pytest.raises(ConfigurationError, match=words):
            RHEEDStreamer(spool_dir=tmp_path / "spool", **given)
    assert list(tmp_path.iterdir()) == []


def framespool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uploader", *map(str, arguments)],
        env={name: value for name, value in os.environ.items() if not name.startswith(("AS_", "ATOMSCALE"))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_command_line_names_destinations_with_to(tmp_path: Path, share: Path) -> None:
    gone, root = tmp_path / "not mounted" / "growths", tmp_path / "spool"
    recorded = ("stream", "sim:frames=12", "--fast", "--fps", "2", "--worker", "thread", "--drain-timeout", "3")
    said = framespool(*recorded, "--spool", root, "--to", share, "--to", gone)
    assert said.returncode == 1, said
    assert f"and to   {gone.as_uri()}" in said.stderr
    assert "Finalized: 3 of 3 chunks delivered." in said.stdout
    assert "Not finalized: 0 of 3 chunks delivered, 3 waiting." in said.stdout
    assert f"worker --to {gone.as_uri()}" in said.stdout
    gone.parent.mkdir()
    assert mark(gone)
    said = framespool("worker", "--once", "--spool", root, "--to", share, "--to", gone)
    assert said.returncode == 0, said
    with Spool(root) as spool:
        assert [stream.state for stream in spool.streams()] == [StreamState.FINALIZED] * 2
        check_invariants(spool)


def test_a_recording_that_was_cut_short_goes_on_to_all_its_destinations(tmp_path: Path, share: Path) -> None:
    root, other = tmp_path / "spool", tmp_path / "other"
    recorded = ("stream", "sim:frames=8", "--fast", "--spool", root)
    said = framespool(*recorded, "--fps", "2", "--to", share, "--to", other, "--no-finalize")
    assert said.returncode == 0, said
    said = framespool(*recorded, "--resume", "sim", "--to", share)
    assert (said.returncode, "leave out --to" in said.stderr) == (2, True), said
    said = framespool(*recorded, "--resume", "sim")
    assert said.returncode == 0, said
    with Spool(root) as spool:
        assert [stream.tally.acknowledged for stream in spool.streams()] == [4, 4]
        assert [stream.state for stream in spool.streams()] == [StreamState.FINALIZED] * 2


def test_shares_that_do_not_answer_are_waited_for_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("uploader.beginning.mark", lambda _folder: answers.wait(60))
    shares = [tmp_path / f"share {k}" for k in range(6)]
    with RHEEDStreamer(
        destination=shares[0], also=shares[1:], spool_dir=tmp_path / "spool", worker="external", open_timeout_s=4
    ) as streamer:
        began = time.monotonic()
        stream_id = streamer.initialize(2, 0, 4)
        assert time.monotonic() - began < 4 * 5  # one after the other it would be at least 24 s
        streamer.push(stream_id, 0, some_frames())
    answers.set()
    assert caplog.text.count("there was no answer within 4 s") == len(shares)


def test_nobody_is_told_to_end_a_copy(tmp_path: Path, share: Path) -> None:
    root = tmp_path / "spool"
    recorded = ("stream", "sim:frames=8", "--fast", "--fps", "2", "--no-finalize", "--spool", root)
    said = framespool(*recorded, "--to", share, "--to", tmp_path / "other")
    assert said.returncode == 0, said
    with Spool(root) as spool:
        stream, copy = spool.streams()
    said = framespool("status", "--spool", root)
    assert f"finalize {stream.stream_id}" in said.stdout
    assert f"finalize {copy.stream_id}" not in said.stdout
    assert f"Copies     {copy.stream_id}" in framespool("audit", "sim", "--spool", root).stdout
    assert f"Copy of    {stream.stream_id}" in framespool("audit", copy.stream_id, "--spool", root).stdout
