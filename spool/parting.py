"""The parts of a stream: asked for, opened, closed, each of it durable before the next.

A destination may end a stream before all its chunks are there; what waits then goes into a further part. That one
is about to be asked for is recorded first, so that whoever finds it neither opened nor closed knows that the
destination may have it already: a lost answer, or a crash before it was recorded, must not open two.
"""

import sqlite3
from dataclasses import replace

from spool import ledger, rows
from spool.errors import IllegalTransition, SpoolError
from spool.folder import SpoolFolder
from spool.model import Part, Stream


def ask(
    folder: SpoolFolder, db: sqlite3.Connection, key: int, stream: Stream, name: str, *, is_name_free: bool
) -> Part:
    """The destination is about to be asked for the stream's next part.

    Raises:
        IllegalTransition: the latest one is open.
    """
    if stream.part is not None:
        raise IllegalTransition("cannot ask for another part: the latest one was not closed")
    # One that was asked for, and cannot have been opened, is asked for anew.
    again = stream.asked_part
    part = Part(
        number=len(stream.parts) + 1 if again is None else again.number,
        data_id=None,
        name=name,
        is_name_free=is_name_free,
        asked_at_ms=folder.clock.now_ms(),
    )
    rows.put_part(db, key, part)
    _record(db, stream, "part_asked", part, at_ms=part.asked_at_ms, name=name, is_name_free=is_name_free)
    return part


def open_(
    folder: SpoolFolder, db: sqlite3.Connection, key: int, stream: Stream, data_id: str, unlinked: str | None
) -> Part:
    """The destination has given the latest part this id.

    Raises:
        IllegalTransition: none was asked for, or it has one.
        SpoolError: another stream has this id.
    """
    last = stream.parts[-1] if stream.parts else None
    if last is None or last.data_id is not None or last.closed_at_ms is not None:
        raise IllegalTransition("cannot open a part that was not asked for")
    if rows.find_stream(db, data_id):
        raise SpoolError(f"stream {data_id} is already in this spool")
    part = replace(last, data_id=data_id, opened_at_ms=folder.clock.now_ms())
    rows.put_part(db, key, part)
    db.execute("UPDATE streams SET unlinked = ? WHERE stream_key = ?", (unlinked, key))
    assert part.opened_at_ms is not None
    _record(db, stream, "part_opened", part, at_ms=part.opened_at_ms, data_id=data_id, unlinked=unlinked)
    return part


def close(folder: SpoolFolder, db: sqlite3.Connection, key: int, stream: Stream, why: str) -> None:
    """The latest part takes no more chunks.

    Raises:
        IllegalTransition: there is none, or it is closed.
    """
    if not stream.parts or stream.parts[-1].closed_at_ms is not None:
        raise IllegalTransition("cannot close a part: none is there, or it is closed")
    part = replace(stream.parts[-1], closed_at_ms=folder.clock.now_ms(), closed_why=why)
    rows.put_part(db, key, part)
    assert part.closed_at_ms is not None
    _record(db, stream, "part_closed", part, at_ms=part.closed_at_ms, why=why)


def take_in(db: sqlite3.Connection, key: int, here: Stream, there: Stream) -> None:
    """Enter the parts that another spool has opened, as they were there; see `spool.taking_in`.

    Raises:
        SpoolError: both have opened one for themselves.
    """
    for part in there.parts:
        known = here.parts[part.number - 1] if part.number <= len(here.parts) else None
        if known is not None and None not in (known.data_id, part.data_id) and known.data_id != part.data_id:
            raise SpoolError(
                f"part {part.number} of {here.stream_id} is {known.data_id} here and {part.data_id} there",
                hint="It was delivered from both. Ask the server which of the two has the chunks.",
            )
        if part.data_id is None or (known is not None and known.closed_at_ms is not None):
            continue
        if known is None:
            _record(
                db,
                here,
                "part_asked",
                part,
                at_ms=part.asked_at_ms,
                name=part.name,
                is_name_free=part.is_name_free,
            )
        if (known is None or known.data_id is None) and part.opened_at_ms is not None:
            if rows.find_stream(db, part.data_id):
                raise SpoolError(f"{part.data_id} is another stream of this spool")
            owed = there.unlinked if part.number == len(there.parts) else None
            _record(db, here, "part_opened", part, at_ms=part.opened_at_ms, data_id=part.data_id, unlinked=owed)
            db.execute("UPDATE streams SET unlinked = ? WHERE stream_key = ?", (owed, key))
        if part.closed_at_ms is not None:
            _record(db, here, "part_closed", part, at_ms=part.closed_at_ms, why=part.closed_why)
        asked = part if known is None else known
        taken = replace(part, asked_at_ms=asked.asked_at_ms, name=asked.name, is_name_free=asked.is_name_free)
        rows.put_part(db, key, taken)


def _record(
    db: sqlite3.Connection, stream: Stream, event: str, part: Part, *, at_ms: int, **detail: str | bool | None
) -> None:
    ledger.append(db, event, at_ms=at_ms, stream_id=stream.stream_id, detail={"part": part.number, **detail})
