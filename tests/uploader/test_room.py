"""Warnings before the spool is full: when they come, in which order, and that no recording suffers from them."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spool import DiskFailed, Forecast, Limits, Receipt, Spool, SpoolFull
from spool.testing import FakeClock, some_frames, some_settings
from uploader.events import EventKind, StreamerEvent
from uploader.room import LOOK_EVERY_S, Fill, RoomWatch, fill_of, moved

MB = 1_000_000
FRAMES = (4, 64, 64)


def forecast(share: float, full_in_s: float | None = None) -> Forecast:
    """Of a spool of which such a share is taken, and that is full so soon."""
    room = round((1 - share) * 1000 * MB)
    rate = 0.0 if full_in_s is None else room / full_in_s
    return Forecast(
        rate_in_bytes_per_s=rate, rate_out_bytes_per_s=0.0, room_bytes=room, held_bytes=1000 * MB - room
    )


# Thresholds ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "full_in_s", "fill"),
    [
        (0.0, None, Fill.ROOMY),
        # A recording that begins, nothing being delivered yet, is no reason for a warning.
        (0.01, 60.0, Fill.ROOMY),
        (0.6, None, Fill.ROOMY),
        (0.6, 29 * 60.0, Fill.FILLING),
        (0.6, 31 * 60.0, Fill.ROOMY),
        (0.81, None, Fill.FILLING),
        (0.81, 6 * 60.0, Fill.FILLING),
        (0.81, 4 * 60.0, Fill.ALMOST_FULL),
        (0.96, None, Fill.ALMOST_FULL),
        (1.0, None, Fill.ALMOST_FULL),
    ],
)
def test_a_threshold_is_reached_by_the_share_or_by_the_time(
    share: float, full_in_s: float | None, fill: Fill
) -> None:
    assert fill_of(forecast(share, full_in_s)) is fill


def test_a_threshold_is_left_only_well_below_it() -> None:
    fills = [Fill.ROOMY]
    for share in (0.79, 0.81, 0.79, 0.71, 0.81, 0.69, 0.96, 0.9, 0.86, 0.84, 0.5):
        fills.append(moved(fills[-1], forecast(share)))
    roomy, filling, almost = Fill.ROOMY, Fill.FILLING, Fill.ALMOST_FULL
    assert fills[1:] == [
        roomy, filling, filling, filling, filling, roomy, almost, almost, almost, filling, roomy,
    ]  # fmt: skip
    assert moved(Fill.FILLING, forecast(0.6, 50 * 60.0)) is Fill.FILLING
    assert moved(Fill.FILLING, forecast(0.6, 70 * 60.0)) is Fill.ROOMY


@pytest.mark.parametrize(
    ("share", "fill"), [(1.0, Fill.FULL), (0.9, Fill.FULL), (0.8, Fill.FILLING), (0.2, Fill.ROOMY)]
)
def test_a_full_spool_with_room_for_a_chunk_is_full_all_the_while(share: float, fill: Fill) -> None:
    assert moved(Fill.FULL, forecast(share)) is fill


# Watching a real spool ----------------------------------------------------------------------------------------


class Recording:
    """A spool with room for so many chunks, watched while it is recorded into."""

    def __init__(self, root: Path, chunks: int, on_event: Any = None) -> None:
        with Spool(root, limits=Limits(min_free_bytes=0)) as first:
            ref = first.open_stream(some_settings()).stream_id
            self.size = first.push(ref, 0, some_frames(*FRAMES)).disk_bytes
        # Random frames are all of one size, give or take a few bytes.
        limits = Limits(min_free_bytes=0, max_bytes=chunks * (self.size + 20))
        # By a clock that stands still nothing has a rate, and only the shares count.
        self.spool = Spool(root, limits=limits, clock=FakeClock())
        self.ref = ref
        self.told: list[StreamerEvent] = []
        self.now_s = 1000.0
        self.watch = RoomWatch(self.spool, on_event or self.told.append, now_s=lambda: self.now_s)
        self._next = 1

    def close(self) -> None:
        self.spool.close()

    def push(self, count: int = 1) -> None:
        for _ in range(count):
            try:
                chunk = self.spool.push(self.ref, self._next, some_frames(*FRAMES, seed=self._next))
            except SpoolFull as error:
                self.watch.refused(error, self.ref)
                raise
            self._next += 1
            self.watch.pushed(chunk)

    def deliver(self, count: int) -> None:
        lease = self.spool.lease(self.ref, "worker", ttl_s=60)
        assert lease is not None
        for _ in range(count):
            chunk = lease.next_waiting()
            assert chunk is not None
            lease.acknowledge(chunk, Receipt(status=200, etag=None, confirmed=False, at_ms=1))

    @property
    def kinds(self) -> list[tuple[EventKind, object]]:
        return [(event.kind, event.facts.get("urgent")) for event in self.told]


@pytest.fixture
def recording(root: Path) -> Iterator[Recording]:
    with closing(Recording(root, 40)) as made:
        yield made


def test_a_spool_that_fills_within_a_second_is_warned_of_in_order_and_once_each(recording: Recording) -> None:
    with pytest.raises(SpoolFull):
        recording.push(100)
    for _ in range(3):
        with pytest.raises(SpoolFull):
            recording.push()
    assert recording.kinds == [
        (EventKind.SPOOL_FILLING, False),
        (EventKind.SPOOL_FILLING, True),
        (EventKind.SPOOL_FULL, None),
    ]
    filling, almost, full = recording.told
    assert 0.8 <= float(filling.facts["used_share"] or 0) < float(almost.facts["used_share"] or 0) <= 1
    assert filling.words.startswith("the spool is filling: ")
    assert almost.words.startswith("the spool is almost full: ")
    assert full.words.startswith("the spool is full: the chunk needs ")
    assert full.facts["chunk_bytes"] == pytest.approx(recording.size, rel=0.01)
    assert {event.stream_id for event in recording.told} == {recording.ref}


def test_when_deliveries_have_made_room_it_is_told_once_and_the_next_time_everything_again(
    recording: Recording,
) -> None:
    with pytest.raises(SpoolFull):
        recording.push(100)
    recording.deliver(1)
    recording.push()
    with pytest.raises(SpoolFull):
        recording.push()
    assert len(recording.told) == 3, "one chunk more is not room again"
    recording.deliver(38)
    recording.watch.look(recording.ref)
    assert recording.kinds[3:] == [(EventKind.ROOM_AGAIN, None)]
    with pytest.raises(SpoolFull):
        recording.push(100)
    assert recording.kinds[4:] == recording.kinds[:3]


def test_the_log_has_each_warning_once(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SpoolFull):
        recording.push(100)
    told = [record.getMessage() for record in caplog.records if record.name == "uploader.room"]
    assert [text.partition(":")[0] for text in told] == ["the spool is filling", "the spool is almost full"]
    assert all("framespool status" in text for text in told)


def test_looking_is_rare_while_there_is_room(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Recording(root, 100_000)) as recording:
        looks: list[float] = []
        real = recording.spool.forecast

        def look() -> Forecast:
            looks.append(recording.now_s)
            return real()

        monkeypatch.setattr(recording.spool, "forecast", look)
        recording.push(20)
        assert len(looks) == 1
        recording.now_s += LOOK_EVERY_S
        recording.push(20)
        assert len(looks) == 2


def test_what_on_event_raises_is_logged_and_recording_goes_on(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(_: StreamerEvent) -> None:
        raise RuntimeError("the lab's lamp is broken")

    with closing(Recording(root, 40, break_down)) as recording:
        with pytest.raises(SpoolFull):
            recording.push(100)
        assert recording.spool.stream(recording.ref).tally.spooled >= 39
    broken = [record for record in caplog.records if record.exc_info]
    assert len(broken) == 3
    assert all("on_event raised when it was told of" in record.getMessage() for record in broken)


def test_on_event_may_push(root: Path) -> None:
    kinds: list[EventKind] = []

    def push_more(event: StreamerEvent) -> None:
        kinds.append(event.kind)
        filled.push()

    with closing(Recording(root, 40, push_more)) as filled, pytest.raises(SpoolFull):
        filled.push(100)
    assert kinds == [EventKind.SPOOL_FILLING, EventKind.SPOOL_FILLING, EventKind.SPOOL_FULL]


def test_an_index_that_cannot_be_read_for_the_forecast_costs_no_chunk(
    recording: Recording, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> Forecast:
        raise DiskFailed("the index refused")

    monkeypatch.setattr(recording.spool, "forecast", refuse)
    recording.push(3)
    assert recording.told == []
    assert "how much room is left cannot be told: the index refused" in caplog.text


def test_a_slow_on_event_holds_up_no_other_thread_that_pushes(root: Path) -> None:
    told, may_return = threading.Event(), threading.Event()

    def wait(_: StreamerEvent) -> None:
        told.set()
        assert may_return.wait(20)

    with closing(Recording(root, 40, wait)) as recording:
        errors: list[BaseException] = []

        def fill() -> None:
            try:
                recording.push(35)
            except BaseException as error:  # noqa: BLE001 - looked at below
                errors.append(error)

        thread = threading.Thread(target=fill, daemon=True)
        thread.start()
        assert told.wait(20)
        chunk = recording.spool.push(recording.ref, 1000, some_frames(*FRAMES, seed=1000))
        recording.watch.pushed(chunk)
        may_return.set()
        thread.join(20)
        assert not thread.is_alive()
        assert errors == []


def test_room_again_is_no_warning(recording: Recording, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(SpoolFull):
        recording.push(100)
    recording.deliver(40)
    recording.watch.look(recording.ref)
    (again,) = [record for record in caplog.records if "there is room again" in record.getMessage()]
    assert again.levelno == logging.INFO
