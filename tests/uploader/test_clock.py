import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from spool import Chunk, ClockReading, Spool, Stream, StreamSettings
from spool.testing import START_MS, FakeClock, some_reading
from tests.uploader.rig import NO_LIMITS, Asked, Bench, Reply, ScriptedServer, json_reply, some_frames, wait_until
from uploader import RHEEDStreamer, clock, config
from uploader.api import AtomscaleApi
from uploader.clock import SAMPLES, ClockKeeper, ClockMeasurement, measure
from uploader.config import ApiKey
from uploader.destinations.atomscale import chunk_metadata
from uploader.meanings import Answer
from uploader.stamps import Stamp, stamp

START = 1_772_000_000_000.0


class FakeWire:
    """A host clock, and a server whose clock is ahead of it, at the two ends of a wire with chosen delays."""

    def __init__(self, offset_ms: float, trips: list[tuple[float, float, float]]) -> None:
        self.now = START
        self.offset_ms = offset_ms
        self._trips = iter(trips)

    def now_ms(self) -> float:
        return self.now

    def server_time(self) -> Answer:
        there, at_work, back = next(self._trips)
        self.now += there
        received = self.now + self.offset_ms
        self.now += at_work
        sent = self.now + self.offset_ms
        self.now += back
        text = f'{{"receivedAtUnixMs": {received}, "transmittedAtUnixMs": {sent}}}'
        return Answer(status=200, text=text)

    def measured(self, samples: int) -> ClockMeasurement:
        found = measure(cast("AtomscaleApi", self), samples=samples, now_ms=self.now_ms, steady_ms=self.now_ms)
        assert found is not None
        return found


@pytest.mark.parametrize("offset_ms", [0.0, 1234.5, -98765.25])
def test_a_symmetric_way_gives_the_exact_offset_and_half_the_way_as_uncertainty(offset_ms: float) -> None:
    found = FakeWire(offset_ms, [(10.0, 3.0, 10.0)]).measured(1)
    assert found.offset_ms == pytest.approx(offset_ms, abs=0.01)
    assert found.uncertainty_ms == pytest.approx(10.0, abs=0.01)
    assert found.samples == 1
    assert found.measured_at_ms == pytest.approx(START + 23)


@pytest.mark.parametrize("trip", [(0.0, 0.0, 40.0), (40.0, 0.0, 0.0), (5.0, 100.0, 25.0)])
def test_the_true_offset_is_within_the_uncertainty_however_lopsided_the_way(
    trip: tuple[float, float, float],
) -> None:
    found = FakeWire(500.0, [trip]).measured(1)
    assert abs(found.offset_ms - 500.0) <= found.uncertainty_ms + 0.01


def test_the_sample_with_the_lowest_delay_wins() -> None:
    wire = FakeWire(500.0, [(80.0, 1.0, 0.0), (2.0, 500.0, 2.0), (0.0, 1.0, 30.0), (200.0, 0.0, 200.0)])
    found = wire.measured(4)
    assert found.offset_ms == pytest.approx(500.0, abs=0.01)
    assert found.uncertainty_ms == pytest.approx(2.0, abs=0.01)
    assert found.samples == 4


@pytest.mark.parametrize("ahead_ms", [-3_600_000.0, 3_600_000.0])
def test_a_burst_in_which_the_host_clock_is_set_says_nothing(ahead_ms: float) -> None:
    """The network comes, and the first thing that happens is that the system sets its clock."""
    wire = FakeWire(500.0, [(5.0, 0.0, 5.0)] * 3)
    readings = 0

    def now_ms() -> float:
        nonlocal readings
        readings += 1
        return wire.now + (ahead_ms if readings > 5 else 0.0)

    api = cast("AtomscaleApi", wire)
    assert measure(api, samples=3, now_ms=now_ms, steady_ms=wire.now_ms) is None


def test_a_slow_server_clock_holds_nothing_up() -> None:
    wire = FakeWire(500.0, [(1000.0, 0.0, 1000.0)] * 5)
    assert wire.measured(5).samples == 2, "no third burst is begun after three seconds"


def test_a_keeper_that_got_no_answer_lets_the_frames_go_first() -> None:
    asked: list[None] = []
    keeper = ClockKeeper(lambda: asked.append(None), FakeClock())
    assert [keeper.reading() for _ in range(20)] == [None] * 20
    assert len(asked) == 1


def test_a_keeper_reads_again_when_the_host_clock_was_set_but_not_at_once_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, asked = FakeClock(), list[int]()

    def read() -> ClockReading:
        asked.append(host.now_ms())
        return some_reading(clock=host)

    monkeypatch.setattr(clock, "READ_AGAIN_S", 0.0)
    keeper = ClockKeeper(read, host)
    keeper.reading()
    keeper.reading()
    assert len(asked) == 1
    host.set_ms(host.now_ms() + 60_000)
    keeper.reading()
    keeper.reading()
    assert len(asked) == 2
    monkeypatch.undo()
    host.set_ms(host.now_ms() + 60_000)
    keeper.reading()
    assert len(asked) == 3
    host.set_ms(host.now_ms() + 60_000)
    keeper.reading()
    assert len(asked) == 3, "not before fifteen seconds are over"


def test_the_burst_goes_to_the_servers_clock_without_key_or_cache() -> None:
    def clock(_asked: Asked) -> Reply:
        now = time.time() * 1000 + 60_000
        return json_reply({"receivedAtUnixMs": now, "transmittedAtUnixMs": now})

    with ScriptedServer(clock) as server, AtomscaleApi(server.url, ApiKey("secret")) as api:
        found = measure(api)
        assert found is not None
        assert abs(found.offset_ms - 60_000) <= found.uncertainty_ms + 5
        assert found.samples == SAMPLES == len(server.asked)
    for asked in server.asked:
        assert (asked.method, asked.path) == ("GET", "/gateway/time")
        assert asked.headers["cache-control"] == "no-store"
        assert "x-api-key" not in asked.headers


NONSENSE: dict[str, Reply] = {
    "portal": Reply(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
    "redirect": Reply(status=302, headers={"Location": "http://portal.invalid/"}),
    "not found": Reply(status=404),
    "down": Reply(status=503),
    "no JSON": Reply(body=b"noon"),
    "empty": Reply(),
    "a list": json_reply([START, START]),
    "text": json_reply({"receivedAtUnixMs": "noon", "transmittedAtUnixMs": "noon"}),
    "numbers as text": json_reply({"receivedAtUnixMs": str(START), "transmittedAtUnixMs": str(START)}),
    "one missing": json_reply({"receivedAtUnixMs": START}),
    "null": json_reply({"receivedAtUnixMs": None, "transmittedAtUnixMs": None}),
    "true": json_reply({"receivedAtUnixMs": True, "transmittedAtUnixMs": True}),
    "negative": json_reply({"receivedAtUnixMs": -1, "transmittedAtUnixMs": -1}),
    "NaN": Reply(body=b'{"receivedAtUnixMs": NaN, "transmittedAtUnixMs": NaN}'),
    "infinite": Reply(body=b'{"receivedAtUnixMs": Infinity, "transmittedAtUnixMs": Infinity}'),
    "huge": Reply(body=b'{"receivedAtUnixMs": 1e300, "transmittedAtUnixMs": 1e300}'),
    "many digits": Reply(body=b'{"receivedAtUnixMs": ' + b"9" * 5000 + b', "transmittedAtUnixMs": 1}'),
    "nested": Reply(body=b"[" * 200_000),
}


@pytest.mark.parametrize("reply", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_server_clock_that_tells_nonsense_is_not_believed(reply: Reply) -> None:
    with ScriptedServer(lambda _asked: reply) as server, AtomscaleApi(server.url, ApiKey("secret")) as api:
        assert measure(api) is None
    assert len(server.asked) == 1  # no burst into a void


def test_a_server_that_cannot_be_reached_gives_no_measurement() -> None:
    with ScriptedServer(lambda _asked: Reply()) as server:
        url = server.url
    with AtomscaleApi(url, ApiKey("secret")) as api:
        assert measure(api) is None


def test_samples_before_the_server_broke_off_count() -> None:
    replies: Iterator[Reply] = iter(
        [json_reply({"receivedAtUnixMs": START, "transmittedAtUnixMs": START}), Reply(status=500)]
    )
    with ScriptedServer(lambda _asked: next(replies)) as server, AtomscaleApi(server.url, ApiKey("s")) as api:
        found = measure(api)
    assert found is not None
    assert found.samples == 1


def told(make: Callable[..., tuple[Stream, Chunk, Stamp]], **facts: Any) -> dict[str, str]:
    return chunk_metadata(*make(**facts))


@pytest.fixture
def make(root: Path) -> Callable[..., tuple[Stream, Chunk, Stamp]]:
    def stream_and_chunk(
        *, fps: float = 120.0, rpm: float = 0.0, n: int = 240, start: float = 1000.0, clock: Any = None
    ) -> tuple[Stream, Chunk, Stamp]:
        settings = StreamSettings(name="g", destination="http://h", fps=fps, rotations_per_min=rpm, chunk_size=240)
        host = FakeClock()
        with Spool(root, limits=NO_LIMITS, clock=host) as spool:
            spool.open_stream(settings, data_id="d-1")
            chunk = spool.push("d-1", 0, np.zeros((n, 6, 8), np.uint8), host.now_ms() + start)
            host.advance_s(start / 1000)
            if clock is not None:
                spool.note_clock("d-1", some_reading(*clock, clock=host))
            stream = spool.stream("d-1")
            return stream, chunk, stamp(stream, chunk, spool.clock_readings("d-1"))

    return stream_and_chunk


def test_presign_metadata_has_every_number_as_a_string(make: Callable[..., tuple[Stream, Chunk, Stamp]]) -> None:
    assert told(make, clock=(12.6, 3.25)) == {
        "data_id": "d-1",
        "data_stream": "rheed",
        "is_stream": "1",
        "is_rotating": "0",
        "raw_frame_rate": "120.0",
        "avg_frame_rate": "120.0",
        "chunk_size": "240",
        "dims": "240,6,8",
        "start_unix_ms_utc": str(START_MS + 1013),
        "end_unix_ms_utc": str(START_MS + 3013),
        "clock_offset_ms": "13",
        "clock_uncertainty_ms": "3.25",
    }


def test_presign_metadata_leaves_the_clock_out_when_it_was_never_measured(
    make: Callable[..., tuple[Stream, Chunk, Stamp]],
) -> None:
    found = told(make, rpm=12.0)
    assert found["is_rotating"] == "1"
    assert found["start_unix_ms_utc"] == str(START_MS + 1000)
    assert not {"clock_offset_ms", "clock_uncertainty_ms"} & found.keys()


@pytest.mark.parametrize(("fps", "n", "end"), [(120.0, 1, 1008), (30.0, 2, 1066), (7.0, 1, 1142), (0.3, 1, 4333)])
def test_the_end_of_a_chunk_is_its_start_and_its_frames_truncated(
    make: Callable[..., tuple[Stream, Chunk, Stamp]], fps: float, n: int, end: int
) -> None:
    found = told(make, fps=fps, n=n)
    assert found["end_unix_ms_utc"] == str(START_MS + end)
    assert found["dims"] == f"{n},6,8"


def test_a_stationary_offset_of_zero_is_still_a_measurement(
    make: Callable[..., tuple[Stream, Chunk, Stamp]],
) -> None:
    found = told(make, clock=(0.0, 0.5))
    assert (found["clock_offset_ms"], found["clock_uncertainty_ms"]) == ("0", "0.5")


def test_what_the_server_gets_carries_the_measured_clock_and_corrected_stamps(bench: Bench) -> None:
    server = bench.server
    with RHEEDStreamer(
        server.api_key, server.url, spool_dir=bench.root, spool_min_free_bytes=0, worker="external"
    ) as streamer:
        assert not streamer.clock_status().measured
        data_id = streamer.initialize(2.0, 0.0, 4)
        clock = streamer.clock_status()
        assert clock.measured
        assert clock.offset_ms is not None
        assert abs(clock.offset_ms) < 2000
        capture = time.time() * 1000
        streamer.push(data_id, 0, some_frames(1), capture)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    metadata = server.state()["streams"][data_id]["metadata"]["0"]
    assert abs(int(metadata["clock_offset_ms"]) - clock.offset_ms) < 10
    assert float(metadata["clock_uncertainty_ms"]) < 1000
    assert int(metadata["start_unix_ms_utc"]) == int(capture) + int(metadata["clock_offset_ms"])
    assert int(metadata["end_unix_ms_utc"]) - int(metadata["start_unix_ms_utc"]) == 2000


def test_the_skip_variable_keeps_the_clock_from_being_asked(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(config.SKIP_CLOCK_VARIABLE, "1")
    server = bench.server
    with RHEEDStreamer(
        server.api_key, server.url, spool_dir=bench.root, spool_min_free_bytes=0, worker="external"
    ) as streamer:
        data_id = streamer.initialize(2.0, 0.0, 4)
        assert not streamer.clock_status().measured
    assert bench.requests("GET /gateway/time") == 0
    assert bench.stream(data_id).clock_offset_ms is None


def test_a_portal_instead_of_the_servers_clock_does_not_keep_a_stream_from_opening(bench: Bench) -> None:
    server = bench.server
    server.faults([{"match": {"path": "/gateway/time"}, "action": "html200"}])
    with RHEEDStreamer(
        server.api_key, server.url, spool_dir=bench.root, spool_min_free_bytes=0, worker="external"
    ) as streamer:
        assert streamer.initialize(2.0, 0.0, 4) in server.state()["streams"]
        assert streamer.clock_status()["measured"] is False
