"""Whose turn it is: which streams get the places of a worker, as a pure decision.

Streams that are being recorded (live) go ahead of those that only wait to be emptied (backlog), within either the
one that was served longest ago comes first, and no stream starves: after `LIVE_IN_A_ROW` places for live streams,
the next one is the backlog's. A stream that waits between two tries (resting) takes no place while others could
use it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from spool import Chunk, Stream, StreamState

LIVE_IN_A_ROW = 3
"""So many places go to live streams before one goes to the backlog, while both want one."""
LIVE_FOR_S = 60.0
"""A stream is live for so long after its last push, or for two chunks where those take longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A stream that has something to deliver, as it stands.

    Attributes:
        is_live: it is being recorded.
        is_at_work: it has a place now.
        is_settled: it has had its place long enough to give it up after the chunk under way.
        is_resting: it waits between two tries.
        last_turn: the number of the last place it was given, 0 for none yet.
    """

    stream_id: str
    is_live: bool
    is_at_work: bool = False
    is_settled: bool = False
    is_resting: bool = False
    last_turn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What to do about the places.

    Attributes:
        serve: gets a place now, in this order.
        give_way: leaves its place after the chunk under way.
        wait: could be served, if there were more places.
        live_in_a_row: for the next decision.
    """

    serve: tuple[str, ...]
    give_way: frozenset[str]
    wait: frozenset[str]
    live_in_a_row: int


def is_live(stream: Stream, last: Chunk | None, now_ms: int) -> bool:
    """Whether the stream is being recorded, by its state and the time of its last chunk."""
    if stream.state is not StreamState.OPEN or last is None:
        return False
    chunk_s = stream.settings.chunk_size / stream.settings.fps
    return now_ms - last.spooled_at_ms <= 1000 * max(LIVE_FOR_S, 2 * chunk_s)


def share_out(standings: Sequence[Standing], places: int, live_in_a_row: int) -> Shares:
    """Decide who gets the places that are free, and who leaves one for somebody ahead of it.

    Args:
        standings: every stream that has something to deliver.
        places: how many of them may be at work at once.
        live_in_a_row: how many places live streams were given since the backlog last got one that both wanted.
    """
    waiting = [one for one in standings if not one.is_at_work and not one.is_resting]
    waiting.sort(key=lambda one: one.last_turn)
    live = [one.stream_id for one in waiting if one.is_live]
    backlog = [one.stream_id for one in waiting if not one.is_live]
    serve: list[str] = []
    for _ in range(places - sum(one.is_at_work for one in standings)):
        is_backlogs = bool(backlog) and (not live or live_in_a_row >= LIVE_IN_A_ROW)
        if not is_backlogs and not live:
            break
        live_in_a_row = 0 if is_backlogs else live_in_a_row + bool(backlog)
        serve.append((backlog if is_backlogs else live).pop(0))
    return Shares(
        serve=tuple(serve),
        give_way=_giving_way(standings, places=places, wanted=len(live)),
        wait=frozenset(live + backlog),
        live_in_a_row=live_in_a_row,
    )


def _giving_way(standings: Sequence[Standing], *, places: int, wanted: int) -> frozenset[str]:
    """Of the backlog at work so many as live streams wait, the longest served first; one of several may stay."""
    at_work = [one for one in standings if one.is_at_work and not one.is_live]
    settled = sorted((one for one in at_work if one.is_settled), key=lambda one: one.last_turn)
    may_leave = len(at_work) - (places > 1)
    return frozenset(one.stream_id for one in settled[: max(0, min(wanted, may_leave))])
