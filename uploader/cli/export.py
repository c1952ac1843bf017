"""``framespool export``: a stream's frames in a file that other programs read."""

from dataclasses import asdict
from pathlib import Path

import click

from spool import person
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, fail, json_option, open_spool, plain_errors, spool_option
from uploader.exports import SUFFIXES, ExportError, Part, export, missing_parts


@click.command()
@click.argument("stream")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--leave-out", is_flag=True, help="Go on without chunks that are not here any more.")
@click.option("--dry-run", is_flag=True, help="Write nothing: say what would be missing.")
@spool_option
@json_option
@plain_errors
def command(
    stream: str, dest: Path, spool_dir: Path | None, *, leave_out: bool, dry_run: bool, as_json: bool
) -> None:
    """Write the frames of STREAM to DEST: .zarr, .npy or .tif bit for bit, .mp4 for looking.

    Beside it, DEST.json says which frame belongs to which chunk and when that was captured.
    """
    if dest.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"its suffix says the kind, one of {', '.join(SUFFIXES)}", param_hint="DEST")
    with open_spool(spool_dir) as spool:
        ref = spool.find(stream).stream_id
        if dry_run:
            _say_missing(missing_parts(spool, ref), as_json=as_json)
            return
        try:
            with screen.progress("checking", quiet=as_json) as progress:
                done = export(spool, ref, dest, leave_out=leave_out, progress=progress)
            spool.record("exported", ref=ref, file=dest.name, frames=done.shape[0], who=person())
        except ExportError as error:
            fail(str(error), error.hint)
    if as_json:
        told = {"file": str(done.path), "record": str(done.record), "shape": list(done.shape)}
        screen.print_json({**told, "left_out": [asdict(one) for one in done.left_out]})
        return
    frames, height, width = done.shape
    screen.say(f"{done.path}: {words.count(frames, 'frame')} of {height} x {width}, uint8.")
    if dest.suffix.lower() == ".mp4":
        screen.say("A video is lossy: measure on .zarr, .npy or .tif.")
    for one in done.left_out:
        screen.say(f"Left out: {_named(one)}")
    screen.say(f"Which frame is which: {done.record}")


def _say_missing(parts: list[Part], *, as_json: bool) -> None:
    if as_json:
        screen.print_json({"missing": [asdict(one) for one in parts]})
    elif parts:
        screen.say("\n".join(f"Not here: {_named(one)}" for one in parts))
    else:
        screen.say("Every chunk is here, whole.")
    if parts:
        raise SystemExit(BAD_NEWS)


def _named(part: Part) -> str:
    return f"chunk {words.spans([(part.first, part.last)])}: {words.printable(part.why)}"
