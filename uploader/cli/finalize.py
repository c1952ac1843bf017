"""``framespool finalize``: ask for the end of a stream, and wait until it is there."""

import math
from dataclasses import asdict
from pathlib import Path

import click

from spool import Spool, Stream, StreamState
from uploader.cli import screen
from uploader.cli.common import (
    BAD_NEWS,
    NumberRange,
    command_line,
    json_option,
    open_spool,
    plain_errors,
    spool_option,
)
from uploader.cli.endings import copies_lines, report_lines
from uploader.cli.watching import Watching, spoken_warnings
from uploader.errors import ConfigurationError
from uploader.reports import FinalizeReport
from uploader.streamer import FINALIZE_WAIT_S, RHEEDStreamer


@click.command()
@click.argument("stream")
@spool_option
@click.option(
    "--timeout",
    type=NumberRange(min=0),
    default=FINALIZE_WAIT_S,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait; the worker carries on after that.",
)
@click.option("--wait/--no-wait", default=True, help="Wait for the end, or only ask for it.")
@json_option
@plain_errors
def command(stream: str, spool_dir: Path | None, timeout: float, *, wait: bool, as_json: bool) -> None:
    """Ask for the end of STREAM: no more chunks will come.

    The request is durable at once. A worker delivers what still waits and then ends the stream; one is started
    when none runs, with the API key from AS_API_KEY or 'framespool login'. Exits with 0 only if the stream is
    finalized.
    """
    with open_spool(spool_dir) as spool:
        found = spool.seal(spool.find(stream).stream_id)
        note = None
        if found.state is not StreamState.FINALIZED:
            note = _carry_out(spool, found, timeout if wait else 0.0)
            found = spool.stream(found.stream_id)
        copies = spool.copies(found.stream_id)
        report = FinalizeReport.of(found, copies)
        if as_json:
            screen.print_json(asdict(report))
        else:
            for line in (*report_lines(report, spool.root), *copies_lines(copies, spool.root)):
                screen.say(line)
    if not report.finalized:
        if note:
            screen.say(note, err=True)
        raise SystemExit(BAD_NEWS)


def _carry_out(spool: Spool, stream: Stream, wait_s: float) -> str | None:
    """See to it that a worker runs, and wait for it; what to say if the stream is not finalized after that."""
    endpoint = stream.settings.destination
    also = [copy.settings.destination for copy in spool.copies(stream.stream_id)]
    try:
        started = RHEEDStreamer(endpoint=endpoint, also=also, spool_dir=spool.root, spool_retention_s=math.inf)
    except ConfigurationError as error:
        return _without_key(spool, endpoint, error)
    with (
        started as streamer,
        Watching(spool, stream.stream_id) as watching,
        spoken_warnings(watching),
    ):
        try:
            report = streamer.finalize(stream.stream_id, drain_timeout_s=wait_s)
        except KeyboardInterrupt:
            return "Interrupted. The request is durable: the worker carries on and ends the stream."
    if report.held is not None or report.chunks_parked:
        return None  # time alone does not help; the report says what does
    return "The request is durable: the worker carries on and ends the stream."


def _without_key(spool: Spool, endpoint: str, error: ConfigurationError) -> str:
    if spool.worker_lock(endpoint).is_held_elsewhere():
        return f"The request is durable. Here {error}, but a worker runs: it ends the stream."
    worker = command_line(spool.root, "worker", "--endpoint", endpoint)
    return (
        f"The request is durable, but no worker runs, and here {error}.\n"
        f"  {error.hint}\n  A worker with a key ends the stream. Run:\n  {worker}"
    )
