"""Watching a stream while this process records it or waits for its end.

On a terminal: bars that stay in place, and a line in plain words below them. Elsewhere: a plain line every few
seconds, and at once when trouble begins or ends. Everything goes to standard error. What is shown is read from
the index by a thread of its own: recording never waits for it.
"""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from spool import Spool, SpoolError, SpoolFull, Stream, StreamState
from uploader.cli import screen, words
from uploader.cli.troubles import in_brief
from uploader.pace import Pace

_LOOK_S = 0.25
_LINE_EVERY_S = 5.0
_FULL = "the spool is full: recording waits for room, the frames are kept"
_ENDINGS = {
    StreamState.OPEN: "all is delivered",
    StreamState.SEALED: "all is delivered; asking the server to end the stream",
    StreamState.FINALIZED: "finalized",
}


class Watching:
    """Shows one stream until the block ends.

    Args:
        spool: an opening for this thread; only read.
        ref: the stream.
        recording: whether this process records it; set it to false when recording has ended.
        expected_chunks: how many chunks are to be recorded in all; ``None`` when nobody knows.
        more: what else there is to say while it is recorded, as it is at that moment.

    Attributes:
        full_at: how many chunks there were when the spool was found full; ``None`` while it never was.
    """

    def __init__(
        self,
        spool: Spool,
        ref: str,
        *,
        recording: bool = False,
        expected_chunks: int | None = None,
        more: Callable[[], str] | None = None,
    ) -> None:
        self._more = more
        self.recording = recording
        self.full_at: int | None = None
        self._spool = spool
        self._ref = ref
        self._bars = _Bars(recording, expected_chunks) if screen.is_terminal(sys.stderr) else None
        self._lines = _Lines()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, name="framespool-watch", daemon=True)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._bars is not None:
            self._bars.live.stop()

    @property
    def pushed(self) -> int:
        """How many chunks there are now."""
        return self._spool.stream(self._ref).tally.pushed

    def say(self, text: str) -> None:
        """A line above the bars."""
        if self._bars is not None:
            self._bars.live.console.print(Text(text))
        else:
            screen.say(text, err=True)

    def _look(self) -> None:
        is_over, pace, stream = False, Pace(_LOOK_S), None
        while not is_over:
            is_over = self._over.wait(pace.wait_s((stream, self.recording, self.full_at)))
            try:
                stream = self._spool.stream(self._ref)
            except SpoolError:
                continue  # a busy disk is not the watcher's business
            kind, said = _situation(stream, recording=self.recording, is_full=self.full_at == stream.tally.pushed)
            if self.recording and self._more is not None:
                said = f"{said}; {self._more()}" if kind == "trouble" else self._more()
            if self._bars is not None:
                self._bars.show(stream, said, recording=self.recording)
            elif not is_over:
                self._lines.show(stream, kind, said)


@contextmanager
def spoken_warnings(watching: Watching) -> Iterator[None]:
    """Let the warnings of streamer and spool appear above the bars instead of through them.

    Left out is what is shown anyway: what a worker thread says of its trouble and, once recording is over, how
    far the streamer found the stream when it stopped waiting.
    """

    class Spoken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            is_shown = record.name in ("uploader.delivery", "uploader.worker")
            is_ending = record.name == "uploader.streamer" and not watching.recording
            if isinstance(record.args, tuple) and any(isinstance(one, SpoolFull) for one in record.args):
                watching.full_at = watching.pushed
            # Where standard error is for machines, the log itself has the line, with its facts.
            if not is_shown and not is_ending and not screen.says_json():
                watching.say(f"  {words.printable(record.getMessage())}")

    spoken = Spoken(logging.WARNING)
    loggers = [logging.getLogger(name) for name in ("spool", "uploader")]
    for logger in loggers:
        logger.addHandler(spoken)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(spoken)


class _Bars:
    """The view for a terminal."""

    def __init__(self, recording: bool, expected_chunks: int | None) -> None:
        self._expected = expected_chunks
        columns = (
            TextColumn("  {task.description:9}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[told]}"),
        )
        self._progress = Progress(*columns)
        self._recorded = self._progress.add_task("recorded", total=None, told="", visible=recording)
        self._delivered = self._progress.add_task("delivered", total=None, told="")
        self._said = Text("")
        self.live = Live(Group(self._progress, self._said), console=screen.console(sys.stderr), auto_refresh=False)

    def show(self, stream: Stream, said: str, *, recording: bool) -> None:
        tally = stream.tally
        chunks = max(self._expected or 0, tally.pushed) if recording else tally.pushed
        total = None if recording and self._expected is None else chunks
        self._progress.update(self._recorded, completed=tally.pushed, total=total, told=_of(tally.pushed, total))
        self._progress.update(
            self._delivered,
            completed=tally.acknowledged,
            total=max(1, total or tally.pushed),
            told=_of(tally.acknowledged, total or tally.pushed),
        )
        self._said.plain = words.cut(f"  {said}", screen.width() - 1)
        self.live.refresh()


class _Lines:
    """The view for everything that is not a terminal."""

    def __init__(self) -> None:
        self._last_s = float("-inf")
        self._kind = "well"
        self._line = ""

    def show(self, stream: Stream, kind: str, said: str) -> None:
        tally = stream.tally
        line = f"{tally.acknowledged:,} of {words.count(tally.pushed, 'chunk')} delivered: {said}"
        turned = kind != self._kind
        if line != self._line and (turned or time.monotonic() - self._last_s >= _LINE_EVERY_S):
            screen.say(line, err=True)
            self._last_s, self._kind, self._line = time.monotonic(), kind, line


def _of(done: int, total: int | None) -> str:
    return words.count(done, "chunk") if total is None else f"{done:,} of {words.count(total, 'chunk')}"


def _situation(stream: Stream, *, recording: bool, is_full: bool) -> tuple[str, str]:
    """Whether all is ``well`` or there is ``trouble``, and what is happening, in plain words."""
    waiting = words.count(stream.tally.spooled, "chunk")
    wait = "waits" if stream.tally.spooled == 1 else "wait"
    safe = f"{waiting} {wait} safely on disk"
    if stream.held is not None:
        return "trouble", f"nothing is sent, because {words.printable(stream.held)}; {safe}"
    if stream.trouble is not None and stream.state is not StreamState.FINALIZED:
        return "trouble", f"{in_brief(stream.trouble)}; {safe}"
    if recording:
        return ("trouble", _FULL) if is_full else ("well", "recording and delivering")
    if stream.tally.spooled:
        return "well", f"delivering; {safe}"
    if stream.tally.parked:
        return "well", f"{words.count(stream.tally.parked, 'chunk')} parked"
    return "well", _ENDINGS[stream.state]
