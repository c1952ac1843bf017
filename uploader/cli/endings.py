"""How a stream began and ended, or why it has not ended yet: for people, and as the report that machines read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from spool import AuditTotals, Stream, StreamState
from uploader.addresses import is_server
from uploader.cli import screen, words
from uploader.cli.common import command_line
from uploader.reports import FinalizeReport


def opening_lines(described: str, stream: Stream, copies: Sequence[Stream]) -> Iterator[str]:
    """The first words of a recording: what is recorded, and where it goes."""
    yield words.printable(described)
    yield f"  to       {stream.settings.destination}"
    for copy in copies:
        yield f"  and to   {copy.settings.destination}, as {copy.stream_id}"
    yield f"  stream   {stream.stream_id}, {stream.settings.chunk_size} frames a chunk"
    if stream.data_id is None and not is_server(stream.settings.destination):
        yield "  data_id  none yet: the worker begins the stream there"
    elif stream.data_id is None:
        yield "  data_id  none yet: the server could not be asked. Recording begins here, and the stream is opened"
        yield "           on the server as soon as that can be reached"
    else:
        yield f"  data_id  {stream.data_id}"


def closing_lines(found: AuditTotals, copies: Sequence[Stream], root: Path, *, carries_on: bool) -> Iterator[str]:
    """The last words of a recording.

    Args:
        found: what the audit amounts to at its end.
        copies: of the stream, for its further destinations.
        root: the spool folder.
        carries_on: whether a worker goes on when this process ends.
    """
    stream = found.stream
    yield from report_lines(FinalizeReport.of(stream), root)
    frames = words.count(found.frames, "frame")
    chunks = words.count(found.chunks, "chunk")
    yield f"Recorded {frames} in {chunks}; {stream.tally.acknowledged:,} acknowledged."
    yield f"stream   {stream.stream_id}"
    yield f"data_id  {stream.data_id or 'none yet'}"
    yield from copies_lines(copies, root)
    left = [one.settings.destination for one in (stream, *copies) if one.tally.spooled]
    if left and not carries_on:
        yield "The worker ended with this process. Deliver the rest with:"
        yield f"  {command_line(root, 'worker', *(word for url in left for word in ('--to', url)))}"
    if stream.state is StreamState.OPEN:
        yield "The stream is still open. End it with:"
        yield f"  {command_line(root, 'finalize', stream.stream_id)}"
    yield "Look at every chunk with:"
    yield f"  {command_line(root, 'audit', stream.stream_id)}"


def copies_lines(copies: Sequence[Stream], root: Path) -> Iterator[str]:
    """How far the stream is at each further destination."""
    for copy in copies:
        yield f"Also to {copy.settings.destination}, as {copy.stream_id}:"
        yield from (f"  {line}" for line in report_lines(FinalizeReport.of(copy), root))


def report_lines(report: FinalizeReport, root: Path) -> Iterator[str]:
    """How far the stream is, and what a person has to do."""
    ref = report.stream_id
    delivered = f"{report.chunks_uploaded:,} of {words.count(report.chunks_spooled, 'chunk')} delivered"
    if report.finalized:
        yield screen.painted(f"Finalized: {delivered}.", "good")
        if report.chunks_discarded:
            yield f"{words.count(report.chunks_discarded, 'chunk')} had been discarded."
        return
    yield screen.painted(f"Not finalized: {delivered}{_left(report)}.", "wait")
    if report.held is not None:
        yield f"Nothing more is sent: {words.printable(report.held)}."
        yield "Settle it with the server, then:"
        yield f"  {command_line(root, 'retry', ref)}"
    elif report.chunks_parked:
        yield "Parked chunks wait for you, to retry or discard them. See why with:"
        yield f"  {command_line(root, 'audit', ref)}"


def _left(report: FinalizeReport) -> str:
    numbers = ((report.chunks_pending, "waiting"), (report.chunks_parked, "parked"))
    return "".join(f", {number:,} {what}" for number, what in numbers if number)
