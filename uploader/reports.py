"""What `RHEEDStreamer` answers: frozen values that can also be read like mappings.

The vendor's client answers with dictionaries, so ``report["drained"]`` works as well as ``report.drained``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

from spool import Stream, StreamState


class _Readable:
    """Reading a frozen value by name."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401 - one type a field
        if name not in self.keys():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def keys(self) -> tuple[str, ...]:
        """The names, as a mapping has them: ``dict(report)`` works."""
        return tuple(field.name for field in fields(self))  # type: ignore[arg-type] # every subclass is a dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalizeReport(_Readable):
    """How far a stream was when ``finalize()`` stopped waiting.

    Attributes:
        chunks_spooled: every chunk that was accepted.
        chunks_uploaded: acknowledged by the server.
        chunks_pending: waiting; the worker carries on with them.
        chunks_parked: waiting for a person, who retries or discards them.
        chunks_discarded: given up by a person.
        drained: nothing is pending or parked, for any destination.
        finalized: the server, and each further destination, has accepted the end of the stream.
        held: why nothing is being sent, or ``None``.
        copies: the same for each further destination; the counts above are the first one's.
    """

    stream_id: str
    data_id: str | None
    chunks_spooled: int
    chunks_uploaded: int
    chunks_pending: int
    chunks_parked: int
    chunks_discarded: int
    drained: bool
    finalized: bool
    held: str | None
    copies: tuple["FinalizeReport", ...] = ()

    @classmethod
    def of(cls, stream: Stream, copies: Sequence[Stream] = ()) -> Self:
        """The report of a stream as it is, and of its copies."""
        tally, others = stream.tally, tuple(FinalizeReport.of(copy) for copy in copies)
        return cls(
            stream_id=stream.stream_id,
            data_id=stream.data_id,
            chunks_spooled=tally.pushed,
            chunks_uploaded=tally.acknowledged,
            chunks_pending=tally.spooled,
            chunks_parked=tally.parked,
            chunks_discarded=tally.discarded,
            drained=tally.spooled == 0 and tally.parked == 0 and all(one.drained for one in others),
            finalized=stream.state is StreamState.FINALIZED and all(one.finalized for one in others),
            held=stream.held,
            copies=others,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolReport(_Readable):
    """The spool at one moment, over all its streams.

    Attributes:
        spool_dir: the folder.
        streams: how many it knows, finished ones included.
        chunks_pending: waiting for delivery; ``chunks_parked``: waiting for a person.
        pending_bytes: what is still to be sent.
        used_bytes: what shards occupy on disk; ``free_bytes``: what the disk has left.
        worker_running: whether some worker drains the spool for this endpoint.
        trouble: the latest problem in words, or ``None``.
    """

    spool_dir: str
    streams: int
    chunks_pending: int
    chunks_parked: int
    chunks_uploaded: int
    pending_bytes: int
    used_bytes: int
    free_bytes: int
    worker_running: bool
    trouble: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReport(_Readable):
    """The host clock against the reference clock.

    Attributes:
        measured: whether the reference clock could be read.
        offset_ms: add it to host time to get reference time; ``None`` when not measured.
        uncertainty_ms: the offset is within so much.
        measured_at_ms: host time of the measurement, milliseconds UTC.
    """

    measured: bool
    offset_ms: float | None
    uncertainty_ms: float | None
    measured_at_ms: float | None
