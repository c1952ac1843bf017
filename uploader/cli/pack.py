"""``framespool pack``: what of a stream was not delivered, in a folder that can be carried elsewhere."""

from pathlib import Path

import click

import uploader
from spool import ChunkState, StreamState, pack, person
from uploader.cli import screen, words
from uploader.cli.common import json_option, open_spool, plain_errors, spool_option


@click.command()
@click.argument("stream")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Write nothing: say what would be packed.")
@spool_option
@json_option
@plain_errors
def command(stream: str, dest: Path, spool_dir: Path | None, *, dry_run: bool, as_json: bool) -> None:
    """Copy the waiting and parked chunks of STREAM to the new folder DEST, with the records of all its chunks.

    For the day on which the network here never comes back: carry DEST to another machine, and run 'framespool
    unpack DEST' and a worker there. Here the stream is held, so that it is not delivered twice; 'framespool retry'
    delivers it from here after all. Nothing is deleted.
    """
    with open_spool(spool_dir) as spool:
        found = spool.find(stream)
        if dry_run:
            kept = (ChunkState.SPOOLED, ChunkState.PARKED)
            chunks = [chunk for chunk in spool.chunks(found.stream_id) if chunk.state in kept]
            size = sum(chunk.disk_bytes for chunk in chunks)
            if as_json:
                told = {"stream_id": found.stream_id, "chunks": len(chunks), "bytes": size}
                screen.print_json({**told, "held": found.state is not StreamState.FINALIZED, "dry_run": True})
            else:
                screen.say(f"Would pack {words.count(len(chunks), 'chunk')}, {words.size(size)}.")
            return
        made_by = uploader.MADE_BY
        with screen.progress("packing", quiet=as_json) as progress:
            done = pack(spool, found.stream_id, dest, made_by=made_by, who=person(), progress=progress)
    if as_json:
        told = {
            "stream_id": done.stream_id,
            "chunks": done.chunks,
            "bytes": done.bytes,
            "damaged": list(done.damaged),
        }
        screen.print_json({**told, "folder": str(done.path), "held": done.held, "dry_run": False})
        return
    screen.say(f"{done.path}: {words.count(done.chunks, 'chunk')}, {words.size(done.bytes)}.")
    if done.damaged:
        screen.say(f"Damaged, packed as they are: {words.listed(list(done.damaged))}.")
    if done.held:
        screen.say(
            "The stream is held here. On the other machine: framespool unpack DEST, then framespool worker."
        )
        screen.say("Wait until the disk may be removed before you unplug it.")
