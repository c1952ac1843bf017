"""``framespool unpack``: a packed stream, delivered from here, or its receipts come home."""

from contextlib import ExitStack
from pathlib import Path

import click

from spool import Unpacked, look_into, person, unpack
from uploader import config
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, command_line, json_option, open_spool, plain_errors, spool_option


@click.command()
@click.argument("pack", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Change nothing: check the pack and say what would come in.")
@spool_option
@json_option
@plain_errors
def command(pack: Path, spool_dir: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Take the stream in PACK into this spool, to be delivered from here.

    Where the stream was packed, a pack made after its delivery elsewhere brings the receipts home. Doing it twice
    changes nothing; the pack stays as it is.
    """
    if dry_run:
        _look(pack, config.spool_dir(spool_dir), as_json=as_json)
        return
    with open_spool(spool_dir, create=True) as spool, screen.progress("unpacking", quiet=as_json) as progress:
        done = unpack(spool, pack, who=person(), progress=progress)
        stream = spool.stream(done.stream_id)
        root = spool.root
    if as_json:
        _print_json(done, dry_run=False)
    else:
        screen.say(f"{stream.settings.name} ({done.stream_id}) is {'new' if done.is_new else 'known'} here.")
        screen.say(f"Came in: {words.count(done.chunks, 'chunk')}, {words.count(done.receipts, 'receipt')}.")
        for idx, why in done.left.items():
            screen.say(f"Chunk {idx} could not come in: {words.printable(why)}")
        if stream.tally.spooled and stream.held is None:
            worker = command_line(root, "worker", "--endpoint", stream.settings.destination)
            screen.say(f"{words.count(stream.tally.spooled, 'chunk')} to deliver: {worker}")
    if done.left:
        raise SystemExit(BAD_NEWS)


def _look(pack: Path, root: Path, *, as_json: bool) -> None:
    """Into a spool that may not be there yet, and is not made."""
    with ExitStack() as stack:
        is_there = (root / "streams").is_dir()
        done = look_into(stack.enter_context(open_spool(root)) if is_there else None, pack)
    if as_json:
        _print_json(done, dry_run=True)
    else:
        chunks, receipts = words.count(done.chunks, "chunk"), words.count(done.receipts, "receipt")
        screen.say(f"{done.stream_id} is {'new' if done.is_new else 'known'} here.")
        screen.say(f"Would come in: {chunks}, {receipts}.")
        for idx, why in done.left.items():
            screen.say(f"Chunk {idx} could not come in: {words.printable(why)}")
    if done.left:
        raise SystemExit(BAD_NEWS)


def _print_json(done: Unpacked, *, dry_run: bool) -> None:
    told = {"stream_id": done.stream_id, "new": done.is_new, "chunks": done.chunks, "receipts": done.receipts}
    screen.print_json({**told, "left": {str(idx): why for idx, why in done.left.items()}, "dry_run": dry_run})
