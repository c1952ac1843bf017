"""What ``framespool stream`` can be told, gathered into one value."""

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar, cast, get_args

import click

from spool import Stream
from uploader.cli.common import NumberRange
from uploader.cli.setting_options import setting_options
from uploader.known_settings import OF_SPOOL
from uploader.own_worker import WorkerKind
from uploader.sources import Scaling, Simulator, Source
from uploader.sources.live import LiveSource
from uploader.streamer import FINALIZE_WAIT_S

SECONDS_PER_CHUNK = 2
_CHUNK_FRAMES_MIN = 2
# By their options; a stream that is resumed has them already.
_OF_A_NEW_STREAM = {
    "fps": "fps",
    "chunk_size": "chunk-size",
    "rotations_per_min": "rotations-per-min",
    "name": "name",
    "sample": "sample",
    "project": "project",
    "tags": "tag",
    "azimuth": "azimuth",
    "to": "to",
}

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for; ``None`` where the source or a default decides.

    Attributes:
        paced: frames are taken at ``fps``, instead of as fast as it goes.
        finalize: the stream is ended after its last frame.
        to: the destinations, in place of the server; none for the server.
        resume: the stream to go on with, instead of a new one.
        given: the settings that stand on the command line.
    """

    fps: float | None
    chunk_size: int | None
    rotations_per_min: float | None
    name: str | None
    sample: str | None
    project: str | None
    tags: tuple[str, ...]
    azimuth: str | None
    to: tuple[str, ...]
    scaling: str | None
    resume: str | None
    drain_timeout: float
    worker: WorkerKind
    paced: bool
    finalize: bool
    given: Mapping[str, Any]

    def read_scaling(self) -> Scaling | None:
        """How other pixels become ``uint8``."""
        return None if self.scaling is None else Scaling.parse(self.scaling)

    def rate_of(self, source: Source | LiveSource) -> float:
        """Frames per second, as asked for or as the source says."""
        fps = self.fps if self.fps is not None else source.frame_rate
        if fps is None:
            raise click.UsageError(f"{source.name} does not say how fast its frames come: give --fps")
        return fps

    def chunk_size_at(self, fps: float) -> int:
        """The most frames in a chunk: two seconds of them by default, the least that the server takes."""
        # A damaged file may claim any rate: that it is no rate is for the settings to say.
        return self.chunk_size or max(_CHUNK_FRAMES_MIN, math.ceil(min(SECONDS_PER_CHUNK * fps, sys.maxsize)))

    def going_on_with(self, stream: Stream, copies: Sequence[Stream]) -> Self:
        """The same, for a stream that began with its own settings, and for its copies.

        Raises:
            click.UsageError: other settings were asked for as well, for this very stream.
        """
        own = _OF_A_NEW_STREAM.items()
        given = [f"--{option}" for name, option in own if getattr(self, name) not in (None, ())]
        # Where no stream was named, they are for the new one that there would be otherwise.
        if given and self.resume is not None:
            raise click.UsageError(f"--resume keeps the stream's own settings: leave out {', '.join(given)}")
        settings = stream.settings
        return replace(
            self,
            fps=settings.fps,
            chunk_size=settings.chunk_size,
            to=() if self.given.get("endpoint") else tuple(one.settings.destination for one in (stream, *copies)),
        )

    def rotation_of(self, source: Source) -> float:
        """Rotations per minute, as asked for or as simulated; stationary otherwise."""
        if self.rotations_per_min is not None:
            return self.rotations_per_min
        return source.settings.rotations_per_min if isinstance(source, Simulator) else 0.0


_PACED = click.option(
    "--realtime/--fast", "paced", default=True, help="Take frames at --fps (default), or as fast as it goes."
)
_OPTIONS = (
    click.option(
        "--fps",
        type=NumberRange(min=0, min_open=True),
        help="Frames per second.  [default: as the source says]",
    ),
    click.option(
        "--chunk-size", type=click.IntRange(min=1), help="The most frames in a chunk.  [default: 2 s of them]"
    ),
    click.option(
        "--rotations-per-min", type=NumberRange(min=0), help="Of the sample.  [default: 0, or as simulated]"
    ),
    click.option("--name", help="What people call the stream.  [default: the source's name]"),
    click.option("--sample", help="Physical sample: a name (created when new) or a UUID."),
    click.option("--project", help="Project: a UUID."),
    click.option("--tag", "tags", multiple=True, help="A tag's name or UUID; may be given several times."),
    click.option("--azimuth", help="Azimuth label of a stationary sample."),
    click.option(
        "--to",
        multiple=True,
        metavar="URL",
        help="A folder, or s3://BUCKET/PREFIX, in place of the server. Given several times, each gets"
        " everything; one of them may be the server's URL.",
    ),
    click.option("--scaling", metavar="CHOICE", help="To 8 bits: shift8, shift4 or minmax:LO:HI."),
    click.option(
        "--resume",
        metavar="STREAM",
        help="Go on with a stream whose producer is gone: the frames of SOURCE follow its last chunk.",
    ),
    click.option(
        "--drain-timeout",
        type=NumberRange(min=0),
        default=FINALIZE_WAIT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for delivery at the end; the worker carries on after that.",
    ),
    click.option(
        "--worker",
        type=click.Choice(get_args(WorkerKind)),
        default="process",
        show_default=True,
        help="Who delivers: a process of its own, a thread of this one, or one that you run.",
    ),
    click.option(
        "--finalize/--no-finalize", default=True, help="End the stream after its last frame, or leave it open."
    ),
)


def stream_options(function: _F) -> _F:
    """Add the options of ``stream``; the command gets them as ``wishes``."""
    return _with_options(function, (_PACED, *_OPTIONS), {})


def record_options(function: _F) -> _F:
    """Add those of ``record``, likewise: a live source has its own pace."""
    return _with_options(function, _OPTIONS, {"paced": True})


def _with_options(function: _F, options: Sequence[Callable[..., Any]], fixed: Mapping[str, Any]) -> _F:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any command
        kwargs |= fixed
        names = Wishes.__dataclass_fields__
        wishes = Wishes(**{name: kwargs.pop(name) for name in names})
        return function(*args, wishes=wishes, **kwargs)

    # These gather into ``given``, which belongs to the wishes too.
    wrapped: Callable[..., Any] = setting_options(*OF_SPOOL, "max_rate", "log_json")(run)
    for option in reversed(options):
        wrapped = option(wrapped)
    return cast("_F", wrapped)
