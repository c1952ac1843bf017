"""What `stream` and `record` have in common: beginning, the delivery at the end, and what they say of it."""

import contextlib
import time
from dataclasses import asdict
from pathlib import Path

from spool import AuditTotals, Spool, Stream
from uploader import config
from uploader.cli import screen, words
from uploader.cli.common import open_spool
from uploader.cli.endings import closing_lines
from uploader.cli.stream_options import Wishes
from uploader.json_log import JsonLines
from uploader.pace import Pace
from uploader.reports import FinalizeReport
from uploader.streamer import RHEEDStreamer
from uploader.verbosity import set_verbosity

_LOOK_S = 0.1
_TELLS = 3
"""What happens, and not everything."""


def begin_log(wishes: Wishes) -> None:
    """Where standard error is to be for machines: the log, and whatever else is said there, as JSON."""
    if config.setting("log_json", wishes.given["log_json"]).value:
        screen.errors_as_json(True)
        set_verbosity(_TELLS, JsonLines())


def begun(spool_dir: Path | None, wishes: Wishes) -> tuple[Stream, list[Stream]] | None:
    """The stream to go on with, and its copies; ``None`` when a new one is to be opened."""
    if wishes.resume is None:
        return None
    with open_spool(spool_dir) as spool:
        stream = spool.find(wishes.resume)
        return stream, spool.copies(stream.stream_id)


def streamer_for(spool_dir: Path | None, wishes: Wishes) -> RHEEDStreamer:
    """The streamer that was asked for."""
    return RHEEDStreamer(
        endpoint=wishes.given["endpoint"],
        destination=wishes.to[0] if wishes.to else None,
        also=(*wishes.to[1:], *(wishes.given["also"] or ())) if wishes.to else wishes.given["also"],
        spool_dir=spool_dir,
        spool_max_bytes=wishes.given["max_bytes"],
        spool_min_free_bytes=wishes.given["min_free_bytes"],
        spool_retention_s=wishes.given["retention_s"],
        worker=wishes.worker,
        max_rate=wishes.given["max_rate"],
        layout=wishes.given["layout"],
    )


def begin(
    streamer: RHEEDStreamer, name: str, wishes: Wishes, *, fps: float, size: int, rotations_per_min: float
) -> str:
    """Open a new stream; its data_id, or the stream_id while the server has not given one."""
    return streamer.initialize(
        fps,
        rotations_per_min,
        size,
        stream_name=wishes.name or name,
        physical_sample=wishes.sample,
        project_id=wishes.project,
        tags=wishes.tags or None,
        azimuth=wishes.azimuth,
    )


def deliver(streamer: RHEEDStreamer, spool: Spool, data_id: str, wishes: Wishes) -> None:
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


def tell(
    found: AuditTotals, *, frames: int, broken: str | None, spool: Spool, wishes: Wishes, as_json: bool
) -> None:
    """Say what became of it."""
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
