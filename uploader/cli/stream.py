"""``framespool stream``: record a source, deliver it, and say what became of it."""

import contextlib
import math
import time
from dataclasses import asdict
from pathlib import Path

import click

from spool import AuditTotals, Spool, SpoolError, Stream, totals_of
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, json_option, open_spool, plain_errors, spool_option
from uploader.cli.endings import closing_lines, opening_lines
from uploader.cli.interrupting import stops_on_interrupt
from uploader.cli.recording import Recording
from uploader.cli.stream_options import Wishes, stream_options
from uploader.cli.watching import Watching, spoken_warnings
from uploader.pace import Pace
from uploader.reports import FinalizeReport
from uploader.sources import Source, open_source
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
    .zarr or a video. The API key comes from AS_API_KEY, or from where 'framespool login' has put it. Exits with 0
    only if every frame was acknowledged and the stream is finalized.

    Ctrl-C ends the recording: what was taken is kept and delivered, and the stream stays open; --resume goes on
    with it.
    """
    opened = open_source(source, scaling=wishes.read_scaling())
    begun = _begun(spool_dir, wishes)
    if begun is not None:
        wishes = wishes.going_on_with(*begun)
    fps = wishes.rate_of(opened)
    size = wishes.chunk_size_at(fps)
    recording = Recording(opened, fps=fps, chunk_size=size, paced=wishes.paced)
    with (
        RHEEDStreamer(
            endpoint=wishes.given["endpoint"],
            destination=wishes.to[0] if wishes.to else None,
            also=wishes.to[1:],
            spool_dir=spool_dir,
            spool_max_bytes=wishes.given["max_bytes"],
            spool_min_free_bytes=wishes.given["min_free_bytes"],
            spool_retention_s=wishes.given["retention_s"],
            worker=wishes.worker,
            max_rate=wishes.given["max_rate"],
            layout=wishes.given["layout"],
        ) as streamer,
        open_spool(spool_dir) as spool,
    ):
        if begun is None:
            data_id = _begin(streamer, opened, wishes, fps=fps, size=size)
        else:
            streamer.resume(data_id := begun[0].stream_id)
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
                _deliver(streamer, spool, data_id, wishes)
        found, is_over = totals_of(spool, data_id), not wishes.finalize
        is_over = is_over or FinalizeReport.of(found.stream, spool.copies(found.stream.stream_id)).finalized
        _tell(found, frames=recording.frames, broken=broken, spool=spool, wishes=wishes, as_json=as_json)
    if broken is not None or not is_over or not found.complete:
        raise SystemExit(BAD_NEWS)


def _begun(spool_dir: Path | None, wishes: Wishes) -> tuple[Stream, list[Stream]] | None:
    """The stream to go on with, and its copies; ``None`` when a new one is to be opened."""
    if wishes.resume is None:
        return None
    with open_spool(spool_dir) as spool:
        stream = spool.find(wishes.resume)
        return stream, spool.copies(stream.stream_id)


def _begin(streamer: RHEEDStreamer, source: Source, wishes: Wishes, *, fps: float, size: int) -> str:
    return streamer.initialize(
        fps,
        wishes.rotation_of(source),
        size,
        stream_name=wishes.name or source.name,
        physical_sample=wishes.sample,
        project_id=wishes.project,
        tags=wishes.tags or None,
        azimuth=wishes.azimuth,
    )


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


def _deliver(streamer: RHEEDStreamer, spool: Spool, data_id: str, wishes: Wishes) -> None:
    """Wait for the delivery, and for the end of the stream if it is to end; an interrupt ends only the wait."""
    with contextlib.suppress(KeyboardInterrupt):
        if wishes.finalize:
            streamer.finalize(data_id, drain_timeout_s=wishes.drain_timeout)
            return
        deadline, pace = time.monotonic() + wishes.drain_timeout, Pace(_LOOK_S)
        while (left_s := deadline - time.monotonic()) > 0:
            stream = spool.stream(data_id)
            if not any(
                one.tally.spooled and one.held is None for one in (stream, *spool.copies(stream.stream_id))
            ):
                return
            time.sleep(min(pace.wait_s(stream), left_s))


def _tell(
    found: AuditTotals, *, frames: int, broken: str | None, spool: Spool, wishes: Wishes, as_json: bool
) -> None:
    stream = found.stream
    copies = spool.copies(stream.stream_id)
    report = FinalizeReport.of(stream, copies)
    if as_json:
        told = {
            "frames_taken": frames,
            "frames_recorded": found.frames,
            "complete": found.complete,
            "broken": broken,
        }
        screen.print_json({**asdict(report), **told})
        return
    if broken is not None:
        for line in words.wrapped(f"Cut short: {words.printable(broken)}", screen.width(), indent="  "):
            screen.say(screen.painted(line, "bad"))
    for line in closing_lines(found, copies, spool.root, carries_on=wishes.worker != "thread"):
        screen.say(line)
