"""``framespool discard``: give chunks up for good, with a reason that the ledger keeps."""

import sys
from pathlib import Path

import click

from spool import Chunk, ChunkState, Stream
from uploader.cli import screen, words
from uploader.cli.choosing import chosen_chunks
from uploader.cli.common import BAD_NEWS, json_option, open_spool, plain_errors, spool_option

_SHOWN_MAX = 20


@click.command()
@click.argument("stream")
@click.argument("chunks", metavar="CHUNK...", nargs=-1, required=True, type=click.IntRange(min=0))
@click.option("--why", metavar="TEXT", help="The reason, kept in the ledger with who and when.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Delete nothing: show what would go.")
@spool_option
@json_option
@plain_errors
def command(
    stream: str,
    chunks: tuple[int, ...],
    why: str | None,
    spool_dir: Path | None,
    *,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Delete the frames of CHUNKs of STREAM that were never delivered. This cannot be undone.

    Only waiting and parked chunks can be discarded. Asks first; without a terminal it needs --why and --yes.
    """
    asks = sys.stdin.isatty() and not as_json
    if not asks and not dry_run and not (yes and why):
        raise click.UsageError("without a terminal to ask on, discard needs both --why TEXT and --yes")
    if why is not None and not why.strip():
        raise click.BadParameter("a reason is needed: the ledger keeps it for the auditor", param_hint="--why")
    with open_spool(spool_dir) as spool:
        found = spool.find(stream)
        allowed = (ChunkState.SPOOLED, ChunkState.PARKED)
        chosen = chosen_chunks(spool, found.stream_id, chunks, allowed=allowed, verb="discarded")
        if not as_json:
            for line in _what_goes(found, chosen):
                screen.say(line)
        if dry_run:
            if as_json:
                _print_json(found, chosen, why, dry_run=True)
            return
        reason = why or click.prompt("Why")
        if not yes and not click.confirm("Delete these frames for good?"):
            screen.say("Nothing was discarded.")
            raise SystemExit(BAD_NEWS)
        spool.discard(found.stream_id, [chunk.chunk_idx for chunk in chosen], why=reason)
    if as_json:
        _print_json(found, chosen, reason, dry_run=False)
    else:
        freed = sum(chunk.disk_bytes for chunk in chosen)
        screen.say(f"Discarded {words.count(len(chosen), 'chunk')}, {words.size(freed)} freed.")


def _print_json(found: Stream, chosen: list[Chunk], why: str | None, *, dry_run: bool) -> None:
    screen.print_json(
        {
            "stream_id": found.stream_id,
            "discarded": [chunk.chunk_idx for chunk in chosen],
            "bytes": sum(chunk.disk_bytes for chunk in chosen),
            "why": why,
            "dry_run": dry_run,
        }
    )


def _what_goes(stream: Stream, chosen: list[Chunk]) -> list[str]:
    name = words.cut(words.printable(stream.settings.name), 40)
    lines = [f"Of {name} ({stream.stream_id}) will be deleted:"]
    for chunk in chosen[:_SHOWN_MAX]:
        reason = f"parked: {words.printable(chunk.parked_reason)}" if chunk.parked_reason else "waiting"
        line = (
            f"  chunk {chunk.chunk_idx}: {words.count(chunk.n, 'frame')}, {words.size(chunk.disk_bytes)}, "
            f"captured {words.moment(chunk.capture_start_ms_utc)} UTC, {reason}"
        )
        lines.append(words.cut(line, screen.width()))
    if len(chosen) > _SHOWN_MAX:
        lines.append(f"  ... and {words.count(len(chosen) - _SHOWN_MAX, 'more chunk')}")
    frames, size = sum(chunk.n for chunk in chosen), sum(chunk.disk_bytes for chunk in chosen)
    total = f"{words.count(len(chosen), 'chunk')}, {words.count(frames, 'frame')}, {words.size(size)}"
    return [*lines, f"  in all {total}, never delivered"]
