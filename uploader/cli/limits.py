"""The disk limits as options, for the commands that record or deliver."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import click

from spool import DEFAULT_MIN_FREE_BYTES, DEFAULT_RETENTION_S, Limits

_F = TypeVar("_F", bound=Callable[..., Any])


def limit_options(function: _F) -> _F:
    """Add ``--max-bytes``, ``--min-free-bytes`` and ``--retention-s``; the command gets ``limits``."""

    @click.option("--max-bytes", type=click.IntRange(min=0), help="The most that shards may occupy on disk.")
    @click.option(
        "--min-free-bytes",
        type=click.IntRange(min=0),
        default=DEFAULT_MIN_FREE_BYTES,
        show_default=True,
        help="What stays free on the disk for everybody else.",
    )
    @click.option(
        "--retention-s",
        default=str(DEFAULT_RETENTION_S),
        show_default=True,
        metavar="SECONDS|never",
        help="How long acknowledged chunks are kept; 'never' deletes none unless the disk presses.",
    )
    @functools.wraps(function)
    def run(
        *args: Any,  # noqa: ANN401 - any command
        max_bytes: int | None,
        min_free_bytes: int,
        retention_s: str,
        **kwargs: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        try:
            seconds = math.inf if retention_s == "never" else float(retention_s)
            limits = Limits(
                max_bytes=max_bytes,
                min_free_bytes=min_free_bytes,
                retention_s=None if math.isinf(seconds) and seconds > 0 else seconds,
            )
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--retention-s") from error
        return function(*args, limits=limits, **kwargs)

    return run  # type: ignore[return-value] # click reads the options, not the signature
