"""A folder as a destination: real files, a real worker, real readers; only faults and deaths are made."""

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr
from numpy.typing import NDArray

from spool import Limits, ShardDamaged, Spool, Stream, check_received, read_proof
from spool.testing import FaultyDisk, some_frames, some_settings
from tests.destinations.rigs import ShakyDisk
from uploader import ConfigurationError, RHEEDStreamer
from uploader.destinations.stores.base import StoreTrouble
from uploader.destinations.stores.folder import MARK_NAME, FolderStore, mark
from uploader.destinations.zarr_store import ZarrDestination
from uploader.rate import Meter, parse_schedule
from uploader.worker import Until, UploadWorker

NO_LIMITS = Limits(min_free_bytes=0)
CHUNKS = 3
LAST = 2  # frames in the last chunk, half of what fits


class Bench:
    """A spool, and a folder that its streams go to."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "share" / "growths"
        self.folder.parent.mkdir()
        self.url = self.folder.as_uri()
        self.disk = FaultyDisk()
        self.spool_root = root / "spool"
        self.spool = Spool(self.spool_root, limits=NO_LIMITS)
        assert mark(self.folder)

    def record(self, *, sealed: bool = True) -> Stream:
        """A stream with a short last chunk, as a producer leaves it."""
        stream = self.spool.open_stream(some_settings(name="GaAs / 7", destination=self.url))
        for idx in range(CHUNKS):
            self.spool.push(stream.stream_id, idx, frames(idx), capture_start_ms_utc=1_700_000_000_000 + 400 * idx)
        if sealed:
            self.spool.seal(stream.stream_id)
        return stream

    def deliver(self) -> None:
        """Until nothing can be delivered."""
        with self.delivering(Until.DRY) as (_, thread):
            thread.join(20)
            assert not thread.is_alive()

    @contextmanager
    def delivering(self, until: Until = Until.STOPPED) -> Iterator[tuple[UploadWorker, threading.Thread]]:
        destination = ZarrDestination(FolderStore(self.url, self.folder, self.disk))
        with Spool(self.spool_root, limits=NO_LIMITS) as spool, closing(destination):
            worker = UploadWorker(spool, destination, until=until)
            thread = threading.Thread(target=worker.run, daemon=True)
            thread.start()
            yield worker, thread
            worker.stop()
            thread.join(20)
            assert not thread.is_alive()

    def group(self, stream: Stream) -> Path:
        data_id = self.spool.stream(stream.stream_id).data_id
        assert data_id is not None
        return self.folder / data_id

    def assert_arrived(self, stream: Stream) -> None:
        """Everything lies there, once, confirmed, and readers agree."""
        now = self.spool.stream(stream.stream_id)
        assert now.state == "finalized"
        group = self.group(stream)
        assert sorted(os.listdir(group / "frames")) == ["c.0.0.0", "c.1.0.0", "c.2.0.0", "zarr.json"]
        for chunk in self.spool.chunks(stream.stream_id):
            assert chunk.receipt is not None
            assert chunk.receipt.confirmed
            content = (group / "frames" / f"c.{chunk.chunk_idx}.0.0").read_bytes()
            assert hashlib.sha256(content[: chunk.wire_bytes]).hexdigest() == chunk.sha256
            assert chunk.receipt.checksums["sha256"] == hashlib.sha256(content).hexdigest()
        np.testing.assert_array_equal(read(group), np.concatenate([frames(idx) for idx in range(CHUNKS)]))
        for chunk in self.spool.chunks(stream.stream_id):
            check_received((group / "frames" / f"c.{chunk.chunk_idx}.0.0").read_bytes(), chunk, chunk_size=4)
        proof = read_proof(Path(f"{group}.proof.json").read_bytes())
        assert proof.audit.stream.stream_id == stream.stream_id
        assert len(proof.audit.chunks) == CHUNKS


def frames(chunk_idx: int) -> NDArray[np.uint8]:
    return some_frames(4 if chunk_idx < CHUNKS - 1 else LAST, seed=chunk_idx)


def read(group: Path) -> NDArray[np.uint8]:
    """The frames, by zarr-python, which has to agree with itself: through the group, and alone."""
    opened = zarr.open_group(group, mode="r")["frames"]
    alone = zarr.open_array(group / "frames", mode="r")
    assert isinstance(opened, zarr.Array)
    assert opened.shape == alone.shape
    return np.asarray(opened[:])


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    patience = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.01)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    found = Bench(tmp_path)
    with found.spool:
        yield found


def test_a_stream_lands_as_a_group_that_zarr_and_xarray_open(bench: Bench) -> None:
    stream = bench.record()
    bench.deliver()
    bench.assert_arrived(stream)
    group = bench.group(stream)
    assert group.name == f"GaAs-7-{stream.stream_id}"
    for consolidated in (True, False):
        with xarray.open_zarr(group, consolidated=consolidated) as found:
            assert found["frames"].dims == ("time", "y", "x")
            assert found.attrs["name"] == "GaAs / 7"
            # Ten frames a second, from each chunk's own beginning.
            since = (found["time"].values - np.datetime64("2023-11-14T22:13:20")) / np.timedelta64(1, "ms")
            assert since.tolist() == [100.0 * frame for frame in range(10)]


def test_whatever_differs_in_an_object_is_found(bench: Bench) -> None:
    stream = bench.record()
    bench.deliver()
    for chunk in bench.spool.chunks(stream.stream_id):
        content = (bench.group(stream) / "frames" / f"c.{chunk.chunk_idx}.0.0").read_bytes()
        for at in range(0, len(content), 7):
            changed = bytearray(content)
            changed[at] ^= 1
            with pytest.raises(ShardDamaged):
                check_received(bytes(changed), chunk, chunk_size=4)
        with pytest.raises(ShardDamaged):
            check_received(content[:-1], chunk, chunk_size=4)


def test_it_opens_at_any_moment_while_it_grows(bench: Bench) -> None:
    stream = bench.spool.open_stream(some_settings(destination=bench.url))
    with bench.delivering():
        wait_until(lambda: bench.spool.stream(stream.stream_id).data_id is not None)
        group = bench.group(stream)
        assert read(group).shape == (0, 1, 1)
        for idx in range(6):
            bench.spool.push(stream.stream_id, idx, some_frames(4, seed=idx))
            wait_until(lambda idx=idx: bench.spool.stream(stream.stream_id).watermark == idx)  # type: ignore[misc]
            with xarray.open_zarr(group) as found:
                assert found.sizes["time"] == 4 * (idx + 1)
                np.testing.assert_array_equal(found["frames"].values[-4:], some_frames(4, seed=idx))
    assert not Path(f"{group}.proof.json").exists()


def test_every_step_may_fail_once_and_nothing_is_lost_or_repeated(bench: Bench) -> None:
    bench.deliver()
    stream = bench.record()
    bench.deliver()
    labels = dict.fromkeys(bench.disk.labels())
    bench.assert_arrived(stream)
    assert {"object.fsync", "object.rename", "object.fsync_dir", "destination.mkdir"} <= set(labels)
    for label in labels:
        bench.disk.fail(label, error=errno.EIO, at=2)
        stream = bench.record()
        with bench.delivering():
            wait_until(lambda: bench.spool.stream(stream.stream_id).state == "finalized")  # noqa: B023
        bench.disk.mend()
        bench.assert_arrived(stream)


def test_a_full_folder_costs_time_and_nothing_else(bench: Bench) -> None:
    stream = bench.record()
    bench.disk.fail("object.write", error=errno.ENOSPC, times=10_000)
    with bench.delivering():
        wait_until(lambda: "is full" in (bench.spool.stream(stream.stream_id).trouble or ""))
        assert bench.spool.stream(stream.stream_id).tally.acknowledged == 0
        bench.disk.mend()
        wait_until(lambda: bench.spool.stream(stream.stream_id).state == "finalized")
    bench.assert_arrived(stream)


def test_a_share_that_goes_away_is_waited_for_and_nothing_is_written_where_it_was(bench: Bench) -> None:
    stream = bench.record(sealed=False)
    bench.deliver()
    away = bench.folder.with_name("elsewhere")
    bench.folder.rename(away)
    bench.folder.mkdir()  # what a mount point is when nothing is mounted
    bench.spool.push(stream.stream_id, CHUNKS, some_frames(4, seed=9))
    other = bench.record()
    with bench.delivering():
        wait_until(lambda: "is its share mounted" in (bench.spool.stream(stream.stream_id).trouble or ""))
        wait_until(lambda: "is its share mounted" in (bench.spool.stream(other.stream_id).trouble or ""))
        assert os.listdir(bench.folder) == []
        bench.folder.rmdir()
        away.rename(bench.folder)
        wait_until(lambda: bench.spool.stream(stream.stream_id).watermark == CHUNKS)
        wait_until(lambda: bench.spool.stream(other.stream_id).state == "finalized")
    bench.assert_arrived(other)


def test_what_is_not_durable_is_not_acknowledged(bench: Bench) -> None:
    stream = bench.record()
    bench.disk.fail("object.fsync_dir", at=3, times=10_000)
    with bench.delivering():
        wait_until(lambda: bench.spool.stream(stream.stream_id).trouble is not None)
    assert bench.spool.stream(stream.stream_id).tally.acknowledged < CHUNKS
    bench.disk.mend()
    with bench.delivering():
        wait_until(lambda: bench.spool.stream(stream.stream_id).state == "finalized")
    bench.assert_arrived(stream)


_WORKER = """
import sys
from pathlib import Path
from spool import Limits, Spool
from spool.testing import FaultyDisk
from uploader.destinations.stores.folder import FolderStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.worker import Until, UploadWorker
spool, url, folder, label, at = sys.argv[1:]
disk = FaultyDisk()
if label:
    disk.kill(label, at=int(at))
with Spool(Path(spool), limits=Limits(min_free_bytes=0)) as opened:
    destination = ZarrDestination(FolderStore(url, Path(folder), disk))
    UploadWorker(opened, destination, until=Until.DRY).run()
"""


@pytest.mark.parametrize("at", [1, 4, 9])
@pytest.mark.parametrize("label", ["object.write", "object.fsync", "object.rename", "object.fsync_dir"])
def test_a_worker_may_die_before_any_step_and_the_next_one_goes_on(bench: Bench, label: str, at: int) -> None:
    stream = bench.record()
    asked = [sys.executable, "-c", _WORKER, str(bench.spool_root), bench.url, str(bench.folder)]
    killed = subprocess.run([*asked, label, str(at)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    done = [chunk for chunk in bench.spool.chunks(stream.stream_id) if chunk.state == "acknowledged"]
    for chunk in done:  # what was acknowledged is there, whole
        content = (bench.group(stream) / "frames" / f"c.{chunk.chunk_idx}.0.0").read_bytes()
        assert hashlib.sha256(content[: chunk.wire_bytes]).hexdigest() == chunk.sha256
    subprocess.run([*asked, "", "0"], check=True, capture_output=True)
    bench.assert_arrived(stream)


def test_who_may_read_the_folder_may_read_what_is_put_there(bench: Bench) -> None:
    bench.folder.chmod(0o2770)  # what belongs to a group, and all that is put there too
    bench.record()
    bench.deliver()
    written = [path for path in bench.folder.rglob("*") if path.name != MARK_NAME]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o2770, 0o660}


def test_what_was_there_already_is_made_durable_before_it_counts(bench: Bench) -> None:
    # Whoever made it may have died before it was.
    store = FolderStore(bench.url, bench.folder, bench.disk)
    for _ in range(2):
        bench.disk.steps.clear()
        store.make_room("a/b")
        assert bench.disk.labels() == ["destination.mkdir", "destination.fsync_dir"] * 2
    store.create("a/b/c", [b"x"])
    bench.disk.steps.clear()
    assert store.create("a/b/c", [b"x"]).was_there
    assert bench.disk.labels() == ["object.fsync", "object.fsync_dir"]
    bench.disk.steps.clear()
    assert mark(bench.folder, bench.disk)
    assert bench.disk.labels()[-2:] == ["mark.fsync_dir", "destination.fsync_dir"]


@pytest.mark.parametrize("half", [b"", b'{"format": "fra', b"\0" * 40], ids=["empty", "cut off", "zeros"])
def test_half_a_mark_is_written_anew(tmp_path: Path, half: bytes) -> None:
    folder = tmp_path / "growths"
    folder.mkdir()
    (folder / MARK_NAME).write_bytes(half)
    assert mark(folder)
    whole = (folder / MARK_NAME).read_bytes()
    assert json.loads(whole)["format"] == "framespool-destination"
    assert mark(folder)
    assert (folder / MARK_NAME).read_bytes() == whole


def test_nothing_is_left_of_what_a_disk_did_not_keep_as_it_was_given(bench: Bench) -> None:
    disk = ShakyDisk()
    disk.lies = True
    store = FolderStore(bench.url, bench.folder, disk)
    with pytest.raises(StoreTrouble, match="other bytes"):
        store.create("x", [b"ab", b"cd"])
    assert [path.name for path in bench.folder.rglob("*") if path.is_file()] == [MARK_NAME]


def test_what_a_dead_writer_left_unfinished_is_swept_and_what_is_under_way_is_not(bench: Bench) -> None:
    store = FolderStore(bench.url, bench.folder)
    store.create("x", [b"x"])
    incoming = bench.folder / ".framespool-incoming"
    (incoming / "new").write_bytes(b"under way")
    (incoming / "old").write_bytes(b"half of it")
    long_ago = time.time() - 2 * 86_400
    os.utime(incoming / "old", (long_ago, long_ago))
    store.make_room("y")
    assert os.listdir(incoming) == ["new"]


def test_a_proof_that_was_there_already_is_made_durable_before_the_stream_is_finalized(bench: Bench) -> None:
    stream = bench.record()
    asked = [sys.executable, "-c", _WORKER, str(bench.spool_root), bench.url, str(bench.folder)]
    steps = _steps_to_the_end(bench)
    again = bench.record()
    killed = subprocess.run([*asked, "object.fsync_dir", str(steps)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert bench.spool.stream(stream.stream_id).state == "finalized"
    assert bench.spool.stream(again.stream_id).state == "sealed"
    proof = Path(f"{bench.group(again)}.proof.json")
    written = proof.read_bytes()  # whole, under its name, and lost if the power goes now
    bench.disk.steps.clear()
    bench.deliver()
    bench.assert_arrived(again)
    assert bench.disk.labels()[-2:] == ["object.rename", "object.fsync_dir"]
    assert proof.read_bytes() == written


def _steps_to_the_end(bench: Bench) -> int:
    """Deliver what waits; so many directories it fsynced for that, the last one for the proof."""
    bench.disk.steps.clear()
    bench.deliver()
    return bench.disk.labels().count("object.fsync_dir")


def test_no_key_leaves_the_folder(bench: Bench) -> None:
    store = FolderStore(bench.url, bench.folder)
    for key in ("../x", "a/../../x"):
        with pytest.raises(ValueError, match="leaves the folder"):
            store.create(key, [b"x"])
    assert os.listdir(bench.folder.parent) == [bench.folder.name]


def test_a_script_names_a_folder_and_needs_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AS_API_KEY", raising=False)
    monkeypatch.delenv("ATOMSCALE_API_KEY", raising=False)
    folder = tmp_path / "on a share"
    with RHEEDStreamer(spool_dir=tmp_path / "spool", destination=folder, worker="thread") as streamer:
        stream_id = streamer.initialize(2, 0, 4, stream_name="without a server")
        streamer.push(stream_id, 0, some_frames(4))
        report = streamer.finalize(stream_id, drain_timeout_s=20)
        data_id = streamer.data_id(stream_id)
    assert report.finalized
    assert data_id == f"without-a-server-{stream_id}"
    assert json.loads((folder / MARK_NAME).read_text("utf-8"))["version"] == 1
    np.testing.assert_array_equal(read(folder / data_id), some_frames(4))


def test_two_places_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="name two places"):
        RHEEDStreamer(spool_dir=tmp_path, endpoint="http://127.0.0.1:1", destination=tmp_path / "x")


def test_a_share_that_does_not_answer_keeps_no_recording_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr("uploader.beginning.mark", lambda _folder: answers.wait(60))
    folder = tmp_path / "share"
    with RHEEDStreamer(
        spool_dir=tmp_path / "spool", destination=folder, worker="external", open_timeout_s=0.2
    ) as streamer:
        began = time.monotonic()
        stream_id = streamer.initialize(2, 0, 4)
        assert time.monotonic() - began < 20
        streamer.push(stream_id, 0, some_frames(4))
    answers.set()
    assert f"{folder.as_uri()} could not be asked for the stream (there was no answer within 0.2 s)" in caplog.text


def test_what_is_sent_to_a_folder_has_its_share_of_the_line(bench: Bench) -> None:
    stream = bench.record()
    waited: list[float] = []

    def wait(seconds: float) -> bool:
        waited.append(seconds)
        return False

    meter = Meter(parse_schedule("1kB/s"), clock=lambda: sum(waited), wait=wait)
    destination = ZarrDestination(FolderStore(bench.url, bench.folder), meter)
    assert UploadWorker(bench.spool, destination, until=Until.DRY).run()
    bench.assert_arrived(stream)
    sent = sum(chunk.wire_bytes for chunk in bench.spool.chunks(stream.stream_id))
    assert sum(waited) == pytest.approx(sent / 1000, rel=0.3)
