"""Two instruments on one PC: two spools, one worker for all or one each, and both at once."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.cli.shell import Shell, finished
from tests.uploader.rig import Bench, end_workers, wait_until
from uploader.loopback.process import LoopbackServer
from uploader.streamer import RHEEDStreamer

NAMES = ("mbe1", "pld")


@pytest.fixture
def benches(server: LoopbackServer, tmp_path: Path) -> Iterator[tuple[Bench, Bench]]:
    with ExitStack() as stack:
        one, two = (Bench(server, tmp_path / name) for name in NAMES)
        for bench in (one, two):
            stack.enter_context(closing(bench.spool))
            stack.callback(end_workers, bench.root)
        yield one, two


@pytest.fixture
def shell(server: LoopbackServer, tmp_path: Path) -> Shell:
    """A person whose configuration has both spools."""
    text = "min_free_bytes = 0\n" + "".join(f"[[spool]]\ndir = '{name}'\n" for name in NAMES)
    (tmp_path / "config.toml").write_text(text)
    made = Shell(tmp_path, server.url).without("ATOMSCALE_SPOOL_DIR")
    made.environment |= {"AS_API_KEY": server.api_key, "FRAMESPOOL_CONFIG": str(tmp_path / "config.toml")}
    return made


def workers(bench: Bench) -> int:
    return len([event for event in bench.spool.events() if event.event == "worker_started"])


def test_one_worker_delivers_all_spools(benches: tuple[Bench, Bench], shell: Shell) -> None:
    one, two = benches
    first, second = one.open_stream(3), two.open_stream(2)
    with shell.running("worker") as process:
        wait_until(lambda: one.acknowledged(first) == 3 and two.acknowledged(second) == 2)
        two.push(second, 2)  # it goes on looking
        wait_until(lambda: two.acknowledged(second) == 3)
        process.terminate()
        assert finished(process).code == 0
    one.assert_arrived(first, 3)
    two.assert_arrived(second, 3)
    assert workers(one) == workers(two) == 1


def test_one_worker_each_keeps_to_its_own(benches: tuple[Bench, Bench], shell: Shell) -> None:
    one, two = benches
    first, second = one.open_stream(2), two.open_stream(2)
    with shell.running("worker", "--spool", "mbe1"):
        wait_until(lambda: one.acknowledged(first) == 2)
        assert two.acknowledged(second) == 0
        with shell.running("worker", "--spool", str(two.root)):
            wait_until(lambda: two.acknowledged(second) == 2)
    one.assert_arrived(first, 2)
    two.assert_arrived(second, 2)


def test_one_for_all_and_one_each_at_once_deliver_every_chunk_once(
    benches: tuple[Bench, Bench], shell: Shell, tmp_path: Path
) -> None:
    one, two = benches
    first, second = one.open_stream(2), two.open_stream(2)
    log = tmp_path / "both.log"
    with shell.running("worker", "--spool", "mbe1") as alone:
        wait_until(lambda: one.spool.worker_lock(one.server.url).is_held_elsewhere())
        with shell.running("worker", "--log-file", str(log)) as both:
            wait_until(lambda: one.acknowledged(first) == 2 and two.acknowledged(second) == 2)
            says = f"another worker delivers {one.root} to {one.server.url} already; this one waits for its turn"
            wait_until(lambda: says in log.read_text())
            alone.kill()
            one.push(first, 2)
            wait_until(lambda: one.acknowledged(first) == 3)
            both.terminate()
            assert finished(both).code == 0
    assert log.read_text().count("another worker delivers") == 1
    assert one.receptions(first) == [0, 1, 2]
    assert two.receptions(second) == [0, 1]


def test_the_workers_that_streamers_start_leave_the_one_for_all_alone(
    benches: tuple[Bench, Bench], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = benches
    monkeypatch.setenv("FRAMESPOOL_CONFIG", shell.environment["FRAMESPOOL_CONFIG"])
    with shell.running("worker"):
        wait_until(lambda: one.spool.worker_lock(one.server.url).is_held_elsewhere())
        with RHEEDStreamer(one.server.api_key, one.server.url, spool_dir="mbe1") as streamer:
            data_id = streamer.initialize(2.0, 0.0, 4)
            streamer.push(data_id, 0, one.frames("00", 0))
            assert streamer.finalize(data_id, 20).finalized
        assert workers(one) == 1


def test_a_spool_that_is_missing_or_damaged_is_told_and_tried_again_while_the_others_go_on(
    benches: tuple[Bench, Bench], shell: Shell, tmp_path: Path
) -> None:
    one, two = benches
    first, second = one.open_stream(1), two.open_stream(1)
    with (tmp_path / "config.toml").open("a") as file:
        file.write("[[spool]]\ndir = 'usb'\n[[spool]]\ndir = 'torn'\n")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "index.sqlite3").write_bytes(b"this is no database, and not by a little" * 100)
    log = tmp_path / "w.log"
    with shell.running("worker", "--log-file", str(log)) as process:
        wait_until(lambda: one.acknowledged(first) == 1 and two.acknowledged(second) == 1)
        wait_until(lambda: "spool usb: there is no spool in" in log.read_text())
        wait_until(lambda: "spool torn: " in log.read_text())
        assert not (tmp_path / "usb").exists(), "what may be a disk that is not there must not be made"
        two.spool.close()
        shutil.copytree(two.root, tmp_path / "usb")  # the disk is plugged in
        wait_until(lambda: "/usb to " in log.read_text())
        process.terminate()
        assert finished(process).code == 0
    assert log.read_text().count("spool torn: ") == 1, "told once, not at every try"


def test_once_names_the_spool_that_could_not_be_drained_and_drains_the_others(
    benches: tuple[Bench, Bench], shell: Shell, tmp_path: Path
) -> None:
    one, _ = benches
    first = one.open_stream(2)
    with (tmp_path / "config.toml").open("a") as file:
        file.write("[[spool]]\ndir = 'usb'\n")
    said = shell.run("worker", "--once")
    assert said.code == 1
    assert "usb: there is no spool in" in said.err
    assert "mbe1" not in said.err.partition("framespool: ")[2]
    one.assert_arrived(first, 2)
