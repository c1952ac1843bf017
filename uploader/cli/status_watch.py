"""``framespool status --watch``: the spool at a glance, kept up to date.

On a terminal in place, as many streams as fit, the most urgent first. Elsewhere a line for each stream that is
not over, when something turns and once a minute: no escape codes, nothing that moves. With ``--json`` an object a
line.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spool import Outage, Spool, SpoolError, Stream, StreamState, outages_of
from uploader.cli import screen, words
from uploader.cli.audit_view import MARKS
from uploader.cli.status import View, as_json_object, look, room_words, verdict
from uploader.cli.strip import legend, strip
from uploader.cli.troubles import concerns, in_brief

_EVERY_S = 1.0
_LINES_EVERY_S = 60.0
_NARROW_NAME = 24
_ROOMY_LINES = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A stream as it is shown.

    Attributes:
        stream: as the index has it.
        rate_in: bytes a second that recording adds; ``rate_out`` that deliveries free.
        outage: the one that goes on, if one does.
        marks: its chunks, and how many each mark stands for.
    """

    stream: Stream
    rate_in: float
    rate_out: float
    outage: Outage | None
    marks: tuple[str, int]

    @property
    def drained_in_s(self) -> float | None:
        """When nothing waits any more, if it goes on like this; ``None`` when it is not getting less."""
        left = self.stream.tally.waiting_bytes
        falling = self.rate_out - self.rate_in
        return left / falling if left and falling > 0 else None


class Watch:
    """Looks at a spool again and again.

    Args:
        spool: an open spool; only read.
        ref: one stream of it, or ``None`` for all.
    """

    def __init__(self, spool: Spool, ref: str | None) -> None:
        self._spool = spool
        self._ref = ref
        self._outages: dict[str, Outage] = {}

    def look(self, width: int) -> tuple[View, list[Row]]:
        """The spool at this moment, and its unfinished streams, the most urgent first."""
        view = look(self._spool, None if self._ref is None else self._spool.stream(self._ref))
        shown = [s for s in view.streams if s.state is not StreamState.FINALIZED or self._ref is not None]
        shown.sort(key=lambda s: (_urgency(s, view), s.created_at_ms))
        return view, [self._row(s, view, width) for s in shown]

    def _row(self, stream: Stream, view: View, width: int) -> Row:
        rate_in, rate_out = self._spool.rates(stream.stream_id)
        has_worker = view.workers.get(stream.settings.destination, False)
        is_sending = has_worker and stream.trouble is None and stream.held is None
        return Row(
            stream=stream,
            rate_in=rate_in,
            rate_out=rate_out,
            outage=self._outage(stream),
            marks=strip(self._spool, stream, width, is_sending=is_sending),
        )

    def _outage(self, stream: Stream) -> Outage | None:
        """Read once for each outage: it goes through the stream's rows."""
        if stream.trouble is None or stream.state is StreamState.FINALIZED:
            self._outages.pop(stream.stream_id, None)
            return None
        if stream.stream_id not in self._outages:
            found = outages_of(self._spool, stream.stream_id)
            if not found or found[-1].ended_at_ms is not None:
                return None
            self._outages[stream.stream_id] = found[-1]
        return self._outages[stream.stream_id]


def watch(spool: Spool, ref: str | None, *, as_json: bool) -> View:
    """Show it until an interrupt; the view that was shown last."""
    watching = Watch(spool, ref)
    if as_json:
        return _until_interrupted(watching, _print_json, _EVERY_S)
    if screen.is_terminal():
        return _in_place(watching)
    return _until_interrupted(watching, _Lines().show, _EVERY_S)


def screen_lines(view: View, rows: list[Row], *, width: int, height: int, now_ms: int) -> list[str]:
    """What a terminal of that size shows.

    Args:
        view: the spool.
        rows: its streams, the most urgent first.
        width: columns.
        height: lines.
        now_ms: the time, milliseconds UTC.
    """
    title, room_left, backlog, recording, blank = _head(view, width, now_ms)
    lines = [title, room_left, backlog, recording, blank] if height >= _ROOMY_LINES else [title, backlog, blank]
    foot = [screen.cut_painted(verdict(view), width)]
    room = height - len(lines) - len(foot) - 2
    used, shown, seen = 0, 0, ""
    for row in rows:
        told = _stream_lines(row, view.spool.root, width, now_ms)
        if used + len(told) > room:
            break
        lines += told
        used, shown, seen = used + len(told), shown + 1, seen + row.marks[0]
    if shown < len(rows):
        lines.append(screen.painted(f"... and {words.count(len(rows) - shown, 'more stream')}", "dim"))
    elif seen and used < room:
        lines.append(screen.painted(words.cut(legend(seen), width), "dim"))
    if not rows:
        lines.append("No stream is open, and everything is delivered.")
    return [*lines[: height - 2], "", *foot]


def _urgency(stream: Stream, view: View) -> int:
    needs = [one.needs_person for one in concerns(stream, view.spool.root)]
    if any(needs):
        return 0
    producer = view.producers.get(stream.stream_id)
    if needs or stream.trouble is not None:
        return 1
    return 2 if (producer is not None and producer.is_live) or stream.tally.spooled else 3


def _head(view: View, width: int, now_ms: int) -> list[str]:
    clock = words.moment(now_ms, "%H:%M:%S UTC")
    title = words.cut(f"framespool {view.spool.root}", width - len(clock) - 1)
    backlog = "empty"
    if view.waiting:
        backlog = f"{words.count(view.waiting, 'chunk')}, {words.size(view.waiting_bytes)}"
        backlog += f", {words.duration(view.waiting_s)} of recording{_drained(view)}"
    running = sum(view.workers.values())
    workers = f"{running} of {len(view.workers)} running" if len(view.workers) > 1 else _yes(running > 0)
    recording = "yes" if view.recording else "no"
    return [
        f"{screen.bold(title)}{' ' * (width - len(title) - len(clock))}{clock}",
        screen.cut_painted(f"Room       {room_words(view.forecast)}", width),
        words.cut(f"Backlog    {backlog}", width),
        words.cut(f"Recording  {recording}   worker {workers}", width),
        "",
    ]


def _yes(running: bool) -> str:
    return "running" if running else "none"


def _drained(view: View) -> str:
    falling = view.forecast.rate_out_bytes_per_s - view.forecast.rate_in_bytes_per_s
    if falling <= 0:
        return ", not getting less"
    return f", gone in {words.duration(view.waiting_bytes / falling)}"


def _stream_lines(row: Row, root: Path, width: int, now_ms: int) -> list[str]:
    """Three lines for each: who it is, how it goes or what is wrong, and its chunks."""
    stream, tally = row.stream, row.stream.tally
    numbers = f"{tally.acknowledged:,}/{tally.pushed - tally.discarded:,} {stream.state.value}"
    name = words.cut(_name(stream), max(_NARROW_NAME, width - len(numbers) - 2))
    head = f"{screen.bold(name)}{' ' * max(1, width - len(name) - len(numbers))}{numbers}"
    marks, several = row.marks
    painted = "".join(screen.painted(mark, MARKS[mark][1]) if mark in MARKS else mark for mark in marks)
    each = f" x{several:,}" if several > 1 else ""
    text, meaning = how_it_goes(row, root, now_ms)
    said = words.cut(f"  {text}", width)
    return [
        head,
        screen.painted(said, meaning) if meaning else said,
        f"  [{painted}]{each}" if marks else "  nothing recorded yet",
    ]


def how_it_goes(row: Row, root: Path, now_ms: int) -> tuple[str, str | None]:
    """In plain words, and their colour; what is wrong comes first, with what to do."""
    stream = row.stream
    found = concerns(stream, root)
    needing = next((one for one in found if one.needs_person), None)
    if stream.trouble is not None and stream.state is not StreamState.FINALIZED and stream.held is None:
        since = "" if row.outage is None else f" for {words.duration((now_ms - row.outage.began_at_ms) / 1000)}"
        waits = f"{words.count(stream.tally.spooled, 'chunk')} safe here"
        text = f"{in_brief(stream.trouble)}{since}, {waits}"
        return (f"{text}; it tries again", "wait") if needing is None else (f"{text}; {needing.advice}", "bad")
    if needing is not None:
        return f"{needing.words}: {needing.command or needing.advice}", "bad"
    return _rates(row), None


def _rates(row: Row) -> str:
    came, went = words.size(round(row.rate_in)), words.size(round(row.rate_out))
    parts = [f"in {came}/s, out {went}/s"] if row.rate_in or row.rate_out else []
    if waiting := row.stream.tally.spooled:
        settings = row.stream.settings
        lasting = words.duration(waiting * settings.chunk_size / settings.fps)
        parts.append(f"{words.count(waiting, 'chunk')} ({lasting}) waiting")
        if row.drained_in_s is not None:
            parts.append(f"gone in {words.duration(row.drained_in_s)}")
    return ", ".join(parts) or ("all is delivered" if row.stream.tally.pushed else "no chunk yet")


def _name(stream: Stream) -> str:
    is_one_of_several = bool(stream.settings.copy_of or stream.settings.copies)
    where = f" to {stream.settings.destination}" if is_one_of_several else ""
    return words.printable(f"{stream.settings.name}{where}")


class _Lines:
    """For a log: a line for each stream when something about it turns, and now and then."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[object, float]] = {}

    def show(self, view: View, rows: list[Row], now_ms: int) -> None:
        for row in rows:
            stream = row.stream
            turn = (stream.state, stream.held, stream.tally.parked, stream.trouble and in_brief(stream.trouble))
            before, said_s = self._said.get(stream.stream_id, (None, 0.0))
            if turn != before or time.monotonic() - said_s >= _LINES_EVERY_S:
                self._said[stream.stream_id] = turn, time.monotonic()
                text, _ = how_it_goes(row, view.spool.root, now_ms)
                tally = stream.tally
                done = f"{tally.acknowledged:,}/{tally.pushed - tally.discarded:,}"
                screen.say(f"{words.moment(now_ms)} {_name(stream)} {done} {stream.state.value}: {text}")
        sys.stdout.flush()


def _print_json(view: View, rows: list[Row], now_ms: int) -> None:
    more: dict[str, Any] = {
        row.stream.stream_id: {
            "rate_in_bytes_per_s": round(row.rate_in),
            "rate_out_bytes_per_s": round(row.rate_out),
            "drained_in_s": row.drained_in_s,
            "outage_began_at_ms": None if row.outage is None else row.outage.began_at_ms,
        }
        for row in rows
    }
    told = as_json_object(view)
    told["streams"] = [one | more.get(one["stream_id"], {}) for one in told["streams"]]
    screen.say(json.dumps({"at_ms": now_ms, **told}, allow_nan=False))
    sys.stdout.flush()


def _until_interrupted(
    watching: Watch, show: Callable[[View, list[Row], int], None], every_s: float, *, width: int = 60
) -> View:
    view = None
    while True:
        try:
            try:
                view, rows = watching.look(width)
            except SpoolError as error:
                screen.say(f"{error}. Looking again.", err=True)
            else:
                show(view, rows, time.time_ns() // 1_000_000)
            time.sleep(every_s)
        except KeyboardInterrupt:
            if view is None:
                raise
            return view


def _in_place(watching: Watch) -> View:
    from rich.live import Live  # noqa: PLC0415 - only who watches on a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    encoding = sys.stdout.encoding or "utf-8"
    console = screen.console(sys.stdout)

    with Live(console=console, auto_refresh=False, screen=True, vertical_overflow="crop") as live:

        def show(view: View, rows: list[Row], now_ms: int) -> None:
            columns, height = shutil.get_terminal_size((80, 24))
            # The last column stays free: some consoles break the line there.
            lines = screen_lines(view, rows, width=columns - 1, height=height - 1, now_ms=now_ms)
            text = "\n".join(lines).encode(encoding, "replace").decode(encoding)
            live.update(Text.from_ansi(text, no_wrap=True, overflow="crop"), refresh=True)

        view = _until_interrupted(watching, show, _EVERY_S, width=shutil.get_terminal_size((80, 24)).columns - 12)
    for line in screen_lines(view, watching.look(60)[1], width=screen.width() - 1, height=24, now_ms=_now_ms()):
        screen.say(line)
    return view


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
