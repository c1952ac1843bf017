"""stream, finalize and loopback against the loopback server, with what goes wrong on the way."""

import re
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spool import Spool, StreamState
from tests.cli.shell import KEY, Shell, finished, interrupt, until
from tests.cli.test_reading import park, record
from uploader.loopback.process import LoopbackServer

SMALL = "sim:frames=50,width=64,height=48,fps=10"
ENDLESS = "sim:frames=none,width=64,height=48,fps=20"


def acknowledged(shell: Shell) -> int:
    said = shell.run("streams", "--json")
    return said.json()["streams"][0]["chunks_acknowledged"] if said.code == 0 and said.json()["streams"] else 0


def test_a_recording_is_delivered_through_an_outage(shell: Shell, server: LoopbackServer) -> None:
    with shell.running("stream", "sim:frames=none,width=64,height=48,fps=20", "--name", "through") as process:
        until(lambda: acknowledged(shell) >= 1)
        arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        assert "--until abandoned" in arguments
        assert KEY not in arguments
        server.outage(True)
        until(lambda: any(one["words"] for one in shell.status()["concerns"]))
        status = shell.run("status")
        assert status.code == 0
        assert "Nothing is lost" in status.out
        until(lambda: shell.status()["backlog"]["chunks"] >= 1)
        interrupt(process)
        said = finished(process)
        assert said.code == 1
        server.outage(False)
    assert "safely on disk" in said.err
    assert "interrupted: the frames taken until then are kept" in said.out
    assert "framespool finalize" in said.out
    ended = shell.run("finalize", "through", "--json")
    assert ended.code == 0
    found = shell.run("audit", "through", "--json")
    assert found.code == 0
    audit = found.json()
    assert (audit["state"], audit["complete"], audit["gaps"]) == ("finalized", True, [])
    assert len(audit["outages"]) == 1
    assert audit["outages"][0]["ended_at"] is not None
    assert ended.json() == {
        "stream_id": audit["stream_id"],
        "data_id": audit["data_id"],
        "chunks_spooled": len(audit["chunks"]),
        "chunks_uploaded": len(audit["chunks"]),
        "chunks_pending": 0,
        "chunks_parked": 0,
        "chunks_discarded": 0,
        "drained": True,
        "finalized": True,
        "held": None,
        "copies": [],
    }
    frames = sum(chunk["n"] for chunk in audit["chunks"])
    assert server.received(audit["data_id"]).shape == (frames, 48, 64)


@pytest.mark.parametrize("worker", ["process", "thread"])
def test_a_fast_recording_arrives_whole_and_the_closing_lines_say_where(
    shell: Shell, server: LoopbackServer, worker: str
) -> None:
    server.faults([{"match": {"method": "PUT", "path": "/c/1/0/0"}, "action": "drop", "times": 2}])
    said = shell.run(
        "stream", SMALL, "--fast", "--worker", worker, "--sample", "wafer 7", "--tag", "a", "--tag", "b"
    )
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[:2] == ["Finalized: 3 of 3 chunks delivered.", "Recorded 50 frames in 3 chunks; 3 acknowledged."]
    (stream_id,) = re.findall(r"^stream +(\S+)$", said.out, re.MULTILINE)
    (data_id,) = re.findall(r"^data_id +(\S+)$", said.out, re.MULTILINE)
    assert lines[-1] == f"  framespool audit {stream_id}"
    chunks = shell.run("audit", data_id, "--json").json()["chunks"]
    assert [(chunk["n"], chunk["state"]) for chunk in chunks] == [(20, "acknowledged")] * 2 + [
        (10, "acknowledged")
    ]
    starts = [chunk["capture_start_ms_utc"] for chunk in chunks]
    assert [start - starts[0] for start in starts] == [0, pytest.approx(2000, abs=1), pytest.approx(4000, abs=1)]
    assert chunks[1]["attempts"] == 3
    assert server.received(data_id).shape == (50, 48, 64)


def test_stream_as_json(shell: Shell) -> None:
    said = shell.run("stream", SMALL, "--fast", "--json", "--chunk-size", "30", "--rotations-per-min", "12")
    assert said.code == 0
    found = said.json()
    assert list(found) == [
        "stream_id", "data_id", "chunks_spooled", "chunks_uploaded", "chunks_pending", "chunks_parked",
        "chunks_discarded", "drained", "finalized", "held",
        "copies", "frames_taken", "frames_recorded", "complete", "broken",
    ]  # fmt: skip
    assert (found["frames_taken"], found["frames_recorded"], found["chunks_uploaded"]) == (50, 50, 2)
    assert (found["finalized"], found["complete"], found["broken"]) == (True, True, None)


def test_a_stream_left_open_is_delivered_and_its_end_is_asked_for_later(shell: Shell) -> None:
    said = shell.run("stream", SMALL, "--fast", "--no-finalize", "--name", "open")
    assert said.code == 0
    assert "The stream is still open. End it with:" in said.out
    assert shell.run("finalize", "open").out == "Finalized: 3 of 3 chunks delivered.\n"
    assert shell.run("finalize", "open").code == 0


def test_a_source_that_breaks_in_the_middle_keeps_and_delivers_what_came_before(
    shell: Shell, server: LoopbackServer, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for k in range(7):
        height = 30 if k == 5 else 40
        Image.fromarray(np.full((height, 50), k, np.uint8)).save(folder / f"{k}.png")
    said = shell.run("stream", str(folder), "--fps", "1", "--fast", "--name", "broken")
    assert said.code == 1
    text = " ".join(said.out.split())
    assert "Cut short: the source broke:" in text
    assert "5.png" in text
    found = shell.run("audit", "broken", "--json").json()
    assert (found["state"], found["complete"]) == ("finalized", True)
    assert np.array_equal(np.asarray(server.received(found["data_id"])[:, 0, 0]), [0, 1, 2, 3, 4])


def test_a_full_spool_makes_the_recording_wait_and_loses_nothing(shell: Shell, server: LoopbackServer) -> None:
    server.faults([{"match": {"method": "PUT", "path": "/c/0/0/0"}, "action": "delay", "seconds": 1.5}])
    limits = ("--max-bytes", "5600000", "--min-free-bytes", "0")
    said = shell.run("stream", "sim:frames=140", "--fast", *limits)
    assert said.code == 0
    assert "the spool is full" in said.err
    assert "recording waits for room" in said.err
    assert "Recorded 140 frames in 7 chunks; 7 acknowledged." in said.out


def test_when_the_wait_ends_first_the_worker_carries_on(shell: Shell, server: LoopbackServer) -> None:
    server.outage(False)
    server.faults([{"match": {"method": "PUT"}, "action": "status", "status": 503, "times": 1}])
    said = shell.run("stream", SMALL, "--fast", "--drain-timeout", "0", "--name", "later")
    assert said.code == 1
    assert said.out.startswith("Not finalized: ")
    until(lambda: shell.run("audit", "later", "--json").json()["state"] == "finalized")


def test_sigterm_is_as_polite_as_ctrl_c(shell: Shell) -> None:
    with shell.running("stream", ENDLESS, "--name", "stopped") as process:
        until(lambda: acknowledged(shell) >= 1)
        process.send_signal(signal.SIGTERM)
        said = finished(process)
    assert said.code == 1
    assert "The stream is still open. End it with:" in said.out
    assert shell.run("finalize", "stopped").code == 0


# What cannot begin ------------------------------------------------------------------------------------------


def test_what_cannot_begin_says_why_and_begins_nothing(shell: Shell, tmp_path: Path) -> None:
    wide = tmp_path / "wide.npy"
    np.save(wide, np.full((4, 40, 40), 1000, np.uint16))
    plain = tmp_path / "plain.npy"
    np.save(plain, np.zeros((4, 40, 40), np.uint8))
    for arguments, code, words in (
        ((str(tmp_path / "nothing.tif"),), 1, "no such file"),
        (("sim:speed=3",), 1, "unknown setting 'speed'"),
        ((str(wide), "--fps", "10"), 1, "how to scale them must be chosen"),
        ((str(plain),), 2, "give --fps"),
        ((str(plain), "--fps", "0"), 2, "--fps"),
        ((str(plain), "--fps", "10", "--chunk-size", "3"), 2, "at least 2 s"),
        ((SMALL, "--endpoint", "ftp://x"), 2, "not an http or https URL"),
        ((SMALL, "--sample", "11111111-1111-4111-8111-111111111111"), 1, "has no sample with the id"),
    ):
        said = shell.run("stream", *arguments)
        assert (said.code, said.out) == (code, ""), said
        assert words in said.err
    assert not (shell.spool / "index.sqlite3").exists() or shell.run("streams", "--json").json() == {"streams": []}


def test_sixteen_bits_with_a_scaling_are_streamed(shell: Shell, server: LoopbackServer, tmp_path: Path) -> None:
    wide = tmp_path / "wide.npy"
    np.save(wide, np.full((4, 40, 40), 0x1234, np.uint16))
    said = shell.run("stream", str(wide), "--fps", "2", "--fast", "--scaling", "shift8", "--json")
    assert said.code == 0
    assert np.array_equal(np.unique(np.asarray(server.received(said.json()["data_id"])[:])), [0x12])


def test_without_a_key_nothing_begins(shell: Shell) -> None:
    said = shell.without("AS_API_KEY").run("stream", SMALL)
    assert said.code == 2
    assert "there is no API key" in said.err


def test_a_refused_key_and_an_unreachable_server_are_said(shell: Shell, reader: Shell) -> None:
    shell.environment["AS_API_KEY"] = "another"
    said = shell.run("stream", SMALL)
    assert said.code == 1
    assert "Set AS_API_KEY to a valid key" in said.err
    said = reader.run("stream", SMALL, "--worker", "external", "--drain-timeout", "0")
    assert said.code == 1
    assert "Recording begins here" in said.err


# finalize ---------------------------------------------------------------------------------------------------


def test_finalize_without_a_key_is_durable_all_the_same(reader: Shell, spool: Spool) -> None:
    record(spool, 0)
    said = reader.without("AS_API_KEY").run("finalize", "data-1")
    assert said.code == 1
    assert said.out == "Not finalized: 0 of 1 chunk delivered, 1 waiting.\n"
    assert "A worker with a key ends the stream." in said.err
    assert "framespool worker --endpoint https://example.invalid" in said.err
    assert spool.stream("data-1").state is StreamState.SEALED


def test_finalize_with_parked_chunks_says_what_a_person_has_to_do(shell: Shell, spool: Spool) -> None:
    park(spool, record(spool, 0), 0)
    said = shell.run("finalize", "data-1")
    assert said.code == 1
    assert "Not finalized: 0 of 1 chunk delivered, 1 parked." in said.out
    assert "retry or discard" in said.out


def test_an_interrupted_finalize_says_that_the_request_is_durable(shell: Shell, server: LoopbackServer) -> None:
    server.faults([{"match": {"method": "POST", "path": "end"}, "action": "status", "status": 503}])
    shell.run("stream", SMALL, "--fast", "--drain-timeout", "0", "--name", "waiting")
    assert shell.run("finalize", "waiting", "--no-wait").code == 1
    assert shell.run("finalize", "waiting", "--timeout", "0.2").code == 1
    with shell.running("finalize", "waiting") as process:
        assert process.stderr is not None
        process.stderr.readline()  # a line of progress: it waits
        interrupt(process)
        said = finished(process)
    assert said.code == 1
    assert "The request is durable" in said.err
    server.clear_faults()
    until(lambda: shell.run("finalize", "waiting", "--timeout", "1").code == 0)


# loopback ---------------------------------------------------------------------------------------------------


def test_loopback_says_where_it_is_and_what_to_set(shell: Shell, tmp_path: Path) -> None:
    shell.environment["FRAMESPOOL_LOOPBACK_KEY"] = KEY
    with shell.running("loopback", "--root", str(tmp_path / "server"), "--silence-s", "100") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        told = "".join(process.stderr.readline() for _ in range(4))
        assert f"export AS_API_ENDPOINT={url}" in told
        assert 'export AS_API_KEY="$FRAMESPOOL_LOOPBACK_KEY"' in told
        shell.environment["AS_API_ENDPOINT"] = url
        assert shell.run("stream", SMALL, "--fast").code == 0
        interrupt(process)
        assert finished(process).code == 0
