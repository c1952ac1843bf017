"""A producer that dies and one that goes on; and the rule that ends a stream with which nobody goes on."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spool import Spool, StreamInUse, StreamSealed, UnknownStream
from spool.testing import FakeClock, check_invariants
from tests.uploader.rig import CHUNK_SIZE, FPS, NO_LIMITS, Bench, some_frames, wait_until
from uploader import ConfigurationError, RHEEDStreamer, orphans
from uploader.loopback.process import LoopbackServer
from uploader.orphans import OrphanRule

HOUR_S = 3600.0

PRODUCER = """
import sys
import time
import numpy as np
from uploader import RHEEDStreamer

def frames(k):
    return np.full((4, 6, 8), k, np.uint8)

spool, endpoint, data_id, worker = sys.argv[1:]
streamer = RHEEDStreamer(endpoint=endpoint, spool_dir=spool, spool_min_free_bytes=0, worker=worker)
if data_id == "new":
    first, data_id = 0, streamer.initialize(2.0, 0.0, 4, stream_name="from a process")
    for k in range(3):
        streamer.push(data_id, k, frames(k))
else:
    first = streamer.resume(data_id)
    streamer.run(data_id, (frames(first + k) for k in range(2)))
print(data_id, first, flush=True)
time.sleep(600)  # until it is killed
"""


@contextmanager
def producing(
    server: LoopbackServer, root: Path, data_id: str, *, worker: str = "process"
) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """A process that has recorded and lives on, the stream's data_id, and where it began; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PRODUCER, str(root), server.url, data_id, worker],
        env={**os.environ, "AS_API_KEY": server.api_key, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            told, first = process.stdout.readline().split()
            yield process, told, int(first)
        finally:
            process.kill()


@pytest.fixture
def streamers(server: LoopbackServer, root: Path) -> Iterator[Callable[..., RHEEDStreamer]]:
    made: list[RHEEDStreamer] = []

    def make(**changes: Any) -> RHEEDStreamer:
        given: dict[str, Any] = {
            "api_key": server.api_key,
            "endpoint": server.url,
            "spool_dir": root,
            "spool_min_free_bytes": 0,
            "worker": "thread",
        }
        made.append(RHEEDStreamer(**{**given, **changes}))
        return made[-1]

    yield make
    for streamer in made:
        streamer.close()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans are looked for in every round."""
    monkeypatch.setattr(orphans, "LOOK_EVERY_S", 0.01)


# Resume -----------------------------------------------------------------------------------------------------


def test_a_killed_producers_stream_goes_on_in_a_new_process_and_arrives_whole_and_in_order(
    server: LoopbackServer, root: Path, streamers: Callable[..., RHEEDStreamer]
) -> None:
    with producing(server, root, "new") as (first, data_id, began):
        assert began == 0
        streamer = streamers()
        with pytest.raises(StreamInUse, match=rf"another live producer; .*:{first.pid} opened"):
            streamer.resume(data_id)
        first.send_signal(signal.SIGKILL)
        first.wait()
        with producing(server, root, data_id) as (second, _, went_on):
            assert went_on == 3
            with pytest.raises(StreamInUse):
                streamer.resume(data_id)
            second.kill()
            second.wait()
    assert streamer.resume(data_id) == 5
    streamer.push(data_id, 5, np.full((4, 6, 8), 5, np.uint8))
    assert streamer.finalize(data_id, 30).finalized
    received = np.asarray(server.received(data_id)[:])
    assert list(received[::4, 0, 0]) == [0, 1, 2, 3, 4, 5]
    arrived = [line["chunk_idx"] for line in server.log(data_id) if line["event"] == "received"]
    assert list(dict.fromkeys(arrived)) == [0, 1, 2, 3, 4, 5]
    with Spool(root, limits=NO_LIMITS) as spool:
        resumed = [event.detail["next_chunk_idx"] for event in spool.events(data_id) if event.event == "resumed"]
        assert resumed == [3, 5]
        check_invariants(spool)


def test_resuming_needs_no_server_and_starts_a_worker(
    bench: Bench, server: LoopbackServer, streamers: Callable[..., RHEEDStreamer]
) -> None:
    data_id = bench.open_stream(2)
    bench.spool.close()
    server.outage(True)
    streamer = streamers()
    began = time.monotonic()
    assert streamer.resume(data_id) == 2
    assert time.monotonic() - began < 5
    assert streamer._workers[0].thread is not None
    server.outage(False)
    assert streamer.finalize(data_id, 30).finalized


def test_a_stream_that_was_never_pushed_to_is_resumed_at_chunk_0(
    bench: Bench, streamers: Callable[..., RHEEDStreamer]
) -> None:
    data_id = bench.open_stream()
    bench.spool.close()
    assert streamers().resume(data_id) == 0


def test_what_cannot_be_resumed_says_why(bench: Bench, streamers: Callable[..., RHEEDStreamer]) -> None:
    data_id = bench.open_stream(1)
    with pytest.raises(UnknownStream):
        streamers().resume("no such stream")
    with pytest.raises(
        ConfigurationError, match=f"delivered to {bench.server.url}, and this streamer to"
    ) as raised:
        streamers(endpoint="http://127.0.0.1:9").resume(data_id)
    assert "endpoint" in raised.value.hint
    bench.spool.seal(data_id)
    with pytest.raises(StreamSealed):
        streamers().resume(data_id)


def test_a_streamer_that_is_closed_lets_another_of_the_same_process_go_on(
    streamers: Callable[..., RHEEDStreamer],
) -> None:
    first, second = streamers(), streamers(worker="external")
    data_id = first.initialize(FPS, 0.0, CHUNK_SIZE)
    first.push(data_id, 0, some_frames(1))
    with pytest.raises(StreamInUse, match=str(os.getpid())) as raised:
        second.resume(data_id)
    assert "close()" in raised.value.hint
    first.close()
    assert second.resume(data_id) == 1


# The rule for orphans ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("often")
def test_a_worker_with_the_rule_ends_a_stream_whose_producer_has_been_gone_for_so_long(
    bench: Bench, server: LoopbackServer, root: Path
) -> None:
    clock = FakeClock(now_ms=int(time.time() * 1000))
    with (
        producing(server, root, "new", worker="external") as (producer, data_id, _),
        bench.delivering(clock=clock, finalize_orphans_after_s=HOUR_S),
        Spool(root, limits=NO_LIMITS) as spool,
    ):
        another = bench.open_stream(1)
        bench.spool.close()
        clock.advance_s(HOUR_S + 60)
        wait_until(lambda: spool.stream(another).state == "finalized")
        # Younger, and so looked at after it.
        assert spool.stream(data_id).state == "open", "its producer lives, and is only silent"
        producer.kill()
        producer.wait()
        wait_until(lambda: spool.stream(data_id).state == "finalized")
        (sealed,) = [event.detail for event in spool.events(data_id) if event.event == "sealed"]
        assert "told to finalize orphans after 3600 s" in sealed["who"]
        assert sealed["why"] == "its producer was gone, and had been silent for 3600 s"
        assert spool.stream(data_id).tally.acknowledged == 3
    assert server.state()["streams"][data_id]["status"] in ("stream_finalizing", "success")


@pytest.mark.usefixtures("often")
def test_the_rule_leaves_alone_what_lives_is_held_or_is_anothers(bench: Bench) -> None:
    clock = FakeClock(now_ms=int(time.time() * 1000))
    lives, held = bench.open_stream(1), bench.open_stream(1)
    with Spool(bench.root, limits=NO_LIMITS) as other:
        elsewhere = other.open_stream(
            bench.settings(destination="http://127.0.0.1:1"), data_id="other-1"
        ).stream_id
        due = other.open_stream(bench.settings(), data_id="due-1").stream_id
        other.hold(held, "a person looks", who="a test")
        held_there = other.open_stream(bench.settings(), data_id="held-1").stream_id
        other.hold(held_there, "a person looks", who="a test")
    clock.advance_s(1000 * HOUR_S)
    with Spool(bench.root, limits=NO_LIMITS, clock=clock) as spool:
        OrphanRule(spool, bench.server.url, after_s=HOUR_S, who="a worker").look()
        assert spool.stream(due).state == "sealed"
        assert {spool.stream(ref).state for ref in (lives, held, held_there, elsewhere)} == {"open"}


def test_without_the_rule_an_orphan_stays_open(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    bench.spool.close()
    clock = FakeClock(now_ms=int(time.time() * 1000) + 10**12)
    with Spool(bench.root, limits=NO_LIMITS, clock=clock) as spool:
        OrphanRule(spool, bench.server.url, after_s=None, who="a worker").look()
        assert spool.stream(data_id).state == "open"


@pytest.mark.parametrize("after_s", [0.0, -1.0, float("nan")])
def test_a_rule_that_would_end_every_stream_at_once_is_refused(bench: Bench, after_s: float) -> None:
    with pytest.raises(ValueError, match="not more than zero"):
        OrphanRule(bench.spool, bench.server.url, after_s=after_s, who="a worker")


@pytest.mark.usefixtures("often")
def test_a_stream_that_cannot_be_sealed_does_not_keep_the_others(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, free = bench.open_stream(), bench.open_stream()
    home = bench.spool.zarr_path(stuck).parent
    bench.spool.close()
    (home / "producer.lock").unlink()
    (home / "producer.lock").mkdir()
    clock = FakeClock(now_ms=int(time.time() * 1000) + 10**9)
    with Spool(bench.root, limits=NO_LIMITS, clock=clock) as spool:
        OrphanRule(spool, bench.server.url, after_s=HOUR_S, who="a worker").look()
        assert [spool.stream(ref).state for ref in (stuck, free)] == ["open", "sealed"]
    assert any("could not be sealed" in record.getMessage() for record in caplog.records)
