import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spool import (
    ChunkConflict,
    FramesRejected,
    Spool,
    SpoolFull,
    StreamSealed,
    UnknownStream,
    UnsafeFileSystem,
    filesystems,
)
from spool.filesystems import FileSystem, Kind
from spool.testing import check_invariants
from tests.uploader.rig import (
    CHUNK_SIZE,
    ENDS,
    FPS,
    NO_LIMITS,
    PUT,
    PUTS,
    Bench,
    Frames,
    some_frames,
    status_rule,
    wait_until,
)
from uploader import ConfigurationError, KeyRefused, RHEEDStreamer
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.loopback.process import LoopbackServer
from uploader.own_worker import OwnWorker

KINDS = ("process", "thread", "external")

PRODUCER = """
import sys
import time
import numpy as np
from uploader import RHEEDStreamer

spool, endpoint, chunks, ending = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
streamer = RHEEDStreamer(endpoint=endpoint, spool_dir=spool, spool_min_free_bytes=0)
data_id = streamer.initialize(2.0, 0.0, 4, stream_name="from a process")
for k in range(chunks):
    streamer.push(data_id, k, np.full((4, 6, 8), k, np.uint8))
if ending == "finalize":
    streamer.finalize(data_id, drain_timeout_s=0)
print(data_id, flush=True)
if ending == "finalize":
    streamer.close()
else:
    time.sleep(600)  # until it is killed
"""


@pytest.fixture
def destinations(monkeypatch: pytest.MonkeyPatch) -> list[AtomscaleDestination]:
    """What the streamers of this process deliver to, once they do."""
    made: list[AtomscaleDestination] = []

    def make(*given: Any) -> AtomscaleDestination:
        made.append(AtomscaleDestination(*given))
        return made[-1]

    monkeypatch.setattr("uploader.destinations.making.AtomscaleDestination", make)
    return made


@pytest.fixture
def streamers(
    server: LoopbackServer, root: Path, destinations: list[AtomscaleDestination]
) -> Iterator[Callable[..., RHEEDStreamer]]:
    """Makes streamers for this server and spool; they are closed, and their worker processes ended."""
    with ExitStack() as open_ones:

        def make(**changes: Any) -> RHEEDStreamer:
            given: dict[str, Any] = {
                "api_key": server.api_key,
                "endpoint": server.url,
                "spool_dir": root,
                "spool_min_free_bytes": 0,
            }
            streamer = RHEEDStreamer(**{**given, **changes})
            open_ones.callback(_end_worker_of, streamer, destinations)
            return open_ones.enter_context(streamer)

        yield make


def _end_worker_of(streamer: RHEEDStreamer, made: list[AtomscaleDestination]) -> None:
    for destination in made:
        destination.close()
    process = streamer._workers[0].process._process
    if process is not None:
        process.kill()
        process.wait(20)


def worker_pid(root: Path) -> int:
    with Spool(root, limits=NO_LIMITS) as spool:
        started = [event.detail["pid"] for event in spool.events() if event.event == "worker_started"]
    return int(started[-1])


def started_workers(root: Path) -> int:
    with Spool(root, limits=NO_LIMITS) as spool:
        return sum(event.event == "worker_started" for event in spool.events())


def chunks_of(seed: int, count: int) -> list[Frames]:
    return [some_frames(seed + k) for k in range(count)]


def assert_received(server: LoopbackServer, data_id: str, chunks: list[Frames]) -> None:
    np.testing.assert_array_equal(np.asarray(server.received(data_id)[:]), np.concatenate(chunks))
    order = [line["chunk_idx"] for line in server.log(data_id) if line["event"] == "received"]
    assert list(dict.fromkeys(order)) == list(range(len(chunks)))
    assert not any(line.get("changed") for line in server.log(data_id))


def start_producer(server: LoopbackServer, root: Path, chunks: int, ending: str) -> tuple[Any, str]:
    environment = {**os.environ, "AS_API_KEY": server.api_key, "PYTHONPATH": str(Path(__file__).parents[2])}
    producer = subprocess.Popen(
        [sys.executable, "-P", "-c", PRODUCER, str(root), server.url, str(chunks), ending],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert producer.stdout is not None
    data_id = producer.stdout.readline().strip()
    producer.stdout.close()
    assert data_id, "the producer ended before it had recorded"
    return producer, data_id


# As the vendor's client -----------------------------------------------------------------------------------


@pytest.mark.parametrize("worker", ["process", "thread"])
def test_the_push_example_of_the_documentation(
    server: LoopbackServer, streamers: Callable[..., RHEEDStreamer], worker: str
) -> None:
    chunks = chunks_of(10, 4)
    streamer = streamers(worker=worker)
    data_id = streamer.initialize(
        fps=FPS, rotations_per_min=15.0, chunk_size=CHUNK_SIZE, stream_name="Demo", physical_sample="GaAs"
    )
    for chunk_idx, frames in enumerate(chunks):
        streamer.push(data_id, chunk_idx, frames)
    report = streamer.finalize(data_id, drain_timeout_s=30)
    assert (report.chunks_spooled, report.chunks_uploaded, report.drained, report.finalized) == (4, 4, True, True)
    assert_received(server, data_id, chunks)
    assert server.state()["streams"][data_id]["name"] == "Demo"


def test_the_ledger_tells_the_whole_life_of_a_stream(
    server: LoopbackServer, streamers: Callable[..., RHEEDStreamer]
) -> None:
    streamer = streamers(worker="thread")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE, physical_sample="GaAs", tags=["night"])
    streamer.run(data_id, chunks_of(20, 2))
    assert streamer.finalize(data_id, 30).finalized
    root = streamer.spool_status().spool_dir
    streamer.close()
    with Spool(root) as spool:
        told = list(spool.events(data_id))
        workers = [event.event for event in spool.events() if event.stream_id is None]
    delivered = [event.event for event in told if event.chunk_idx is not None]
    assert sorted(delivered) == sorted(2 * ["spooled", "attempt_started", "acknowledged"])
    assert [event.event for event in told if event.chunk_idx is None and event.event != "clock_measured"] == [
        "opened", "linked", "sealed", "finalized",
    ]  # fmt: skip
    assert workers == ["worker_started", "worker_stopped"]
    linked = next(event.detail for event in told if event.event == "linked")
    assert linked["sample_id"] in {sample["id"] for sample in server.state()["samples"]}
    assert len(linked["tag_ids"]) == 1


@pytest.mark.parametrize("worker", ["process", "thread"])
def test_the_run_example_of_the_documentation(
    server: LoopbackServer, streamers: Callable[..., RHEEDStreamer], worker: str
) -> None:
    chunks = chunks_of(20, 3)

    def camera() -> Iterator[Frames]:
        yield from chunks

    streamer = streamers(worker=worker)
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    streamer.run(data_id, camera())
    assert streamer.finalize(data_id, 30).finalized
    assert_received(server, data_id, chunks)


def test_run_takes_frames_with_their_capture_time_and_goes_on_after_what_is_there(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    streamer = streamers(worker="external")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    streamer.push(data_id, 0, some_frames(1))
    streamer.run(data_id, [(some_frames(2), 1_700_000_000_000.0), (some_frames(3), 1_700_000_002_000.9)])
    assert [bench.chunk(data_id, idx).capture_start_ms_utc for idx in (1, 2)] == [
        1_700_000_000_000,
        1_700_000_002_000,
    ]


@pytest.mark.parametrize("as_given", [np.asarray, list], ids=["an array", "a list of frames"])
def test_a_chunk_that_just_arrived_began_its_frames_ago(
    bench: Bench, streamers: Callable[..., RHEEDStreamer], as_given: Callable[[Frames], Any]
) -> None:
    streamer = streamers(worker="external")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    before = time.time() * 1000
    streamer.run(data_id, [as_given(some_frames(1))])
    after = time.time() * 1000
    assert before - 2001 <= bench.chunk(data_id, 0).capture_start_ms_utc <= after - 2000


def test_the_report_reads_as_a_mapping_and_as_attributes(streamers: Callable[..., RHEEDStreamer]) -> None:
    streamer = streamers(worker="external")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    streamer.push(data_id, 0, some_frames(1))
    report = streamer.finalize(data_id, 0)
    assert report["chunks_spooled"] == report.chunks_spooled == 1
    assert dict(report)["drained"] is report.drained is False
    names = {"chunks_spooled", "chunks_uploaded", "chunks_pending", "chunks_parked", "drained", "finalized"}
    assert names <= set(report)
    with pytest.raises(KeyError):
        report["nothing"]
    status = streamer.spool_status()
    assert status["chunks_pending"] == status.chunks_pending == 1
    assert status["worker_running"] is False


def test_pushing_again_is_a_no_op_and_other_frames_are_refused(streamers: Callable[..., RHEEDStreamer]) -> None:
    streamer = streamers(worker="external")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    streamer.push(data_id, 0, some_frames(1))
    streamer.push(data_id, 0, some_frames(1))
    with pytest.raises(ChunkConflict):
        streamer.push(data_id, 0, some_frames(2))
    with pytest.raises(FramesRejected):
        streamer.push(data_id, 1, some_frames(1).astype(np.uint16))
    with pytest.raises(UnknownStream):
        streamer.push("nobody", 0, some_frames(1))
    streamer.finalize(data_id, 0)
    with pytest.raises(StreamSealed):
        streamer.push(data_id, 1, some_frames(3))


# Bad values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"fps": 0},
        {"fps": float("nan")},
        {"rotations_per_min": -1},
        {"chunk_size": 3},
        {"chunk_size": 4.0},
        {"tags": "night"},
        {"azimuth": "[110]", "rotations_per_min": 3},
        {"stream_name": "a\nb"},
        {"physical_sample": "a\x00b"},
    ],
    ids=str,
)
def test_a_bad_value_is_refused_before_any_request(bench: Bench, changes: dict[str, Any]) -> None:
    with (
        RHEEDStreamer(bench.server.api_key, bench.server.url, spool_dir=bench.root, worker="external") as streamer,
        pytest.raises(ConfigurationError),
    ):
        streamer.initialize(**{"fps": FPS, "rotations_per_min": 0.0, "chunk_size": CHUNK_SIZE, **changes})
    assert bench.server.state()["requests"] == {}
    assert bench.spool.streams() == []


@pytest.mark.parametrize(
    "changes",
    [
        {"api_key": None},
        {"api_key": "\u00fc"},
        {"endpoint": "ftp://x"},
        {"verbosity": 5},
        {"verbosity": True},
        {"verbosity": 2.0},
        {"spool_max_bytes": -1},
        {"spool_max_bytes": "5"},
        {"spool_min_free_bytes": float("nan")},
        {"spool_retention_s": -0.5},
        {"worker": "fork"},
        {"worker": None},
    ],
    ids=str,
)
def test_a_streamer_that_cannot_be_made_leaves_no_trace(tmp_path: Path, changes: dict[str, Any]) -> None:
    given = {"api_key": "k", "endpoint": "http://127.0.0.1:1", "spool_dir": tmp_path / "spool", **changes}
    with pytest.raises(ConfigurationError):
        RHEEDStreamer(**given)
    assert not (tmp_path / "spool").exists()


def test_the_streamer_reads_the_environment(
    server: LoopbackServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOMSCALE_API_KEY", server.api_key)
    monkeypatch.setenv("AS_API_ENDPOINT", server.url + "/")
    monkeypatch.setenv("ATOMSCALE_SPOOL_DIR", str(tmp_path / "elsewhere"))
    with RHEEDStreamer(worker="external") as streamer:
        assert streamer.spool_status().spool_dir == str(tmp_path / "elsewhere")
        assert streamer.initialize(FPS, 0.0, CHUNK_SIZE) in server.state()["streams"]
        assert server.api_key not in repr(streamer)


def test_a_streamer_shows_its_state_in_a_notebook(server: LoopbackServer, tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:9"
    with RHEEDStreamer(
        server.api_key, endpoint, spool_dir=tmp_path / "spool", worker="external", open_timeout_s=0
    ) as streamer:
        stream = streamer.initialize(FPS, 0.0, CHUNK_SIZE, stream_name="<i>growth</i>")
        streamer.push(stream, 0, np.zeros((2, 8, 8), np.uint8))
        said, html = repr(streamer), streamer._repr_html_()
        assert f"spool={str(tmp_path / 'spool')!r} endpoint={endpoint!r}: 1 streams" in said
        assert "1 chunks waiting" in said
        for part in (
            endpoint,
            stream,
            "&lt;i&gt;growth&lt;/i&gt;",
            "<td style='text-align:left'>open</td>",
            "0/1",
        ):
            assert part in html
        assert "<i>" not in html
        assert server.api_key not in html
    assert "cannot be read" in repr(streamer), "closed"
    assert "cannot be read" in streamer._repr_html_()


def test_a_server_that_refuses_the_key_opens_nothing(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    with pytest.raises(KeyRefused):
        streamers(worker="external", api_key="wrong").initialize(FPS, 0.0, CHUNK_SIZE)
    assert bench.spool.streams() == []


def test_a_spool_that_refuses_the_stream_ends_it_on_the_server_again(
    server: LoopbackServer, streamers: Callable[..., RHEEDStreamer], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise SpoolFull("no room")

    monkeypatch.setattr(Spool, "open_stream", refuse)
    with pytest.raises(SpoolFull):
        streamers(worker="external").initialize(FPS, 0.0, CHUNK_SIZE)
    (left,) = server.state()["streams"].values()
    assert left["status"] in ("stream_finalizing", "stream_finalized")


@pytest.mark.parametrize(
    ("verbosity", "level"),
    [(0, logging.CRITICAL + 1), (1, logging.ERROR), (2, logging.WARNING), (3, logging.INFO), (4, logging.DEBUG)],
)
def test_verbosity_sets_the_level_of_our_own_loggers_only(tmp_path: Path, verbosity: int, level: int) -> None:
    ours = [logging.getLogger(name) for name in ("spool", "uploader")]
    before, root_level = [logger.level for logger in ours], logging.getLogger().level
    try:
        with RHEEDStreamer("k", "http://127.0.0.1:1", verbosity, tmp_path / "spool", worker="external"):
            assert [logger.level for logger in ours] == [level, level]
            assert logging.getLogger().level == root_level
    finally:
        for logger, old in zip(ours, before, strict=True):
            logger.setLevel(old)


# Outages and kills --------------------------------------------------------------------------------------


def test_push_does_not_touch_the_network(bench: Bench, streamers: Callable[..., RHEEDStreamer]) -> None:
    streamer = streamers(worker="external")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    before = bench.server.state()["requests"]
    bench.server.outage(True)
    for k in range(5):
        streamer.push(data_id, k, some_frames(k))
    assert bench.server.state()["requests"] == before


def test_a_finalize_that_ends_first_says_so_and_the_worker_finishes_by_itself(
    bench: Bench, streamers: Callable[..., RHEEDStreamer], caplog: pytest.LogCaptureFixture
) -> None:
    streamer = streamers()
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    bench.server.outage(True)
    chunks = chunks_of(30, 3)
    for k, frames in enumerate(chunks):
        streamer.push(data_id, k, frames)
    report = streamer.finalize(data_id, drain_timeout_s=0.3)
    assert (report.drained, report.finalized, report.chunks_pending, report.chunks_uploaded) == (
        False,
        False,
        3,
        0,
    )
    assert "the worker carries on" in caplog.text
    streamer.close()
    bench.server.outage(False)
    wait_until(lambda: bench.finalized(data_id), within_s=40)
    assert_received(bench.server, data_id, chunks)
    wait_until(
        lambda: not bench.spool.worker_lock(bench.server.url).is_held_elsewhere() or bench.finalized(data_id)
    )


def test_a_finalize_of_a_parked_or_held_stream_does_not_wait_for_the_person(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    streamer = streamers(worker="thread")
    parked, held = (streamer.initialize(FPS, 0.0, CHUNK_SIZE) for _ in range(2))
    bench.server.faults([status_rule({**PUT, "path": parked}, 413)])
    bench.server.set_status(held, "stream_finalized")
    for data_id in (parked, held):
        streamer.push(data_id, 0, some_frames(1))
    one, two = streamer.finalize(parked, 30), streamer.finalize(held, 30)
    assert (one.chunks_parked, one.drained, one.finalized) == (1, False, False)
    assert "stream_finalized" in (two.held or "")
    assert (two.chunks_pending, two.finalized) == (1, False)
    assert bench.requests(ENDS) == 0


def test_the_worker_outlives_a_killed_producer_and_drains(server: LoopbackServer, root: Path) -> None:
    server.faults([{"match": PUT, "action": "delay", "seconds": 0.2}])
    producer, data_id = start_producer(server, root, 5, "nothing")
    try:
        wait_until(lambda: server.state()["requests"].get(PUTS, 0) >= 1)
    finally:
        producer.kill()
        producer.wait(20)
    with Spool(root, limits=NO_LIMITS) as spool:
        wait_until(lambda: spool.stream(data_id).tally.acknowledged == 5)
        check_invariants(spool)
        lock = spool.worker_lock(server.url)
    assert_received(server, data_id, [np.full((4, 6, 8), k, np.uint8) for k in range(5)])
    wait_until(lambda: not lock.is_held_elsewhere())


def test_a_producer_that_ends_at_once_leaves_a_worker_that_ends_the_stream(
    server: LoopbackServer, root: Path
) -> None:
    producer, data_id = start_producer(server, root, 3, "finalize")
    producer.wait(20)
    with Spool(root, limits=NO_LIMITS) as spool:
        wait_until(lambda: spool.stream(data_id).state == "finalized")
        lock = spool.worker_lock(server.url)
    wait_until(lambda: not lock.is_held_elsewhere())
    assert_received(server, data_id, [np.full((4, 6, 8), k, np.uint8) for k in range(3)])


def test_a_worker_killed_in_mid_upload_is_replaced_and_everything_arrives(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    streamer = streamers()
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    chunks = chunks_of(40, 4)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.5, "times": 1, "after": 1}])
    for k, frames in enumerate(chunks[:3]):
        streamer.push(data_id, k, frames)
    wait_until(lambda: bench.requests(PUTS) == 2)
    os.kill(worker_pid(bench.root), signal.SIGKILL)
    streamer.push(data_id, 3, chunks[3])
    report = streamer.finalize(data_id, 30)
    assert report.finalized
    assert started_workers(bench.root) == 2
    assert_received(bench.server, data_id, chunks)
    check_invariants(bench.spool)


def test_two_processes_on_one_spool_share_one_worker(server: LoopbackServer, root: Path) -> None:
    producers = [start_producer(server, root, 3, "nothing") for _ in range(2)]
    try:
        with Spool(root, limits=NO_LIMITS) as spool:
            wait_until(lambda: all(spool.stream(one).tally.acknowledged == 3 for _, one in producers))
        assert started_workers(root) == 1
    finally:
        for producer, _ in producers:
            producer.kill()
            producer.wait(20)


def test_a_new_key_is_used_even_while_an_older_worker_waits_with_the_refused_one(
    bench: Bench, tmp_path: Path, streamers: Callable[..., RHEEDStreamer]
) -> None:
    """The key was rotated during an experiment; the next program start brings the new one."""
    old = streamers()
    first = old.initialize(FPS, 0.0, CHUNK_SIZE)
    bench.server.outage(True)
    old.push(first, 0, some_frames(1))
    wait_until(lambda: bench.stream(first).trouble)
    port = int(bench.server.url.rpartition(":")[2])
    bench.server.stop()
    with LoopbackServer(tmp_path / "server", api_key="rotated", port=port):
        wait_until(lambda: "API key" in (bench.stream(first).trouble or ""), within_s=30)
        old.close()
        new = streamers(api_key="rotated")
        second = new.initialize(FPS, 0.0, CHUNK_SIZE)
        new.push(second, 0, some_frames(2))
        assert new.finalize(second, 15).finalized
        wait_until(lambda: bench.acknowledged(first) == 1)


# Room ---------------------------------------------------------------------------------------------------


def in_thread(target: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    errors: list[BaseException] = []

    def run() -> None:
        try:
            target()
        except Exception as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def test_push_raises_and_run_waits_while_the_spool_is_full(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    chunks = chunks_of(50, 8)
    bench.push(bench.open_stream(), 0)
    one = bench.spool.status().used_bytes
    streamer = streamers(worker="thread", spool_max_bytes=4 * one + one // 2)
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    bench.server.outage(True)
    thread, errors = in_thread(lambda: streamer.run(data_id, chunks))
    wait_until(lambda: bench.stream(data_id).tally.spooled == 3)
    with pytest.raises(SpoolFull):
        streamer.push(data_id, 7, chunks[7])
    assert thread.is_alive()
    assert bench.stream(data_id).tally.pushed == 3
    bench.server.outage(False)
    wait_until(lambda: not thread.is_alive(), within_s=30)
    assert errors == []
    assert streamer.finalize(data_id, 20).finalized
    assert_received(bench.server, data_id, chunks)
    check_invariants(bench.spool)


def test_run_raises_when_a_chunk_can_never_fit(streamers: Callable[..., RHEEDStreamer]) -> None:
    streamer = streamers(worker="external", spool_max_bytes=10)
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    thread, errors = in_thread(lambda: streamer.run(data_id, [some_frames(1)]))
    wait_until(lambda: not thread.is_alive(), within_s=3)
    assert [type(error) for error in errors] == [SpoolFull]


def test_a_streamer_begins_no_spool_on_a_share_unless_the_environment_takes_the_risk(
    streamers: Callable[..., RHEEDStreamer], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = FileSystem(type_name="nfs4", mount_point="/mnt/lab", kind=Kind.NETWORK)
    monkeypatch.setattr(filesystems, "file_system_of", lambda _: there)
    with pytest.raises(UnsafeFileSystem, match="/mnt/lab"):
        streamers(worker="external")
    monkeypatch.setenv("FRAMESPOOL_UNSAFE_FILE_SYSTEM", "1")
    assert streamers(worker="external").spool_status().streams == 0


# Kinds of worker ----------------------------------------------------------------------------------------


def test_an_external_worker_delivers_what_the_streamer_records(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    streamer = streamers(worker="external")
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    chunks = chunks_of(60, 2)
    streamer.run(data_id, chunks)
    assert started_workers(bench.root) == 0
    with bench.delivering():
        assert streamer.finalize(data_id, 20).finalized
        assert streamer.spool_status().worker_running
    assert_received(bench.server, data_id, chunks)


def test_a_thread_worker_ends_with_its_streamer_and_the_next_one_carries_on(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    with streamers(worker="thread") as streamer:
        data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
        bench.server.outage(True)
        streamer.push(data_id, 0, some_frames(1))
    assert not bench.spool.worker_lock(bench.server.url).is_held_elsewhere()
    assert not [thread for thread in threading.enumerate() if thread.name == "framespool-worker"]
    bench.server.outage(False)
    with streamers(worker="thread") as streamer:
        assert streamer.finalize(data_id, 20).finalized


def test_closing_a_streamer_with_a_thread_worker_closes_its_connections(
    streamers: Callable[..., RHEEDStreamer], destinations: list[AtomscaleDestination]
) -> None:
    with streamers(worker="thread") as streamer:
        streamer.finalize(streamer.initialize(FPS, 0.0, CHUNK_SIZE), 20)
    (used,) = destinations
    assert used._storage.is_closed


def test_pushes_from_several_threads_start_one_worker_thread(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    """Two cameras, one streamer: a second worker would never be stopped."""
    data_ids = [bench.open_stream() for _ in range(8)]
    streamer = streamers(worker="thread")
    together = threading.Barrier(8)

    def camera(data_id: str) -> None:
        together.wait(10)
        streamer.push(data_id, 0, some_frames(1))

    cameras = [in_thread(partial(camera, data_id)) for data_id in data_ids]
    wait_until(lambda: not any(thread.is_alive() for thread, _ in cameras))
    assert [errors for _, errors in cameras] == [[]] * 8
    running = [thread for thread in threading.enumerate() if thread.name == "framespool-worker"]
    streamer.close()
    for thread in running:
        thread.join(0.2)
    left = [thread for thread in running if thread.is_alive()]
    assert len(running) == 1
    assert left == []


def test_a_worker_process_gets_the_key_in_its_environment_only(
    bench: Bench, streamers: Callable[..., RHEEDStreamer], monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Any] = []
    environments: list[Any] = []
    original = subprocess.Popen

    def watched(command: Any, **more: Any) -> Any:
        commands.append(command)
        environments.append(more.get("env", {}))
        return original(command, **more)

    monkeypatch.setattr("uploader.worker_process._Detached", watched)
    monkeypatch.setenv("ATOMSCALE_API_KEY", "an-older-key")
    monkeypatch.setenv("AS_API_KEY_FILE", "beside-the-script")
    streamer = streamers()
    data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    streamer.push(data_id, 0, some_frames(1))
    assert streamer.finalize(data_id, 20).finalized
    assert len(commands) == 1
    assert bench.server.api_key not in json.dumps(commands)
    assert environments[0]["AS_API_KEY"] == bench.server.api_key
    assert "an-older-key" not in environments[0].values()
    # It runs in another folder, and looks there for a new key when this one is refused.
    assert environments[0]["AS_API_KEY_FILE"] == str(Path("beside-the-script").absolute())
    for path in bench.root.rglob("*"):
        if path.is_file():
            assert bench.server.api_key.encode() not in path.read_bytes(), path


def test_a_program_that_ends_properly_says_nothing_on_stderr(server: LoopbackServer, root: Path) -> None:
    """With all of Python's warnings on: no process, file or database is left to the garbage collector."""
    environment = {
        "AS_API_KEY": server.api_key,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **{name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "SYSTEMROOT")},
    }
    command = [sys.executable, "-P", "-X", "dev", "-c", PRODUCER, str(root), server.url, "1", "finalize"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0
    data_id = ended.stdout.strip()
    with Spool(root, limits=NO_LIMITS) as spool:
        wait_until(lambda: spool.stream(data_id).state == "finalized")
        digest = spool.chunk(data_id, 0)
    assert digest is not None
    assert hashlib.sha256(server.objects(data_id)[0]).hexdigest() == digest.sha256
    assert "Warning" not in ended.stderr, ended.stderr


def test_a_worker_that_cannot_be_started_keeps_no_frame_out(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: OwnWorker) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(OwnWorker, "_start_thread", refuse)
    with RHEEDStreamer(destination=root / "there", spool_dir=root / "spool", worker="thread") as streamer:
        stream_id = streamer.initialize(2, 0, 4)
        streamer.push(stream_id, 0, some_frames(0))
    assert "no worker could be started (can't start new thread)" in caplog.text
