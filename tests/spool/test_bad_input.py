"""What fuzzing has found, one test for each."""

import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from spool import FramesRejected, Receipt, Spool, SpoolDamaged, SpoolError, Stream, UnknownStream, audit
from spool.testing import some_frames


def edited(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / "index.sqlite3")) as db:
        db.execute("DROP TRIGGER IF EXISTS ledger_is_append_only")
        db.execute(statement)
        db.commit()


@pytest.fixture
def acknowledged(spool: Spool, stream: Stream) -> Stream:
    chunk = spool.push(stream.stream_id, 0, some_frames())
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.acknowledge(chunk, Receipt(status=200, etag="e", confirmed=True, at_ms=1))
    return stream


@pytest.mark.parametrize("receipt", ["x", '{"unheard": 1}', "[" * 100_000, "5"])
def test_a_receipt_that_cannot_be_read_is_a_damaged_spool(
    spool: Spool, acknowledged: Stream, receipt: str
) -> None:
    edited(spool.root, f"UPDATE chunks SET receipt = '{receipt}'")

    with pytest.raises(SpoolDamaged, match="receipt"):
        audit(spool, acknowledged.stream_id)


@pytest.mark.parametrize("detail", ["x", "[" * 100_000, "5"])
def test_a_ledger_row_that_cannot_be_read_is_a_damaged_spool(spool: Spool, stream: Stream, detail: str) -> None:
    edited(spool.root, f"UPDATE ledger SET detail = '{detail}'")

    with pytest.raises(SpoolDamaged, match="row 1 of the ledger"):
        list(spool.events(stream.stream_id))


@pytest.mark.parametrize("at_ms", [1 << 62, -(1 << 62)])
def test_a_time_that_no_calendar_has_is_shown_as_it_is(spool: Spool, stream: Stream, at_ms: int) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    edited(spool.root, f"UPDATE chunks SET spooled_at_ms = {at_ms}")

    said = json.dumps(audit(spool, stream.stream_id).to_json())

    assert f"{at_ms} ms" in said


@pytest.mark.parametrize("older_than_s", [math.nan, math.inf, -1.0])
def test_an_age_that_is_none_is_refused(spool: Spool, older_than_s: float) -> None:
    with pytest.raises(ValueError, match="older_than_s"):
        spool.prune(older_than_s=older_than_s)


def test_a_home_that_nobody_has_is_a_clear_error() -> None:
    with pytest.raises(SpoolError, match="cannot be told"):
        Spool("~nobody-of-this-name/spool")


class Broken:
    """Says that it is an array, and then is none."""

    def __array__(self, *_: object, **__: object) -> None:
        raise RuntimeError("the camera is gone")


@pytest.mark.parametrize(
    "frames",
    [
        np.broadcast_to(np.uint8(7), (2, 1 << 20, 1 << 20)),
        np.broadcast_to(np.uint8(7), (2, 1, 1 << 40)),
        Broken(),
    ],
)
def test_frames_that_cannot_be_had_are_rejected(spool: Spool, stream: Stream, frames: object) -> None:
    with pytest.raises(FramesRejected):
        spool.push(stream.stream_id, 0, frames)  # type: ignore[arg-type]
    assert spool.chunk(stream.stream_id, 0) is None


@pytest.mark.parametrize("wild", [10**4000, 10**5000, [{}] * 1000], ids=["large", "larger", "list"])
def test_a_wild_index_or_time_is_rejected_in_a_few_words(spool: Spool, stream: Stream, wild: object) -> None:
    with pytest.raises(FramesRejected) as rejected:
        spool.push(stream.stream_id, wild, some_frames())  # type: ignore[arg-type]
    assert len(str(rejected.value)) < 400
    with pytest.raises(FramesRejected) as rejected:
        spool.push(stream.stream_id, 0, some_frames(), wild)  # type: ignore[arg-type]
    assert len(str(rejected.value)) < 400


def test_half_a_character_is_no_stream(spool: Spool) -> None:
    with pytest.raises(UnknownStream):
        spool.stream("d-\ud800")
    with pytest.raises(UnknownStream):
        spool.find("d-\ud800")


def test_a_mask_is_not_dropped_in_silence(spool: Spool, stream: Stream) -> None:
    frames = np.ma.masked_array(some_frames(), mask=some_frames() == some_frames()[0, 0, 0])
    with pytest.raises(FramesRejected, match="masked"):
        spool.push(stream.stream_id, 0, frames)
    assert spool.push(stream.stream_id, 0, frames.filled(0)).n == 4
    assert spool.push(stream.stream_id, 1, np.ma.asarray(some_frames())).n == 4  # nothing in it is masked
