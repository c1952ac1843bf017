"""How much of the line a worker may take, as options."""

import click

from uploader.errors import ConfigurationError
from uploader.rate import Schedule, parse_schedule
from uploader.worker import STREAMS_AT_ONCE

STREAMS_AT_ONCE_MAX = 64


def _read(_context: click.Context, _option: click.Parameter, text: str | None) -> Schedule | None:
    try:
        return None if text is None else parse_schedule(text)
    except ConfigurationError as error:
        raise click.BadParameter(f"{error}. {error.hint}") from error


max_rate_option = click.option(
    "--max-rate",
    callback=_read,
    metavar="RATE",
    help="The most that all uploads together may send: 2MB/s, or 2MB/s,18:00-07:00=unlimited.",
)
streams_at_once_option = click.option(
    "--streams-at-once",
    type=click.IntRange(min=1, max=STREAMS_AT_ONCE_MAX),
    default=STREAMS_AT_ONCE,
    show_default=True,
    help="How many streams may be sent side by side; those being recorded go first.",
)
