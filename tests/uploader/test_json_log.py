"""The log for machines: every line an object, with what it is about, and nothing secret."""

import json
import logging
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import KEY, Shell
from tests.uploader.rig import REFUSAL, Bench, chunk_path, status_rule, wait_until
from uploader.json_log import JsonLines, about


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("uploader.x", logging.WARNING, __file__, 1, message, args, more.pop("exc_info", None))
    made.__dict__.update(more)
    return made


def objects(lines: Sequence[str]) -> list[dict[str, Any]]:
    """Each line as the object that it is."""
    found = [json.loads(line) for line in lines if line]
    for one in found:
        assert {"time", "level", "event", "logger", "message"} <= one.keys()
        assert datetime.fromisoformat(one["time"]).utcoffset() is not None
        assert one["time"].endswith("+00:00")
    return found


def test_a_line_is_an_object_with_what_it_is_about() -> None:
    told = record("%s: chunk %d", "s-1", 3, **about("acknowledged", stream_id="s-1", chunk_idx=3))
    (one,) = objects([JsonLines().format(told)])
    assert (one["event"], one["stream_id"], one["chunk_idx"]) == ("acknowledged", "s-1", 3)
    assert (one["level"], one["message"], one["logger"]) == ("warning", "s-1: chunk 3", "uploader.x")
    (other,) = objects([JsonLines().format(record("plain"))])
    assert other["event"] == "said"


def test_a_signature_is_taken_out_wherever_it_stands_and_a_bug_is_one_line() -> None:
    url = "https://store.example/x?X-Amz-Signature=SECRET&more=1"
    try:
        raise ValueError(f"at {url}")
    except ValueError:
        told = record("got %s", url, exc_info=sys.exc_info(), **about("put", url=url))
    line = JsonLines().format(told)
    assert "SECRET" not in line
    assert "\n" not in line
    assert "ValueError" in objects([line])[0]["exception"]


@pytest.mark.parametrize("text", ["\ud800 half", "two\nlines \x1b[31m", "\U0001f600" * 3000, '"quotes"'])
def test_a_line_fits_and_is_an_object_whatever_stands_in_it(text: str) -> None:
    line = JsonLines(4096).format(record("%s", text, **about("x", words=text, why=text)))
    assert len(line.encode()) < 4096
    assert line.isascii()
    assert objects([line])[0]["event"] == "x"


@pytest.fixture
def shell(bench: Bench) -> Shell:
    made = Shell(bench.root, bench.server.url)
    made.environment |= {"AS_API_KEY": bench.server.api_key, "FRAMESPOOL_MIN_FREE_BYTES": "0"}
    return made


def test_a_worker_says_in_json_what_it_did_through_an_outage(bench: Bench, shell: Shell, tmp_path: Path) -> None:
    data_id = bench.open_stream(3)
    stream_id = bench.stream(data_id).stream_id
    bench.spool.seal(data_id)
    bench.server.faults([status_rule(chunk_path(1), 422, REFUSAL)])
    bench.server.outage(True)
    log = tmp_path / "w.log"
    with shell.running("worker", "--log-json", "--log-file", str(log)):
        wait_until(lambda: bench.stream(data_id).trouble)
        bench.server.outage(False)
        wait_until(lambda: bench.stream(data_id).tally.parked)
        bench.spool.discard(data_id, [1], why="dark")
        wait_until(lambda: bench.finalized(data_id))
        wait_until(lambda: '"finalized"' in log.read_text())
    found = objects(log.read_text().splitlines())
    events = [one["event"] for one in found]
    order = [
        "worker_started",
        "outage_began",
        "trouble_began",
        "outage_ended",
        "acknowledged",
        "parked",
        "finalized",
    ]
    assert [one for one in dict.fromkeys(events) if one in order] == order
    assert [one["chunk_idx"] for one in found if one["event"] == "acknowledged"] == [0, 2]
    assert all(one["stream_id"] == stream_id for one in found if one["event"] in order[1:])
    parked = next(one for one in found if one["event"] == "parked")
    assert (parked["level"], parked["chunk_idx"]) == ("error", 1)
    assert bench.server.api_key not in log.read_text()
    assert "Signature=" not in log.read_text()


def test_a_recording_that_is_logged_in_json_says_nothing_else_on_standard_error(shell: Shell) -> None:
    source = ("stream", "sim:frames=24,width=48,height=32", "--fps", "8", "--fast", "--worker", "thread")
    said = shell.run(*source, "--json", "--log-json")
    assert said.code == 0, said.err
    assert said.json()["finalized"]
    found = objects(said.err.splitlines())
    assert "acknowledged" in {one["event"] for one in found}
    refused = shell.without("AS_API_KEY").run(*source, "--log-json")
    assert refused.code == 2
    last = objects(refused.err.splitlines())
    assert (last[0]["level"], last[0]["event"]) == ("error", "said")
    assert "there is no API key" in last[0]["message"]


def test_a_worker_on_a_terminal_that_fails_says_so_in_json_too(shell: Shell) -> None:
    said = shell.without("AS_API_KEY").run("worker", "--log-json", "--once")
    assert said.code == 2
    assert "there is no API key" in objects(said.err.splitlines())[0]["message"]
    assert KEY not in said.err
