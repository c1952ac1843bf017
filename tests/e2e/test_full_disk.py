"""A really small disk fills while the server is away: warnings, waiting, and then everything arrives after all."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spool import Limits, Spool
from spool.testing import check_invariants
from tests.uploader.rig import end_workers
from uploader.loopback.process import LoopbackServer

ROOT = Path(__file__).resolve().parents[2]
CHUNKS, SHAPE = 60, (8, 200, 256)
PATIENCE_S = 90.0

# It says each thing on a line of its own, and begins to record when it is told to.
PRODUCER = """
import json
import sys
import numpy as np
from uploader import RHEEDStreamer

def say(kind, **facts):
    print(json.dumps({"kind": kind, **facts}), flush=True)

def hear(event):
    if event.kind in ("spool_filling", "spool_full", "room_again"):
        say(event.kind, words=event.words, facts=dict(event.facts))

spool, most, least, chunks, *shape = sys.argv[1:]
with RHEEDStreamer(
    spool_dir=spool,
    spool_max_bytes=int(most) or None,
    spool_min_free_bytes=int(least),
    on_event=hear,
) as streamer:
    data_id = streamer.initialize(4.0, 0.0, 8, stream_name="through a full disk")
    say("begun", data_id=data_id)
    sys.stdin.readline()
    camera = np.random.default_rng(7)
    shape = tuple(map(int, shape))
    streamer.run(data_id, (camera.integers(0, 256, shape, dtype=np.uint8) for _ in range(int(chunks))))
    say("recorded")
    say("ended", report=dict(streamer.finalize(data_id, drain_timeout_s=60)))
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "server") as running:
        yield running


@pytest.fixture(params=["limit", *(["disk"] if sys.platform == "linux" and os.geteuid() == 0 else [])])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, int, int]]:
    """A spool folder with room for a third of the recording, ``spool_max_bytes`` and ``spool_min_free_bytes``."""
    folder = tmp_path / "small"
    folder.mkdir()
    if request.param == "limit":
        yield folder / "spool", 8_000_000, 0
        end_workers(folder / "spool")
        return
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", folder], check=True)
    try:
        yield folder / "spool", 0, 1 << 20
    finally:
        end_workers(folder / "spool")
        # A worker whose process was ended a moment ago may still stand in the folder.
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def producing(server: LoopbackServer, root: Path, most: int, least: int) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PRODUCER, *map(str, (root, most, least, CHUNKS, *SHAPE))],
        env={
            **os.environ,
            "AS_API_KEY": server.api_key,
            "AS_API_ENDPOINT": server.url,
            "PYTHONPATH": str(ROOT),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as producer:
        # Reading what it says waits for it, and the timer for the end of all patience.
        too_long = threading.Timer(PATIENCE_S, producer.kill)
        too_long.start()
        try:
            yield producer
        finally:
            too_long.cancel()
            producer.kill()


def test_a_disk_that_fills_in_an_outage_is_warned_of_and_loses_nothing(
    server: LoopbackServer, small: tuple[Path, int, int]
) -> None:
    root, most, least = small
    with producing(server, root, most, least) as producer:
        assert producer.stdin is not None
        assert producer.stdout is not None

        def heard() -> dict[str, Any]:
            assert producer.stdout is not None
            line = producer.stdout.readline()
            assert line, "the producer ended too soon"
            said: dict[str, Any] = json.loads(line)
            return said

        data_id = heard()["data_id"]
        server.outage(True)
        producer.stdin.write("record\n")
        producer.stdin.flush()

        warned = [heard(), heard()]
        assert [(one["kind"], one["facts"]["urgent"]) for one in warned] == [
            ("spool_filling", False),
            ("spool_filling", True),
        ]
        full = heard()
        assert full["kind"] == "spool_full"
        assert 0 < full["facts"]["used_bytes"] < CHUNKS * full["facts"]["chunk_bytes"]
        with Spool(root) as reader:
            assert reader.limits.max_bytes == (most or None)
            assert reader.forecast().room_bytes < full["facts"]["chunk_bytes"]
            held_back = CHUNKS - reader.stream(data_id).tally.pushed
        assert held_back > CHUNKS / 2

        server.outage(False)
        kinds = []
        while (said := heard())["kind"] != "ended":
            kinds.append(said["kind"])
        # While it empties it may fill once more; what is told last is how it ends.
        kinds.remove("recorded")
        assert kinds[-1] == "room_again"
        report = said["report"]
        assert (report["chunks_uploaded"], report["drained"], report["finalized"]) == (CHUNKS, True, True)
        _, complaints = producer.communicate(timeout=20)
        assert producer.returncode == 0
        assert "Waiting for room; the frames are kept." in complaints
        assert "Traceback" not in complaints

    camera = np.random.default_rng(7)
    received = server.received(data_id)
    for idx in range(CHUNKS):
        captured = camera.integers(0, 256, SHAPE, dtype=np.uint8)
        np.testing.assert_array_equal(received[idx * SHAPE[0] : (idx + 1) * SHAPE[0]], captured)
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        check_invariants(spool)
