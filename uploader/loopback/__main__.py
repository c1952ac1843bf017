"""`python -m uploader.loopback --root DIR`: run the loopback ingest server."""

import ipaddress
import math
import sys
from pathlib import Path
from typing import Final

import click
from filelock import FileLock, Timeout

KEY_VARIABLE: Final = "FRAMESPOOL_LOOPBACK_KEY"
DEFAULT_KEY: Final = "loopback-key"
_EXTRA: Final = frozenset({"starlette", "uvicorn"})


def _loopback(_context: click.Context, _parameter: click.Parameter, host: str) -> str:
    """The address of a host that only this machine can reach."""
    address = "127.0.0.1" if host == "localhost" else host
    try:
        allowed = ipaddress.ip_address(address).is_loopback
    except ValueError:
        allowed = False
    if not allowed:
        raise click.BadParameter("only loopback addresses, such as 127.0.0.1, ::1 or localhost")
    return address


def _duration(_context: click.Context, _parameter: click.Parameter, seconds: float) -> float:
    if math.isnan(seconds) or seconds < 0:
        raise click.BadParameter("not negative, please")
    return seconds


@click.command(context_settings={"show_default": True})
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where everything is kept.",
)
@click.option("--host", default="127.0.0.1", callback=_loopback, help="A loopback address.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="0 chooses a free one.")
@click.option(
    "--api-key", envvar=KEY_VARIABLE, default=DEFAULT_KEY, show_envvar=True, help="The key clients must send."
)
@click.option(
    "--silence-s", default=7200.0, callback=_duration, help="A stream without data for so long is an error."
)
@click.option(
    "--analysis-s", default=0.0, callback=_duration, help="So long after its first chunk a stream cannot end."
)
@click.option("--url-expiry-s", default=900.0, callback=_duration, help="How long an upload URL is good for.")
@click.option(
    "--ready-file", type=click.Path(dir_okay=False, path_type=Path), help="Gets URL and pid as JSON once up."
)
@click.option("--until-stdin-closes", is_flag=True, help="Stop when stdin ends, so as not to outlive a parent.")
def main(
    root: Path,
    host: str,
    port: int,
    api_key: str,
    silence_s: float,
    analysis_s: float,
    url_expiry_s: float,
    ready_file: Path | None,
    until_stdin_closes: bool,
) -> None:
    """Run a stand-in for the vendor's ingest server on this machine and print its base URL."""
    try:
        from uploader.loopback.app import build_app  # noqa: PLC0415 - the extra may be missing, which is said below
        from uploader.loopback.ingest import Terms  # noqa: PLC0415 - as above
        from uploader.loopback.serving import bind, serve  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        click.echo('The loopback server needs two more packages: pip install "framespool[demo]"', err=True)
        sys.exit(2)
    root.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(root / "server.lock", timeout=0):
            terms = Terms(
                root=root,
                api_key=api_key,
                silence_s=silence_s,
                analysis_s=analysis_s,
                url_expiry_s=url_expiry_s,
            )
            app = build_app(terms)
            listener = bind(host, port)
            serve(
                app,
                listener,
                announce=click.echo,
                ready_file=ready_file,
                until_stdin_closes=until_stdin_closes,
            )
    except Timeout:
        click.echo(f"Another loopback server is using {root}.", err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"Cannot serve on {host}, port {port}: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
