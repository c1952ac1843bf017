"""``framespool streams``: what the spool holds, one line a stream."""

from pathlib import Path
from typing import Any

import click

from spool import Stream
from uploader.cli import screen, words
from uploader.cli.common import json_option, open_spool, plain_errors, spool_option
from uploader.cli.orphans import Producer, orphan_concerns, producers, word
from uploader.cli.troubles import concerns

_WIDE, _VERY_WIDE = 100, 140


@click.command()
@spool_option
@json_option
@plain_errors
def command(spool_dir: Path | None, *, as_json: bool) -> None:
    """List every stream of the spool, oldest first.

    Chunks are counted as acknowledged / waiting / parked. An open stream whose producer is gone says so.
    """
    with open_spool(spool_dir) as spool:
        streams, root = spool.streams(), spool.root
        recording = producers(spool, streams)
    if as_json:
        screen.print_json({"streams": [as_object(one, recording.get(one.stream_id)) for one in streams]})
    elif not streams:
        screen.say("This spool holds no streams yet.")
    else:
        for line in _table(streams, recording, root):
            screen.say(line)


def as_object(stream: Stream, producer: Producer | None) -> dict[str, Any]:
    """A stream as ``streams --json`` and ``status --json`` show it."""
    tally = stream.tally
    return {
        "stream_id": stream.stream_id,
        "data_id": stream.data_id,
        "name": stream.settings.name,
        "destination": stream.settings.destination,
        "state": stream.state.value,
        "producer": word(producer),
        "producer_seen_at_ms": None if producer is None else producer.seen_at_ms,
        "held": stream.held,
        "trouble": stream.trouble,
        "chunks_pushed": tally.pushed,
        "chunks_acknowledged": tally.acknowledged,
        "chunks_waiting": tally.spooled,
        "chunks_parked": tally.parked,
        "chunks_discarded": tally.discarded,
        "waiting_bytes": tally.waiting_bytes,
        "watermark": stream.watermark,
        "created_at_ms": stream.created_at_ms,
        "sealed_at_ms": stream.sealed_at_ms,
        "finalized_at_ms": stream.finalized_at_ms,
    }


def _table(streams: list[Stream], recording: dict[str, Producer], root: Path) -> list[str]:
    columns = _columns()
    head = " ".join(f"{name:{width}}" for name, width in columns.items())
    lines = [screen.bold(head.rstrip())]
    for stream in streams:
        lines.append(_line(stream, columns))
        lines += [
            "  " + screen.painted(line, "bad" if one.needs_person else "wait")
            for one in (
                *concerns(stream, root),
                *orphan_concerns(stream, recording.get(stream.stream_id), root),
            )
            for line in words.wrapped(one.words, screen.width() - 2)
        ]
    return lines


def _columns() -> dict[str, int]:
    """Names and widths: the more room, the more columns. A stream_id begins with when it was created."""
    columns = {"STREAM": 28, "NAME": 0, "DATA_ID": 8, "STATE": 9, "ACK/WAIT/PARK": 13}
    if screen.width() >= _WIDE:
        columns["CREATED (UTC)"] = 16
    if screen.width() >= _VERY_WIDE:
        columns["DATA_ID"] = 36
    columns["NAME"] = max(4, screen.width() - sum(columns.values()) - len(columns) + 1)
    return columns


def _line(stream: Stream, columns: dict[str, int]) -> str:
    tally = stream.tally
    cells = {
        "STREAM": stream.stream_id,
        "NAME": words.cut(words.printable(stream.settings.name), columns["NAME"]),
        # A prefix is as good as the whole wherever a stream is asked for.
        "DATA_ID": (stream.data_id or "-")[: columns["DATA_ID"]],
        "STATE": stream.state.value,
        "ACK/WAIT/PARK": f"{tally.acknowledged}/{tally.spooled}/{tally.parked}",
        "CREATED (UTC)": words.moment(stream.created_at_ms, "%Y-%m-%d %H:%M"),
    }
    line = " ".join(f"{cells[name]:{width}}" for name, width in columns.items())
    return line.rstrip()
