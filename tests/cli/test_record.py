"""``framespool record``: from a source to the server in one command, through Ctrl-C and ``kill -9``."""

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spool import Spool
from tests.cli.shell import PATIENCE_S, Shell, finished
from tests.uploader.rig import wait_until

QUICK = ("--fps", "50", "--chunk-size", "100", "--chunk-time", "0.3")


def audit(shell: Shell, ref: str = "sim") -> Any:
    return shell.run("audit", ref, "--json").json()


def test_a_source_that_ends_is_recorded_delivered_and_accounted_for(shell: Shell) -> None:
    said = shell.run("record", "sim:frames=40,height=32,width=48", *QUICK, "--drain-timeout", "30")
    assert said.code == 0, said.err
    assert "Finalized" in said.out
    found = audit(shell)
    assert (found["state"], found["complete"]) == ("finalized", True)
    assert (found["source"]["frames_captured"], found["source"]["frames_spooled"]) == (40, 40)
    numbers = [(one["capture"]["first"], one["capture"]["last"], one["n"]) for one in found["chunks"]]
    assert numbers[0][0] == 1
    assert all(last - first + 1 == n for first, last, n in numbers)
    assert numbers[-1][1] == 40
    assert "sim: 40 captured, 40 spooled, 40 confirmed" in shell.run("audit", "sim").out


def test_ctrl_c_is_the_end_of_the_recording_and_of_the_stream(shell: Shell) -> None:
    with shell.running("record", "sim:height=32,width=48", *QUICK, "--drain-timeout", "30") as process:
        with Spool(shell.spool) as spool:
            wait_until(lambda: any(one.tally.pushed for one in spool.streams()), within_s=PATIENCE_S)
        process.send_signal(signal.SIGINT)
        said = finished(process)
    assert said.code == 0, said.err
    found = audit(shell)
    assert found["state"] == "finalized"
    assert found["source"]["frames_captured"] == sum(one["n"] for one in found["chunks"]) > 0


def test_for_so_long(shell: Shell) -> None:
    said = shell.run("record", "sim:height=32,width=48", *QUICK, "--for", "1s", "--json", "--drain-timeout", "30")
    assert said.code == 0, said.err
    told = said.json()
    assert told["finalized"]
    assert told["frames_taken"] == told["frames_recorded"] > 0


def test_what_was_killed_goes_on_in_the_same_stream(shell: Shell) -> None:
    source = "sim:height=32,width=48"
    with shell.running("record", source, *QUICK) as process:
        with Spool(shell.spool) as spool:
            wait_until(lambda: any(one.tally.pushed >= 2 for one in spool.streams()), within_s=PATIENCE_S)
        process.kill()
    # The same command each time, as a service has it: its settings are for a stream that would be new.
    said = shell.run("record", source, "--go-on", *QUICK, "--for", "1s", "--drain-timeout", "30")
    assert said.code == 0, said.err
    with Spool(shell.spool) as spool:
        (stream,) = spool.streams()
        started = [one for one in spool.stream_events(stream.stream_id) if one.event == "source_started"]
    assert len(started) == 2
    assert audit(shell)["complete"]


def test_a_file_of_a_folder_is_recorded_once_whatever_follows_the_folder(shell: Shell, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()

    def record(first: int, options: str, name: str) -> None:
        for number in range(first, first + 5):
            pixels = np.full((16, 24), number, np.uint8)
            Image.fromarray(pixels).save(folder / f"f{number}.bmp")
        (folder / "DONE").touch()
        source = f"watch:{folder}?until=DONE{options}"
        said = shell.run("record", source, *QUICK, "--name", name, "--drain-timeout", "30")
        assert said.code == 0, said.err

    record(8, "", "first")
    record(13, "&settle=0.2s", "second")
    taken = [
        [file["name"] for chunk in audit(shell, name)["chunks"] for file in chunk["capture"]["files"]]
        for name in ("first", "second")
    ]
    assert taken == [[f"f{number}.bmp" for number in range(8, 13)], [f"f{number}.bmp" for number in range(13, 18)]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sim:", "--set", "ExposureTime=8000"), "are for cameras"),
        (("sim:", "--for", "2"), "not a length of time"),
        (("pylon:", "--region", "1,2,3"), "not X,Y,WIDTH,HEIGHT"),
        (("pylon:", "--set", "ExposureTime"), "not NAME=VALUE"),
        (("nothing:here",), "not a kind of source"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_begun(
    shell: Shell, arguments: tuple[str, ...], words: str
) -> None:
    said = shell.run("record", *arguments)
    assert said.code in (1, 2)
    assert words in " ".join(said.err.split())
    assert not shell.spool.exists()
