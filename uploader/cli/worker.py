"""``framespool worker``: deliver what the spool holds."""

import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

import click

from spool import Spool, SpoolError
from uploader import config
from uploader.cli import screen
from uploader.cli.common import config_option, plain_errors
from uploader.cli.interrupting import wakes_on_signals
from uploader.cli.setting_options import setting_options
from uploader.delivery import OnClosed
from uploader.destinations.base import Destination
from uploader.destinations.making import keys_for, make_destination
from uploader.drains import Drains, End
from uploader.errors import UploaderError
from uploader.json_log import JsonLines
from uploader.known_settings import SETTINGS
from uploader.log_file import RotatingLog, have_standard_streams
from uploader.outlets import Outlets
from uploader.priority import stand_back
from uploader.rate import Meter, parse_schedule
from uploader.resolving import Sources, SpoolSettings, every_spool, resolve
from uploader.verbosity import log_to, set_verbosity
from uploader.worker import Until, UploadWorker

_log = logging.getLogger(__name__)

_SAYS = {
    End.ELSEWHERE: ("another worker delivers this spool already", "Nothing to do: it carries on."),
    End.LEFT: ("not everything could be delivered", "Run 'framespool status' to see what is left and why."),
    End.FAILED: ("a spool cannot be drained", "The others were; run the worker for this one again."),
}


@click.command()
@click.option(
    "--spool",
    "spools",
    type=click.Path(file_okay=False, path_type=Path),
    multiple=True,
    help="A spool folder, or the name of a [[spool]]; may be given several times.  "
    "[default: ATOMSCALE_SPOOL_DIR, every spool of the configuration file, your data directory]",
)
@config_option
@click.option(
    "--to",
    multiple=True,
    metavar="URL",
    help="Deliver what goes there, in place of the endpoint; may be given several times.",
)
@click.option("--once", is_flag=True, help="End as soon as nothing is left to deliver.")
@click.option("--until", type=click.Choice([one.value for one in Until]), default=Until.STOPPED.value, hidden=True)
@setting_options(*(one.name for one in SETTINGS if one.name != "spool_dir"))
@plain_errors
def command(
    spools: tuple[Path, ...],
    to: tuple[str, ...],
    config_file: Path | None,
    until: str,
    given: Mapping[str, object],
    *,
    once: bool,
) -> None:
    """Deliver what the spools hold, in order, for as long as it takes.

    The API key comes from AS_API_KEY, the key file or the system keyring ('framespool login'); when it is refused,
    a newer one there is taken up. Stop it with Ctrl-C or SIGTERM: uploads under way get five seconds, and what was
    not acknowledged is sent again by the next worker.
    """
    log_file = given["log_file"]
    assert isinstance(log_file, Path | None)
    have_standard_streams(log_file)
    sources = config.sources(given, file=config_file, given_by="flag")
    has_log_file = _begin_log(sources)
    stand_back()
    try:
        _drain(sources, spools, to, Until.DRY if once else Until(until))
    except Exception as error:
        if has_log_file:  # the terminal is told anyway, where there is one
            plain = isinstance(error, SpoolError | UploaderError | OSError)
            _log.error("%s. %s", error, getattr(error, "hint", ""), exc_info=not plain)
        raise


def _begin_log(sources: Sources) -> bool:
    """Log to where the settings say; whether that is a file."""
    path, bytes_max, files_max, verbosity, as_json = (
        resolve(name, sources).value for name in ("log_file", "log_bytes_max", "logs_max", "verbosity", "log_json")
    )
    assert isinstance(verbosity, int)
    formatter: JsonLines | None = None
    if isinstance(path, Path):
        assert isinstance(bytes_max, int)
        assert isinstance(files_max, int)
        log = RotatingLog(path, bytes_max=bytes_max, files_max=files_max)
        if as_json:
            log.setFormatter(JsonLines(bytes_max))
        log_to(log)
    elif as_json:
        formatter = JsonLines()
        screen.errors_as_json(True)
    set_verbosity(verbosity, formatter)
    return path is not None


def _drain(sources: Sources, spools: Sequence[Path], to: Sequence[str], until: Until) -> None:
    found = every_spool(sources, spools)
    if to:
        typed = sources.given.get("also") or ()
        assert isinstance(typed, tuple)
        first, *rest = (str(config.destination(None, one)) for one in (*to, *typed))
        urls = [first, *config.further(first, rest)]
        found = [one.going_to(url) for one in found for url in urls]
    else:
        found = [each for one in found for each in (one, *map(one.going_to, _further(one)))]
    keys = {one.endpoint: keys_for(one.endpoint) for one in found}
    on_closed = OnClosed(str(resolve("on_closed", sources).value))
    orphans_after_s = resolve("finalize_orphans_after", sources).value
    streams_at_once = resolve("streams_at_once", sources).value
    assert isinstance(orphans_after_s, float | None)
    assert isinstance(streams_at_once, int)
    # One line, one limit: whatever several spools send counts together.
    schedule = parse_schedule(str(resolve("max_rate", sources).value))
    meter = Meter(schedule, uploads_max=streams_at_once * len(found))

    def worker(spool: Spool, destination: Destination) -> UploadWorker:
        return UploadWorker(
            spool,
            destination,
            until=until,
            on_closed=on_closed,
            reads_clock=not config.skips_clock(),
            finalize_orphans_after_s=orphans_after_s,
            streams_at_once=streams_at_once,
            meter=meter,
        )

    outlets = Outlets(sources, found)
    drains = Drains(
        found,
        lambda one: outlets.counted(
            one, make_destination(one.endpoint, keys[one.endpoint], meter, layout=one.layout)
        ),
        worker,
        is_once=until is Until.DRY,
        unsafe_file_system=config.takes_unsafe_file_system(),
    )
    _on_signals(drains.stop)
    wakes_on_signals(drains.look)
    with outlets:
        done = drains.run()
    bad = [one for one in done if one.end is not End.STOPPED]
    if len(done) == 1 and bad and bad[0].error is not None:
        raise bad[0].error
    if bad:
        whose = ["" if len(done) == 1 else f"{one.spool.name}: " for one in bad]
        said = [f"{name}{one.error or _SAYS[one.end][0]}" for name, one in zip(whose, bad, strict=True)]
        raise UploaderError("\n".join(said), hint=_SAYS[bad[0].end][1])


def _further(one: SpoolSettings) -> list[str]:
    return config.further(one.endpoint, one.also)


def _on_signals(stop: Callable[[], None]) -> None:
    def asked(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, asked)
    signal.signal(signal.SIGINT, asked)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, asked)
