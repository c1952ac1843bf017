"""``framespool audit``: chunk by chunk, what reached the server and when."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click

import uploader
from spool import (
    AuditedChunk,
    AuditTotals,
    Chunk,
    ChunkState,
    HostClock,
    RunningAudit,
    Spool,
    SpoolError,
    Stream,
    StreamAudit,
    audit,
)
from uploader.cli import screen, words
from uploader.cli.audit_forms import csv_lines, json_pieces
from uploader.cli.audit_table import Table
from uploader.cli.audit_view import Glance, glance_at, summary_lines, verdict_lines
from uploader.cli.common import BAD_NEWS, json_option, open_spool, plain_errors, spool_option
from uploader.cli.comparing import Compared, compare, compared_lines, received_option
from uploader.cli.page import Picture, audit_page

_BATCH = 500


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
        ref = spool.find(stream).stream_id
        compared: list[Compared] | None = None
        if page is None and where is None:
            running = RunningAudit(spool, ref, every_attempt=as_json or attempts)
            totals, chunks = running.totals, running.chunks()
        else:  # a page, and a comparison, need all of it at once
            found = audit(spool, ref)
            totals, chunks = found.totals, iter(found.chunks)
            if page is not None:
                page.write_text(page_of(spool, found), "utf-8")
            compared = None if where is None else compare(found, where, quiet=as_json)
        if as_json:
            more = {} if compared is None else {"received": [asdict(one) for one in compared]}
            screen.write_all(json_pieces(totals, chunks, more=more, pretty=screen.is_terminal()), at_once=_BATCH)
        elif as_csv:
            screen.write_all(csv_lines(totals, chunks), at_once=_BATCH)
        elif page is not None:
            screen.say("\n".join(verdict_lines(totals, glance_at(chunks))))
            screen.say(f"The page is {page}")
        else:
            fold = screen.is_terminal() and not everything and not attempts
            table = Table(totals.stream, _ends(spool, totals.stream), attempts=attempts)
            # A folded line may stand for most of the stream: what comes before it is not to wait for it.
            lines = _table_and_summary(table, totals, chunks, fold=fold)
            screen.write_all((f"{line}\n" for line in lines), at_once=1 if fold else _BATCH)
    if compared is not None and not as_json:
        screen.say("\n".join(("", *compared_lines(compared))))
    if not totals.complete or not all(one.is_same for one in compared or ()):
        raise SystemExit(BAD_NEWS)


def _table_and_summary(
    table: Table, totals: AuditTotals, chunks: Iterator[AuditedChunk], *, fold: bool
) -> Iterator[str]:
    glance = Glance()

    def seen() -> Iterator[AuditedChunk]:
        for one in chunks:
            glance.add(one)
            yield one

    yield from table.lines(seen(), fold=fold)
    yield from summary_lines(totals, glance)


def _ends(spool: Spool, stream: Stream) -> list[Chunk]:
    """The first and the last chunk, if there is any."""
    first = next(spool.chunks(stream.stream_id), None)
    last = spool.chunk(stream.stream_id, stream.next_chunk_idx - 1)
    return [one for one in (first, last) if one is not None]


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


def page_of(spool: Spool, found: StreamAudit) -> str:
    """An audit as one self-contained page."""
    # As on the terminal, but for its colours and its line breaks.
    verdict = (
        click.unstyle("\n".join(verdict_lines(found.totals, glance_at(found.chunks))))
        .replace("\n  ", " ")
        .splitlines()
    )
    made_at_ms, pictures = HostClock().now_ms(), _pictures(spool, found)
    return audit_page(found, pictures, verdict, made_at_ms=made_at_ms, made_by=uploader.MADE_BY)
