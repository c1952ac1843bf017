"""``framespool audit``: chunk by chunk, what reached the server and when."""

import csv
import io
from dataclasses import asdict
from pathlib import Path

import click

import uploader
from spool import ChunkState, HostClock, Spool, SpoolError, StreamAudit, audit
from uploader.cli import screen, words
from uploader.cli.audit_view import summary_lines, table_lines, verdict_lines
from uploader.cli.common import BAD_NEWS, json_option, open_spool, plain_errors, spool_option
from uploader.cli.comparing import compare, compared_lines, received_option
from uploader.cli.page import Picture, audit_page

_RECEIPT = ("status", "etag", "checksums", "confirmed", "at", "server_date", "request_ids", "url_path")
_CHUNK = (
    "chunk_idx", "state", "n", "height", "width", "bytes", "sha256", "capture_start_ms_utc", "spooled_at",
    "attempts", "acknowledged_at", "parked_reason", "pruned_at",
)  # fmt: skip


@click.command()
@click.argument("stream")
@spool_option
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print one row a chunk, for spreadsheets.")
@click.option(
    "--html",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a page with pictures to this file.",
)
@received_option
@click.option("--attempts", is_flag=True, help="Show every attempt at every chunk.")
@click.option("--all", "everything", is_flag=True, help="Fold nothing: also on a terminal, a row for each chunk.")
@plain_errors
def command(
    stream: str,
    spool_dir: Path | None,
    *,
    as_json: bool,
    as_csv: bool,
    page: Path | None,
    where: str | None,
    attempts: bool,
    everything: bool,
) -> None:
    """Show for every chunk of STREAM what was recorded and what the server acknowledged.

    Exits with 0 only if every chunk is acknowledged and none is missing, and nothing that arrived differs.
    """
    if as_csv and (as_json or where is not None):
        raise click.UsageError("--csv excludes --json and --received")
    with open_spool(spool_dir) as spool:
        found = audit(spool, spool.find(stream).stream_id)
        pictures = _pictures(spool, found) if page is not None else []
    if page is not None:
        _write_page(page, found, pictures)
    compared = None if where is None else compare(found, where, quiet=as_json)
    if as_json:
        told = found.to_json()
        screen.print_json(told if compared is None else told | {"received": [asdict(one) for one in compared]})
    elif as_csv:
        _print_csv(found)
    elif page is not None:
        screen.say("\n".join(verdict_lines(found)))
        screen.say(f"The page is {page}")
    else:
        fold = screen.is_terminal() and not everything and not attempts
        lines = [*table_lines(found, fold=fold, attempts=attempts), *summary_lines(found)]
        screen.say("\n".join(lines))
    if compared is not None and not as_json:
        screen.say("\n".join(("", *compared_lines(compared))))
    if not found.complete or not all(one.is_same for one in compared or ()):
        raise SystemExit(BAD_NEWS)


def _pictures(spool: Spool, found: StreamAudit) -> list[Picture]:
    """The first, the middle and the last frame, as far as they are still here."""
    if not found.chunks:
        return []
    frames = sum(one.chunk.n for one in found.chunks)
    wanted = {"First frame": 0, "Middle frame": frames // 2, "Last frame": frames - 1}
    return [_picture(spool, found, title, number) for title, number in wanted.items()]


def _picture(spool: Spool, found: StreamAudit, title: str, number: int) -> Picture:
    for one in found.chunks:
        chunk = one.chunk
        if number < chunk.n:
            break
        number -= chunk.n
    title = f"{title}: frame {number} of chunk {chunk.chunk_idx}"
    at_ms = chunk.capture_start_ms_utc + round(number * 1000 / found.stream.settings.fps)
    try:
        frame = spool.frames(chunk)[number]
    except SpoolError as error:
        gone = {ChunkState.ACKNOWLEDGED: "acknowledged, and pruned here", ChunkState.DISCARDED: "discarded"}
        says = gone.get(chunk.state, "") if not chunk.disk_bytes else str(error)
        return Picture(title=title, frame=None, says=says)
    return Picture(title=title, frame=frame, says=f"captured {words.moment(at_ms, digits=3)}")


def _write_page(path: Path, found: StreamAudit, pictures: list[Picture]) -> None:
    made_by = f"framespool {uploader.__version__}"
    # As on the terminal, but for its colours and its line breaks.
    verdict = click.unstyle("\n".join(verdict_lines(found))).replace("\n  ", " ").splitlines()
    text = audit_page(found, pictures, verdict, made_at_ms=HostClock().now_ms(), made_by=made_by)
    path.write_text(text, "utf-8")


def _print_csv(found: StreamAudit) -> None:
    text = io.StringIO()
    # Windows turns "\n" into its own line end when it is printed.
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["stream_id", *_CHUNK, *(f"receipt_{name}" for name in _RECEIPT)])
    for one in found.chunks:
        chunk = one.to_json()
        receipt = chunk["receipt"] or {}
        rows.writerow(
            [
                found.stream.stream_id,
                *(_cell(chunk[name]) for name in _CHUNK),
                *(_cell(receipt.get(name)) for name in _RECEIPT),
            ]
        )
    screen.say(text.getvalue().removesuffix("\n"))


def _cell(value: object) -> object:
    if isinstance(value, dict):
        value = " ".join(f"{name}={one}" for name, one in value.items())
    if not isinstance(value, str):
        return value
    # A server's words may hold what a terminal obeys; a person's reason may have several lines.
    shown = "".join(char if char.isprintable() or char == "\n" else "?" for char in value)
    # And a spreadsheet would run what begins as a formula does.
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
