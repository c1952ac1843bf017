"""What every command shares: the spool option, opening the spool, and errors without tracebacks."""

import functools
import math
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from spool import Limits, Spool, SpoolError
from uploader import config
from uploader.cli import screen, words
from uploader.errors import ConfigurationError, UploaderError
from uploader.resolving import every_spool

BAD_NEWS = 1
USAGE = 2

LIMITS = ("max_bytes", "min_free_bytes", "retention_s")

_F = TypeVar("_F", bound=Callable[..., Any])

spool_option = click.option(
    "--spool",
    "spool_dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="The spool folder, or the name of a [[spool]].  "
    "[default: ATOMSCALE_SPOOL_DIR, the configuration file, your data directory]",
)
config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The configuration file.  [default: FRAMESPOOL_CONFIG, config.toml in your configuration directory]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for machines.")


class NumberRange(click.FloatRange):
    """A number within bounds; click's own lets NaN through, which is within none."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """See click."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def fail(message: str, hint: str | None = None, *, code: int = BAD_NEWS) -> NoReturn:
    """Say what happened and what to do next on standard error, and exit."""
    # Both may quote a file's name or a server's words, and a terminal would obey what stands in them.
    screen.say(
        "\n".join(words.printable(line) for line in f"framespool: {message}".splitlines()), err=True, level="error"
    )
    for line in (hint or "").splitlines():
        screen.say(f"  {words.printable(line)}", err=True, level="error")
    raise SystemExit(code)


def plain_errors(function: _F) -> _F:
    """Turn the errors that a person can act on into two lines and an exit code."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any command
        try:
            return function(*args, **kwargs)
        except ConfigurationError as error:
            fail(str(error), error.hint, code=USAGE)
        except (SpoolError, UploaderError) as error:
            fail(str(error), error.hint)
        except BrokenPipeError:  # whoever read has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(BAD_NEWS) from None
        except OSError as error:  # the disk's own words: a name too long, a folder that may not be read
            fail(str(error), "Check the path and its permissions.")
        finally:
            screen.errors_as_json(False)

    return run  # type: ignore[return-value] # the same signature


def open_spool(spool_dir: Path | None, *, limits: Limits | None = None, create: bool = False) -> Spool:
    """The spool that a command works on; a missing one is an error unless ``create``."""
    found = config.spool({"spool_dir": spool_dir})
    if limits is None and any(found.settings[name].origin != "default" for name in LIMITS):
        limits = found.limits  # else those that the producer has noted in the spool
    takes_risk = config.takes_unsafe_file_system()
    return Spool(found.root, limits=limits, create=create, unsafe_file_system=takes_risk)


def command_line(root: Path, *parts: str) -> str:
    """A command to type next, with ``--spool`` where this spool is not the one that is found without it."""
    elsewhere = () if [one.root for one in every_spool(config.sources())] == [root] else ("--spool", str(root))
    return shlex.join(("framespool", *parts, *elsewhere))
