"""``framespool status --watch``: on a terminal of 80 x 24, in a log, and for machines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

from spool import Spool, Stream
from spool.testing import FakeClock, some_frames, some_settings
from tests.cli.shell import PATIENCE_S, Reader, Shell
from tests.cli.test_reading import UNCONFIRMED, acknowledge, record, trouble
from uploader.cli.status_watch import Watch, screen_lines
from uploader.cli.strip import strip

if sys.platform != "win32":
    import fcntl
    import pty
    import struct
    import termios

OUTAGE = "GET /x: [Errno 111] Connection refused (nobody listens at the address)"


class Terminal:
    """A real process on a pseudo-terminal, and what its screen shows, by an emulator that obeys every code."""

    def __init__(self, shell: Shell, *arguments: str, columns: int = 80, lines: int = 24) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._fd, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {
            name: worth for name, worth in shell.environment.items() if name not in ("COLUMNS", "LINES")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uploader", *arguments],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(slave)
        os.set_blocking(self._fd, False)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self) -> str:
        try:
            while content := os.read(self._fd, 65536):
                self._stream.feed(content)
        except (BlockingIOError, OSError):
            pass  # nothing now, or its process has ended
        return "\n".join(self.screen.display)

    def wait_until(self, holds: Callable[[str], bool]) -> str:
        ends = time.monotonic() + PATIENCE_S
        while not holds(shown := self.read()):
            assert time.monotonic() < ends, shown
            time.sleep(0.05)
        return shown

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(PATIENCE_S)
        self.read()
        return code

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._fd)


@pytest.fixture
def terminal(reader: Reader) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def start(*arguments: str, columns: int = 80, lines: int = 24) -> Terminal:
        opened.append(Terminal(reader, *arguments, columns=columns, lines=lines))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not Windows'")
def test_an_outage_is_seen_as_it_comes_on_a_terminal(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        stream = record(spool, 0, 1, name="GaAs buffer 41")
        acknowledge(spool, stream, 0)
        seen = terminal("status", "--watch")
        shown = seen.wait_until(lambda text: "GaAs buffer 41" in text)
        assert "1/2 open" in shown
        assert "[=+]" in shown
        trouble(spool, stream, OUTAGE)
        for idx in range(2, 6):
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
        shown = seen.wait_until(lambda text: "5 chunks safe here" in text)
        assert "nobody listens at the address for" in shown
        assert "[=+++++]" in shown
        assert shown.splitlines()[0].startswith("framespool ")
        seen.resize(50, 11)
        seen.wait_until(lambda text: text.splitlines()[0].rstrip().endswith("UTC") and "GaAs buffer 41" in text)
        assert seen.interrupt() == 0  # nothing needs a person


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are not Windows'")
def test_a_dumb_terminal_gets_plain_lines(reader: Reader, tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        record(spool, 0, name="täg 様")
    environment = {**reader.environment, "TERM": "dumb", "PYTHONIOENCODING": "ascii"}
    process = subprocess.Popen(
        [sys.executable, "-m", "uploader", "status", "--watch"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    rest, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1, err
    assert b"t?g ? 0/1 open: " in line
    assert b"\x1b" not in line + rest + err


def test_for_machines_an_object_a_line(reader: Reader, tmp_path: Path) -> None:
    with Spool(tmp_path / "spool") as spool:
        stream = record(spool, 0, 1)
    process = subprocess.Popen(
        [sys.executable, "-m", "uploader", "status", "--watch", "--json"],
        env=reader.environment,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    told = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert [one["streams"][0]["stream_id"] for one in told] == [stream.stream_id] * 2
    assert told[0]["streams"][0]["rate_out_bytes_per_s"] == 0
    assert told[1]["at_ms"] > told[0]["at_ms"]


def test_many_streams_fit_and_the_most_urgent_come_first(spool: Spool, clock: FakeClock) -> None:
    for number in range(12):
        record(spool, 0, name=f"quiet {number}", data_id=f"data-{number}")
    parked = record(spool, 0, name="in need", data_id="data-x")
    lease = spool.lease(parked.stream_id, "worker", ttl_s=60)
    chunk = spool.chunk(parked.stream_id, 0)
    assert lease is not None
    assert chunk is not None
    lease.attempt_started(chunk)
    lease.park(chunk, "the server refuses it")
    view, rows = Watch(spool, None).look(68)
    for width, height in ((79, 23), (40, 10), (200, 60)):
        lines = screen_lines(view, rows, width=width, height=height, now_ms=clock.now_ms())
        assert len(lines) <= height
        assert all(len(line) <= width for line in lines)
        assert any(line.startswith("in need") for line in lines[3:6])
    assert "... and 9 more streams" in screen_lines(view, rows, width=79, height=21, now_ms=0)


def shown(spool: Spool, stream: Stream, width: int = 20, *, is_sending: bool = False) -> tuple[str, int]:
    return strip(spool, spool.stream(stream.stream_id), width, is_sending=is_sending)


def test_the_strip_shows_each_chunk_while_they_fit(spool: Spool) -> None:
    stream = record(spool, 0, 1, 2, 4, 5)
    acknowledge(spool, stream, 0)
    acknowledge(spool, stream, 1, receipt=UNCONFIRMED)
    spool.discard(stream.stream_id, [4], why="dark")
    assert shown(spool, stream) == ("=~+-x+", 1)
    assert shown(spool, stream, is_sending=True) == ("=~>-x+", 1)
    assert shown(spool, stream, 3) == ("-x", 2)  # the gravest of several shows


def test_the_strip_of_a_long_backlog_is_drawn_coarsely(spool: Spool) -> None:
    stream = record(spool, *range(4))
    acknowledge(spool, stream, *range(4))
    spool.push(stream.stream_id, 40_000, some_frames(seed=9))
    marks, several = shown(spool, stream, 50)
    assert len(marks) <= 51
    assert several > 700
    assert shown(spool, spool.open_stream(some_settings(name="new"))) == ("", 1)
