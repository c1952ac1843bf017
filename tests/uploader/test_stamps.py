"""A chunk is stamped when it is sent, by what was recorded when it was pushed."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spool import ClockReading, Spool, Stream
from spool.testing import START_MS, FakeClock, some_frames, some_reading, some_settings
from tests.uploader.rig import NO_LIMITS
from uploader.stamps import DRIFT, STEP_MS, Stamp, stamp


class Lab:
    """A host whose clocks are told what to do, and a reference clock that is always right.

    Attributes:
        wrong_ms: how far the reference clock is ahead of the host clock.
    """

    def __init__(self, root: Path, wrong_ms: int) -> None:
        self.clock = FakeClock(START_MS - wrong_ms)
        self.spool = Spool(root, limits=NO_LIMITS, clock=self.clock)
        self.stream: Stream = self.spool.open_stream(some_settings(), data_id="d-1")
        self.wrong_ms = wrong_ms
        self.truth: list[int] = []

    def capture(self) -> None:
        """Push a chunk whose first frame is captured right now."""
        now = self.clock.now_ms()
        self.truth.append(now + self.wrong_ms)
        self.spool.push("d-1", len(self.truth) - 1, some_frames(), now)

    def read(self, uncertainty_ms: float = 2.0) -> None:
        self.spool.note_clock("d-1", some_reading(self.wrong_ms, uncertainty_ms, clock=self.clock))

    def set_clock(self, ahead_ms: int) -> None:
        """Somebody sets the host clock."""
        self.clock.set_ms(self.clock.now_ms() + ahead_ms)
        self.wrong_ms -= ahead_ms

    def stamps(self) -> list[Stamp]:
        readings = self.spool.clock_readings("d-1")
        return [stamp(self.spool.stream("d-1"), chunk, readings) for chunk in self.spool.chunks("d-1")]

    def starts(self) -> list[int]:
        return [one.start_ms for one in self.stamps()]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "spool", wrong_ms=90_000)
    with closing(made.spool):
        yield made


def test_what_was_captured_before_the_first_reading_is_corrected_too(lab: Lab) -> None:
    for _ in range(3):
        lab.capture()
        lab.clock.advance_s(60)
    assert lab.starts() != lab.truth
    lab.read()
    assert lab.starts() == lab.truth
    assert {one.offset_ms for one in lab.stamps()} == {90_000}


def test_a_host_clock_that_is_set_during_a_run_disorders_nothing(lab: Lab) -> None:
    lab.capture()
    lab.clock.advance_s(2)
    lab.set_clock(-3_600_000)
    lab.capture()
    lab.clock.advance_s(2)
    lab.set_clock(3_690_000)
    lab.capture()
    lab.read()
    assert lab.starts() == lab.truth == sorted(lab.truth)


def test_without_any_reading_a_host_clock_that_is_set_disorders_nothing_either(lab: Lab) -> None:
    for jump_ms in (0, -3_600_000, 7_200_000):
        lab.set_clock(jump_ms)
        lab.capture()
        lab.clock.advance_s(2)
    starts = lab.starts()
    assert [one - starts[0] for one in starts] == [0, 2000, 4000]
    assert {one.offset_ms for one in lab.stamps()} == {None}


def test_without_any_reading_a_steered_host_clock_is_believed(lab: Lab) -> None:
    lab.set_clock(STEP_MS - 1)
    lab.capture()
    (chunk,) = lab.spool.chunks("d-1")
    assert lab.starts() == [chunk.capture_start_ms_utc]


def test_between_two_readings_the_difference_is_interpolated(lab: Lab) -> None:
    lab.read()
    lab.clock.advance_s(100)
    lab.capture()
    lab.clock.advance_s(300)
    lab.wrong_ms += 40  # the host's quartz has run 40 ms behind in 400 s
    lab.read(uncertainty_ms=5.0)
    (one,) = lab.stamps()
    assert one.start_ms - lab.truth[0] == 10
    assert one.uncertainty_ms == 5.0


def test_the_uncertainty_grows_with_the_way_to_the_only_reading(lab: Lab) -> None:
    lab.capture()
    lab.clock.advance_s(3600)
    lab.read(uncertainty_ms=2.0)
    (one,) = lab.stamps()
    assert one.uncertainty_ms == pytest.approx(2.0 + 3_600_000 * DRIFT)


def test_after_a_reboot_the_reading_that_is_nearest_on_the_host_clock_corrects(lab: Lab) -> None:
    lab.clock.boot("lab-pc/1")
    lab.capture()
    lab.clock.advance_s(60)
    lab.clock.boot("lab-pc/2")
    lab.read()
    assert lab.starts() == lab.truth


def test_the_clock_of_another_machine_corrects_nothing(lab: Lab) -> None:
    lab.clock.boot("lab-pc/1")
    lab.capture()
    lab.clock.boot("office-pc/1")
    lab.read()
    (one,) = lab.stamps()
    (chunk,) = lab.spool.chunks("d-1")
    assert one == Stamp(start_ms=chunk.capture_start_ms_utc)


def test_a_host_without_a_comparable_clock_is_corrected_by_the_nearest_reading(lab: Lab) -> None:
    lab.capture()
    lab.read()
    (chunk,) = lab.spool.chunks("d-1")
    (reading,) = lab.spool.clock_readings("d-1")
    without = ClockReading(
        at_ms=reading.at_ms, monotonic_ms=None, boot_id=reading.boot_id, offset_ms=90_000, uncertainty_ms=2.0
    )
    assert stamp(lab.stream, chunk, [without]).start_ms == lab.truth[0]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["capture", "set", "read"]), st.integers(-10_000_000, 10_000_000)), max_size=30
    )
)
def test_stamps_are_right_and_in_order_whatever_is_done_to_the_host_clock(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    lab = Lab(tmp_path_factory.mktemp("lab") / "spool", wrong_ms=5_000)
    with closing(lab.spool):
        for verb, amount in steps:
            lab.clock.advance_s(2)
            match verb:
                case "capture":
                    lab.capture()
                case "set":
                    lab.set_clock(amount)
                case "read":
                    lab.read()
        lab.read()
        assert lab.starts() == lab.truth
