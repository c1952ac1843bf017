"""The server is away when a recording begins, or ends the stream in its middle: processes, as a lab has them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.uploader.rig import end_workers, wait_until
from uploader.loopback.process import LoopbackServer

CHECKOUT = Path(__file__).resolve().parents[2]
SILENCE_S = 8.0
GROWTH_WITH_A_PAUSE = f"""
import time
import numpy as np
from uploader import RHEEDStreamer

with RHEEDStreamer(spool_min_free_bytes=0) as streamer:
    ref = streamer.initialize(2.0, 0.0, 4, "growth with a pause", physical_sample="GaAs")
    for chunk_idx in range(6):
        if chunk_idx == 3:
            while streamer.spool_status().chunks_uploaded < 3:
                time.sleep(0.05)
            time.sleep({SILENCE_S + 1})  # the shutter is closed, and the server loses its patience
        streamer.push(ref, chunk_idx, np.full((4, 6, 8), chunk_idx, np.uint8))
    report = streamer.finalize(ref, 60)
    print(report.finalized, report.chunks_uploaded, flush=True)
"""


class Lab:
    """A server with little patience, and what a person types beside it."""

    def __init__(self, server: LoopbackServer, folder: Path) -> None:
        self.server = server
        self.spool = folder / "spool"
        ours = {name: text for name, text in os.environ.items() if not name.startswith(("AS_", "ATOMSCALE_"))}
        self._environment = {
            **ours,
            "AS_API_KEY": server.api_key,
            "AS_API_ENDPOINT": server.url,
            "ATOMSCALE_SPOOL_DIR": str(self.spool),
            "PYTHONPATH": str(CHECKOUT),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def framespool(self, *arguments: str) -> Any:
        with self.start("-m", "uploader", *arguments, "--json") as process:
            return json.loads(process.communicate(timeout=60)[0])

    def received(self) -> dict[str, list[int]]:
        """The chunks in the order of their arrival, by the names of the server's streams."""
        return {one["name"]: one["received"] for one in self.server.state()["streams"].values()}


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with LoopbackServer(tmp_path / "server", silence_s=SILENCE_S) as server:
        yield Lab(server, tmp_path)
        end_workers(tmp_path / "spool")


def test_a_command_records_without_the_server_and_ends_well_when_that_is_back(lab: Lab) -> None:
    lab.server.stop()
    with lab.start(
        *("-m", "uploader", "stream", "sim:frames=60,seed=1", "--fast", "--fps", "5", "--name", "growth 1"),
        *("--sample", "GaAs", "--min-free-bytes", "0"),
    ) as recording:
        wait_until(lambda: lab.spool.exists() and lab.framespool("status")["backlog"]["chunks"] == 6, within_s=60)
        (stream,) = lab.framespool("status")["streams"]
        assert stream["data_id"] is None
        lab.server.start()
        out, err = recording.communicate(timeout=120)
    assert recording.returncode == 0, err
    assert "none yet: the server could not be asked" in err
    assert "Recorded 60 frames in 6 chunks; 6 acknowledged." in out
    told = lab.framespool("audit", "growth 1")
    assert (told["complete"], told["state"], told["watermark"]) == (True, "finalized", 5)
    assert lab.received() == {"growth 1": list(range(6))}
    (sample,) = lab.server.state()["samples"]
    assert lab.server.state()["streams"][told["data_id"]]["physical_sample_id"] == sample["id"]


def test_a_growth_with_a_pause_that_is_too_long_for_the_server_arrives_in_two_streams(lab: Lab) -> None:
    with lab.start("-c", GROWTH_WITH_A_PAUSE) as growth:
        out, err = growth.communicate(timeout=120)
    assert out == "True 6\n", err
    assert lab.received() == {"growth with a pause": [0, 1, 2], "growth with a pause (continued 2)": [3, 4, 5]}
    told = lab.framespool("audit", "growth with a pause")
    assert told["complete"]
    assert [part["chunk_spans"] for part in told["parts"]] == [[[0, 2]], [[3, 5]]]
    assert "stream_error" in told["parts"][0]["closed_why"]
