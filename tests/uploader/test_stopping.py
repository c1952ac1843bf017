"""A worker process that is asked to end does so within seconds, whatever it is in the middle of."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.cli.shell import Said, Shell, finished
from tests.uploader.rig import PUT, Bench, status_rule, wait_until

WITHIN_S = 8.0

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there a terminated process is not asked")


@pytest.fixture
def shell(bench: Bench) -> Shell:
    made = Shell(bench.root, bench.server.url)
    made.environment["AS_API_KEY"] = bench.server.api_key
    made.environment["FRAMESPOOL_MIN_FREE_BYTES"] = "0"
    return made


def stopped(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> Said:
    began = time.monotonic()
    process.send_signal(number)
    said = finished(process)
    assert time.monotonic() - began < WITHIN_S
    return said


@pytest.mark.skipif(
    sys.platform == "win32", reason="there a process is asked with CTRL-BREAK, which ends its group"
)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stuck_upload_does_not_hold_up_the_end_and_is_repeated_with_the_same_bytes(
    bench: Bench, shell: Shell, number: int
) -> None:
    data_id = bench.open_stream(3)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 300, "after": 1}])
    with shell.running("worker") as process:
        wait_until(lambda: bench.acknowledged(data_id) == 1 and bench.chunk(data_id, 1).attempts == 1)
        said = stopped(process, number)
    assert said.code == 0
    assert "stopping" in said.err
    assert bench.chunk(data_id, 1).state == "spooled"
    assert bench.stream(data_id).lease_owner is None
    bench.server.clear_faults()
    assert shell.run("worker", "--once").code == 0
    bench.assert_arrived(data_id, 3)
    assert bench.chunk(data_id, 1).attempts == 2


def test_an_upload_that_ends_in_time_is_still_recorded(bench: Bench, shell: Shell) -> None:
    data_id = bench.open_stream(2)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 1.5}])
    with shell.running("worker") as process:
        wait_until(lambda: bench.chunk(data_id, 0).attempts == 1)
        assert stopped(process).code == 0
    assert bench.acknowledged(data_id) == 1
    assert bench.chunk(data_id, 1).attempts == 0


def test_a_worker_in_a_long_wait_ends(bench: Bench, shell: Shell) -> None:
    data_id = bench.open_stream(1)
    bench.server.faults([status_rule(PUT, 503, "SlowDown", headers={"Retry-After": "600"})])
    with shell.running("worker") as process:
        wait_until(lambda: bench.stream(data_id).trouble)
        assert stopped(process).code == 0


def test_a_worker_that_waits_for_its_turn_says_so_and_ends(bench: Bench, shell: Shell, tmp_path: Path) -> None:
    log = tmp_path / "second.log"
    with bench.delivering():
        wait_until(lambda: bench.spool.worker_lock(bench.server.url).is_held_elsewhere())
        with shell.running("worker", "--log-file", str(log)) as process:
            wait_until(lambda: log.exists() and "already; this one waits for its turn" in log.read_text())
            assert stopped(process).code == 0


@contextmanager
def locked(bench: Bench) -> Iterator[None]:
    """Another process has the index's write lock, and does not let go."""
    with closing(sqlite3.connect(bench.root / "index.sqlite3", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def test_a_locked_spool_does_not_hold_up_the_end(bench: Bench, shell: Shell) -> None:
    data_id = bench.open_stream(1)
    bench.server.faults([{"match": PUT, "action": "delay", "seconds": 300}])
    with shell.running("worker") as process:
        wait_until(lambda: bench.chunk(data_id, 0).attempts == 1)
        with locked(bench):
            assert stopped(process).code == 0
    bench.server.clear_faults()
    assert shell.run("worker", "--once").code == 0
    bench.assert_arrived(data_id, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which signals a process catches")
def test_a_spool_that_is_locked_while_it_is_opened_does_not_hold_up_the_end(bench: Bench, shell: Shell) -> None:
    log = bench.root / "w.log"
    with locked(bench), shell.running("worker", "--log-file", str(log)) as process:
        wait_until(log.exists)
        wait_until(lambda: _catches(process.pid, signal.SIGTERM))
        assert stopped(process).code == 0


def _catches(pid: int, number: int) -> bool:
    """Whether the process has a function of its own for the signal, as Linux tells."""
    mask = next(
        line.split()[1]
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("SigCgt:")
    )
    return bool(int(mask, 16) >> (number - 1) & 1)
