"""An open stream whose producer is gone: what is shown, how it goes on, and how it ends."""

from pathlib import Path

import numpy as np
import pytest

from spool import Limits, Spool
from spool.testing import FakeClock, some_settings
from tests.cli.shell import Shell, until
from tests.cli.test_reading import acknowledge, fits, record
from uploader.durations import duration
from uploader.loopback.process import LoopbackServer

SMALL = "sim:frames=50,width=64,height=48,fps=10"


# What is shown ----------------------------------------------------------------------------------------------


def test_a_delivered_orphan_is_told_and_is_no_bad_news(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0)
    acknowledge(spool, stream, 0)
    spool.close()
    said = reader.run("streams")
    assert (said.code, fits(said)) == (0, True)
    text = " ".join(said.out.split())
    assert "its producer is gone since 2023-11-14 22:13:20 UTC; the stream stays open" in text
    said = reader.run("status")
    assert (said.code, fits(said)) == (0, True)
    text = " ".join(said.out.split())
    assert "streamer.resume()" in text
    assert f"framespool finalize {stream.stream_id}" in text
    assert text.endswith("An orphan stays open until it is resumed or finalized.")


def test_json_tells_whether_the_producer_of_an_open_stream_lives(
    reader: Shell, spool: Spool, clock: FakeClock
) -> None:
    with Spool(reader.spool, limits=Limits(min_free_bytes=0), clock=clock) as other:
        gone = record(other, 0, data_id="data-1")
    live = record(spool, 0, data_id="data-2")
    sealed = record(spool, 0, data_id="data-3")
    spool.seal(sealed.stream_id)
    clock.advance_s(100)
    wanted = {
        gone.stream_id: ("gone", clock.now_ms() - 100_000),
        live.stream_id: ("live", None),
        sealed.stream_id: (None, None),
    }
    for command in ("streams", "status"):
        streams = reader.run(command, "--json").json()["streams"]
        told = {one["stream_id"]: (one["producer"], one["producer_seen_at_ms"]) for one in streams}
        assert told == wanted
    concerns = [one for one in reader.status()["concerns"] if one["stream_id"] is not None]
    assert [(one["stream_id"], one["needs_person"]) for one in concerns] == [(gone.stream_id, False)]


def test_what_is_held_is_told_as_held(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0)
    spool.hold(stream.stream_id, "it was packed", who="a test")
    spool.close()
    (concern,) = [one for one in reader.status()["concerns"] if one["stream_id"] is not None]
    assert concern["words"].startswith("held")


def test_a_hundred_orphans_are_not_all_told_by_status(reader: Shell, spool: Spool) -> None:
    for number in range(30):
        spool.open_stream(some_settings(), data_id=f"data-{number}")
    spool.close()
    said = reader.run("status")
    assert said.code == 0
    assert said.out.count("framespool finalize") == 20
    assert "... and 10 more: framespool streams" in said.out.splitlines()


# How it goes on ---------------------------------------------------------------------------------------------


def test_a_recording_that_was_killed_is_resumed_after_its_last_chunk(shell: Shell, server: LoopbackServer) -> None:
    with shell.running("stream", "sim:frames=none,width=64,height=48,fps=20", "--name", "night") as process:
        until(
            lambda: (shell.spool / "index.sqlite3").exists() and bool(shell.status()["backlog"]) and _pushed(shell)
        )
        again = shell.run("stream", SMALL, "--resume", "night")
        assert again.code == 1
        assert f":{process.pid} opened" in again.err
        process.kill()
        process.wait()
    (before,) = shell.run("streams", "--json").json()["streams"]
    assert before["producer"] == "gone"
    said = shell.run("stream", SMALL, "--resume", "night", "--fast", "--json")
    assert said.code == 0, said.err
    audit = shell.run("audit", "night", "--json").json()
    assert (audit["state"], audit["gaps"]) == ("finalized", [])
    assert len(audit["chunks"]) == before["chunks_pushed"] + 2  # 50 frames, in chunks of 40 as the stream has them
    assert np.asarray(server.received(audit["data_id"])).shape[1:] == (48, 64)


def _pushed(shell: Shell) -> bool:
    return any(one["chunks_pushed"] for one in shell.run("streams", "--json").json()["streams"])


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--resume", "data-1", "--fps", "20", "--tag", "x"), 2, "leave out --fps, --tag"),
        (("--resume", "data-2"), 1, "no stream 'data-2'"),
        (("--resume", "data-1"), 1, "is sealed: no more chunks can come"),
    ],
)
def test_what_cannot_be_resumed_is_said(
    reader: Shell, spool: Spool, options: tuple[str, ...], code: int, said: str
) -> None:
    spool.seal(record(spool, 0).stream_id)
    answer = reader.run("stream", SMALL, *options)
    assert answer.code == code
    assert said in " ".join(answer.err.split())


# How it ends ------------------------------------------------------------------------------------------------


def test_finalize_closes_an_orphan(shell: Shell) -> None:
    assert shell.run("stream", SMALL, "--fast", "--no-finalize", "--name", "left").code == 0
    assert shell.run("streams", "--json").json()["streams"][0]["producer"] == "gone"
    assert shell.run("finalize", "left").code == 0


def test_a_worker_that_is_told_to_ends_an_orphan(shell: Shell) -> None:
    assert shell.run("stream", SMALL, "--fast", "--no-finalize", "--name", "left").code == 0
    kept = shell.run("worker", "--once", "--finalize-orphans-after", "1h")
    assert kept.code == 0
    assert shell.run("streams", "--json").json()["streams"][0]["state"] == "open"
    until(lambda: _ended(shell))
    audit = shell.run("audit", "left", "--json").json()
    assert audit["complete"] is True


def _ended(shell: Shell) -> bool:
    assert shell.run("worker", "--once", "--finalize-orphans-after", "0.1s").code == 0
    return bool(shell.run("streams", "--json").json()["streams"][0]["state"] == "finalized")


# Durations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15min", 900), ("1h", 3600), ("1.5h", 5400), ("2d", 172800), (" 2 d ", 172800), ("0.5s", 0.5)],
)
def test_a_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "1m", "1H", "-1h", "1h30min", "0s", "0.0d", "1e3s", "nan s", "٣h", "inf"]
)
def test_what_is_no_duration_is_refused(reader: Shell, tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        duration(text)
    said = reader.run("worker", "--once", f"--finalize-orphans-after={text}")
    assert said.code == 2
    assert "--finalize-orphans-after" in said.err
    assert not (tmp_path / "spool").exists()
