"""``framespool retry``: let parked chunks be delivered again, and a held stream go on."""

from pathlib import Path

import click

from spool import ChunkState
from uploader.cli import screen, words
from uploader.cli.choosing import chosen_chunks
from uploader.cli.common import command_line, json_option, open_spool, plain_errors, spool_option


@click.command()
@click.argument("stream")
@click.argument("chunks", metavar="[CHUNK]...", nargs=-1, type=click.IntRange(min=0))
@click.option(
    "--in-new-stream",
    "in_new_part",
    is_flag=True,
    help="The server's stream was ended: what waits goes into a further one there.",
)
@click.option("--dry-run", is_flag=True, help="Change nothing: say what would be retried.")
@spool_option
@json_option
@plain_errors
def command(
    stream: str,
    chunks: tuple[int, ...],
    spool_dir: Path | None,
    *,
    in_new_part: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let parked CHUNKs of STREAM be delivered again, all of them by default; a held stream goes on too."""
    with open_spool(spool_dir) as spool:
        before = spool.find(stream)
        ref = before.stream_id
        if chunks:
            chosen_chunks(spool, ref, chunks, allowed=(ChunkState.PARKED,), verb="retried")
        if dry_run:
            retried = sorted(set(chunks)) or spool.parked(ref)
        else:
            retried = spool.retry(ref, chunks or None, in_new_part=in_new_part)
        root = spool.root
        running = spool.worker_lock(before.settings.destination).is_held_elsewhere()
    released = before.held is not None or in_new_part
    if as_json:
        told = {"stream_id": ref, "retried": retried, "released": released, "worker_running": running}
        screen.print_json({**told, "dry_run": dry_run})
        return
    if not retried and not released:
        screen.say("Nothing is parked and nothing holds the stream: there is nothing to retry.")
        return
    if dry_run:
        _say_what_would_be(retried, released=released)
        return
    if before.held is not None:
        screen.say("The stream is not held any more.")
    if in_new_part:
        screen.say("What waits goes into a further stream at the server.")
    if retried:
        wait = "waits" if len(retried) == 1 else "wait"
        screen.say(f"{words.count(len(retried), 'chunk')} {wait} for delivery again: {words.listed(retried)}.")
    if not running:
        worker = command_line(root, "worker", "--endpoint", before.settings.destination)
        screen.say(f"No worker runs. Start one with:\n  {worker}")


def _say_what_would_be(retried: list[int], *, released: bool) -> None:
    if released:
        screen.say("The stream would not be held any more.")
    if retried:
        screen.say(f"Would wait for delivery again: {words.listed(retried)}.")
