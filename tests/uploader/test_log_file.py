"""Logs of workers that run for months keep within their bounds, and nothing is lost that fits into them."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spool import verify
from tests.cli.shell import CHECKOUT, KEY, Shell, finished
from tests.uploader.rig import CHUNK_SIZE, FPS, Bench, wait_until
from uploader.log_file import RotatingLog
from uploader.streamer import RHEEDStreamer

BYTES_MAX, FILES_MAX = 4096, 3


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RotatingLog]:
    with closing(RotatingLog(tmp_path / "w.log", bytes_max=BYTES_MAX, files_max=FILES_MAX)) as made:
        made.setFormatter(logging.Formatter("%(message)s"))
        yield made


def say(log: RotatingLog, text: str) -> None:
    log.handle(logging.LogRecord("uploader", logging.INFO, __file__, 1, text, None, None))


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.glob("*.log"))


def test_the_latest_records_are_kept_in_order_within_the_bounds(log: RotatingLog, tmp_path: Path) -> None:
    for number in range(2000):
        say(log, f"record {number:06}")
    assert names(tmp_path) == ["w.1.log", "w.2.log", "w.log"]
    sizes = [(tmp_path / name).stat().st_size for name in names(tmp_path)]
    assert max(sizes) <= BYTES_MAX
    kept = "".join((tmp_path / name).read_text() for name in ("w.2.log", "w.1.log", "w.log")).split("\n")[:-1]
    assert kept == [f"record {number:06}" for number in range(2000 - len(kept), 2000)]
    assert len(kept) > 2 * BYTES_MAX // len("record 000000\n") - 2


def test_one_record_longer_than_a_file_is_cut(log: RotatingLog, tmp_path: Path) -> None:
    say(log, "x" * 50_000)
    say(log, "after it")
    assert (tmp_path / "w.1.log").stat().st_size == BYTES_MAX
    assert (tmp_path / "w.log").read_text() == "after it\n"


def test_only_the_user_can_read_it(log: RotatingLog, tmp_path: Path) -> None:
    for _ in range(10):
        say(log, "x" * 1000)
    if sys.platform != "win32":
        assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.log")} == {0o600}


def test_a_file_that_cannot_be_renamed_is_written_on_and_tried_again(
    log: RotatingLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows while a virus scanner or a second worker has it open."""
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(PermissionError(13, "in use")))
        for number in range(6):
            say(log, f"{number}" + "x" * 1000)
    assert names(tmp_path) == ["w.log"]
    monkeypatch.setattr("uploader.log_file.time.monotonic", lambda: float("inf"))
    say(log, "free again")
    assert names(tmp_path) == ["w.1.log", "w.log"]
    assert [line[0] for line in (tmp_path / "w.1.log").read_text().splitlines()] == list("012345")


def test_two_writers_of_one_file_keep_within_the_bounds(tmp_path: Path) -> None:
    logs = [RotatingLog(tmp_path / "w.log", bytes_max=BYTES_MAX, files_max=FILES_MAX) for _ in range(2)]
    for number in range(500):
        for log in logs:
            say(log, f"record {number}")
    assert names(tmp_path) == ["w.1.log", "w.2.log", "w.log"]
    assert all((tmp_path / name).stat().st_size <= BYTES_MAX for name in names(tmp_path))
    for log in logs:
        log.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_costs_the_record_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(RotatingLog(Path("/dev/full"), bytes_max=BYTES_MAX, files_max=FILES_MAX)) as log:
        say(log, "nobody reads this")
    assert capsys.readouterr().err == ""


def test_a_detached_worker_rotates_its_log_and_the_spool_stays_sound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FRAMESPOOL_LOG_BYTES_MAX", str(BYTES_MAX))
    monkeypatch.setenv("FRAMESPOOL_LOGS_MAX", str(FILES_MAX))
    with RHEEDStreamer(
        bench.server.api_key, bench.server.url, spool_dir=bench.root, spool_min_free_bytes=0
    ) as streamer:
        data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
        for idx in range(150):
            streamer.push(data_id, idx, bench.frames("00", idx))
        assert streamer.finalize(data_id, 60).finalized
    wait_until(lambda: not bench.spool.worker_lock(bench.server.url).is_held_elsewhere())
    assert names(bench.root) == ["worker.1.log", "worker.2.log", "worker.log", "worker.stderr.log"]
    assert sum(path.stat().st_size for path in bench.root.glob("*.log")) <= BYTES_MAX * FILES_MAX
    assert "finalized" in (bench.root / "worker.log").read_text() + (bench.root / "worker.1.log").read_text()
    assert (bench.root / "worker.stderr.log").read_text() == ""
    assert verify(bench.root).is_sound


def test_what_a_worker_dies_of_before_it_can_log_lands_beside_the_log(bench: Bench, tmp_path: Path) -> None:
    """As of a scheduled task without a console: there is nothing to print on."""
    code = "import sys; sys.stdout = sys.stderr = None; from uploader.cli import main; main()"
    arguments = ["worker", "--log-file", str(tmp_path / "w.log"), "--spool", str(bench.root)]
    environment = {**os.environ, "FRAMESPOOL_CONFIG": str(tmp_path / "missing.toml")}
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=CHECKOUT, env=environment, check=False)
    assert done.returncode == 2
    assert "missing.toml: it cannot be read" in (tmp_path / "w.stderr.log").read_text()


def test_an_error_that_ends_a_worker_is_in_its_log_too(bench: Bench, tmp_path: Path) -> None:
    shell = Shell(bench.root, bench.server.url).without("AS_API_KEY")
    with shell.running("worker", "--log-file", str(tmp_path / "w.log")) as process:
        assert finished(process).code == 2
    assert "there is no API key" in (tmp_path / "w.log").read_text()
    assert KEY not in (tmp_path / "w.log").read_text()
