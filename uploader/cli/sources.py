"""``framespool sources``: what frames can be taken from here, and what an extra would add."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import click

from uploader.cli import screen, words
from uploader.cli.common import json_option, plain_errors
from uploader.sources.base import SourceError
from uploader.sources.drivers import Found
from uploader.sources.installed import Kind, kinds
from uploader.sources.opening import UNDERSTOOD


@dataclass(frozen=True, slots=True)
class _Seen:
    """A kind of source, tried.

    Attributes:
        kind: which.
        problem: why it cannot be used, although it is installed; likewise when looking for devices failed.
        devices: that are there; ``None`` when nobody looked, or nobody can.
    """

    kind: Kind
    problem: SourceError | None
    devices: list[Found] | None


@click.command()
@click.option(
    "--look", "is_looking", is_flag=True, help="Look which cameras are there; a camera in use may be disturbed."
)
@json_option
@plain_errors
def command(*, is_looking: bool, as_json: bool) -> None:
    """List what frames can be taken from, and what an extra would add.

    Live sources are recorded with 'framespool record KIND:…', recordings with 'framespool stream FILE'. Kinds that
    other packages bring are listed too; one that cannot be imported says why.
    """
    seen = [_tried(one, is_looking=is_looking) for one in kinds()]
    if as_json:
        screen.print_json({"sources": [_object(one) for one in seen], "recordings": UNDERSTOOD})
        return
    screen.say(screen.bold("Live sources"))
    for line in (line for one in seen for line in _lines(one, is_looking=is_looking)):
        screen.say(line)
    screen.say()
    screen.say(screen.bold("Recordings and the simulator"))
    for line in words.wrapped(UNDERSTOOD, screen.width() - 2):
        screen.say(f"  {line}")


def _tried(kind: Kind, *, is_looking: bool) -> _Seen:
    if not kind.is_installed:
        return _Seen(kind, None, None)
    try:
        kind.load()
        return _Seen(kind, None, kind.look() if is_looking else None)
    except SourceError as error:
        return _Seen(kind, error, None)


def _object(seen: _Seen) -> dict[str, object]:
    kind, problem = seen.kind, seen.problem
    return {
        "scheme": kind.scheme,
        "says": kind.says,
        "installed": kind.is_installed,
        "extra": kind.extra,
        "install": None if kind.is_installed else kind.install,
        "opener": kind.opener,
        "problem": None if problem is None else {"words": str(problem), "hint": problem.hint},
        "devices": None if seen.devices is None else [asdict(one) for one in seen.devices],
    }


def _lines(seen: _Seen, *, is_looking: bool) -> Iterator[str]:
    kind, indent = seen.kind, " " * 14
    room = screen.width() - len(indent)
    state, meaning = ("installed", "good") if seen.problem is None else ("cannot be used", "bad")
    if not kind.is_installed:
        state, meaning = "not installed", "dim"
    head = f"  {words.printable(kind.scheme) + ':':<{len(indent) - 3}} "
    said = words.wrapped(f"{words.printable(kind.says)} - {state}", room)
    yield head + screen.painted(said[0], meaning)
    for line in said[1:]:
        yield indent + screen.painted(line, meaning)
    if not kind.is_installed:
        yield f"{indent}{kind.install}"
    if seen.problem is not None:
        for text in (str(seen.problem), seen.problem.hint):
            for line in words.wrapped(words.printable(text), room):
                yield indent + line
    for device in seen.devices or ():
        yield f"{indent}{words.printable(device.name)}  {words.printable(device.says)}"
    if is_looking and seen.devices == []:
        yield f"{indent}no device is there"
