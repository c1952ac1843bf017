"""Watching the room of a spool while it is recorded into, and warning before it is gone.

There are two thresholds, and either of two numbers reaches them:

==================  ==========================  ==============================================
`Fill.FILLING`      80 % of the room is taken   or half of it, and less than 30 minutes are left
`Fill.ALMOST_FULL`  95 % of the room is taken   or 80 % of it, and less than 5 minutes are left
==================  ==========================  ==============================================

By the share alone a small disk would be warned of too late; by the time alone every recording would begin with a
warning, until the first deliveries show that it is getting out. A threshold is told once when it is reached, and
again only after the spool has emptied well below it: ten points of the share, twice the time.
"""

import logging
import threading
import time
from collections.abc import Callable
from enum import IntEnum

from spool import Chunk, Forecast, Spool, SpoolError, SpoolFull
from uploader.events import EventKind, OnEvent, StreamerEvent, tell
from uploader.json_log import about

LOOK_EVERY_S = 1.0
"""Looking costs about a millisecond."""
LOOK_EVERY_SHARE = 0.02
"""So much of the room taken is a reason to look sooner: a small disk may be full within a second."""
_EASED_SHARE = 0.1
_EASED_TIMES = 2

_Facts = dict[str, float | str | None]

_log = logging.getLogger(__name__)


class Fill(IntEnum):
    """How far a spool has filled, in the order in which it fills."""

    ROOMY = 0
    FILLING = 1
    ALMOST_FULL = 2
    FULL = 3


# Fill, the share of the room that is taken, or a smaller share together with the seconds that are left.
_THRESHOLDS = ((Fill.ALMOST_FULL, 0.95, 0.8, 5 * 60.0), (Fill.FILLING, 0.8, 0.5, 30 * 60.0))


def fill_of(forecast: Forecast, *, eased: bool = False) -> Fill:
    """How far a spool has filled by its numbers; `Fill.FULL` is for a refused chunk to say.

    Args:
        forecast: the spool's.
        eased: with the thresholds that it must be below before one counts as left.
    """
    share = forecast.used_share + (_EASED_SHARE if eased else 0.0)
    left_s = float("inf") if forecast.full_in_s is None else forecast.full_in_s
    left_s /= _EASED_TIMES if eased else 1
    for fill, share_alone, share_with_time, soon_s in _THRESHOLDS:
        if share >= share_alone or (share >= share_with_time and left_s < soon_s):
            return fill
    return Fill.ROOMY


def moved(present: Fill, forecast: Forecast) -> Fill:
    """What follows on ``present``: up as soon as a threshold is reached, down once it is well below it."""
    reached, eased = fill_of(forecast), fill_of(forecast, eased=True)
    if reached > present:
        return reached
    # A full spool that has room for one chunk and then for none is full all the while.
    return present if eased >= min(present, Fill.ALMOST_FULL) else eased


def room_news(before: Fill, fill: Fill, forecast: Forecast) -> tuple[EventKind, str, _Facts] | None:
    """What is to be told when a spool has filled or emptied so far: kind, words and facts; mostly nothing."""
    if fill < before and fill is Fill.ROOMY:
        return EventKind.ROOM_AGAIN, f"there is room again: {forecast.room_bytes:,} bytes", _facts(forecast)
    if fill <= before:
        return None
    is_urgent = fill is Fill.ALMOST_FULL
    left = "" if forecast.full_in_s is None else f", full in {_minutes(forecast.full_in_s)} at the present rate"
    words = (
        f"the spool is {'almost full' if is_urgent else 'filling'}: {forecast.used_share:.0%} of its room is "
        f"taken by what is not delivered, {forecast.room_bytes:,} bytes are left{left}"
    )
    return EventKind.SPOOL_FILLING, words, {**_facts(forecast), "urgent": is_urgent}


class RoomWatch:
    """Looks at the room now and then while chunks are pushed, and tells when it changes.

    Args:
        spool: the producer's opening of the spool.
        on_event: what is told of it, besides the log.
        now_s: a clock that only goes forward.
    """

    def __init__(
        self, spool: Spool, on_event: OnEvent | None = None, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._spool = spool
        self._on_event = on_event
        self._now_s = now_s
        # Of one thread at a time, so that events come in order; reentrant, for on_event may push.
        self._lock = threading.RLock()
        self._fill = Fill.ROOMY
        self._look_at_s = 0.0
        self._bytes_until_look = 0

    def pushed(self, chunk: Chunk) -> None:
        """A chunk was stored. Mostly this only counts; whatever goes wrong here is logged."""
        if not self._lock.acquire(blocking=False):
            return  # another thread is looking
        try:
            self._bytes_until_look -= chunk.disk_bytes
            if self._bytes_until_look < 0 or self._now_s() >= self._look_at_s:
                self.look(chunk.stream_id)
        finally:
            self._lock.release()

    def refused(self, error: SpoolFull, ref: str) -> None:
        """A chunk was refused for want of room: told once, until there is room again."""
        with self._lock:
            if self._fill is Fill.FULL:
                return
            self._fill = Fill.FULL
            facts: _Facts = {
                "chunk_bytes": error.chunk_bytes,
                "used_bytes": error.used_bytes,
                "free_bytes": error.free_bytes,
            }
            self._tell(EventKind.SPOOL_FULL, str(error), self._stream_id(ref), facts)

    def look(self, stream_id: str) -> None:
        """Reckon anew, and tell what has changed since the last time."""
        with self._lock:
            try:
                forecast = self._spool.forecast()
            except (SpoolError, OSError) as error:
                _log.warning("how much room is left cannot be told: %s", error)
                return
            finally:
                self._look_at_s = self._now_s() + LOOK_EVERY_S
            self._bytes_until_look = int(LOOK_EVERY_SHARE * (forecast.room_bytes + forecast.held_bytes))
            before, self._fill = self._fill, moved(self._fill, forecast)
            news = room_news(before, self._fill, forecast)
            if news is not None:
                kind, words, facts = news
                if kind is EventKind.ROOM_AGAIN:
                    _log.info("%s", words, extra=about(kind.value, **facts))
                else:
                    say = "%s. 'framespool status' shows whether it is getting out"
                    _log.warning(say, words, extra=about(kind.value, **facts))
                self._tell(kind, words, stream_id, facts)

    def _stream_id(self, ref: str) -> str | None:
        try:
            return self._spool.stream(ref).stream_id
        except SpoolError:
            return None  # the refusal itself is what counts

    def _tell(self, kind: EventKind, words: str, stream_id: str | None, facts: _Facts) -> None:
        at_ms = time.time_ns() // 1_000_000
        event = StreamerEvent(kind=kind, words=words, stream_id=stream_id, at_ms=at_ms, facts=facts)
        tell(self._on_event, event)


def _facts(forecast: Forecast) -> _Facts:
    return {
        "used_share": forecast.used_share,
        "room_bytes": forecast.room_bytes,
        "rate_in_bytes_per_s": forecast.rate_in_bytes_per_s,
        "rate_out_bytes_per_s": forecast.rate_out_bytes_per_s,
        "full_in_s": forecast.full_in_s,
    }


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"  # noqa: PLR2004 - a minute
