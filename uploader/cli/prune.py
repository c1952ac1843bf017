"""``framespool prune``: delete the local bytes of what the server has acknowledged."""

from pathlib import Path

import click

from uploader.cli import screen, words
from uploader.cli.common import NumberRange, json_option, open_spool, plain_errors, spool_option


@click.command()
@click.option(
    "--older-than",
    type=NumberRange(min=0, max=1e12),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="Only chunks that were acknowledged at least so long ago.",
)
@click.option("--dry-run", is_flag=True, help="Delete nothing: say what would be.")
@spool_option
@json_option
@plain_errors
def command(older_than: float, spool_dir: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Delete the local frames of acknowledged chunks; what was not acknowledged is never touched.

    The records stay: 'framespool audit' shows the same as before.
    """
    with open_spool(spool_dir) as spool:
        shards, freed = spool.prune(older_than_s=older_than, dry_run=dry_run)
    if as_json:
        screen.print_json({"shards": shards, "bytes": freed, "dry_run": dry_run})
    elif dry_run:
        screen.say(f"Would delete {words.count(shards, 'acknowledged shard')}, {words.size(freed)}.")
    else:
        screen.say(f"Deleted {words.count(shards, 'acknowledged shard')}, {words.size(freed)} freed.")
