"""``framespool loopback``: a stand-in for the vendor's server, to try framespool against."""

import json
import os
import tempfile
import threading
import time
from pathlib import Path

import click
import platformdirs

from uploader.cli import screen
from uploader.config import ENDPOINT_VARIABLE, KEY_VARIABLES
from uploader.loopback.__main__ import DEFAULT_KEY, KEY_VARIABLE, main

_LOOK_S = 0.05
_PATIENCE_S = 60.0


@click.command(context_settings={"ignore_unknown_options": True, "show_default": True})
@click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=lambda: Path(platformdirs.user_data_dir("framespool", appauthor=False)) / "loopback",
    show_default="your data directory",
    help="Where it keeps what it receives.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0 chooses a free one.")
@click.argument("more", nargs=-1, type=click.UNPROCESSED)
def command(root: Path, port: int, more: tuple[str, ...]) -> None:
    """Run a stand-in for the vendor's server on this machine, and say how to use it. Ctrl-C ends it.

    MORE options are those of 'python -m uploader.loopback --help'.
    """
    with tempfile.TemporaryDirectory() as folder:
        ready = Path(folder) / "ready"
        threading.Thread(target=_advise, args=(ready, _key(more)), name="framespool-advise", daemon=True).start()
        main.main(
            args=["--root", str(root), "--port", str(port), "--ready-file", str(ready), *more],
            prog_name="framespool loopback",
        )


def _advise(ready: Path, key: str) -> None:
    """Once the server is up, say what to set so that everything else talks to it."""
    deadline = time.monotonic() + _PATIENCE_S
    while not ready.exists():
        if time.monotonic() > deadline:
            return
        time.sleep(_LOOK_S)
    url = json.loads(ready.read_text("utf-8"))["url"]
    lines = ["", "To use it, set in another terminal:"]
    lines += [f"  {_assignment(*pair)}" for pair in ((ENDPOINT_VARIABLE, url), (KEY_VARIABLES[0], key))]
    # On standard error: standard output has the address alone, for scripts.
    screen.say("\n".join([*lines, "", "It runs until Ctrl-C."]), err=True)


def _key(more: tuple[str, ...]) -> str:
    """The key to use, as something to type; one that somebody chose is not printed."""
    if any(word.startswith("--api-key") for word in more):
        return "<the key that you gave>"
    if os.name == "nt":
        return f"$env:{KEY_VARIABLE}" if os.environ.get(KEY_VARIABLE) else DEFAULT_KEY
    return f'"${KEY_VARIABLE}"' if os.environ.get(KEY_VARIABLE) else DEFAULT_KEY


def _assignment(name: str, value: str) -> str:
    if os.name == "nt":
        return f"$env:{name} = {value if value.startswith('$') else repr(value)}"
    return f"export {name}={value}"
