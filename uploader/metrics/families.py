"""From figures to what Prometheus' client makes text of: one collector, which reads when it is asked."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

import uploader
from spool import ChunkState, StreamFigures, StreamState, Sums
from uploader.metrics.figures import STREAMS_MAX, Reader, SpoolFigures
from uploader.metrics.names import METRICS, Metric
from uploader.metrics.tries import Tries

Posts = Callable[[], Mapping[str, int]]
"""How many posts a webhook has tried, by outcome."""


class SpoolCollector(Collector):
    """Asked by the registry at each look.

    Args:
        reader: of the spools.
        tries: counted by the worker.
        posts: of the webhook.
    """

    def __init__(self, reader: Reader, tries: Tries, posts: Posts = dict) -> None:
        self._reader = reader
        self._tries = tries
        self._posts = posts

    def describe(self) -> Iterable[Family]:
        """What there is, without reading anything."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """Everything as it is now."""
        shown = _Shown()
        shown.add("build_info", (uploader.__version__,), 1)
        figures = self._reader.read()
        shown.add("read_timestamp_seconds", (), self._reader.read_at_s)
        for name, spool in figures.items():
            shown.add("spool_readable", (name,), spool is not None)
            if spool is not None:
                _add_spool(shown, spool)
        for (place, outcome), count in sorted(self._tries.tries.items()):
            shown.add("tries_total", (*place, outcome), count)
        for (place, outcome), count in sorted(self._tries.wire_bytes.items()):
            shown.add("tried_bytes_total", (*place, outcome), count)
        for (place, confirmed), count in sorted(self._tries.receipts.items()):
            shown.add("receipts_total", (*place, str(confirmed).lower()), count)
        for outcome, count in sorted(self._posts().items()):
            shown.add("webhook_posts_total", (outcome,), count)
        return shown.families.values()


class _Shown:
    """The families, filled one sample after the other."""

    def __init__(self) -> None:
        self.families = {metric.name: _family(metric) for metric in METRICS}

    def add(self, name: str, labels: Sequence[str], worth: float | None) -> None:
        """One sample; none where there is nothing to be said."""
        if worth is not None:
            self.families[f"framespool_{name}"].add_metric(list(labels), float(worth))


def _family(metric: Metric) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    return kind(metric.name, metric.says, labels=metric.labels)


def _add_spool(shown: _Shown, spool: SpoolFigures) -> None:
    label, forecast = (spool.name,), spool.forecast
    shown.add("recording", label, spool.is_recording)
    shown.add("disk_free_bytes", label, spool.free_bytes)
    shown.add("room_bytes", label, forecast.room_bytes)
    shown.add("room_used_ratio", label, forecast.used_share)
    shown.add("full_in_seconds", label, math.inf if forecast.full_in_s is None else forecast.full_in_s)
    for url, sums in spool.sums.items():
        _add_place(shown, (spool.name, url), spool, sums)
    most_waiting = sorted(spool.streams, key=lambda one: -one.stream.tally.waiting_bytes)
    for one in most_waiting[:STREAMS_MAX]:
        _add_stream(shown, spool.name, one)


def _add_place(shown: _Shown, place: tuple[str, str], spool: SpoolFigures, sums: Sums) -> None:
    streams = spool.of(place[1])
    chunks, wire_bytes = sums.chunks, sums.wire_bytes
    shown.add("worker_up", place, spool.workers[place[1]])
    for state in StreamState:
        shown.add("streams", (*place, state.value), sums.streams.get(state, 0))
    shown.add("held_streams", place, sums.held)
    _add_trouble(shown, place, streams)
    waited_ms = [spool.now_ms - one.oldest_waiting_at_ms for one in streams if one.oldest_waiting_at_ms]
    shown.add("waiting_chunks", place, chunks.get(ChunkState.SPOOLED, 0))
    shown.add("waiting_bytes", place, wire_bytes.get(ChunkState.SPOOLED, 0))
    shown.add("waiting_recording_seconds", place, sum(one.waiting_s for one in streams))
    shown.add("oldest_waiting_seconds", place, max([0, *waited_ms]) / 1000)
    shown.add("parked_chunks", place, chunks.get(ChunkState.PARKED, 0))
    shown.add("spooled_chunks_total", place, sum(chunks.values()))
    shown.add("spooled_bytes_total", place, sum(wire_bytes.values()))
    shown.add("acknowledged_chunks_total", place, chunks.get(ChunkState.ACKNOWLEDGED, 0))
    shown.add("acknowledged_bytes_total", place, wire_bytes.get(ChunkState.ACKNOWLEDGED, 0))
    shown.add("discarded_chunks_total", place, chunks.get(ChunkState.DISCARDED, 0))
    taken_ms = [one.last_acknowledged_at_ms for one in streams if one.last_acknowledged_at_ms]
    last_ms = max([*taken_ms, sums.last_finalized_at_ms or 0])
    shown.add("last_acknowledged_timestamp_seconds", place, last_ms / 1000 if last_ms else None)
    measured = [one.stream for one in streams if one.stream.clock_offset_ms is not None]
    if measured:  # the latest stream's measurement is the latest
        offset_ms, uncertainty_ms = measured[-1].clock_offset_ms, measured[-1].clock_uncertainty_ms
        shown.add("clock_offset_seconds", place, (offset_ms or 0.0) / 1000)
        shown.add("clock_uncertainty_seconds", place, None if uncertainty_ms is None else uncertainty_ms / 1000)


def _add_trouble(shown: _Shown, place: tuple[str, str], streams: Sequence[StreamFigures]) -> None:
    troubled = [one for one in streams if one.stream.trouble is not None]
    away = [one for one in troubled if one.is_outage and one.stream.held is None]
    began_ms = [one.trouble_began_at_ms for one in away if one.trouble_began_at_ms is not None]
    shown.add("troubled_streams", place, len(troubled))
    shown.add("outage", place, bool(away))
    shown.add("outage_began_timestamp_seconds", place, min(began_ms) / 1000 if began_ms else None)
    shown.add("key_refused", place, any(one.key_refused for one in away))


def _add_stream(shown: _Shown, spool: str, one: StreamFigures) -> None:
    stream, tally = one.stream, one.stream.tally
    label = (spool, stream.settings.destination, stream.stream_id)
    shown.add("stream_info", (*label, stream.settings.name, stream.state.value), 1)
    shown.add("stream_waiting_chunks", label, tally.spooled)
    shown.add("stream_waiting_bytes", label, tally.waiting_bytes)
    shown.add("stream_parked_chunks", label, tally.parked)
    shown.add("stream_acknowledged_chunks_total", label, tally.acknowledged)
    shown.add("stream_in_trouble", label, stream.trouble is not None)
