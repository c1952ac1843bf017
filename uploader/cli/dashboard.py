"""``framespool dashboard``: the spool as a page that moves, for a browser on this machine."""

import html
import os
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

import uploader
from spool import Spool, audit, make_proof
from uploader.cli import screen
from uploader.cli.audit import page_of
from uploader.cli.common import fail, json_option, open_spool, plain_errors, spool_option
from uploader.cli.status import as_json_object, look
from uploader.priority import stand_back

_EXTRA = frozenset({"starlette", "uvicorn", "anyio"})


@click.command()
@spool_option
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0, the default, chooses a free one.")
@click.option("--open", "opens", is_flag=True, help="Open it in your browser.")
@json_option
@plain_errors
def command(spool_dir: Path | None, *, port: int, opens: bool, as_json: bool) -> None:
    """Show the spool as a page that moves, in a browser on this machine. Ctrl-C ends it.

    The address that is printed lets in whoever has it, as you: also to retry and to discard. It holds as long as
    the dashboard runs. Needs the extra: pip install "framespool[dashboard]".
    """
    try:
        from uploader.dashboard.app import Documents, build_app  # noqa: PLC0415 - the extra may be missing
        from uploader.dashboard.security import ENTER, Secrets  # noqa: PLC0415 - as above
        from uploader.dashboard.serving import HOST, bind, serve  # noqa: PLC0415 - as above
        from uploader.dashboard.watch import Watch  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        fail(
            "the dashboard needs two more packages",
            "Install them: pip install \"framespool[dashboard]\". Without it there are 'framespool status' and"
            " 'framespool audit --html'.",
        )
    with open_spool(spool_dir) as spool:
        try:
            listener = bind(port)
        except OSError as error:
            fail(f"port {port} cannot be had: {error}", "Choose another with --port, or leave it out.")
        held = Secrets()
        address = f"http://{HOST}:{listener.getsockname()[1]}/{held.place}/{ENTER}#{held.token}"
        documents = Documents(audit_page=_audit_page, proof=_proof)
        app, feeds = build_app(Watch(spool, _figures), held, documents)

        with _opener(address) if opens else _nothing() as opener:

            def announce() -> None:
                if as_json:
                    screen.print_json({"url": address, "spool": str(spool.root), "pid": os.getpid()})
                else:
                    screen.say(f"The dashboard of {spool.root}:\n\n  {address}\n\nIt runs until Ctrl-C.")
                if opener is not None:
                    # Beside the server: some browsers do not return before they are closed.
                    threading.Thread(target=_open, args=(opener,), name="framespool-open", daemon=True).start()

            stand_back()
            serve(app, feeds, listener, announce=announce)


def _open(url: str) -> None:
    if not webbrowser.open(url):
        screen.say("No browser could be opened: use the address.", err=True)


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


@contextmanager
def _opener(address: str) -> Iterator[str]:
    """The URL of a private file that leads to the address: others can see what a browser is started with."""
    with tempfile.TemporaryDirectory(prefix="framespool-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "dashboard.html"
        link = html.escape(address)
        path.write_text(
            '<!doctype html><meta charset="utf-8"><title>framespool</title>'
            f'<meta http-equiv="refresh" content="0; url={link}"><a href="{link}">The dashboard</a>\n',
            "utf-8",
        )
        yield path.as_uri()


def _figures(spool: Spool) -> dict[str, Any]:
    return as_json_object(look(spool, None))


def _audit_page(spool: Spool, stream_id: str) -> str:
    return page_of(spool, audit(spool, stream_id))


def _proof(spool: Spool, stream_id: str) -> bytes:
    return make_proof(spool, stream_id, made_by=uploader.MADE_BY)
