"""The terminal: whether there is one, how wide it is, and what is safe to print on it.

Escape codes go to a terminal only, whatever the environment says about colours. Text that is not a terminal's
is laid out for 80 columns, or ``COLUMNS``.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

import click

from uploader.json_log import SAID
from uploader.json_log import line as json_line

if TYPE_CHECKING:
    from rich.console import Console

_PIPE_WIDTH = 80
_NARROWEST = 40

COLOURS = {"good": "green", "wait": "yellow", "bad": "red", "dim": "bright_black"}


class _Errors:
    """How standard error is written to."""

    as_json = False


def errors_as_json(wanted: bool) -> None:
    """Whether what is said on standard error is one JSON object a line from now on, as the log is."""
    _Errors.as_json = wanted


def says_json() -> bool:
    """Whether standard error is for machines."""
    return _Errors.as_json


def is_terminal(stream: IO[str] | None = None) -> bool:
    """Whether somebody looks at this stream, standard output by default."""
    if stream is sys.stderr and says_json():
        return False
    return (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """How many columns a line may have."""
    columns = shutil.get_terminal_size((_PIPE_WIDTH, 24)).columns
    return max(_NARROWEST, columns)


def console(stream: IO[str]) -> "Console":
    """A rich console on a stream."""
    from rich.console import Console  # noqa: PLC0415 - most commands print plain lines, and start without rich

    return Console(file=stream, force_terminal=is_terminal(stream), highlight=False, markup=False, emoji=False)


def painted(text: str, meaning: str) -> str:
    """Text in the colour of its meaning, on a terminal that wants colours."""
    if not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=COLOURS[meaning])


def bold(text: str) -> str:
    """Text that stands out on a terminal."""
    return click.style(text, bold=True) if is_terminal() else text


def cut_painted(text: str, columns: int) -> str:
    """A line of at most so many columns; one that is longer loses its colours with its end."""
    plain = click.unstyle(text)
    return text if len(plain) <= columns else plain[: max(0, columns - 2)] + ".."


def say(text: str = "", *, err: bool = False, level: str = "info") -> None:
    """Print a line; characters that the stream cannot show become question marks.

    Args:
        text: the line.
        err: on standard error.
        level: how grave it is, where lines of standard error are JSON.
    """
    if err and says_json():
        if not text.strip():
            return
        text = json_line(SAID, level, click.unstyle(text).strip())
    stream = sys.stderr if err else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding), err=err, color=is_terminal(stream))


def write_all(pieces: Iterable[str], *, at_once: int) -> None:
    """Print a long text while it is made; its first piece at once, then so many pieces at a time.

    Args:
        pieces: with their line ends.
        at_once: how many; a write for each would take longer than making them.
    """
    left = iter(pieces)
    many = 1
    while batch := list(islice(left, many)):
        text = "".join(batch)
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        click.echo(text.encode(encoding, "replace").decode(encoding), nl=False, color=is_terminal())
        many = min(2 * many, at_once)


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error while something takes its time; the block tells it how many bytes of how many."""
    if quiet or not is_terminal(sys.stderr):
        yield lambda _done, _all: None
        return
    from rich.progress import (  # noqa: PLC0415 - see `console`
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, whole: bar.update(task, completed=done, total=whole)


@contextmanager
def counter(what: str, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A count on standard error while something takes its time whose end nobody knows; the block tells it."""
    if quiet or not is_terminal(sys.stderr):
        yield lambda _seen: None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415 - see `console`

    columns = (SpinnerColumn("line"), TextColumn("{task.description} {task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=console(sys.stderr), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda seen: shown.update(task, completed=seen)


def print_json(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print one JSON object: indented where somebody looks, one line where a machine reads."""
    click.echo(json.dumps(value, indent=2 if is_terminal() else None, allow_nan=False))
