"""Watching a spool: what has changed since the last look, told by the end of its ledger.

One thread looks, twice a second while somebody is there and not at all otherwise. A look reads the ledger's new
rows, the streams that they name and those that are not over; what costs more (the room, who is alive) is looked at
every few seconds, and more seldom where it takes long. A stream's chunks are read once, when somebody opens its
page: a small page at a time, with pauses in which others may write.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from spool import Event, Outage, Spool, SpoolError, Stream, StreamState, UnknownStream, outages_of
from uploader.dashboard.chunk_map import ChunkMap
from uploader.dashboard.texts import cleaned, shown
from uploader.dashboard.views import row_of

LOOK_EVERY_S = 0.5
FIGURES_EVERY_S = 3.0
CONCERNS_MAX = 50
IDLE_AFTER_S = 20.0
"""So long after the last request nobody is taken to look any more."""
_EVENTS_AT_ONCE = 4000
_BEHIND_MAX = 100_000
_CHUNKS_KEPT_MAX = 4_000_000
_COSTS_AT_MOST = 0.1  # the share of the time that figures may take

Look = Callable[[Spool], dict[str, Any]]
"""What ``status --json`` says of a spool."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Seen:
    """A value as it was told last, and since which version."""

    value: dict[str, Any]
    version: int


class Watch:
    """What the page shows, kept up to date; used by any number of threads.

    Args:
        spool: an open spool; only read.
        look: its figures.
    """

    def __init__(self, spool: Spool, look: Look) -> None:
        self.spool = spool
        self._look = look
        self._lock = threading.RLock()
        self._wake = threading.Condition()
        self._over = False
        self._last_asked_s = float("-inf")
        self._listeners: set[Callable[[], None]] = set()
        self._seq = -1
        self._looked_s = float("-inf")
        self._figures_due_s = float("-inf")
        self._rates: dict[str, tuple[float, float]] = {}
        self._producers: dict[str, Any] = {}
        self._sending: dict[str, int] = {}
        self._outages: dict[str, tuple[Outage, ...]] = {}
        self._maps: OrderedDict[str, ChunkMap] = OrderedDict()
        self._figures = _Seen({}, 0)
        self._rows: dict[str, _Seen] = {}
        self.version = 0
        self._thread = threading.Thread(target=self._work, name="framespool-look", daemon=True)

    def start(self) -> None:
        """Begin to look, as soon as somebody asks."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        with self._wake:
            self._over = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    @contextmanager
    def listening(self, tell: Callable[[], None]) -> Iterator[None]:
        """Be told, from another thread, whenever `version` has grown."""
        self._listeners.add(tell)
        self._asked()
        try:
            yield
        finally:
            self._listeners.discard(tell)

    def since(self, version: int) -> tuple[int, dict[str, Any]]:
        """The version now, and what has changed since one: ``figures`` if they have, and ``streams`` that have."""
        self._fresh()
        with self._lock:
            told: dict[str, Any] = {"now_ms": round(time.time() * 1000)}
            if self._figures.version > version:
                told["figures"] = self._figures.value
            told["streams"] = [row.value for row in self._rows.values() if row.version > version]
            return self.version, told

    def map_of(self, stream_id: str) -> ChunkMap:
        """The chunks of a stream, as far as they are read; hold `reading` while you look at it."""
        self._fresh()
        with self._lock:
            chunks = self._maps.get(stream_id)
            if chunks is None:
                self.spool.stream(stream_id)  # raises for one that is not there
                chunks = self._maps[stream_id] = ChunkMap()
            self._maps.move_to_end(stream_id)
        if not chunks.is_whole:
            self._asked()
        return chunks

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Nothing changes meanwhile; be quick."""
        with self._lock:
            yield

    def outages_of(self, stream_id: str) -> tuple[Outage, ...]:
        """See `spool.outages_of`; read once, then when the ledger says that they have changed."""
        with self._lock:
            known = self._outages.get(stream_id)
            if known is None:
                known = self._outages[stream_id] = outages_of(self.spool, stream_id)
            return known

    def look_now(self) -> None:
        """What has just been decided is seen at once."""
        with self._lock:
            self._figures_due_s = float("-inf")
            self._tick()

    # Private --------------------------------------------------------------------------------------------

    def _asked(self) -> None:
        with self._wake:
            self._last_asked_s = time.monotonic()
            self._wake.notify()

    def _fresh(self) -> None:
        self._asked()
        with self._lock:
            if time.monotonic() - self._looked_s > LOOK_EVERY_S:
                self._tick()

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._over and not self._is_wanted():
                    self._wake.wait()
                if self._over:
                    return
            began_s = time.monotonic()
            is_more = False
            with self._lock:
                if began_s - self._looked_s >= LOOK_EVERY_S:
                    self._tick()
                else:
                    is_more = self._read_page()
            took_s = time.monotonic() - began_s
            # Between two pages others get the disk and the processor for as long as a page took.
            pause_s = took_s if is_more else max(0.01, LOOK_EVERY_S - (time.monotonic() - self._looked_s))
            with self._wake:
                if not self._over:
                    self._wake.wait(pause_s)

    def _is_wanted(self) -> bool:
        return bool(self._listeners) or time.monotonic() - self._last_asked_s < IDLE_AFTER_S

    def _read_page(self) -> bool:
        """One page of a stream whose page somebody has opened; whether more are to be read."""
        unread = [(stream_id, chunks) for stream_id, chunks in self._maps.items() if not chunks.is_whole]
        if not unread:
            return False
        stream_id, chunks = unread[-1]
        try:
            chunks.take_page(self.spool.cells(stream_id, after_idx=chunks.through_idx))
        except SpoolError as error:
            self._say_fault(error)
            return False
        if chunks.is_whole:
            self._forget_others()
        return True

    def _forget_others(self) -> None:
        """Keep the streams that were looked at last, and no more chunks than there is room for."""
        while len(self._maps) > 1 and sum(map(len, self._maps.values())) > _CHUNKS_KEPT_MAX:
            self._maps.popitem(last=False)

    def _tick(self) -> None:
        """Look once."""
        try:
            changed = self._read_ledger()
            self._see_rows(changed)
            if time.monotonic() >= self._figures_due_s:
                self._see_figures()
        except SpoolError as error:
            self._say_fault(error)
        self._looked_s = time.monotonic()

    def _read_ledger(self) -> set[str] | None:
        """Take in the ledger's new rows; the streams that they name, ``None`` for all of them."""
        head = self.spool.head_seq()
        if self._seq < 0 or head < self._seq or head - self._seq > _BEHIND_MAX:
            # At the start, or after a sleep: what is known of chunks is read anew when somebody asks.
            self._seq = head
            self._maps.clear()
            self._outages.clear()
            self._sending.clear()
            return None
        events = list(islice(self.spool.events(after_seq=self._seq), _EVENTS_AT_ONCE))
        if not events:
            return set()
        touched: dict[str, set[int]] = {}
        for event in events:
            if event.stream_id is not None:
                self._see_event(event.stream_id, event, touched.setdefault(event.stream_id, set()))
        for stream_id, idxs in touched.items():
            chunks = self._maps.get(stream_id)
            wanted = [idx for idx in idxs if chunks is not None and chunks.concerns(idx)]
            if chunks is not None and wanted:
                chunks.take_changes(self.spool.cells_of(stream_id, wanted))
        self._seq = events[-1].seq
        return set(touched)

    def _see_event(self, stream_id: str, event: Event, changed: set[int]) -> None:
        if event.chunk_idx is None:
            if event.event in ("trouble_began", "trouble_ended", "finalized"):
                self._outages.pop(stream_id, None)
        elif event.event == "attempt_started":
            self._sending[stream_id] = event.chunk_idx
        else:
            if self._sending.get(stream_id) == event.chunk_idx:
                del self._sending[stream_id]
            changed.add(event.chunk_idx)

    def _see_rows(self, changed: set[str] | None) -> None:
        if changed is None:
            streams = self.spool.streams()
        else:
            streams = self.spool.streams(unfinished_only=True)
            known = {one.stream_id for one in streams}
            # Those that have just been finalized, and of those only.
            for stream_id in changed - known:
                try:
                    streams.append(self.spool.stream(stream_id))
                except UnknownStream:
                    continue  # the ledger tells of streams that were never begun to the end
        for stream in streams:
            if changed is None:
                self._see_sending(stream)
            self._see_row(stream)

    def _see_sending(self, stream: Stream) -> None:
        """Whether a chunk is on its way already; the ledger's next rows tell of it only once it has arrived."""
        if stream.lease_owner is None or not stream.tally.spooled:
            return
        first = stream.watermark + 1
        events = self.spool.chunk_events(stream.stream_id, first)
        if events and events[-1].event == "attempt_started":
            self._sending[stream.stream_id] = first

    def _see_row(self, stream: Stream) -> None:
        stream_id = stream.stream_id
        is_leased = (stream.lease_until_ms or 0) > time.time() * 1000
        outages = self.outages_of(stream_id) if stream.trouble is not None else ()
        row = row_of(
            stream,
            rates=self._rates.get(stream_id, (0.0, 0.0)),
            producer=self._producers.get(stream_id),
            sending=self._sending.get(stream_id) if is_leased else None,
            outage=outages[-1] if outages and outages[-1].ended_at_ms is None else None,
        )
        seen = self._rows.get(stream_id)
        if seen is None or seen.value != row:
            self._rows[stream_id] = _Seen(row, self._next_version())

    def _see_figures(self) -> None:
        began_s = time.monotonic()
        figures = self._look(self.spool)
        self._producers = {one["stream_id"]: one["producer"] for one in figures.pop("streams")}
        concerns = sorted(figures["concerns"], key=lambda one: not one["needs_person"])
        figures = cleaned({**figures, "concerns": concerns[:CONCERNS_MAX]}) | {
            "concerns_left_out": max(0, len(concerns) - CONCERNS_MAX),
            "needs_person": sum(bool(one["needs_person"]) for one in concerns),
        }
        live = [one for one in self.spool.streams(unfinished_only=True) if one.state is not StreamState.FINALIZED]
        self._rates = {one.stream_id: self.spool.rates(one.stream_id) for one in live}
        for stream in live:
            self._see_row(stream)
        figures["fault"] = None
        self._set_figures(figures)
        took_s = time.monotonic() - began_s
        self._figures_due_s = time.monotonic() + max(FIGURES_EVERY_S, took_s / _COSTS_AT_MOST)

    def _say_fault(self, error: SpoolError) -> None:
        """The page says that the spool cannot be read, and shows what it knew; the next look tries again."""
        fault = {"words": shown(str(error)), "advice": shown(error.hint or "")}
        if self._figures.value.get("fault") != fault:
            _log.warning("the spool cannot be looked at: %s", error)
        self._set_figures({**self._figures.value, "fault": fault})

    def _set_figures(self, figures: dict[str, Any]) -> None:
        if figures != self._figures.value:
            self._figures = _Seen(figures, self._next_version())

    def _next_version(self) -> int:
        self.version += 1
        for tell in tuple(self._listeners):
            tell()
        return self.version
