"""An idle worker sleeps, and a new chunk leaves at once: somebody rings."""

import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.uploader.rig import Bench, some_frames, wait_until
from uploader import RHEEDStreamer
from uploader import worker as working
from uploader.doorbell import Doorbell, bell_path, ring

FOREVER_S = 3600.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "destination.bell"


@pytest.fixture
def bell(path: Path) -> Iterator[Doorbell]:
    hung = Doorbell(path)
    hung.hang()
    yield hung
    hung.take_down()


def test_a_ring_from_another_process_ends_the_wait(bell: Doorbell, path: Path) -> None:
    script = f"from pathlib import Path; from uploader.doorbell import ring; ring(Path({str(path)!r}))"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])
    assert bell.wait(FOREVER_S)
    assert not bell.wait(0), "one ring ends one wait"


def test_a_ring_between_two_waits_is_not_lost(bell: Doorbell, path: Path) -> None:
    ring(path)
    wait_until(bell._rung.is_set)
    assert bell.wait(FOREVER_S)


@pytest.mark.usefixtures("bell")
def test_only_the_user_can_read_where_to_ring(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_dead_workers_left_half_hung_does_not_pile_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_self: Path, _target: Path) -> Path:
        raise OSError("killed")

    for pid in (1001, 1002):
        with monkeypatch.context() as dying:
            dying.setattr(os, "getpid", lambda pid=pid: pid)
            dying.setattr(Path, "replace", die)
            Doorbell(path).hang()
    assert len(os.listdir(path.parent)) == 1
    bell = Doorbell(path)
    bell.hang()
    bell.take_down()
    assert os.listdir(path.parent) == []


def test_a_bell_that_is_taken_down_leaves_neither_file_nor_thread(path: Path) -> None:
    bell = Doorbell(path)
    bell.hang()
    bell.take_down()
    wait_until(lambda: not any(one.name == "framespool-bell" for one in threading.enumerate()))
    assert not path.exists()
    bell.take_down()


@pytest.mark.parametrize("said", ["", "no port", "0", "70000", "-1", "9" * 100])
def test_a_file_that_names_no_port_is_no_bell(path: Path, said: str) -> None:
    path.write_text(said)
    ring(path)
    ring(path.with_name("there is none"))


def test_the_port_of_a_dead_worker_harms_nobody(path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        path.write_text(str(gone.getsockname()[1]))
    ring(path)
    ring(path)


def test_where_no_bell_can_hang_the_worker_still_wakes_by_itself(tmp_path: Path) -> None:
    bell = Doorbell(tmp_path / "no such folder" / "destination.bell")
    bell.hang()
    assert not bell.wait(0)
    bell.ring()
    assert bell.wait(FOREVER_S)


def test_a_pushed_chunk_leaves_although_the_worker_would_sleep_for_an_hour(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "LOOK_S", FOREVER_S)
    with RHEEDStreamer(
        bench.server.api_key,
        bench.server.url,
        spool_dir=bench.spool.root,
        spool_min_free_bytes=0,
        worker="external",
    ) as streamer:
        with bench.delivering():
            data_id = streamer.initialize(1.0, 0.0, 4)
            streamer.push(data_id, 0, some_frames(0))
            wait_until(lambda: bench.acknowledged(data_id) == 1)
            wait_until(_nobody_delivers)
            streamer.push(data_id, 1, some_frames(1))
            wait_until(lambda: bench.acknowledged(data_id) == 2)
            wait_until(_nobody_delivers)
            assert streamer.finalize(data_id).finalized
        assert not bell_path(bench.spool, bench.server.url).exists()


def _nobody_delivers() -> bool:
    return not any(one.name == "framespool-deliver" for one in threading.enumerate())
