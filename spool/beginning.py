"""The beginning of a stream, and of its copies: their folders first, then all their rows in one transaction."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from spool import ledger, parting, rows
from spool.errors import SpoolError
from spool.folder import SpoolFolder, translated
from spool.model import Stream, StreamSettings, new_stream
from spool.producers import ProducerClaims, our_name


def begin(
    folder: SpoolFolder,
    claims: ProducerClaims,
    settings: StreamSettings,
    *,
    also: Sequence[str],
    data_id: str | None,
    links: Mapping[str, Any] | None,
    unlinked: str | None,
    asked: bool,
    is_name_free: bool,
) -> Stream:
    """See `Spool.open_stream`."""
    moment = folder.clock.moment()
    now = moment.at_ms
    new = partial(new_stream, created_at_ms=now, created_monotonic_ms=moment.monotonic_ms, boot_id=moment.boot_id)
    copy_ids = tuple(_new_id(now) for _ in also)
    stream = new(_new_id(now), settings=replace(settings, copies=copy_ids), data_id=data_id)
    copies = [
        new(copy_id, settings=replace(settings, destination=destination, copy_of=stream.stream_id))
        for copy_id, destination in zip(copy_ids, also, strict=True)
    ]

    def change(db: sqlite3.Connection) -> None:
        if data_id is not None and rows.find_stream(db, data_id):
            raise SpoolError(f"stream {data_id} is already in this spool")
        claim = partial(claims.try_to_take, stream.stream_id)
        _insert(folder, db, [replace(stream, unlinked=unlinked), *copies], claim)
        if asked and data_id is None:
            key, there = rows.require_stream(db, stream.stream_id)
            parting.ask(folder, db, key, there, settings.name, is_name_free=is_name_free)
            folder.write_stream_description(rows.require_stream(db, stream.stream_id)[1])
        if links:
            ledger.append(db, "linked", at_ms=now, stream_id=stream.stream_id, detail=dict(links))
        if unlinked is not None:
            owed = {"words": unlinked}
            ledger.append(db, "link_failed", at_ms=now, stream_id=stream.stream_id, detail=owed)

    try:
        folder.write("open_stream", change)
    except BaseException as error:
        claims.release(stream.stream_id)  # Windows removes no folder with an open file in it
        for one in (stream, *copies):
            folder.unmake_stream(one.stream_id)
        if isinstance(error, OSError):
            raise translated(error, "the stream's folder could not be made") from error
        raise
    return stream


def _insert(
    folder: SpoolFolder, db: sqlite3.Connection, streams: Sequence[Stream], claim: Callable[[], object]
) -> None:
    # The original last: a crash before that leaves copies of nothing, which an opening sweeps.
    for one in reversed(streams):
        folder.make_stream(one)
    claim()  # before anybody can see it, so that nobody sees an orphan
    for one in streams:
        rows.insert_stream(db, one)
        facts = {**ledger.stream_facts(one), "producer": our_name()}
        ledger.append(db, "opened", at_ms=one.created_at_ms, stream_id=one.stream_id, detail=facts)


def _new_id(now_ms: int) -> str:
    return f"{time.strftime('%Y%m%dt%H%M%S', time.gmtime(now_ms / 1000))}-{secrets.token_hex(6)}"
