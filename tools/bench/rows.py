"""The rows of the table, by the names that the command line knows."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.bench import bucket, delivering, draining, large, memory, pacing, pushing, starting
from tools.bench.asked import Bench
from tools.bench.measuring import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row, or a few that are measured together.

    Attributes:
        says: what is measured, in a line for people.
        bound: what it cannot be better than, and why, where that has to be known to read the figures.
    """

    name: str
    says: str
    measure: Callable[[Bench], list[Comparison]]
    bound: str = ""


_ALL = (
    Row(
        name="push",
        says="durable push, against the peer's push",
        measure=pushing.push,
        bound="While uploading, camera, worker and server share the processors of one machine, and our worker has "
        "the server take about twice as much meanwhile (see throughput). In a lab the server is elsewhere.",
    ),
    Row(
        name="limit",
        says="durable push, against this machine's own limit",
        measure=pushing.limit,
        bound="Compressing takes every core. What a push does besides takes them too: the SHA-256 of what is "
        "stored, and its copy into the page cache. With two cores that is most of the distance where frames "
        "compress quickly (Poisson), and little where they do not (real frames).",
    ),
    Row(
        name="throughput",
        says="from the first push until all is acknowledged and the stream has ended",
        measure=delivering.throughput,
    ),
    Row(name="worst-push", says="the worst push while the worker drains", measure=delivering.worst_push),
    Row(
        name="drain",
        says="a waiting backlog, against curl -T",
        measure=draining.drain,
        bound="curl sends bytes. The worker also proves them: it checks each chunk's SHA-256 before it sends it, "
        "and computes the MD5 that the server's ETag is held against. The server takes more than one "
        "processor for itself; with two, the proof competes with it.",
    ),
    Row(
        name="line",
        says="a waiting backlog through 50 ms and 100 Mbit/s",
        measure=draining.line,
        bound="In order means that a chunk waits for the answer to the one before, which costs one round trip a "
        "chunk whatever the client: the smaller the chunks, the more that is. Larger chunks use the line better.",
    ),
    Row(name="bucket", says="a waiting backlog to an S3 server, against rclone copy", measure=bucket.bucket),
    Row(name="cpu", says="CPU seconds per gigabyte at a camera's pace", measure=pacing.cpu),
    Row(name="cameras", says="four cameras at once, against the duration of a chunk", measure=pacing.cameras),
    Row(
        name="index", says="push, claim, acknowledge at a million chunks, against a thousand", measure=large.index
    ),
    Row(name="opening", says="reopening, status and audit of a large spool", measure=large.opening),
    Row(name="memory", says="of producer and worker during a long backlog", measure=memory.memory),
    Row(name="start", says="import and short commands, in a fresh process", measure=starting.start),
)

ROWS = {row.name: row for row in _ALL}
