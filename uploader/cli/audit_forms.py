"""An audit for machines, as JSON and as CSV: written while it is read, so that a million chunks need no memory."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spool import AuditedChunk, AuditTotals

_RECEIPT = ("status", "etag", "checksums", "confirmed", "at", "server_date", "request_ids", "url_path")
_CHUNK = (
    "chunk_idx", "state", "n", "height", "width", "bytes", "sha256", "capture_start_ms_utc", "spooled_at",
    "attempts", "acknowledged_at", "parked_reason", "pruned_at",
)  # fmt: skip


def json_pieces(
    totals: AuditTotals, chunks: Iterable[AuditedChunk], *, more: Mapping[str, Any], pretty: bool
) -> Iterator[str]:
    """One JSON object, in pieces: the stream's facts, each chunk, and what all chunks amount to.

    Args:
        totals: what the chunks amount to once they are read.
        chunks: in order; read one by one.
        more: what is to be said besides.
        pretty: over several lines, for people.
    """
    start, between, end = ("\n  ", ",\n  ", "\n}\n") if pretty else ("", ", ", "}\n")
    yield f'{{{start}{_members(totals.stream_to_json(), pretty=pretty)}{between}"chunks": ['
    lead = "\n    " if pretty else ""
    following = ",\n    " if pretty else ", "
    for one in chunks:
        yield lead + _text(one.to_json(), pretty=pretty, depth=4)
        lead = following
    is_empty = lead is not following
    yield "\n  ]" if pretty and not is_empty else "]"
    yield f"{between}{_members(totals.to_json() | dict(more), pretty=pretty)}{end}"


def _members(told: dict[str, Any], *, pretty: bool) -> str:
    """The members of an object, without its braces."""
    text = (f"{json.dumps(name)}: {_text(value, pretty=pretty, depth=2)}" for name, value in told.items())
    return (",\n  " if pretty else ", ").join(text)


def _text(value: Any, *, pretty: bool, depth: int) -> str:  # noqa: ANN401 - any JSON value
    text = json.dumps(value, indent=2 if pretty else None, allow_nan=False)
    return text.replace("\n", "\n" + " " * depth)  # what the values themselves say has no line ends in JSON


def csv_lines(totals: AuditTotals, chunks: Iterable[AuditedChunk]) -> Iterator[str]:
    """A line for the names of the columns, and one for each chunk."""
    text = io.StringIO()
    # Windows turns "\n" into its own line end when it is printed.
    rows = csv.writer(text, lineterminator="\n")

    def line(cells: list[object]) -> str:
        rows.writerow(cells)
        written = text.getvalue()
        text.seek(0)
        text.truncate()
        return written

    yield line(["stream_id", *_CHUNK, *(f"receipt_{name}" for name in _RECEIPT)])
    for one in chunks:
        chunk = one.to_json()
        receipt = chunk["receipt"] or {}
        cells = [*(chunk[name] for name in _CHUNK), *(receipt.get(name) for name in _RECEIPT)]
        yield line([totals.stream.stream_id, *map(_cell, cells)])


def _cell(value: object) -> object:
    if isinstance(value, dict):
        value = " ".join(f"{name}={one}" for name, one in value.items())
    if not isinstance(value, str):
        return value
    # A server's words may hold what a terminal obeys; a person's reason may have several lines.
    shown = "".join(char if char.isprintable() or char == "\n" else "?" for char in value)
    # And a spreadsheet would run what begins as a formula does.
    return f"'{shown}" if shown.startswith(("=", "+", "-", "@")) else shown
