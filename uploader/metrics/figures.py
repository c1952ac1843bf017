"""What is read of spools for one look: values, without a word of Prometheus.

However often somebody asks, the index is read at most once in `FRESH_S`.
"""

import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spool import Forecast, HostClock, Spool, SpoolError, StreamFigures, Sums
from uploader.onlooking import Onlooker, Watched

FRESH_S = 1.0
STREAMS_MAX = 100
"""So many unfinished streams of a spool are shown one by one, those with the most waiting; the sums hold all."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFigures:
    """A spool at one moment.

    Attributes:
        now_ms: that moment, milliseconds UTC.
        sums: by destination; of one that no stream ever had, but this worker delivers to, nothing yet.
        streams: the unfinished ones.
        free_bytes: what the file system has left.
        is_recording: some process has it open for pushing.
        workers: by destination, whether one of this machine's processes drains it.
    """

    name: str
    now_ms: int
    sums: Mapping[str, Sums]
    streams: Sequence[StreamFigures]
    forecast: Forecast
    free_bytes: int
    is_recording: bool
    workers: Mapping[str, bool]

    def of(self, destination: str) -> list[StreamFigures]:
        """The unfinished streams of a destination."""
        return [one for one in self.streams if one.stream.settings.destination == destination]


@dataclass(slots=True)
class _Seen:
    at_s: float = float("-inf")
    figures: dict[str, SpoolFigures | None] = field(default_factory=dict)


class Reader:
    """Reads the figures of some spools; thread-safe.

    Args:
        spools: which.

    Attributes:
        read_at_s: when they were read last, seconds since the epoch.
    """

    def __init__(self, spools: Sequence[Watched]) -> None:
        self._onlookers = {one.name: (one, Onlooker(one.root, one.limits)) for one in spools}
        self._lock = threading.Lock()
        self._seen = _Seen()
        self.read_at_s = 0.0
        self._told: dict[str, str] = {}

    def read(self) -> Mapping[str, SpoolFigures | None]:
        """The figures by the spool's name; ``None`` for one that cannot be read now, which is logged."""
        with self._lock:
            if time.monotonic() - self._seen.at_s > FRESH_S:
                figures = {name: self._read(*pair) for name, pair in self._onlookers.items()}
                self._seen, self.read_at_s = _Seen(time.monotonic(), figures), time.time()
            return self._seen.figures

    def close(self) -> None:
        """Let go of the spools."""
        with self._lock:
            for _, onlooker in self._onlookers.values():
                onlooker.close()

    def _read(self, watched: Watched, onlooker: Onlooker) -> SpoolFigures | None:
        try:
            with onlooker.spool() as spool:
                figures = read_figures(spool, watched)
        except (SpoolError, OSError) as error:
            if str(error) != self._told.get(watched.name):
                _log.warning("spool %s cannot be shown to monitoring: %s", watched.name, error)
            self._told[watched.name] = str(error)
            return None
        self._told.pop(watched.name, None)
        return figures


def read_figures(spool: Spool, watched: Watched) -> SpoolFigures:
    """The figures of one spool. No read of it is long: a push that happens meanwhile hardly waits."""
    found = spool.sums()
    sums = {**{url: Sums() for url in watched.destinations}, **found}
    streams = [spool.figures(one.stream_id) for one in spool.streams(unfinished_only=True)]
    forecast = spool.forecast()
    return SpoolFigures(
        name=watched.name,
        now_ms=HostClock().now_ms(),
        sums=sums,
        streams=streams,
        forecast=forecast,
        free_bytes=shutil.disk_usage(watched.root).free,
        is_recording=spool.has_live_producers(),
        workers={url: spool.worker_lock(url).is_held_elsewhere() for url in sums},
    )
