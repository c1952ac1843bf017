"""What the ledger tells that a person wants to know at once, one event after the other.

Everything that a worker does is in the ledger, whoever looks and however late; so these events are in the order in
which they happened, and whoever remembers up to which row it has looked misses none and is told none twice.

An outage is of a destination, while the ledger has the trouble of each stream. It begins with the first stream
that an outage keeps waiting, and ends once there is none left.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from spool import Event, Spool, SpoolError, Stream, StreamState
from uploader.durations import in_words
from uploader.events import EventKind, OnEvent, StreamerEvent, tell

KINDS = frozenset(
    {"trouble_began", "trouble_changed", "trouble_ended", "parked", "held", "discarded", "finalized"}
)
LOOK_EVERY_S = 1.0

_Facts = dict[str, float | str | None]

_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Away:
    """An outage of a destination.

    Attributes:
        since_ms: when it began, milliseconds UTC.
        streams: the stream_id of each that waits for its end.
        key_refused: it was told that the key is not accepted.
    """

    since_ms: int
    streams: set[str] = field(default_factory=set)
    key_refused: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON gives it back."""
        return {"since_ms": self.since_ms, "streams": sorted(self.streams), "key_refused": self.key_refused}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Self:
        """What `to_json` gave.

        Raises:
            TypeError, ValueError, KeyError: it is something else.
        """
        streams = {str(one) for one in told["streams"]}
        return cls(since_ms=int(told["since_ms"]), streams=streams, key_refused=bool(told["key_refused"]))


class News:
    """Follows the ledger of a spool.

    Args:
        spool: an open spool; only read.
        after_seq: the row up to which it was followed; ``None`` to begin with what is so now, without history.
        away: the outages that went on at that row, by destination.

    Attributes:
        spool: as given.
        away: the outages that go on.
        after_seq: up to which row everything was told; whoever was told all of an item of `look` sets it.
    """

    def __init__(
        self, spool: Spool, *, after_seq: int | None = None, away: Mapping[str, Away] | None = None
    ) -> None:
        self.spool = spool
        self.away = dict(away or {})
        self._begins_now = after_seq is None
        self.after_seq = spool.head_seq() if after_seq is None else after_seq

    def look(self) -> Iterator[tuple[int, list[StreamerEvent]]]:
        """What is new: row by row its ``seq``, and what is to be told of it; at the end of each page likewise."""
        if self._begins_now:
            self._begins_now = False
            yield self.after_seq, self._present()
        while True:
            rows, upto = self.spool.events_of(KINDS, after_seq=self.after_seq)
            for row in rows:
                yield row.seq, self._of(row)
            if upto == self.after_seq:
                return
            yield upto, []
            self.after_seq = upto

    # Private --------------------------------------------------------------------------------------------

    def _present(self) -> list[StreamerEvent]:
        """The outages that go on already."""
        told: list[StreamerEvent] = []
        for stream in self.spool.streams(unfinished_only=True):
            if stream.trouble is None or stream.held is not None or not _has_work(stream):
                continue
            figures = self.spool.figures(stream.stream_id)
            if figures.is_outage and figures.trouble_began_at_ms is not None:
                detail = {"words": stream.trouble, "key_refused": figures.key_refused}
                told += self._waits(stream, figures.trouble_began_at_ms, detail)
        return told

    def _of(self, row: Event) -> list[StreamerEvent]:
        assert row.stream_id is not None
        stream, at_ms = self.spool.stream(row.stream_id), row.at_ms
        told: list[StreamerEvent] = []
        match row.event:
            case "trouble_began" | "trouble_changed" if row.detail.get("outage") is True:
                return self._waits(stream, at_ms, row.detail)
            case "trouble_began":
                return []
            case "discarded" if _has_work(stream):
                return []
            case "parked":
                return [_parked(stream, row)]
            case "held":
                words = f"nothing more of {stream.settings.name} is sent: {row.detail.get('why')}"
                told.append(_event(EventKind.STREAM_HELD, words, stream, at_ms))
            case "finalized":
                sent = stream.tally.acknowledged
                words = f"{stream.settings.name} is finalized: all of its {sent} chunks are at {_url(stream)}"
                told.append(_event(EventKind.STREAM_FINALIZED, words, stream, at_ms, chunks=sent))
        return [*self._goes_on(stream, at_ms), *told]

    def _waits(self, stream: Stream, at_ms: int, detail: Mapping[str, object]) -> list[StreamerEvent]:
        told = []
        why = str(detail.get("words"))
        away = self.away.get(_url(stream))
        if away is None:
            away = self.away[_url(stream)] = Away(since_ms=at_ms)
            words = f"nothing gets through to {_url(stream)}, and everything waits here: {why}"
            told.append(_event(EventKind.OUTAGE_BEGAN, words, stream, at_ms, why=why))
        away.streams.add(stream.stream_id)
        if detail.get("key_refused") is True and not away.key_refused:
            away.key_refused = True
            words = f"{_url(stream)} does not accept the API key, and everything waits here until a person acts"
            told.append(_event(EventKind.KEY_REFUSED, words, stream, at_ms, why=why))
        return told

    def _goes_on(self, stream: Stream, at_ms: int) -> list[StreamerEvent]:
        away = self.away.get(_url(stream))
        if away is None:
            return []
        away.streams.discard(stream.stream_id)
        if away.streams:
            return []
        del self.away[_url(stream)]
        lasted_s = max(0.0, (at_ms - away.since_ms) / 1000)
        words = f"the outage of {_url(stream)} is over after {in_words(lasted_s)}"
        return [_event(EventKind.OUTAGE_ENDED, words, stream, at_ms, lasted_s=lasted_s)]


class NewsWatch:
    """Tells a lab's program what is new, from within its own calls.

    Args:
        spool: the producer's opening of the spool.
        on_event: is told; ``None`` for nobody.
        now_s: a clock that only goes forward.
    """

    def __init__(
        self, spool: Spool, on_event: OnEvent | None, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_event = on_event
        self._now_s = now_s
        # Of one thread at a time, so that events come in order; reentrant, for on_event may push.
        self._lock = threading.RLock()
        self._look_at_s = float("-inf")
        self._news = None if on_event is None else News(spool)

    def look(self, *, now: bool = False) -> None:
        """Look, at most once a second unless it is to be ``now``; whatever goes wrong here is logged."""
        if self._news is None or not self._lock.acquire(blocking=now):
            return  # nobody listens, or another thread is looking
        try:
            if now or self._now_s() >= self._look_at_s:
                self._look_at_s = self._now_s() + LOOK_EVERY_S
                self._tell(self._news)
        except (SpoolError, OSError) as error:
            _log.warning("what is new cannot be told: %s", error)
        finally:
            self._lock.release()

    def _tell(self, news: News) -> None:
        for seq, events in news.look():
            # Before it is told: on_event may push, and so look again.
            news.after_seq = max(seq, news.after_seq)
            for event in events:
                tell(self._on_event, event)


def _parked(stream: Stream, row: Event) -> StreamerEvent:
    why = str(row.detail.get("why"))
    words = f"chunk {row.chunk_idx} of {stream.settings.name} is parked, and waits for a person: {why}"
    return _event(EventKind.CHUNK_PARKED, words, stream, row.at_ms, chunk_idx=row.chunk_idx, why=why)


def _has_work(stream: Stream) -> bool:
    return stream.tally.spooled > 0 or not stream.parts or stream.state is StreamState.SEALED


def _url(stream: Stream) -> str:
    return stream.settings.destination


def _event(kind: EventKind, words: str, stream: Stream, at_ms: int, **facts: float | str | None) -> StreamerEvent:
    about: _Facts = {"name": stream.settings.name, "destination": _url(stream)}
    return StreamerEvent(kind=kind, words=words, stream_id=stream.stream_id, at_ms=at_ms, facts={**about, **facts})
