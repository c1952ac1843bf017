"""Numbers as people read them."""

import pytest

from uploader.cli import words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (9994, "9.99 kB"), (9999, "10.0 kB"), (99_960, "100 kB"),
        (999_499, "999 kB"), (999_600, "1.00 MB"), (1_234_567, "1.23 MB"), (45_600_000_000, "45.6 GB"),
        (10**20, "100000 PB"),
    ],
)  # fmt: skip
def test_sizes_have_three_digits_and_a_unit(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"), (0.42, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"),
        (7800, "2 h 10 min"), (90_000, "1 d 01 h"),
    ],
)  # fmt: skip
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_nothing_that_a_terminal_would_obey_survives() -> None:
    assert words.printable("a\x1b[31mb\nc\x07\x9b \t é") == "a?[31mb c?? é"


def test_long_lists_say_how_much_follows() -> None:
    assert words.spans([(1, 1), (3, 5), (9, 9)], most=2) == "1, 3-5 and 1 more"
    assert words.listed([1, 2]) == "1, 2"


@pytest.mark.parametrize(("width", "text"), [(5, "abcde"), (4, "ab.."), (2, ".."), (1, "."), (0, "")])
def test_what_is_cut_shows_it(width: int, text: str) -> None:
    assert words.cut("abcde", width) == text


def test_a_moment_that_no_calendar_has_is_still_told() -> None:
    assert words.moment(1_700_000_000_123, digits=3) == "2023-11-14 22:13:20.123"
    assert words.moment(2**53) == f"{2**53} ms"
