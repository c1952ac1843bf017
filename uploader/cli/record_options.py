"""How ``framespool record`` is told to take frames, gathered into one value."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import click

from uploader.cli.common import NumberRange
from uploader.cli.stream_options import Wishes
from uploader.durations import EXAMPLES, duration
from uploader.grabbing.assembler import DEFAULT_CHUNK_S, DEFAULT_RING_BYTES
from uploader.sources.live import Wanted

_MIB = 1024 * 1024
_REGION_NUMBERS = 4

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """What was asked for.

    Attributes:
        settings: the device's own, ``NAME=VALUE``.
        region: ``X,Y,WIDTH,HEIGHT``.
        binning: so many pixels become one, each way.
        for_s: how long to record, seconds; ``None`` until somebody ends it.
        chunk_s: the longest time from a chunk's first frame to the disk.
        buffer_mib: room for frames in memory.
        go_on: a stream that was left open goes on, if it is of the same source.
    """

    settings: tuple[str, ...]
    region: str | None
    binning: int | None
    for_s: float | None
    chunk_s: float
    buffer_mib: int
    go_on: bool

    @property
    def is_for_a_device(self) -> bool:
        """Whether something was asked for that only a device can do."""
        return bool(self.settings) or self.region is not None or self.binning is not None

    @property
    def buffer_bytes(self) -> int:
        """Room for frames in memory."""
        return self.buffer_mib * _MIB

    def wanted(self, wishes: Wishes) -> Wanted:
        """The same as a live source takes it.

        Raises:
            click.UsageError: something is no setting, or no region.
        """
        return Wanted(
            fps=wishes.fps,
            region=None if self.region is None else _region(self.region),
            binning=self.binning,
            scaling=wishes.read_scaling(),
            settings=dict(map(_setting, self.settings)),
        )


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name.strip() or not equals:
        raise click.UsageError(f"--set is {text!r}, not NAME=VALUE such as ExposureTime=8000")
    return name.strip(), value.strip()


def _region(text: str) -> tuple[int, int, int, int]:
    numbers = text.replace(" ", "").split(",")
    if len(numbers) != _REGION_NUMBERS or not all(one.isascii() and one.isdigit() for one in numbers):
        raise click.UsageError(f"--region is {text!r}, not X,Y,WIDTH,HEIGHT in pixels such as 128,0,512,480")
    x, y, width, height = map(int, numbers)
    if not width or not height:
        raise click.UsageError(f"--region is {text!r}, which has no pixels")
    return x, y, width, height


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(f"it {error}") from error


_OPTIONS = (
    click.option(
        "--for",
        "for_s",
        metavar="DURATION",
        callback=_seconds,
        help=f"How long: {EXAMPLES}.  [default: until Ctrl-C]",
    ),
    click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the device, by its own name; may be given several times.",
    ),
    click.option(
        "--region", metavar="X,Y,W,H", help="The part of the sensor, in pixels.  [default: as it is set]"
    ),
    click.option("--binning", type=click.IntRange(min=1), help="So many pixels become one, each way."),
    click.option(
        "--go-on/--anew",
        "go_on",
        default=False,
        help="Go on with the stream of the same source that was left open, with its own settings; where there is"
        " none, begin one with those given here. For services.",
    ),
    click.option(
        "--chunk-time",
        "chunk_s",
        type=NumberRange(min=0.1),
        default=DEFAULT_CHUNK_S,
        show_default=True,
        metavar="SECONDS",
        help="A frame is on the disk after so long, however slowly others follow.",
    ),
    click.option(
        "--buffer",
        "buffer_mib",
        type=click.IntRange(min=1),
        default=DEFAULT_RING_BYTES // _MIB,
        show_default=True,
        metavar="MIB",
        help="Room for frames in memory while the disk is slow; what finds none is lost, and told.",
    ),
)


def taking_options(function: _F) -> _F:
    """Add these options; the command gets them as ``taking``."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any command
        names = Taking.__dataclass_fields__
        return function(*args, taking=Taking(**{name: kwargs.pop(name) for name in names}), **kwargs)

    wrapped: Callable[..., Any] = run
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return cast("_F", wrapped)
