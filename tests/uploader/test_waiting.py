"""Whoever only waits sleeps: by what is waited for and how long, never by how long it took."""

import threading
from functools import partial

from tests.uploader.rig import CHUNK_SIZE, FPS, Bench, some_frames, wait_until
from uploader import config
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.drains import Drains
from uploader.keys import Keys
from uploader.pace import REST_S, Pace
from uploader.streamer import RHEEDStreamer
from uploader.worker import Until, UploadWorker

NEVER_S = 3600.0


def test_looks_grow_rarer_while_nothing_changes() -> None:
    pace = Pace(0.05)
    waits = [pace.wait_s("the same") for _ in range(40)]
    assert waits == sorted(waits)
    assert waits[0] == 0.05
    assert waits[-1] == REST_S == 1.0


def test_a_change_is_noticed_late_by_no_more_than_a_quarter_of_the_time_before_it() -> None:
    pace = Pace(0.05)
    waits = [pace.wait_s("the same") for _ in range(40)]
    assert all(wait <= 0.05 + 0.25 * sum(waits[:k]) for k, wait in enumerate(waits))


def test_looks_are_frequent_again_after_a_change() -> None:
    pace = Pace(0.05)
    for _ in range(40):
        pace.wait_s("the same")
    assert pace.wait_s("another") == 0.05


def test_the_first_look_counts_as_a_change_whatever_it_shows() -> None:
    assert Pace(0.05).wait_s(None) == 0.05


def draining(bench: Bench, until: Until) -> tuple[Drains, threading.Thread]:
    """The drains of one spool, run by a thread of their own."""
    settings = config.spool({"spool_dir": bench.root, "endpoint": bench.server.url})
    running = Drains(
        [settings],
        lambda one: AtomscaleDestination(one.endpoint, Keys(one.endpoint, bench.server.api_key)),
        partial(UploadWorker, until=until),
        is_once=until is Until.DRY,
    )
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    return running, thread


def was_begun(bench: Bench) -> bool:
    return any(one.event == "worker_started" for one in bench.spool.events())


def test_a_stop_wakes_whoever_waits_for_the_drains(bench: Bench) -> None:
    running, thread = draining(bench, Until.STOPPED)
    wait_until(lambda: was_begun(bench))
    running.stop()
    wait_until(lambda: not thread.is_alive())


def test_the_end_of_the_work_wakes_whoever_waits_for_the_drains(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    _, thread = draining(bench, Until.DRY)
    wait_until(lambda: not thread.is_alive())
    assert bench.acknowledged(data_id) == 1


def test_an_idle_streamer_has_no_threads_but_those_that_sleep_until_the_next_push(bench: Bench) -> None:
    before = set(threading.enumerate())
    with RHEEDStreamer(
        bench.server.api_key, bench.server.url, spool_dir=bench.root, spool_min_free_bytes=0, worker="external"
    ) as streamer:
        streamer.push(streamer.initialize(FPS, 0.0, CHUNK_SIZE), 0, some_frames(0))
        # The watchdog of the requests ends with them.
        wait_until(lambda: {kind(one) for one in set(threading.enumerate()) - before} == {"framespool-encode"})


def kind(thread: threading.Thread) -> str:
    return thread.name.partition("_")[0]
