"""Random lives of the real spool and the real delivery against a small model; see `tools.model`.

The long version is ``python tools/model/run.py --examples 1000 --steps 60``.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from spool import Chunk, LeasedStream, Receipt, Spool, ledger, recovery, rows
from spool.intake import Intake
from tools.model import run
from tools.model.far_end import FarEnd
from tools.model.machine import SpoolMachine
from uploader.delivery import StreamDelivery
from uploader.destinations.base import Delivered, TryLater

SEED = 20261124


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_whatever_happens_in_whatever_order_the_spool_is_what_the_model_says() -> None:
    before = SpoolMachine.steps_checked

    run.live(examples=30, steps=30, chosen=SEED)

    assert SpoolMachine.steps_checked - before > 300, "hardly anything was tried"


def test_the_command_says_what_it_has_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--examples", "2", "--steps", "5", "--seed", "1", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["broken"] is None
    assert said["steps"] > 0


# It bites: each of these is a promise that is not kept ------------------------------------------------------


def acknowledged_before_it_arrived(patch: pytest.MonkeyPatch) -> None:
    def deliver(self: FarEnd, chunk: Chunk, ticket: object, body: bytes | memoryview) -> Delivered:
        del self, ticket, body
        return Delivered(receipt=Receipt(status=200, etag=chunk.sha256, confirmed=True, at_ms=0))

    patch.setattr(FarEnd, "deliver", deliver)


def a_lost_answer_counts_as_one(patch: pytest.MonkeyPatch) -> None:
    honest = FarEnd.deliver

    def deliver(self: FarEnd, chunk: Chunk, ticket: Any, body: bytes | memoryview) -> object:
        answer = honest(self, chunk, ticket, body)
        if isinstance(answer, TryLater):
            return Delivered(receipt=Receipt(status=200, etag=chunk.sha256, confirmed=False, at_ms=0))
        return answer

    patch.setattr(FarEnd, "deliver", deliver)


def the_last_chunk_goes_first(patch: pytest.MonkeyPatch) -> None:
    def next_waiting(self: LeasedStream, *, after_idx: int = -1) -> Chunk | None:
        where = "c.stream_key = ? AND c.state = 'spooled' AND c.chunk_idx > ? ORDER BY c.chunk_idx DESC"
        with self._folder.index.reading() as db:
            found = rows.select_chunks(db, where, (self._key, after_idx), limit=1)
        return found[0] if found else None

    patch.setattr(LeasedStream, "next_waiting", next_waiting)


def the_end_comes_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rows, "require_nothing_left", lambda *_: None)
    honest = StreamDelivery.drain

    def drain(self: StreamDelivery, is_crowded: Callable[[], bool]) -> None:
        stream = self._lease.stream()
        if stream.state == "sealed":
            self._end(stream)
        honest(self, is_crowded)

    patch.setattr(StreamDelivery, "drain", drain)


def what_waits_is_pruned(patch: pytest.MonkeyPatch) -> None:
    honest = rows.select_chunks

    def select(db: sqlite3.Connection, where: str, arguments: tuple[Any, ...], *, limit: int = -1) -> list[Chunk]:
        return honest(
            db, where.replace("c.state = 'acknowledged' AND c.disk_bytes", "c.disk_bytes"), arguments, limit=limit
        )

    patch.setattr(rows, "select_chunks", select)


def a_discard_that_the_ledger_does_not_know(patch: pytest.MonkeyPatch) -> None:
    honest = ledger.append

    def append(db: sqlite3.Connection, event: str, **rest: Any) -> None:
        if event != "discarded":
            honest(db, event, **rest)

    patch.setattr(ledger, "append", append)


def a_second_push_replaces_the_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "_already_here", lambda *_: None)
    honest = Intake._place

    def place(self: Intake, part: Any, description: Any, array: Any) -> Chunk:
        here = self._folder.shard_path(description.stream_id, description.chunk_idx)
        if here.exists():
            part.replace(here)
            with self._folder.index.reading() as db:
                key, _ = rows.require_stream(db, description.stream_id)
                return rows.select_chunks(
                    db, "c.stream_key = ? AND c.chunk_idx = ?", (key, description.chunk_idx)
                )[0]
        return honest(self, part, description, array)

    patch.setattr(Intake, "_place", place)


def a_shard_without_a_row_is_left_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "_adopt_chunk", lambda *_: None)


def a_lost_index_is_not_told_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "restore_index", lambda *_: None)


def a_seal_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Spool, "seal", lambda self, ref: self.stream(ref))


def a_lost_lease_still_writes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeasedStream, "_write", lambda self, label, change: self._folder.write(label, change))


def a_held_stream_is_sent_all_the_same(patch: pytest.MonkeyPatch) -> None:
    honest = LeasedStream.stream
    patch.setattr(LeasedStream, "stream", lambda self: replace(honest(self), held=None))


@pytest.mark.parametrize(
    "break_it",
    [
        acknowledged_before_it_arrived,
        a_lost_answer_counts_as_one,
        the_last_chunk_goes_first,
        the_end_comes_too_early,
        what_waits_is_pruned,
        a_discard_that_the_ledger_does_not_know,
        a_second_push_replaces_the_first,
        a_shard_without_a_row_is_left_there,
        a_lost_index_is_not_told_again,
        a_seal_is_forgotten,
        a_lost_lease_still_writes,
        a_held_stream_is_sent_all_the_same,
    ],
)
def test_a_promise_that_is_not_kept_is_found(
    monkeypatch: pytest.MonkeyPatch, break_it: Callable[[pytest.MonkeyPatch], None]
) -> None:
    break_it(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a life ends with
        run.live(examples=60, steps=30, chosen=SEED, shrinks=False)
