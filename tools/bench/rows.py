"""The rows of the table, by the names that the command line knows."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.bench import delivering, draining, large, memory, pacing, pushing, starting
from tools.bench.asked import Bench
from tools.bench.measuring import Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row, or a few that are measured together.

    Attributes:
        says: what is measured, in a line for people.
    """

    name: str
    says: str
    measure: Callable[[Bench], list[Comparison]]


_ALL = (
    Row(name="push", says="durable push, against the peer's push", measure=pushing.push),
    Row(name="limit", says="durable push, against this machine's own limit", measure=pushing.limit),
    Row(
        name="throughput",
        says="from the first push until all is acknowledged and the stream has ended",
        measure=delivering.throughput,
    ),
    Row(name="worst-push", says="the worst push while the worker drains", measure=delivering.worst_push),
    Row(name="drain", says="a waiting backlog, against curl -T", measure=draining.drain),
    Row(name="line", says="a waiting backlog through 50 ms and 100 Mbit/s", measure=draining.line),
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
