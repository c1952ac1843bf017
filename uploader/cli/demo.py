"""``framespool demo``: see it survive an outage and a crash, in about 30 seconds, with nothing to configure."""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from spool import ChunkState
from uploader.cli.common import fail, plain_errors

if TYPE_CHECKING:
    from uploader.demo import Outcome, Scene

_CELLS = {
    ChunkState.SPOOLED: ("+", "yellow"),
    ChunkState.ACKNOWLEDGED: ("=", "green"),
    ChunkState.PARKED: ("!", "red"),
    ChunkState.DISCARDED: ("x", "red"),
}


@click.command()
@click.option(
    "--keep",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep spool and received data in this new folder, to look at afterwards.",
)
@plain_errors
def command(keep: Path | None) -> None:
    """Stream a simulated growth to a server on this machine, through an outage and a killed worker.

    Takes about 30 s and needs no configuration. Needs the extra: pip install "framespool[demo]".
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        fail(f"{keep} is not empty", "Give a new folder.")
    with contextlib.ExitStack() as stack:
        if keep is None:
            # Windows may still hold a log file open for a moment after the worker has gone.
            folder = Path(
                stack.enter_context(tempfile.TemporaryDirectory(prefix="framespool-", ignore_cleanup_errors=True))
            )
        else:
            keep.mkdir(parents=True, exist_ok=True)
            folder = keep.absolute()
        outcome = _play(folder)
        _show(outcome)
        audit = _audit(outcome)
        if keep is not None:
            click.echo(f"Kept: the spool in {outcome.spool_dir}, what the server received in {outcome.received}")
    if not outcome.is_good or audit != 0:
        fail("the demo did not end as it should", "Please report this with what was printed.")


def _play(folder: Path) -> "Outcome":
    from uploader.demo import run_demo  # noqa: PLC0415 - the same
    from uploader.loopback.process import LoopbackError  # noqa: PLC0415 - brings in zarr; only the demo pays for it

    console = Console()
    try:
        with _screen(console) as tell:
            return run_demo(folder, tell)
    except LoopbackError as error:
        fail(str(error))


@contextlib.contextmanager
def _screen(console: Console) -> Iterator[Callable[["Scene"], None]]:
    """A picture that moves on a terminal; elsewhere the news, one line each."""
    if not console.is_terminal:
        yield lambda scene: click.echo(_headline(scene)) if scene.news else None
        return
    with Live(console=console, refresh_per_second=10, transient=False) as live:

        def tell(scene: "Scene") -> None:
            if scene.news:
                live.console.print(_headline(scene), highlight=False)
            live.update(_picture(scene))

        yield tell


def _headline(scene: "Scene") -> str:
    acknowledged = scene.states.count(ChunkState.ACKNOWLEDGED)
    return (
        f"{scene.at_s:5.1f} s  {scene.news}  "
        f"[{len(scene.states)} chunks recorded, {acknowledged} acknowledged by the server]"
    )


def _picture(scene: "Scene") -> Text:
    from uploader.demo import CHUNKS  # noqa: PLC0415 - see above

    text = Text(f"{scene.at_s:5.1f} s  ")
    for state in scene.states:
        mark, colour = _CELLS[state]
        text.append(mark, style=colour)
    text.append("·" * (CHUNKS - len(scene.states)), style="dim")
    text.append(
        "  network up" if scene.network_up else "  NETWORK DOWN", style="" if scene.network_up else "bold red"
    )
    text.append("   = acknowledged  + safe on disk, waiting", style="dim")
    return text


def _show(outcome: "Outcome") -> None:
    click.echo()
    click.echo(f"{outcome.frames_equal} of {outcome.frames} frames arrived, bit for bit as the camera saw them.")
    click.echo(f"In order: {_yes(outcome.in_order)}.  Finalized: {_yes(outcome.finalized)}.")
    click.echo()


def _audit(outcome: "Outcome") -> int:
    """Run the audit as a user would; its exit code."""
    shown = ["framespool", "audit", outcome.stream_id, "--spool", str(outcome.spool_dir)]
    click.echo(f"$ {' '.join(shown)}")
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-P", "-m", "uploader", *shown[1:]], check=False).returncode  # noqa: S603 - ourselves


def _yes(fact: bool) -> str:
    return "yes" if fact else "NO"
