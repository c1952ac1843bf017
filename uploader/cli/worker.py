"""``framespool worker``: deliver what the spool holds."""

import logging
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import click

from spool import Limits, Stream
from uploader import config
from uploader.cli.common import BAD_NEWS, fail, open_spool, plain_errors, spool_option
from uploader.cli.limits import limit_options
from uploader.cli.sharing import max_rate_option, streams_at_once_option
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.rate import UNLIMITED, Meter, Schedule
from uploader.verbosity import set_verbosity
from uploader.worker import Until, UploadWorker


@click.command()
@spool_option
@click.option("--endpoint", help="The server's base URL.  [default: AS_API_ENDPOINT, then the vendor's]")
@click.option("--once", is_flag=True, help="End as soon as nothing is left to deliver.")
@click.option("--until", type=click.Choice([one.value for one in Until]), default=Until.STOPPED.value, hidden=True)
@click.option("--verbosity", type=click.IntRange(0, 4), default=3, show_default=True, help="How much to tell.")
@limit_options
@max_rate_option
@streams_at_once_option
@plain_errors
def command(
    spool_dir: Path | None,
    endpoint: str | None,
    until: str,
    verbosity: int,
    limits: Limits,
    max_rate: Schedule | None,
    streams_at_once: int,
    *,
    once: bool,
) -> None:
    """Deliver what the spool holds, in order, for as long as it takes.

    The API key comes from AS_API_KEY. Stop it with Ctrl-C or SIGTERM: uploads under way get five seconds, and
    what was not acknowledged is sent again by the next worker.
    """
    set_verbosity(verbosity)
    key, url = config.api_key(), config.endpoint(endpoint)
    with open_spool(spool_dir, limits=limits, create=True) as spool:
        meter = Meter(max_rate or UNLIMITED, uploads_max=streams_at_once)
        worker = UploadWorker(
            spool,
            AtomscaleDestination(url, key, meter),
            until=Until.DRY if once else Until(until),
            streams_at_once=streams_at_once,
            meter=meter,
        )
        _stop_on_signals(worker)
        if not worker.run():
            fail("another worker delivers this spool already", "Nothing to do: it carries on.", code=BAD_NEWS)
        if once and _anything_left(spool.streams(unfinished_only=True), url):
            fail("not everything could be delivered", "Run 'framespool status' to see what is left and why.")


def _anything_left(streams: Iterable[Stream], url: str) -> bool:
    return any(s.settings.destination == url and (s.tally.spooled or s.tally.parked) for s in streams)


def _stop_on_signals(worker: UploadWorker) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        logging.getLogger(__name__).info("stopping")
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, stop)
