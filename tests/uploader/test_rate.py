"""What --max-rate means, and that the bytes are given out so; on a clock that only the waits move."""

import heapq
import re
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.errors import ConfigurationError
from uploader.rate import PIECE_BYTES_MAX, RATE_MIN, CutShort, Meter, parse_schedule


def at(text: str, time_of_day: str) -> float | None:
    hours, minutes = map(int, time_of_day.split(":"))
    return parse_schedule(text).rates[hours * 60 + minutes]


# What it means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("2MB/s", 2e6),
        ("250kB/s", 250e3),
        ("250 KB/s", 250e3),
        ("16Mbit/s", 2e6),
        ("1.5GB/s", 1.5e9),
        ("1000B/s", 1000),
        ("8kbit/s", 1000),
        ("unlimited", None),
    ],
)
def test_a_rate_holds_all_day(text: str, rate: float | None) -> None:
    assert set(parse_schedule(text).rates) == {rate}


@pytest.mark.parametrize(
    ("time_of_day", "rate"),
    [("17:59", 2e6), ("18:00", None), ("23:59", None), ("00:00", None), ("06:59", None), ("07:00", 2e6)],
)
def test_a_time_of_day_may_lie_over_midnight(time_of_day: str, rate: float | None) -> None:
    assert at("2MB/s,18:00-07:00=unlimited", time_of_day) == rate


def test_several_times_of_day_and_no_limit_in_the_rest() -> None:
    text = "8:30-12:00=250kB/s, 13:00 - 24:00 = 1MB/s"
    assert [at(text, one) for one in ("08:29", "8:30", "12:00", "13:00", "23:59", "0:00")] == [
        *(None, 250e3, None, 1e6, 1e6, None),
    ]
    assert parse_schedule(text).slowest == 250e3


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is not a rate"),
        ("fast", "'fast' is not a rate"),
        ("-2MB/s", "'-2MB/s' is not a rate"),
        ("2e6B/s", "'2e6B/s' is not a rate"),
        ("2000000", "'2000000' has no unit"),
        ("2Mb/s", "the unit 'Mb/s' is not one of B/s, kB/s"),
        ("2MB/s,", "'' is not a rate"),
        ("2MB/s,1MB/s", "more than one rate without a time of day"),
        ("18:00=2MB/s", "'18:00' is not a time of day such as"),
        ("18:00-24:01=2MB/s", "'18:00-24:01' names an hour or minute that no clock shows"),
        ("24:00-07:00=2MB/s", "no clock shows"),
        ("18:60-19:00=2MB/s", "no clock shows"),
        ("07:00-07:00=2MB/s", "'07:00-07:00' begins when it ends"),
        ("18:00-07:00=1MB/s,06:00-08:00=2MB/s", "'06:00-08:00' overlaps an earlier time of day"),
        ("18:00-07:00=", "'' is not a rate"),
        ("999B/s", "'999B/s' is less than 1 kB/s: the server would take the uploads for dead"),
        ("2MB/s,18:00-07:00=0MB/s", "'0MB/s' is less than 1 kB/s"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_part_and_an_example(text: str, says: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(says)) as raised:
        parse_schedule(text)
    assert "2MB/s,18:00-07:00=unlimited" in raised.value.hint


@given(st.text(alphabet="0123456789:-=,MkB/bits. unlimited\n", max_size=40))
def test_any_text_is_a_schedule_or_a_refusal(text: str) -> None:
    try:
        schedule = parse_schedule(text)
    except ConfigurationError:
        return
    assert len(schedule.rates) == 24 * 60
    assert all(rate is None or rate >= RATE_MIN for rate in schedule.rates)


# How it is kept ---------------------------------------------------------------------------------------------


class Line:
    """A meter, a clock, and what was given out when."""

    def __init__(self, text: str, uploads_max: int = 4) -> None:
        self.now_s = 0.0
        self.minute = 0
        self.ended = False
        self.longest_wait_s = 0.0
        self.meter = Meter(
            parse_schedule(text),
            uploads_max=uploads_max,
            clock=lambda: self.now_s,
            minute_now=lambda: self.minute,
            wait=self._wait,
        )

    def _wait(self, seconds: float) -> bool:
        self.now_s += seconds
        self.longest_wait_s = max(self.longest_wait_s, seconds)
        return self.ended

    def send(self, size: int, stream_id: str = "a") -> list[int]:
        with self.meter.sending(stream_id, bytes(size)) as pieces:
            return [len(piece) for piece in pieces]


def side_by_side(line: Line, sizes: dict[str, int]) -> tuple[dict[str, float], dict[str, float]]:
    """Send all at once, each ready for its next piece as soon as it has one: ends and longest pauses, seconds.

    The threads' waiting is played through in the order of the times at which the pieces are due.
    """
    meter, left = line.meter, dict(sizes)
    last, pauses = dict.fromkeys(sizes, 0.0), dict.fromkeys(sizes, 0.0)
    due = [(0.0, number, name) for number, name in enumerate(sizes)]
    meter._sending.update(sizes.keys())
    for number in count(len(sizes)):
        if not due:
            break
        line.now_s, _, name = heapq.heappop(due)
        pauses[name] = max(pauses[name], line.now_s - last[name])
        last[name] = line.now_s
        if left[name]:
            size, wait_s = meter._book(name, left[name])
            left[name] -= size
            heapq.heappush(due, (line.now_s + wait_s, number, name))
        else:
            del meter._sending[name]
    return last, pauses


def test_the_body_comes_out_whole_and_in_order() -> None:
    line = Line("1MB/s")
    body = bytes(range(256)) * 2000
    with line.meter.sending("a", body) as pieces:
        assert b"".join(pieces) == body


def test_without_a_limit_pieces_are_large_and_nobody_waits() -> None:
    line = Line("unlimited")
    assert line.send(5 * PIECE_BYTES_MAX // 2) == [PIECE_BYTES_MAX, PIECE_BYTES_MAX, PIECE_BYTES_MAX // 2]
    assert line.now_s == 0


@pytest.mark.parametrize(("text", "rate"), [("1kB/s", 1e3), ("250kB/s", 250e3), ("2MB/s", 2e6), ("20MB/s", 2e7)])
def test_the_rate_is_kept_over_bodies_that_follow_each_other(text: str, rate: float) -> None:
    line = Line(text)
    for _ in range(10):
        line.send(int(2 * rate))
    slack_s = 0.2 + max(0.1, min(16_000 / rate, 3.0))
    assert 20 - slack_s <= line.now_s <= 20


def test_at_no_moment_was_more_given_out_than_the_rate_allows_and_idle_time_is_not_saved_up() -> None:
    line = Line("1MB/s")
    line.send(500_000)
    line.now_s += 3600
    began = line.now_s
    line.send(10_000_000)
    assert line.now_s - began >= 10 - 0.31


def test_pieces_are_a_tenth_of_a_second_within_bounds() -> None:
    assert max(Line("2MB/s").send(1_000_000)) == 200_000
    assert max(Line("50kB/s").send(100_000)) == 16_000
    assert max(Line("1GB/s").send(10_000_000)) == PIECE_BYTES_MAX
    assert max(Line("1kB/s").send(10_000)) == 3000


@given(
    st.sampled_from(["1kB/s", "5kB/s", "100kB/s", "2MB/s"]),
    st.integers(1, 16),
    st.integers(0, 16),
)
def test_no_body_pauses_for_long_however_many_share_the_line(text: str, uploads: int, live: int) -> None:
    line = Line(text)
    names = [f"s{number}" for number in range(uploads)]
    line.meter.let_ahead(frozenset(names[:live]))
    rate = line.meter.schedule.slowest
    assert rate
    _, pauses = side_by_side(line, dict.fromkeys(names, int(rate * 4)))
    assert max(pauses.values()) < 5


def test_equal_streams_get_equal_shares() -> None:
    ends, _ = side_by_side(Line("1MB/s"), {"a": 2_000_000, "b": 2_000_000})
    assert ends["a"] == pytest.approx(4, abs=0.5)
    assert ends["b"] == pytest.approx(4, abs=0.5)


def test_a_stream_that_is_being_recorded_gets_most_of_the_line_and_the_backlog_still_moves() -> None:
    line = Line("1MB/s")
    line.meter.let_ahead(frozenset({"live"}))
    ends, _ = side_by_side(line, {"a": 1_000_000, "b": 1_000_000, "c": 1_000_000, "live": 4_000_000})
    assert ends["live"] == pytest.approx(7, abs=0.7), "four of each seven bytes"
    assert max(ends.values()) == pytest.approx(7, abs=0.7), "and the others one of each seven"


def test_the_backlog_alone_gets_all_of_the_line() -> None:
    line = Line("1MB/s")
    line.meter.let_ahead(frozenset({"live"}))
    line.send(4_000_000, "a")
    assert line.now_s <= 4


def test_the_rate_of_the_hour_holds_from_the_next_piece_on() -> None:
    line = Line("1MB/s,18:00-07:00=unlimited")
    line.minute = 12 * 60
    with line.meter.sending("a", bytes(50_000_000)) as pieces:
        sent = 0
        for piece in pieces:
            sent += len(piece)
            if sent >= 2_000_000:
                line.minute = 18 * 60
    assert sent == 50_000_000
    assert 1.6 <= line.now_s <= 2


def test_patience_covers_the_slowest_share_of_the_slowest_hour() -> None:
    line = Line("1MB/s,09:00-17:00=1kB/s", uploads_max=4)
    names = ["a", "b", "c", "d"]
    line.minute = 9 * 60
    line.meter.let_ahead(frozenset(names[:3]))
    ends, _ = side_by_side(line, {"a": 100_000, "b": 100_000, "c": 100_000, "d": 8_000})
    assert ends["d"] <= line.meter.patience_s(8_000)
    assert Line("unlimited").meter.patience_s(10**9) == 0


def test_an_upload_that_waits_when_the_worker_ends_is_cut_short() -> None:
    line = Line("1kB/s")
    with line.meter.sending("a", bytes(100_000)) as pieces:
        next(pieces)
        line.ended = True
        with pytest.raises(CutShort):
            list(pieces)


def test_a_real_wait_ends_at_once_with_the_meter() -> None:
    meter = Meter(parse_schedule("1kB/s"))
    meter.end()
    with meter.sending("a", bytes(100_000)) as pieces, pytest.raises(CutShort):
        list(pieces)
