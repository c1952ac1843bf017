"""How fast a worker may send: a rate, by time of day if wanted, kept over all its uploads together.

::

    2MB/s                             at all times
    2MB/s,18:00-07:00=unlimited       as fast as it goes at night
    09:00-17:00=250kB/s               slowly in office hours, else as fast as it goes

Each piece of a body books the time that it takes at the rate, behind what is booked already, and is given out when
its time comes: a bucket that holds `_SLACK_S` of tokens, served in the order of asking. So uploads take turns
piece by piece, and the pieces are small enough that no body pauses for long: a store gives up one that does.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain

from uploader.errors import ConfigurationError

RATE_MIN = 1000.0
"""Bytes a second: below, a store that sees a few bytes now and then takes the upload for dead."""
PIECE_BYTES_MAX = 1 << 20
"""Between 0.25 and 4 MB a piece, httpx keeps up with curl (measured, docs/adr/0006)."""
PAUSE_S_MAX = 3.0
"""Between two pieces of one body; S3 ends a body that stalls for about 20 s."""
LIVE_SHARE = 4
"""A stream that is being recorded gets so many bytes for each of one that is not."""
_PIECE_BYTES_MIN = 16_000
_PIECE_S = 0.1
_SLACK_S = 0.2
"""What may be caught up on after a sleep that lasted too long."""

_DAY_MIN = 24 * 60
_UNITS = {
    "B/s": 1.0,
    "kB/s": 1e3,
    "KB/s": 1e3,
    "MB/s": 1e6,
    "GB/s": 1e9,
    "kbit/s": 1e3 / 8,
    "Mbit/s": 1e6 / 8,
    "Gbit/s": 1e9 / 8,
}
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*([A-Za-z/]*)", re.ASCII)
_WINDOW = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})", re.ASCII)
_EXAMPLE = "Write for example 2MB/s, 250kB/s, 16Mbit/s, unlimited, or 2MB/s,18:00-07:00=unlimited."


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The rate for each minute of the day.

    Attributes:
        text: as it was asked for.
        rates: bytes a second for each minute of the local day, ``None`` where there is no limit.
    """

    text: str
    rates: tuple[float | None, ...]

    @property
    def slowest(self) -> float | None:
        """The least rate of the day in bytes a second; ``None`` when there is no limit at all."""
        return min((rate for rate in self.rates if rate is not None), default=None)


def parse_schedule(text: str) -> Schedule:
    """A schedule as people write it; see the top of this module.

    Raises:
        ConfigurationError: it cannot be read or kept; the message names the part that is wrong.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f"the rate is of type {type(text).__name__}, not text", hint=_EXAMPLE)
    always: list[float | None] = []
    by_minute: dict[int, float | None] = {}
    for part in (one.strip() for one in text.split(",")):
        window, equals, rate = part.rpartition("=")
        if not equals:
            always.append(_rate(part))
            continue
        minutes = _minutes(window.strip())
        if by_minute.keys() & minutes:
            raise ConfigurationError(f"{window!r} overlaps an earlier time of day", hint=_EXAMPLE)
        by_minute |= dict.fromkeys(minutes, _rate(rate.strip()))
    if len(always) > 1:
        raise ConfigurationError(f"{text!r} gives more than one rate without a time of day", hint=_EXAMPLE)
    otherwise = always[0] if always else None
    return Schedule(text=text, rates=tuple(by_minute.get(minute, otherwise) for minute in range(_DAY_MIN)))


def _rate(text: str) -> float | None:
    if text == "unlimited":
        return None
    found = _RATE.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{text!r} is not a rate", hint=_EXAMPLE)
    number, unit = found.groups()
    if unit not in _UNITS:
        # Mb and MB are eight apart: nobody's spelling is guessed at.
        problem = f"the unit {unit!r} is not one of {', '.join(_UNITS)}" if unit else f"{text!r} has no unit"
        raise ConfigurationError(problem, hint=_EXAMPLE)
    rate = float(number) * _UNITS[unit]
    if rate < RATE_MIN:
        raise ConfigurationError(
            f"{text!r} is less than 1 kB/s: the server would take the uploads for dead and end them",
            hint=f"{_EXAMPLE} To send nothing for a while, stop the worker: everything waits in the spool.",
        )
    return rate


def _minutes(window: str) -> set[int]:
    """The minutes of the day from one time to another, over midnight where that comes between them."""
    found = _WINDOW.fullmatch(window)
    if found is None:
        raise ConfigurationError(f"{window!r} is not a time of day such as 18:00-07:00", hint=_EXAMPLE)
    hours = [int(one) for one in found.groups()]
    starts, ends = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if starts >= _DAY_MIN or ends > _DAY_MIN or hours[1] >= 60 or hours[3] >= 60:  # noqa: PLR2004 - minutes
        raise ConfigurationError(f"{window!r} names an hour or minute that no clock shows", hint=_EXAMPLE)
    if starts == ends:
        raise ConfigurationError(f"{window!r} begins when it ends", hint=f"For the whole day: 2MB/s. {_EXAMPLE}")
    return set(range(starts, ends) if starts < ends else chain(range(starts, _DAY_MIN), range(ends)))


UNLIMITED = parse_schedule("unlimited")


class CutShort(Exception):
    """The worker has ended while an upload waited for its share of the line."""


class Meter:
    """Gives out the bytes of all uploads of one worker, no faster than its schedule allows. Thread-safe.

    Args:
        schedule: how fast, by time of day.
        uploads_max: how many there may be at once.
        clock: seconds that only go up.
        minute_now: the minute of the local day.
        wait: sleeps so many seconds; returns early, with true, once the meter has ended.
    """

    def __init__(
        self,
        schedule: Schedule = UNLIMITED,
        *,
        uploads_max: int = 1,
        clock: Callable[[], float] = time.monotonic,
        minute_now: Callable[[], int] = lambda: _minute_of(time.localtime()),
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.schedule = schedule
        self._uploads_max = uploads_max
        self._clock = clock
        self._minute_now = minute_now
        self._over = threading.Event()
        self._wait = wait or self._over.wait
        self._lock = threading.Lock()
        self._booked_until_s = float("-inf")
        self._sending: Counter[str] = Counter()
        self._live: frozenset[str] = frozenset()

    def end(self) -> None:
        """Let no upload wait any longer: those that would are cut short."""
        self._over.set()

    def let_ahead(self, live: frozenset[str]) -> None:
        """These streams are being recorded: while one of them is sent, it gets most of the line."""
        self._live = live

    def patience_s(self, size: int) -> float:
        """The most that sending so many bytes takes because of the schedule, in seconds."""
        slowest = self.schedule.slowest
        return 0.0 if slowest is None else size * self._uploads_max * LIVE_SHARE / slowest

    @contextmanager
    def sending(self, stream_id: str, body: bytes | memoryview) -> Iterator[Iterator[bytes | memoryview]]:
        """The body of one upload in pieces, each given out when it may be sent.

        Raises:
            CutShort: from the iterator; the meter has ended.
        """
        with self._lock:
            self._sending[stream_id] += 1
        try:
            yield self._pieces(stream_id, body)
        finally:
            with self._lock:
                self._sending[stream_id] -= 1
                self._sending += Counter()  # forgets those that are at zero

    def _pieces(self, stream_id: str, body: bytes | memoryview) -> Iterator[bytes | memoryview]:
        # In pieces at any rate, because httpcore copies what remains of a piece after each partial send.
        start = 0
        while start < len(body):
            size, wait_s = self._book(stream_id, len(body) - start)
            if wait_s > 0 and self._wait(wait_s):
                raise CutShort
            yield body[start : start + size]
            start += size

    def _book(self, stream_id: str, left: int) -> tuple[int, float]:
        """The size of the next piece, and how long it has to wait."""
        rate = self.schedule.rates[self._minute_now()]
        if rate is None:
            return min(left, PIECE_BYTES_MAX), 0.0
        with self._lock:
            size = min(left, self._piece_bytes(rate, stream_id))
            now = self._clock()
            starts = max(self._booked_until_s, now - _SLACK_S)
            self._booked_until_s = starts + size / rate
            return size, max(0.0, starts - now)

    def _piece_bytes(self, rate: float, stream_id: str) -> int:
        """As uploads take turns, the size of a piece is an upload's share."""
        least = min(_PIECE_BYTES_MIN, rate * PAUSE_S_MAX / max(1, self._sending.total()))
        whole = min(max(rate * _PIECE_S, least), PIECE_BYTES_MAX)
        is_behind = stream_id not in self._live and not self._live.isdisjoint(self._sending)
        return max(1, int(whole / LIVE_SHARE if is_behind else whole))


def _minute_of(now: time.struct_time) -> int:
    return now.tm_hour * 60 + now.tm_min
