import itertools

import pytest

from uploader.destinations.base import TryLater
from uploader.retry import BASE_S, CAP_S, keep_trying

DONE = "done"


def waits(tries: int, *, tries_before: int = 0, min_wait_s: float = 0.0) -> list[float]:
    """The waits before so many repetitions, drawn by the real thing with a sleep that does not."""
    slept: list[float] = []
    outcomes = itertools.chain([TryLater(words="no", min_wait_s=min_wait_s)] * tries, [DONE])
    result: object = keep_trying(
        lambda: next(outcomes),
        tries_before=tries_before,
        sleep=slept.append,
        stopped=lambda: False,
        before_wait=lambda _outcome, _wait: None,
    )
    assert result == DONE
    assert len(slept) == tries
    return slept


@pytest.mark.parametrize("k", range(10))
def test_the_wait_is_drawn_from_zero_to_the_doubled_and_capped_bound(k: int) -> None:
    bound = min(CAP_S, BASE_S * 2**k)
    drawn = [waits(k + 1)[k] for _ in range(400)]
    assert all(0 <= one <= bound for one in drawn)
    # Uniform: all four quarters get their share (the chance of a false alarm is below 1e-6).
    quarters = [sum(bound * q / 4 <= one <= bound * (q + 1) / 4 for one in drawn) for q in range(4)]
    assert min(quarters) > 55, quarters
    assert max(quarters) < 145, quarters


def test_the_bounds_are_half_a_second_and_a_minute() -> None:
    assert (BASE_S, CAP_S) == (0.5, 60.0)


def test_what_the_server_asks_for_is_a_minimum() -> None:
    assert all(one >= 25.0 for one in waits(40, min_wait_s=25.0))
    assert max(waits(60, min_wait_s=25.0)) > 25.0  # and the jitter still goes beyond it


def test_what_the_server_asks_for_may_exceed_the_cap_of_the_jitter() -> None:
    assert waits(3, min_wait_s=600.0) == [600.0] * 3


def test_the_backoff_goes_on_from_earlier_tries() -> None:
    assert max(waits(1, tries_before=7)[0] for _ in range(200)) > BASE_S * 2**6
    assert max(waits(1)[0] for _ in range(200)) <= BASE_S


def test_it_never_ends_by_itself() -> None:
    assert all(0 <= one <= CAP_S for one in waits(5000))


def test_it_goes_on_after_years_of_tries() -> None:
    assert all(0 <= one <= CAP_S for one in waits(3, tries_before=1_000_000))


def test_it_ends_at_once_when_stopped() -> None:
    tries: list[TryLater] = []
    slept: list[float] = []

    def attempt() -> TryLater:
        tries.append(TryLater(words=f"no {len(tries)}"))
        return tries[-1]

    last = keep_trying(
        attempt,
        tries_before=0,
        sleep=slept.append,
        stopped=lambda: len(tries) == 3,
        before_wait=lambda _outcome, _wait: None,
    )
    assert len(tries) == 3
    assert last is tries[-1]
    assert len(slept) == 2


def test_the_first_success_is_returned_without_any_wait() -> None:
    def never(_seconds: float) -> None:
        raise AssertionError("slept")

    assert (
        keep_trying(
            lambda: DONE, tries_before=50, sleep=never, stopped=lambda: True, before_wait=lambda _o, _w: None
        )
        == DONE
    )


def test_an_exception_passes_through_and_is_not_tried_again() -> None:
    tries = []

    def attempt() -> str:
        tries.append(1)
        raise KeyError("a bug")

    with pytest.raises(KeyError, match="a bug"):
        keep_trying(
            attempt,
            tries_before=0,
            sleep=lambda _s: None,
            stopped=lambda: False,
            before_wait=lambda _o, _w: None,
        )
    assert len(tries) == 1


def test_the_caller_is_told_of_each_failure_and_of_the_wait_that_follows() -> None:
    slept: list[float] = []
    told: list[tuple[str, float]] = []
    outcomes = iter([TryLater(words="first"), TryLater(words="second"), DONE])
    keep_trying(
        lambda: next(outcomes),
        tries_before=0,
        sleep=slept.append,
        stopped=lambda: False,
        before_wait=lambda outcome, wait_s: told.append((outcome.words, wait_s)),
    )
    assert told == [("first", slept[0]), ("second", slept[1])]
