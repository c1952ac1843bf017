"""A night in a lab, eight hours in virtual time: what can go wrong does, and nobody is there.

The clocks of host and server are moved on together; what happens between is real: a server process, a spool on
disk, a worker that delivers over sockets.
"""

import functools
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from spool import Limits, Moment, Spool, audit
from spool.testing import check_invariants
from tests.uploader.rig import wait_until
from uploader import RHEEDStreamer, clock, retry, worker
from uploader.destinations import atomscale
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.events import StreamerEvent
from uploader.keys import Keys
from uploader.loopback.process import LoopbackServer
from uploader.worker import UploadWorker

EVENING_S = 1_790_000_400.0  # ten o'clock, by the reference
FPS, CHUNK_SIZE = 2.0, 240
CHUNK_S = CHUNK_SIZE / FPS
WRONG_S = 37.0
"""The PC's clock is behind the reference by so much."""
CHUNKS = 240
MAX_BYTES = 1_300_000
OLD_KEY, NEW_KEY = "the-key-of-yesterday", "the-key-of-tomorrow"


class NightClock:
    """The host's clocks in a night that takes seconds: real time, and the hours that are skipped.

    Attributes:
        lock: held while clocks are moved, and while they are compared.
        set_ms: what somebody has added to the host clock.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.set_ms = -WRONG_S * 1000
        self._began_s = time.monotonic()
        self._skipped_s = 0.0

    def skip(self, seconds: float) -> None:
        self._skipped_s += seconds

    @property
    def reference_s(self) -> float:
        """The time that is right."""
        return EVENING_S + time.monotonic() - self._began_s + self._skipped_s

    def now_ms(self) -> int:
        return int(self.reference_s * 1000 + self.set_ms)

    def moment(self) -> Moment:
        with self.lock:
            now = self.now_ms()
            return Moment(at_ms=now, monotonic_ms=int(now - self.set_ms - EVENING_S * 1000), boot_id="lab-pc/1")


@dataclass
class Night:
    """The lab: everything in it, and how its hours go by."""

    clock: NightClock
    server: LoopbackServer
    root: Path
    key_file: Path
    streamer: RHEEDStreamer
    told: list[StreamerEvent]
    ref: str = ""
    captured_s: list[float] = field(default_factory=list)

    def move_server_clock(self) -> None:
        self.server.set_clock(self.clock.reference_s - time.time())

    def record_until(self, hour: float) -> None:
        """The camera goes on: a chunk of two minutes after the other."""
        while len(self.captured_s) * CHUNK_S < hour * 3600:
            with self.clock.lock:
                self.clock.skip(CHUNK_S)
                self.move_server_clock()
            self.captured_s.append(self.clock.reference_s - CHUNK_S)
            self.streamer.push(self.ref, len(self.captured_s) - 1, frames(len(self.captured_s)))

    def acknowledged(self) -> int:
        with Spool(self.root, clock=self.clock, limits=Limits(min_free_bytes=0)) as spool:
            return spool.stream(self.ref).tally.acknowledged

    def wait_until_delivered(self) -> None:
        wait_until(lambda: self.acknowledged() == len(self.captured_s), within_s=60)


def frames(seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (CHUNK_SIZE, 6, 8), dtype=np.uint8)


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Night]:
    lab_clock = NightClock()
    monkeypatch.setattr("uploader.streamer.Spool", functools.partial(Spool, clock=lab_clock))
    monkeypatch.setattr(clock, "HostClock", lambda: lab_clock)
    monkeypatch.setattr(retry, "BASE_S", 0.02)
    monkeypatch.setattr(retry, "CAP_S", 0.3)
    monkeypatch.setattr(atomscale, "KEY_PROBE_S", 0.2)
    monkeypatch.setattr(worker, "KEY_PAUSE_S", 0.2)

    def measured(api: object) -> object:
        with lab_clock.lock:  # a burst takes no hours
            return clock.measure(api, now_ms=lambda: lab_clock.reference_s * 1000 + lab_clock.set_ms)  # type: ignore[arg-type] # an api

    monkeypatch.setattr(atomscale, "measure", measured)
    monkeypatch.setattr("uploader.beginning.measure", measured)
    key_file = tmp_path / "key"
    key_file.touch(0o600)
    key_file.write_text(OLD_KEY)
    monkeypatch.setenv("AS_API_KEY_FILE", str(key_file))
    told: list[StreamerEvent] = []
    with LoopbackServer(tmp_path / "server", api_key=OLD_KEY, silence_s=7200.0) as server:
        server.set_clock(lab_clock.reference_s - time.time())
        streamer = RHEEDStreamer(
            endpoint=server.url,
            spool_dir=tmp_path / "spool",
            spool_max_bytes=MAX_BYTES,
            spool_min_free_bytes=0,
            worker="external",
            on_event=told.append,
        )
        with streamer:
            yield Night(lab_clock, server, tmp_path / "spool", key_file, streamer, told)


def test_a_night_with_everything_that_can_go_wrong(night: Night) -> None:
    server = night.server
    # 22:00 The network is away. Recording begins.
    server.outage(True)
    night.ref = night.streamer.initialize(FPS, 0.0, CHUNK_SIZE, "night 1", physical_sample="GaAs")
    assert night.streamer.data_id(night.ref) is None
    night.record_until(1.0)
    keys = Keys(server.url)
    limits = Limits(max_bytes=MAX_BYTES, min_free_bytes=0)
    with (
        Spool(night.root, clock=night.clock, limits=limits) as spool,
        closing(AtomscaleDestination(server.url, keys)) as destination,
    ):
        delivering = UploadWorker(spool, destination)
        thread = threading.Thread(target=delivering.run, daemon=True)
        thread.start()
        try:
            _live_through(night, spool)
        finally:
            delivering.stop()
            thread.join(20)
        _judge(night, spool)


def _live_through(night: Night, spool: Spool) -> None:
    server = night.server
    # 23:00 The network comes, and with it the clock.
    server.outage(False)
    night.wait_until_delivered()
    first = night.streamer.data_id(night.ref)
    assert first is not None
    night.record_until(2.0)
    # 00:00 Somebody sets the PC's clock.
    with night.clock.lock:
        night.clock.set_ms = 0.0
    night.record_until(3.0)
    night.wait_until_delivered()  # two hours pass in less than a second here: not even a worker keeps up with that
    night.record_until(4.0)
    night.wait_until_delivered()
    # 02:00 The key is revoked.
    server.api_key = NEW_KEY
    server.restart()
    night.move_server_clock()
    night.record_until(4.5)
    wait_until(lambda: "key" in (spool.stream(night.ref).trouble or ""))
    night.record_until(5.5)
    # 03:30 And renewed, before the server takes the silence for the end.
    night.key_file.write_text(NEW_KEY)
    night.wait_until_delivered()
    # 04:30 The network goes away again, and the disk fills.
    night.record_until(6.0)
    night.wait_until_delivered()
    server.outage(True)
    night.record_until(CHUNKS * CHUNK_S / 3600)
    kinds = [event.kind.value for event in night.told]
    assert kinds[0] == "outage_began"
    assert "key_refused" in kinds
    assert next(kind for kind in kinds if kind.startswith("spool_")) == "spool_filling"
    # 06:00 The server has heard nothing for two hours, and ends the stream. 07:00 The network is back.
    with night.clock.lock:
        night.clock.skip(600)
        night.move_server_clock()
    server.outage(False)
    assert night.streamer.finalize(night.ref, 60).finalized


def _judge(night: Night, spool: Spool) -> None:
    server, told = night.server, audit(spool, night.ref).to_json()
    streams = server.state()["streams"]
    first, second = (part["data_id"] for part in told["parts"])
    # Everything arrived, in order, in two streams of the server.
    assert {data_id: one["name"] for data_id, one in streams.items()} == {
        first: "night 1",
        second: "night 1 (continued 2)",
    }
    assert streams[first]["physical_sample_id"] == streams[second]["physical_sample_id"] is not None
    assert streams[first]["received"] + streams[second]["received"] == list(range(CHUNKS))
    held = {**server.objects(first), **server.objects(second)}
    assert len(held) == CHUNKS
    for data_id in (first, second):
        array = np.asarray(server.received(data_id)[:])
        for idx in streams[data_id]["received"]:
            np.testing.assert_array_equal(array[idx * CHUNK_SIZE : (idx + 1) * CHUNK_SIZE], frames(idx + 1))
    # Stamped right: by the reference clock, whatever the PC's said.
    metadata = {**streams[first]["metadata"], **streams[second]["metadata"]}
    stamps = [int(metadata[str(idx)]["start_unix_ms_utc"]) / 1000 for idx in range(CHUNKS)]
    assert np.abs(np.array(stamps) - np.array(night.captured_s)).max() < 1.0
    assert stamps == sorted(stamps)
    # The audit tells the story.
    assert told["complete"]
    assert told["state"] == "finalized"
    assert "stream_error" in told["parts"][0]["closed_why"]
    assert told["parts"][0]["chunk_spans"] == [[0, streams[first]["chunks"] - 1]]
    assert len(told["outages"]) >= 2
    assert any("key" in outage["words"] for outage in told["outages"])
    assert all(one["receipt"]["confirmed"] for one in told["chunks"])
    assert spool.status().used_bytes <= MAX_BYTES
    for path in night.root.rglob("*"):
        if path.is_file():
            assert OLD_KEY.encode() not in path.read_bytes()
            assert NEW_KEY.encode() not in path.read_bytes()
    check_invariants(spool)
