"""What every command shares: the spool option, opening the spool, and errors without tracebacks."""

import functools
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from spool import Limits, Spool, SpoolError
from uploader import config
from uploader.errors import ConfigurationError, UploaderError
from uploader.sources import SourceError

BAD_NEWS = 1
USAGE = 2

_F = TypeVar("_F", bound=Callable[..., Any])

spool_option = click.option(
    "--spool",
    "spool_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The spool folder.  [default: ATOMSCALE_SPOOL_DIR, then your data directory]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for machines.")


def fail(message: str, hint: str | None = None, *, code: int = BAD_NEWS) -> NoReturn:
    """Say what happened and what to do next on standard error, and exit."""
    click.echo(f"framespool: {message}", err=True)
    if hint:
        click.echo(f"  {hint}", err=True)
    raise SystemExit(code)


def plain_errors(function: _F) -> _F:
    """Turn the errors that a person can act on into two lines and an exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any command
        try:
            return function(*args, **kwargs)
        except ConfigurationError as error:
            fail(str(error), error.hint, code=USAGE)
        except (SpoolError, UploaderError, SourceError) as error:
            fail(str(error), error.hint)

    return run  # type: ignore[return-value] # the same signature


def open_spool(spool_dir: Path | None, *, limits: Limits | None = None, create: bool = False) -> Spool:
    """The spool that a command works on; a missing one is an error unless ``create``."""
    return Spool(config.spool_dir(spool_dir), limits=limits, create=create)


def command_line(root: Path, *parts: str) -> str:
    """A command to type next, with ``--spool`` where this spool is not the one that is found without it."""
    elsewhere = () if config.spool_dir() == root else ("--spool", str(root))
    return shlex.join(("framespool", *parts, *elsewhere))
