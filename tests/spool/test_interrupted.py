"""What interrupts a recording, at the worst of moments, costs at most the chunk that was being pushed."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from spool import DiskFailed, Limits, Spool, encoding
from spool import disk as disk_steps
from spool.frame_codec import compress
from spool.testing import check_invariants, some_settings

REPOSITORY = Path(__file__).parents[2]

_INTERRUPTED = """
import os, signal, sqlite3, subprocess, sys, threading
from spool import Limits, Spool
from spool.testing import check_invariants, some_frames, some_settings

root = sys.argv[1]
holding = '''
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
db.execute("ROLLBACK")
'''
with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
    stream_id = spool.open_stream(some_settings()).stream_id
    holder = subprocess.Popen(
        [sys.executable, "-c", holding, f"{root}/index.sqlite3"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )
    holder.stdout.readline()
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    threading.Timer(1.5, holder.communicate, ("go\\n",)).start()
    try:
        spool.push(stream_id, 0, some_frames())
    except KeyboardInterrupt:
        print("interrupted")
    holder.wait()
    spool.push(stream_id, 1, some_frames(seed=1))
    check_invariants(spool)
    other = sqlite3.connect(f"{root}/index.sqlite3", isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")
print("well")
"""


def run(script: str, *arguments: str | Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="no signal is sent to one process there")
def test_an_interrupt_while_the_index_is_waited_for_leaves_no_transaction_behind(root: Path) -> None:
    assert run(_INTERRUPTED, root) == "interrupted\nwell\n"


_AFTER_MAIN = """
import atexit, sys, threading
import numpy as np
from spool import Limits, Spool
from spool.testing import some_settings

spool = Spool(sys.argv[1], limits=Limits(min_free_bytes=0))
stream_id = spool.open_stream(some_settings()).stream_id
frames = np.random.default_rng(0).integers(0, 256, (4, 900, 900), dtype=np.uint8)  # several runs

def acquire():
    threading.main_thread().join()
    spool.push(stream_id, 0, frames)
    print("pushed by a thread", flush=True)

def last():
    spool.push(stream_id, 1, frames)
    print("pushed at exit", flush=True)

threading.Thread(target=acquire).start()
atexit.register(last)
"""


def test_a_camera_that_outlives_the_main_thread_goes_on_recording(root: Path) -> None:
    assert run(_AFTER_MAIN, root) == "pushed by a thread\npushed at exit\n"
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        (stream,) = spool.streams()
        assert stream.next_chunk_idx == 2
        check_invariants(spool)


def test_a_push_that_raised_is_done_with_the_frames(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_work: list[int] = []
    others_go_on = threading.Event()

    def slow(run: NDArray[np.uint8]) -> list[bytes]:
        if (
            run.ctypes.data != frames.ctypes.data
        ):  # the first run is written, which fails, while others are at work
            at_work.append(1)
            others_go_on.wait(60)
            at_work.pop()
        return compress(run)

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        stream_id = spool.open_stream(some_settings()).stream_id
        frames = np.random.default_rng(0).integers(0, 256, (4, 1500, 1500), dtype=np.uint8)
        spool.push(stream_id, 0, frames)
        monkeypatch.setattr(encoding, "compress", slow)
        threading.Timer(1, others_go_on.set).start()
        monkeypatch.setattr(disk_steps, "_write_together", refuse)
        with pytest.raises(DiskFailed):
            spool.push(stream_id, 1, frames)
        assert at_work == []
        monkeypatch.undo()
        check_invariants(spool)


class NoThreads(ThreadPoolExecutor):
    """Queues what it is given, and then cannot start a thread for it: there are too many."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        late.append(lambda: fn(*args, **kwargs))
        raise RuntimeError("can't start new thread")


late: list[Callable[[], object]] = []


def test_a_run_for_which_no_thread_could_be_started_is_not_compressed_later(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        spool._intake._threads = NoThreads(1)
        stream_id = spool.open_stream(some_settings()).stream_id
        spool.push(stream_id, 0, np.zeros((4, 900, 900), np.uint8))
        check_invariants(spool)
    assert late

    def too_late(_run: NDArray[np.uint8]) -> list[bytes]:
        pytest.fail("it reads frames that are the caller's again")

    monkeypatch.setattr(encoding, "compress", too_late)
    assert [run_now() for run_now in late] == [None] * len(late)
