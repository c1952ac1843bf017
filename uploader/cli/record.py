"""``framespool record``: from a camera, or a folder that fills, to the server, in one command."""

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from spool import Capture, HostClock, LossCause, Spool, SpoolError, Stream, StreamState, totals_of
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, json_option, open_spool, plain_errors, spool_option
from uploader.cli.endings import opening_lines
from uploader.cli.interrupting import stops_on_interrupt
from uploader.cli.record_options import Taking, taking_options
from uploader.cli.recorded import begin, begin_log, begun, deliver, streamer_for, tell
from uploader.cli.stream_options import Wishes, record_options
from uploader.cli.watching import Watching, spoken_warnings
from uploader.grabbing import Assembled, Assembler, Happened
from uploader.reports import FinalizeReport
from uploader.sources import Simulator, SourceError, open_source
from uploader.sources.installed import open_live
from uploader.sources.live import LiveSource, Remembering
from uploader.sources.played import Played
from uploader.streamer import RHEEDStreamer


@click.command()
@click.argument("source")
@spool_option
@json_option
@taking_options
@record_options
@plain_errors
def command(source: str, spool_dir: Path | None, *, as_json: bool, wishes: Wishes, taking: Taking) -> None:
    """Take frames from SOURCE until Ctrl-C, record and deliver them.

    SOURCE is a camera such as pylon: or opencv:0, a folder that another program fills, watch:FOLDER, or anything
    that 'framespool stream' takes, played at its rate; 'framespool sources' lists them. Every frame that the
    source counts is accounted for: what was lost on the way is told, and stands in the audit. A file of a watched
    folder becomes a frame once, in this stream or in one before.

    Ctrl-C, or the end of --for, ends the recording and then the stream; a second Ctrl-C ends only the wait for its
    delivery, which goes on. A source that is gone, such as an unplugged camera, is waited for.
    """
    begin_log(wishes)
    live, turns = _opened(source, wishes, taking)
    before = begun(spool_dir, wishes)
    if before is None and taking.go_on:
        before = _left_open(spool_dir, source, live)
    if before is not None:
        wishes = wishes.going_on_with(*before)
    if isinstance(live, Remembering):
        _remember(spool_dir, source, live)
    fps, described = _rate(live, wishes)
    size = wishes.chunk_size_at(fps)
    with streamer_for(spool_dir, wishes) as streamer, open_spool(spool_dir) as spool:
        if before is None:
            data_id = begin(streamer, live.name, wishes, fps=fps, size=size, rotations_per_min=turns)
        else:
            streamer.resume(data_id := before[0].stream_id)
        stream = spool.stream(data_id)
        for line in opening_lines(described, stream, spool.copies(stream.stream_id)):
            screen.say(line, err=True)
        assembler = Assembler(live, chunk_size=size, chunk_s=taking.chunk_s, ring_bytes=taking.buffer_bytes)
        grabbing = _Grabbing(spool, data_id, source, live, assembler)
        with (
            Watching(spool, data_id, recording=True, more=lambda: grabbing.in_words(fps)) as watching,
            spoken_warnings(watching),
        ):
            broken = _record(streamer, data_id, grabbing, watching, taking.for_s)
            watching.recording = False
            deliver(streamer, spool, data_id, wishes)
        found, is_over = totals_of(spool, data_id), not wishes.finalize
        is_over = is_over or FinalizeReport.of(found.stream, spool.copies(found.stream.stream_id)).finalized
        tell(found, frames=assembler.figures.taken, broken=broken, spool=spool, wishes=wishes, as_json=as_json)
        if not as_json:
            for line in grabbing.losses_in_words():
                screen.say(screen.painted(line, "bad"))
    if broken is not None or not is_over or not found.complete:
        raise SystemExit(BAD_NEWS)


class _Grabbing:
    """The chunks of a recording for `RHEEDStreamer.run`; what happens between them is said, and in the ledger."""

    def __init__(self, spool: Spool, ref: str, source: str, live: LiveSource, assembler: Assembler) -> None:
        self._spool = spool
        self._ref = ref
        self._source = source
        self._live = live
        self._assembler = assembler
        self._frames_pushed = 0
        self.error: SourceError | None = None
        self.watching: Watching | None = None

    def stop(self) -> None:
        """Take no more frames."""
        self._assembler.stop()

    def chunks(self) -> Iterator[tuple[NDArray[np.uint8], float, Capture]]:
        """One by one; whoever asks for the next has pushed the one before."""
        facts = {"source": self._source, "facts": dict(self._live.facts())}
        self._spool.record("source_started", ref=self._ref, name=self._live.name, **facts)
        for item in self._assembler:
            if isinstance(item, Assembled):
                yield item.frames, item.capture_start_ms_utc, item.capture
                self._frames_pushed += len(item.frames)
            else:
                self._note(item)

    def give_up(self, why: str) -> None:
        """Recording ended with frames in memory that no chunk will have: the ledger says how many."""
        left = self._assembler.figures.taken - self._frames_pushed
        loss = {"cause": LossCause.OVERFLOW.value, "frames": left, "at_ms": None, "after": None}
        losses = [{**loss, "at_ms": HostClock().now_ms()}] if left > 0 else []
        self._spool.record("source_stopped", ref=self._ref, words=why, losses=losses)

    def in_words(self, asked_fps: float) -> str:
        """How it goes, for the line below the bars."""
        figures = self._assembler.figures
        if figures.is_away:
            return "the source is away: waiting for it"
        ring = self._assembler.ring
        memory = f", buffer {ring.nbytes / ring.max_bytes:.0%}" if ring.nbytes else ""
        rate = f"{figures.rate(time.monotonic()):.4g} of {asked_fps:.4g} frames/s"
        lost = sum(figures.lost.values())
        free = words.size(self._spool.status().free_bytes)
        return f"{rate}, {figures.taken:,} taken, {lost:,} lost{memory}; {free} free"

    def losses_in_words(self) -> Iterator[str]:
        """What was lost on the way here."""
        lost = self._assembler.figures.lost
        if count := lost[LossCause.SOURCE]:
            yield f"{words.count(count, 'frame')} dropped by the source, as its own numbers tell."
        if count := lost[LossCause.OVERFLOW]:
            yield f"{words.count(count, 'frame')} lost here: disk or computer were too slow. See --buffer."

    def _note(self, item: Happened) -> None:
        self._spool.record(item.event, ref=self._ref, **item.detail)
        self.error = item.error or self.error
        if self.watching is not None and (said := item.detail.get("words")):
            self.watching.say(f"  {words.printable(str(said))}")
        if self.watching is not None and item.event == "source_back":
            self.watching.say("  The source is back; the pause is in the audit.")


def _opened(text: str, wishes: Wishes, taking: Taking) -> tuple[LiveSource, float]:
    """The source, and how many times a minute its sample turns."""
    if (live := open_live(text, taking.wanted(wishes))) is not None:
        return live, wishes.rotations_per_min or 0.0
    if taking.is_for_a_device:
        raise click.UsageError("--set, --region and --binning are for cameras, and SOURCE is none")
    opened = open_source(text, scaling=wishes.read_scaling())
    rate = None if isinstance(opened, Simulator) and wishes.fps is None else wishes.fps
    return Played(opened, rate), wishes.rotation_of(opened)


def _rate(live: LiveSource, wishes: Wishes) -> tuple[float, str]:
    """How fast its frames will come, and what it says of itself: known once it runs."""
    live.start()
    try:
        return wishes.rate_of(live), live.describe()
    finally:
        live.stop()


def _remember(spool_dir: Path | None, source: str, live: Remembering) -> None:
    """Have it leave out the files that are in the spool already, from this or an earlier recording of it."""
    with open_spool(spool_dir, create=True) as spool:
        ours = [
            one for one in spool.streams() if one.settings.copy_of is None and _is_of(spool, one, source, live)
        ]
        chunks = (chunk for stream in ours for chunk in spool.chunks(stream.stream_id))
        taken = [file for chunk in chunks if chunk.capture is not None for file in chunk.capture.files]
    live.remember(taken)
    if taken:
        frames = words.count(len(taken), "frame")
        screen.say(f"{frames} of it {'is' if len(taken) == 1 else 'are'} in the spool already.", err=True)


def _left_open(spool_dir: Path | None, source: str, live: LiveSource) -> tuple[Stream, list[Stream]] | None:
    """The latest stream that is open and was recorded from the same source, by nobody now; and its copies."""
    with open_spool(spool_dir, create=True) as spool:
        for stream in sorted(spool.streams(unfinished_only=True), key=lambda one: one.created_at_ms, reverse=True):
            is_ours = stream.state is StreamState.OPEN and stream.settings.copy_of is None
            if is_ours and _is_of(spool, stream, source, live) and not spool.has_live_producer(stream.stream_id):
                return stream, spool.copies(stream.stream_id)
    return None


def _is_of(spool: Spool, stream: Stream, source: str, live: LiveSource | Remembering) -> bool:
    """Whether a stream was recorded from this source; a folder is the same whatever follows it."""
    started = [one.detail for one in spool.stream_events(stream.stream_id) if one.event == "source_started"]
    if not started:
        return False
    facts = started[-1].get("facts")
    before = facts.get("folder") if isinstance(facts, Mapping) else None
    folder = live.facts().get("folder") if isinstance(live, LiveSource) else None
    return started[-1].get("source") == source or (folder is not None and before == folder)


def _record(
    streamer: RHEEDStreamer, data_id: str, grabbing: _Grabbing, watching: Watching, for_s: float | None
) -> str | None:
    """Record until the source ends or something ends it; why it was cut short, ``None`` when it was not."""
    grabbing.watching = watching

    def stop() -> None:
        grabbing.stop()
        watching.say("Stopping: the frames taken so far are kept. Ctrl-C again gives up those not yet on disk.")

    timer = None if for_s is None else threading.Timer(for_s, grabbing.stop)
    try:
        with stops_on_interrupt(stop):
            if timer is not None:
                timer.daemon = True
                timer.start()
            streamer.run(data_id, grabbing.chunks())
    except KeyboardInterrupt:
        return _given_up(grabbing, "interrupted twice: the frames not yet on disk were given up")
    except SpoolError as error:
        return _given_up(grabbing, f"{error}. {error.hint}")
    finally:
        if timer is not None:
            timer.cancel()
    return None if grabbing.error is None else f"the source broke: {grabbing.error}. {grabbing.error.hint}"


def _given_up(grabbing: _Grabbing, why: str) -> str:
    grabbing.stop()
    try:
        grabbing.give_up(why)
    except SpoolError as error:
        return f"{why} (and the ledger could not be told: {error})"
    return why
