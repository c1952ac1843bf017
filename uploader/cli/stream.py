"""``framespool stream``: record a source, deliver it, and say what became of it."""

import math
from pathlib import Path

import click

from spool import SpoolError, totals_of
from uploader.cli import screen
from uploader.cli.common import BAD_NEWS, json_option, open_spool, plain_errors, spool_option
from uploader.cli.endings import opening_lines
from uploader.cli.interrupting import stops_on_interrupt
from uploader.cli.recorded import begin, begin_log, begun, deliver, streamer_for, tell
from uploader.cli.recording import Recording
from uploader.cli.stream_options import Wishes, stream_options
from uploader.cli.watching import Watching, spoken_warnings
from uploader.reports import FinalizeReport
from uploader.sources import open_source
from uploader.streamer import RHEEDStreamer

_LOOK_S = 0.1


@click.command()
@click.argument("source")
@spool_option
@json_option
@stream_options
@plain_errors
def command(source: str, spool_dir: Path | None, *, as_json: bool, wishes: Wishes) -> None:
    """Record SOURCE into the spool and deliver it.

    SOURCE is sim: (a simulated camera; sim:frames=200,rpm=15 sets it up), a folder of images, a TIFF stack, .npy,
    .npz, .zarr, HDF5 (FILE.h5::/DATASET) or a video. Its own times are kept, unless --fps is given. The API key
    comes from AS_API_KEY, or from where 'framespool login' has put it. Exits with 0 only if every frame was
    acknowledged and the stream is finalized.

    Ctrl-C ends the recording: what was taken is kept and delivered, and the stream stays open; --resume goes on
    with it.
    """
    begin_log(wishes)
    opened = open_source(source, scaling=wishes.read_scaling())
    # Who says how fast means it. Asked before what is gone on with says so too.
    own_times = wishes.fps is None
    before = begun(spool_dir, wishes)
    if before is not None:
        wishes = wishes.going_on_with(*before)
    fps = wishes.rate_of(opened)
    size = wishes.chunk_size_at(fps)
    recording = Recording(opened, fps=fps, chunk_size=size, paced=wishes.paced, own_times=own_times)
    with (
        streamer_for(spool_dir, wishes) as streamer,
        open_spool(spool_dir) as spool,
    ):
        if before is None:
            turns = wishes.rotation_of(opened)
            data_id = begin(streamer, opened.name, wishes, fps=fps, size=size, rotations_per_min=turns)
        else:
            streamer.resume(data_id := before[0].stream_id)
        stream = spool.stream(data_id)
        for line in opening_lines(opened.describe(), stream, spool.copies(stream.stream_id)):
            screen.say(line, err=True)
        expected = None if opened.length is None else stream.tally.pushed + math.ceil(opened.length / size)
        with (
            Watching(spool, data_id, recording=True, expected_chunks=expected) as watching,
            spoken_warnings(watching),
        ):
            broken = _record(streamer, data_id, recording, watching)
            watching.recording = False
            if not recording.was_stopped:
                deliver(streamer, spool, data_id, wishes)
        found, is_over = totals_of(spool, data_id), not wishes.finalize
        is_over = is_over or FinalizeReport.of(found.stream, spool.copies(found.stream.stream_id)).finalized
        tell(found, frames=recording.frames, broken=broken, spool=spool, wishes=wishes, as_json=as_json)
    if broken is not None or not is_over or not found.complete:
        raise SystemExit(BAD_NEWS)


def _record(streamer: RHEEDStreamer, data_id: str, recording: Recording, watching: Watching) -> str | None:
    """Record until the source ends or something ends it; why it was cut short, ``None`` when it was not."""

    def stop() -> None:
        recording.stop()
        watching.say("Stopping: the frames taken so far are kept. Ctrl-C again gives up those not yet on disk.")

    try:
        with stops_on_interrupt(stop):
            streamer.run(data_id, recording.chunks())
    except KeyboardInterrupt:
        return "interrupted twice: the frames not yet on disk were given up"
    except SpoolError as error:
        return f"{error}. {error.hint}"
    if recording.error is not None:
        return f"the source broke: {recording.error}. {recording.error.hint}"
    return "interrupted: the frames taken until then are kept" if recording.was_stopped else None
