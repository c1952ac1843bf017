"""Who gets a place: live first, nobody starves, never more than there are; checked on random lives."""

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool import Chunk, ChunkState, Stream, StreamSettings, StreamState
from spool.model import new_stream
from uploader.turns import LIVE_IN_A_ROW, Shares, Standing, is_live, share_out


def live(name: str, **facts: Any) -> Standing:
    return Standing(stream_id=name, is_live=True, **facts)


def backlog(name: str, **facts: Any) -> Standing:
    return Standing(stream_id=name, is_live=False, **facts)


# By example -------------------------------------------------------------------------------------------------


def test_live_ones_come_first_then_who_was_served_longest_ago() -> None:
    shares = share_out(
        [backlog("new"), backlog("old", last_turn=1), live("b", last_turn=9), live("a", last_turn=8)], 3, 0
    )
    assert shares.serve == ("a", "b", "new")
    assert shares.wait == {"old"}


def test_after_so_many_live_ones_the_backlog_has_its_turn() -> None:
    shares = share_out([backlog("back"), *(live(name, last_turn=5) for name in "abcd")], 4, 0)
    assert shares.serve == ("a", "b", "c", "back")
    assert shares.wait == {"d"}
    assert shares.live_in_a_row == 0


def test_the_count_goes_on_where_there_is_one_place() -> None:
    standings = [live("a"), backlog("back")]
    count = 0
    served: list[str] = []
    for _ in range(2 * (LIVE_IN_A_ROW + 1)):
        shares = share_out(standings, 1, count)
        count = shares.live_in_a_row
        served += shares.serve
    assert served == ["a", "a", "a", "back"] * 2


def test_live_streams_alone_owe_nothing_to_a_backlog_that_is_not_there() -> None:
    assert share_out([live("a"), live("b")], 2, 0).live_in_a_row == 0


def test_who_waits_between_two_tries_takes_no_place() -> None:
    shares = share_out([live("a", is_resting=True), backlog("b")], 1, 0)
    assert shares.serve == ("b",)
    assert shares.wait == frozenset()


def test_a_live_stream_without_a_place_makes_backlog_give_way_once_it_has_settled() -> None:
    at_work = [backlog(name, is_at_work=True, is_settled=True, last_turn=n) for n, name in enumerate("abcd", 1)]
    assert share_out([*at_work, live("x")], 4, 0).give_way == {"a"}
    assert share_out([*at_work, live("x"), live("y")], 4, 0).give_way == {"a", "b"}
    assert share_out([*at_work, backlog("x")], 4, 0).give_way == frozenset()
    fresh = [replace(one, is_settled=False) for one in at_work]
    assert share_out([*fresh, live("x")], 4, 0).give_way == frozenset()


def test_the_last_backlog_of_several_places_keeps_its_turn_but_not_the_only_place() -> None:
    back = backlog("back", is_at_work=True, is_settled=True)
    three = [live(name, is_at_work=True) for name in "abc"]
    assert share_out([back, *three, live("x")], 4, 0).give_way == frozenset()
    assert share_out([back, live("x")], 1, 0).give_way == {"back"}


# What live is -----------------------------------------------------------------------------------------------


def stream(state: StreamState = StreamState.OPEN, *, chunk_s: float = 2.0) -> Stream:
    asked = StreamSettings(name="x", destination="y", fps=1.0, rotations_per_min=0.0, chunk_size=int(chunk_s))
    return replace(new_stream("s", settings=asked, data_id=None, created_at_ms=0), state=state)


def chunk(at_s: float) -> Chunk:
    given: dict[str, Any] = dict.fromkeys(Chunk.__dataclass_fields__)
    return Chunk(**given | {"state": ChunkState.SPOOLED, "spooled_at_ms": int(at_s * 1000)})


@pytest.mark.parametrize(
    ("state", "chunk_s", "age_s", "expected"),
    [
        (StreamState.OPEN, 2, 0, True),
        (StreamState.OPEN, 2, 59, True),
        (StreamState.OPEN, 2, 61, False),
        (StreamState.OPEN, 300, 599, True),
        (StreamState.OPEN, 300, 601, False),
        (StreamState.OPEN, 2, -3600, True),  # the clock was set back: only the order is at stake
        (StreamState.SEALED, 2, 0, False),
    ],
)
def test_a_stream_is_live_while_chunks_are_pushed(
    state: StreamState, chunk_s: float, age_s: float, *, expected: bool
) -> None:
    assert is_live(stream(state, chunk_s=chunk_s), chunk(10_000 - age_s), 10_000_000) is expected


def test_a_stream_without_a_chunk_is_not_live() -> None:
    assert not is_live(stream(), None, 0)


# On random lives --------------------------------------------------------------------------------------------


class Life:
    """Streams that always have more to send, come to rest, and end their turns at random."""

    def __init__(self, seed: int, *, lives: int, backlogs: int, places: int) -> None:
        self.random = random.Random(seed)
        self.places = places
        self.standings = [live(f"live{n}") for n in range(lives)] + [backlog(f"back{n}") for n in range(backlogs)]
        self.turn = 0
        self.live_in_a_row = 0

    def round(self) -> tuple[list[Standing], Shares, int]:
        """One round: who stood how before it, what was decided, and what the count was."""
        before, count = list(self.standings), self.live_in_a_row
        self.random.shuffle(before)
        shares = share_out(before, self.places, count)
        self.live_in_a_row = shares.live_in_a_row
        self.standings = [self._after(one, shares) for one in before]
        return before, shares, count

    def _after(self, one: Standing, shares: Shares) -> Standing:
        if one.stream_id in shares.serve:
            turn = self.turn + 1 + shares.serve.index(one.stream_id)
            self.turn = max(self.turn, turn)
            return replace(one, is_at_work=True, is_settled=False, last_turn=turn)
        if one.is_at_work and (one.stream_id in shares.give_way or self.random.random() < 0.3):
            return replace(one, is_at_work=False, is_resting=self.random.random() < 0.2)
        return replace(one, is_settled=one.is_at_work, is_resting=one.is_resting and self.random.random() < 0.5)


LIVES = given(
    seed=st.integers(0, 2**32), lives=st.integers(0, 6), backlogs=st.integers(0, 6), places=st.integers(1, 5)
)


@LIVES
@settings(deadline=None)
def test_places_are_never_overrun_and_never_left_empty(seed: int, lives: int, backlogs: int, places: int) -> None:
    life = Life(seed, lives=lives, backlogs=backlogs, places=places)
    for _ in range(60):
        before, shares, _count = life.round()
        facts = {one.stream_id: one for one in before}
        at_work = {one.stream_id for one in before if one.is_at_work}
        assert len(set(shares.serve)) == len(shares.serve)
        assert not any(facts[one].is_at_work or facts[one].is_resting for one in shares.serve)
        assert len(at_work) + len(shares.serve) <= places
        if shares.wait:
            assert len(at_work) + len(shares.serve) == places
        assert shares.give_way <= {one for one in at_work if facts[one].is_settled and not facts[one].is_live}


@LIVES
@settings(deadline=None)
def test_no_backlog_is_served_before_a_live_one_unless_it_is_its_turn(
    seed: int, lives: int, backlogs: int, places: int
) -> None:
    life = Life(seed, lives=lives, backlogs=backlogs, places=places)
    for _ in range(60):
        before, shares, count = life.round()
        is_live_one = {one.stream_id: one.is_live for one in before}
        live_left = sum(one.is_live and not (one.is_at_work or one.is_resting) for one in before)
        for name in shares.serve:
            if is_live_one[name]:
                count, live_left = count + 1, live_left - 1
            else:
                assert not live_left or count >= LIVE_IN_A_ROW
                count = 0


@LIVES
@settings(deadline=None)
def test_nobody_starves(seed: int, lives: int, backlogs: int, places: int) -> None:
    """While a stream waits, only so many places are given to others before it gets one."""
    life = Life(seed, lives=lives, backlogs=backlogs, places=places)
    passed_over: dict[str, int] = {}
    for _ in range(150):
        before, shares, _count = life.round()
        for one in before:
            is_waiting = not one.is_at_work and not one.is_resting
            if not is_waiting or one.stream_id in shares.serve:
                passed_over[one.stream_id] = 0
                continue
            passed_over[one.stream_id] = passed_over.get(one.stream_id, 0) + len(shares.serve)
            of_its_kind = lives if one.is_live else backlogs
            assert passed_over[one.stream_id] <= (LIVE_IN_A_ROW + 1) * (of_its_kind + 1)
