"""The line is shared: a rate for all uploads together, live streams first, backlog never left out."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.uploader.rig import CHUNK_SIZE, FPS, PUT, PUTS, Bench, some_frames, wait_until
from uploader import RHEEDStreamer, worker
from uploader.destinations import atomscale
from uploader.errors import ConfigurationError
from uploader.worker_process import WorkerProcess

CHECKOUT = Path(__file__).parents[2]
CHUNK_BYTES = 40_000


def open_heavy(bench: Bench, chunks: int) -> str:
    """A stream whose chunks have about `CHUNK_BYTES`: noise, which no encoder makes smaller."""
    data_id = bench.open_stream()
    for idx in range(chunks):
        bench.spool.push(data_id, idx, some_frames(idx, height=100, width=CHUNK_BYTES // 400))
    return data_id


def run_worker(bench: Bench, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AS_API_KEY": bench.server.api_key, "AS_API_ENDPOINT": bench.server.url}
    command = [sys.executable, "-m", "uploader", "worker", "--once", "--spool", str(bench.root), *options]
    return subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )


def arrivals(bench: Bench, data_ids: Sequence[str]) -> list[tuple[float, str, int]]:
    """``(when in seconds, data_id, chunk_idx)`` of everything the server took, in order."""
    return sorted(
        (line["received_at_unix_ms"] / 1000, data_id, line["chunk_idx"])
        for data_id in data_ids
        for line in bench.server.log(data_id)
        if line["event"] == "received"
    )


def test_three_backlogs_and_a_live_stream_share_a_slow_line(bench: Bench) -> None:
    """A worker process at 100 kB/s, one stream at a time: the live one first, each in order, no faster."""
    backlogs = [open_heavy(bench, 2) for _ in range(3)]
    for data_id in backlogs:
        bench.spool.seal(data_id)
    live = open_heavy(bench, 3)
    run_worker(bench, "--max-rate", "100kB/s", "--streams-at-once", "1", "--min-free-bytes", "0")

    came = arrivals(bench, [live, *backlogs])
    assert [(data_id, idx) for _, data_id, idx in came[:3]] == [(live, idx) for idx in range(3)]
    assert [idx for _, _, idx in came[3:]] == [0, 1] * 3, "and then the others, one after the other"
    assert all(bench.finalized(data_id) for data_id in backlogs)
    sizes = [bench.chunk(data_id, idx).wire_bytes for _, data_id, idx in came]
    assert all(bench.chunk(data_id, idx).attempts == 1 for _, data_id, idx in came)
    # It may be slower for any reason; faster only by what the meter may catch up on, and by its last piece.
    assert came[-1][0] - came[0][0] >= sum(sizes[1:]) / 100e3 - 0.5


def test_four_at_once_are_no_faster_than_the_rate_together(bench: Bench) -> None:
    data_ids = [open_heavy(bench, 2) for _ in range(4)]
    run_worker(bench, "--max-rate", "100kB/s", "--min-free-bytes", "0")
    came = arrivals(bench, data_ids)
    assert len({data_id for _, data_id, _ in came[:4]}) == 4, "side by side"
    sizes = [bench.chunk(data_id, idx).wire_bytes for _, data_id, idx in came]
    # Of the first four, three may have been on their way when the first arrived.
    assert came[-1][0] - came[0][0] >= sum(sizes[4:]) / 100e3 - 0.5


def test_a_backlog_gives_its_place_to_a_stream_that_begins_to_be_recorded(bench: Bench) -> None:
    """Its turn would last ten seconds; the live chunk waits for one upload, not for all of the backlog."""
    backlog = bench.open_stream(60)
    bench.spool.seal(backlog)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.1}])
    with bench.delivering(streams_at_once=1):
        wait_until(lambda: bench.acknowledged(backlog) >= 2)
        live = bench.open_stream(1)
        wait_until(lambda: bench.acknowledged(live) == 1)
        assert bench.acknowledged(backlog) < 40
        wait_until(lambda: bench.finalized(backlog))


def test_live_streams_that_never_run_dry_leave_the_backlog_its_turn(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.delivery.TURN_S", 0.3)
    backlog = bench.open_stream(2)
    bench.spool.seal(backlog)
    live = bench.open_stream(100)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 0.1}])
    with bench.delivering(streams_at_once=1):
        wait_until(lambda: bench.finalized(backlog))
        assert 3 <= bench.acknowledged(live) < 100


def test_our_own_watchdog_lets_a_slow_upload_be_as_slow_as_was_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All patience but the meter's is gone long before the two seconds that this upload takes."""
    monkeypatch.setattr(atomscale, "CONNECT_TIMEOUT_S", 0.1)
    monkeypatch.setattr(atomscale, "STALL_S", 0.3)
    monkeypatch.setattr(atomscale, "SLOWEST_BYTES_PER_S", 1e9)
    data_id = open_heavy(bench, 1)
    with bench.delivering(max_rate="20kB/s"):
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    assert bench.chunk(data_id, 0).attempts == 1


def test_a_worker_that_stops_does_not_wait_for_its_share_of_the_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "_STOP_PATIENCE_S", 0.2)
    data_id = open_heavy(bench, 1)
    with bench.delivering(max_rate="1kB/s"):
        wait_until(lambda: bench.requests(PUTS) == 1)
        began = time.monotonic()
    assert time.monotonic() - began < 5, "the upload alone would have taken forty seconds"
    assert bench.ledger(data_id, "attempt_failed") == [("attempt_failed", 0)]
    assert bench.stream(data_id).lease_owner is None
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)


# How the rate gets there ------------------------------------------------------------------------------------


def streamer(bench: Bench, **changes: Any) -> RHEEDStreamer:
    given = {"api_key": bench.server.api_key, "endpoint": bench.server.url, "spool_dir": bench.root}
    return RHEEDStreamer(**{**given, "spool_min_free_bytes": 0, **changes})


def test_the_worker_process_is_given_the_rate_as_it_was_asked_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[Sequence[str]] = []
    original: Callable[[WorkerProcess], Sequence[str]] = WorkerProcess._command

    def watched(self: WorkerProcess) -> Sequence[str]:
        commands.append(original(self))
        return commands[-1]

    monkeypatch.setattr(WorkerProcess, "_command", watched)
    with streamer(bench, max_rate="2MB/s,18:00-07:00=unlimited") as recording:
        data_id = recording.initialize(FPS, 0.0, CHUNK_SIZE)
        recording.push(data_id, 0, some_frames(1))
        assert recording.finalize(data_id, 20).finalized
    (command,) = commands
    assert command[command.index("--max-rate") + 1] == "2MB/s,18:00-07:00=unlimited"


def test_a_worker_thread_keeps_the_rate(bench: Bench) -> None:
    with streamer(bench, worker="thread", max_rate="40kB/s") as recording:
        data_id = recording.initialize(FPS, 0.0, CHUNK_SIZE)
        began = time.monotonic()
        for idx in range(3):
            recording.push(data_id, idx, some_frames(idx, height=100, width=CHUNK_BYTES // 400))
        assert recording.finalize(data_id, 20).finalized
    assert time.monotonic() - began >= 3 - 0.7


@pytest.mark.parametrize(
    "changes", [{"max_rate": "2"}, {"max_rate": 2e6}, {"max_rate": "1MB/s", "worker": "external"}]
)
def test_a_rate_that_cannot_be_kept_is_refused_before_anything_is_begun(
    bench: Bench, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigurationError):
        streamer(bench, spool_dir=tmp_path / "new", **changes)
    assert not (tmp_path / "new").exists()
