"""``framespool status``: how the spool is doing, and what a person has to do about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from spool import Forecast, Spool, SpoolStatus, Stream, StreamState
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, command_line, json_option, open_spool, plain_errors, spool_option
from uploader.cli.orphans import OPEN_STAYS, Producer, orphan_concerns, producers
from uploader.cli.streams import as_object
from uploader.cli.troubles import Concern, concerns, is_paused
from uploader.room import Fill, fill_of

_SHOWN_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What is shown: the spool, the streams asked about, and who delivers.

    Attributes:
        forecast: of the whole spool, whichever streams are shown.
        workers: by destination of an unfinished stream, whether a worker drains it.
        recording: whether some process has the spool open for pushing.
        producers: by stream_id of an open stream.
    """

    spool: SpoolStatus
    forecast: Forecast
    streams: tuple[Stream, ...]
    workers: dict[str, bool]
    recording: bool
    producers: dict[str, Producer]

    @property
    def waiting(self) -> int:
        """How many chunks wait."""
        return sum(stream.tally.spooled for stream in self.streams)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes they have."""
        return sum(stream.tally.waiting_bytes for stream in self.streams)

    @property
    def waiting_s(self) -> float:
        """How much recording waits; a chunk that was cut short counts as a whole one."""
        return sum(s.tally.spooled * s.settings.chunk_size / s.settings.fps for s in self.streams)

    @property
    def concerns(self) -> list[tuple[Stream | None, Concern]]:
        """What a person should know, of a stream or of the whole."""
        found: list[tuple[Stream | None, Concern]] = [
            (s, one) for s in self.streams for one in concerns(s, self.spool.root)
        ]
        found += [(None, one) for one in (*self._without_room(), *self._undelivered())]
        return [*found, *self.orphans]

    @property
    def orphans(self) -> list[tuple[Stream | None, Concern]]:
        """The streams whose producer is gone."""
        return [
            (s, one)
            for s in self.streams
            for one in orphan_concerns(s, self.producers.get(s.stream_id), self.spool.root)
        ]

    def _without_room(self) -> list[Concern]:
        """A spool that refuses chunks, or will soon."""
        if fill_of(self.forecast) < Fill.ALMOST_FULL and self.forecast.room_bytes:
            return []
        left = self.forecast.room_bytes
        return [
            Concern(
                words=f"the spool is {'almost full' if left else 'full: chunks are refused'}",
                advice="What is delivered makes room by itself. If that will not be in time, free disk space or"
                " raise the limit; what is spooled stays.",
                needs_person=True,
            )
        ]

    def _undelivered(self) -> list[Concern]:
        """Work without anybody to do it. A living producer starts a worker by itself."""
        if self.recording:
            return []
        idle = [
            url
            for url, running in self.workers.items()
            if not running and any(_has_work(s) for s in self.streams if s.settings.destination == url)
        ]
        return [
            Concern(
                words=f"nobody delivers to {url}",
                advice="Start a worker:",
                command=command_line(self.spool.root, "worker", "--endpoint", url),
                needs_person=True,
            )
            for url in idle
        ]


@click.command()
@click.argument("stream", required=False)
@spool_option
@json_option
@click.option(
    "--watch", "watches", is_flag=True, help="Keep it up to date until Ctrl-C; in a log, say what changes."
)
@plain_errors
def command(stream: str | None, spool_dir: Path | None, *, as_json: bool, watches: bool) -> None:
    """Say how the spool is doing, or one STREAM of it.

    Exits with 1 if something needs a person: a parked chunk, a held stream, a refused key, or work that no
    worker does; with --watch, if it does so at the end.
    """
    with open_spool(spool_dir) as spool:
        only = None if stream is None else spool.find(stream)
        if watches:
            from uploader.cli.status_watch import watch  # noqa: PLC0415 - who does not watch need not wait for it

            view = watch(spool, None if only is None else only.stream_id, as_json=as_json)
        else:
            view = look(spool, only)
    if watches:
        pass  # it was shown
    elif as_json:
        screen.print_json(as_json_object(view))
    else:
        for line in _lines(view):
            screen.say(line)
    if any(one.needs_person for _, one in view.concerns):
        raise SystemExit(BAD_NEWS)


def look(spool: Spool, only: Stream | None) -> View:
    """The spool at this moment, or one stream of it."""
    status = spool.status()
    streams = status.streams if only is None else (only,)
    urls = dict.fromkeys(s.settings.destination for s in streams if s.state is not StreamState.FINALIZED)
    return View(
        spool=status,
        forecast=spool.forecast(),
        streams=streams,
        workers={url: _is_served(spool, url, streams) for url in urls},
        recording=spool.has_live_producers(),
        producers=producers(spool, streams),
    )


def _is_served(spool: Spool, url: str, streams: tuple[Stream, ...]) -> bool:
    paused = (is_paused(s) for s in streams if s.settings.destination == url)
    return spool.worker_lock(url).is_held_elsewhere() or any(paused)


def _has_work(stream: Stream) -> bool:
    if stream.held is not None:
        return False
    return stream.tally.spooled > 0 or (stream.state is StreamState.SEALED and not stream.tally.parked)


def as_json_object(view: View) -> dict[str, Any]:
    """The same for machines."""
    return {
        "spool": str(view.spool.root),
        "used_bytes": view.spool.used_bytes,
        "free_bytes": view.spool.free_bytes,
        "max_bytes": view.spool.limits.max_bytes,
        "min_free_bytes": view.spool.limits.min_free_bytes,
        "forecast": {
            "rate_in_bytes_per_s": round(view.forecast.rate_in_bytes_per_s),
            "rate_out_bytes_per_s": round(view.forecast.rate_out_bytes_per_s),
            "room_bytes": view.forecast.room_bytes,
            "full_in_s": None if view.forecast.full_in_s is None else round(view.forecast.full_in_s, 1),
        },
        "recording": view.recording,
        "workers": [{"destination": url, "running": running} for url, running in view.workers.items()],
        "backlog": {
            "chunks": view.waiting,
            "bytes": view.waiting_bytes,
            "minutes": round(view.waiting_s / 60, 2),
        },
        "needs_person": any(one.needs_person for _, one in view.concerns),
        "concerns": [
            {
                "stream_id": stream.stream_id if stream is not None else None,
                "words": one.words,
                "advice": one.advice,
                "command": one.command,
                "needs_person": one.needs_person,
            }
            for stream, one in view.concerns
        ],
        "streams": [as_object(stream, view.producers.get(stream.stream_id)) for stream in view.streams],
    }


def _lines(view: View) -> list[str]:
    backlog = "empty: everything is delivered"
    if view.waiting:
        backlog = (
            f"{words.count(view.waiting, 'chunk')}, {words.size(view.waiting_bytes)}, "
            f"about {words.duration(view.waiting_s)} of recording"
        )
    lines = [
        _fact("Spool", str(view.spool.root)),
        _fact("Disk", f"{words.size(view.spool.used_bytes)} used, {words.size(view.spool.free_bytes)} free"),
        _fact("Room", room_words(view.forecast)),
        _fact("Recording", "yes, a process has the spool open" if view.recording else "no"),
        *(_fact("Worker", f"{_running(running)} for {url}") for url, running in view.workers.items()),
        _fact("Backlog", backlog),
    ]
    if view.streams:
        lines += ["", *_stream_lines(view)]
    for stream, one in view.concerns[:_SHOWN_MAX]:
        lines += ["", *_concern_lines(stream, one)]
    if len(view.concerns) > _SHOWN_MAX:
        lines += ["", f"... and {len(view.concerns) - _SHOWN_MAX:,} more: framespool streams"]
    return [*lines, "", verdict(view)]


def _fact(name: str, text: str) -> str:
    return f"{screen.bold(f'{name:10}')} {text}"


def room_words(forecast: Forecast) -> str:
    """How much can still be recorded, and how long that lasts."""
    left = words.size(forecast.room_bytes)
    fill = fill_of(forecast)
    colour = {Fill.FILLING: "wait", Fill.ALMOST_FULL: "bad"}.get(fill)
    came, went = words.size(round(forecast.rate_in_bytes_per_s)), words.size(round(forecast.rate_out_bytes_per_s))
    if not forecast.room_bytes:
        text = "none left: chunks are refused until something is delivered"
    elif not forecast.rate_in_bytes_per_s:
        # A producer that waits for room looks like none at all.
        text = f"{left}; {'almost full' if fill is Fill.ALMOST_FULL else 'nothing is coming in'}"
    elif forecast.full_in_s is None:
        text = f"{left}, not filling: {came}/s in, {went}/s out"
    else:
        going = f", {went}/s out" if forecast.rate_out_bytes_per_s else ""
        text = f"{left}, full in {words.duration(forecast.full_in_s)} at {came}/s in{going}"
    return screen.painted(text, colour) if colour else text


def _running(running: bool) -> str:
    return screen.painted("running", "good") if running else "none"


def _stream_lines(view: View) -> list[str]:
    shown = [s for s in view.streams if s.state is not StreamState.FINALIZED or len(view.streams) == 1]
    finished = len(view.streams) - len(shown)
    lines = [_progress(stream) for stream in shown[:_SHOWN_MAX]]
    if len(shown) > _SHOWN_MAX:
        lines.append(f"... and {len(shown) - _SHOWN_MAX:,} more: framespool streams")
    if finished:
        lines.append(screen.painted(f"{words.count(finished, 'stream')} finalized: framespool streams", "dim"))
    return lines


def _progress(stream: Stream) -> str:
    """One line: the stream's id, a bar of what is delivered, and the numbers."""
    tally = stream.tally
    wanted = tally.pushed - tally.discarded
    filled = 10 * tally.acknowledged // wanted if wanted else 0
    bar = "#" * filled + "." * (10 - filled)
    text = f"{tally.acknowledged}/{wanted} delivered, {stream.state.value}"
    room = screen.width() - len(stream.stream_id) - len(bar) - len(text) - 6
    name = words.cut(words.printable(stream.settings.name), room) if room > 3 else ""  # noqa: PLR2004 - or nothing
    return f"{stream.stream_id} [{screen.painted(bar, 'good')}] {text}  {name}".rstrip()


def _concern_lines(stream: Stream | None, one: Concern) -> list[str]:
    mark, meaning = ("!", "bad") if one.needs_person else ("~", "wait")
    where = f"{words.cut(words.printable(stream.settings.name), 30)}: " if stream is not None else ""
    room = screen.width() - 2
    told = words.wrapped(f"{where}{one.words}", room, indent="  ")
    return [
        *(screen.painted(f"{mark if k == 0 else ' '} {line}", meaning) for k, line in enumerate(told)),
        *(f"  {line}" for line in words.wrapped(one.advice, room)),
        *([f"  {one.command}"] if one.command is not None else []),
    ]


def verdict(view: View) -> str:
    """What it amounts to, in a sentence."""
    needed = sum(one.needs_person for _, one in view.concerns)
    if needed:
        return screen.painted(f"{words.count(needed, 'thing needs', 'things need')} a person.", "bad")
    if view.orphans:
        return screen.painted(OPEN_STAYS, "wait")
    if view.concerns:
        return screen.painted("Nothing is lost and nothing is to be done: delivery goes on by itself.", "wait")
    if view.waiting:
        return screen.painted("All is well: delivering.", "good")
    return screen.painted("All is well.", "good")
