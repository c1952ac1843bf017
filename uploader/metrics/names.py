"""Every metric there is, one line each: the endpoint, the documents and the tests follow from it."""

from dataclasses import dataclass
from typing import Literal

_SPOOL = ("spool",)
_PLACE = ("spool", "destination")
_STREAM = (*_PLACE, "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
        name: by Prometheus' conventions: its unit, and ``_total`` of what only grows.
        labels: each of a bounded number of worths.
        says: what it is, for people.
    """

    name: str
    kind: Literal["counter", "gauge"]
    labels: tuple[str, ...] = ()
    says: str


def _gauge(name: str, labels: tuple[str, ...], says: str) -> Metric:
    return Metric(name=f"framespool_{name}", kind="gauge", labels=labels, says=says)


def _total(name: str, labels: tuple[str, ...], says: str) -> Metric:
    return Metric(name=f"framespool_{name}_total", kind="counter", labels=labels, says=says)


# fmt: off
METRICS = (
    # The worker that shows them.
    _gauge("build_info", ("version",), "Always 1."),
    _gauge("read_timestamp_seconds", (), "When these were read: a file that nobody writes any more is old."),
    # Spools.
    _gauge("spool_readable", _SPOOL, "1 if the spool can be read; 0 if its disk is gone or its index is damaged."),
    _gauge("recording", _SPOOL, "1 while a process has the spool open for recording."),
    _gauge("disk_free_bytes", _SPOOL, "Free on the file system that the spool lies on."),
    _gauge("room_bytes", _SPOOL, "What can be recorded before a chunk is refused, if nothing more is delivered."),
    _gauge("room_used_ratio", _SPOOL, "How much of the room is taken by what may not be deleted, from 0 to 1."),
    _gauge("full_in_seconds", _SPOOL, "When the room is gone at the present rates; +Inf while it is not filling."),
    # A spool's destinations.
    _gauge("worker_up", _PLACE, "1 while a worker of this machine delivers there."),
    _gauge("streams", (*_PLACE, "state"), "Streams that are open, sealed or finalized."),
    _gauge("held_streams", _PLACE, "Unfinished streams of which nothing more is sent until a person decides."),
    _gauge("troubled_streams", _PLACE, "Unfinished streams whose latest try failed."),
    _gauge("outage", _PLACE, "1 while nothing gets through to the destination."),
    _gauge("outage_began_timestamp_seconds", _PLACE, "When that began; absent while there is none."),
    _gauge("key_refused", _PLACE, "1 while the destination does not accept the API key: a person has to act."),
    _gauge("waiting_chunks", _PLACE, "Chunks that wait to be delivered."),
    _gauge("waiting_bytes", _PLACE, "Their bytes, as they are sent."),
    _gauge("waiting_recording_seconds", _PLACE, "How much recording that is."),
    _gauge("oldest_waiting_seconds", _PLACE, "How long the chunk that is next has waited; 0 while none waits."),
    _gauge("parked_chunks", _PLACE, "Chunks that wait for a person."),
    _total("spooled_chunks", _PLACE, "Chunks that were ever recorded."),
    _total("spooled_bytes", _PLACE, "Their bytes, as they are sent."),
    _total("acknowledged_chunks", _PLACE, "Chunks of which the destination's receipt is recorded."),
    _total("acknowledged_bytes", _PLACE, "Their bytes, as they are sent."),
    _total("discarded_chunks", _PLACE, "Chunks that a person gave up."),
    _gauge("last_acknowledged_timestamp_seconds", _PLACE,
           "When the destination last took a chunk, or the end of a stream; absent before the first."),
    _gauge("clock_offset_seconds", _PLACE, "The destination's clock minus this machine's; absent until measured."),
    _gauge("clock_uncertainty_seconds", _PLACE, "How far off that may be."),
    # What this worker did since it began.
    _total("tries", (*_PLACE, "outcome"), "Uploads tried since the worker began: delivered, failed or refused."),
    _total("tried_bytes", (*_PLACE, "outcome"), "Bytes of the chunks tried, likewise."),
    _total("receipts", (*_PLACE, "confirmed"), "Receipts since then, by whether their checksum equals ours."),
    # Unfinished streams, a hundred at the most.
    _gauge("stream_info", (*_STREAM, "name", "state"), "Always 1."),
    _gauge("stream_waiting_chunks", _STREAM, "Chunks of the stream that wait to be delivered."),
    _gauge("stream_waiting_bytes", _STREAM, "Their bytes, as they are sent."),
    _gauge("stream_parked_chunks", _STREAM, "Chunks of the stream that wait for a person."),
    _total("stream_acknowledged_chunks", _STREAM, "Chunks of the stream that are acknowledged."),
    _gauge("stream_in_trouble", _STREAM, "1 while the stream's latest try has failed."),
    # The webhook.
    _total("webhook_posts", ("outcome",),
           "Tries to tell the webhook something since the worker began: told, failed or refused."),
)
# fmt: on
