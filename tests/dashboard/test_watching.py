"""What the dashboard reads and tells, without a browser: changes only, whatever there is already."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spool import Cell, ChunkState, Spool, SpoolError, Stream
from spool import cells as cells_module
from spool.testing import some_frames
from tests.dashboard.conftest import park, record
from uploader.cli.status import as_json_object, look
from uploader.dashboard import watch as watch_module
from uploader.dashboard.chunk_map import CHANGES_MAX, UNCHANGED, ChunkMap, Code
from uploader.dashboard.feed import Feeds
from uploader.dashboard.pictures import TooLarge, Trend, picture_of
from uploader.dashboard.series import BUCKETS_MAX, Series
from uploader.dashboard.texts import cleaned, shown
from uploader.dashboard.watch import Watch


class Counted(Spool):
    """A spool that tells what was asked of it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.asked: list[str] = []

    def cells(self, ref: str, *, after_idx: int = -1) -> list[Cell]:
        self.asked.append("page")
        return super().cells(ref, after_idx=after_idx)

    def cells_of(self, ref: str, chunk_idxs: Any) -> list[Cell]:
        self.asked.append(f"{len(chunk_idxs)} cells")
        return super().cells_of(ref, chunk_idxs)

    def streams(self, *, unfinished_only: bool = False) -> list[Stream]:
        self.asked.append("unfinished" if unfinished_only else "streams")
        return super().streams(unfinished_only=unfinished_only)


@pytest.fixture
def counted(spool: Spool) -> Iterator[Counted]:
    with Counted(spool.root) as opened:
        yield opened


def whole(watch: Watch, stream_id: str) -> ChunkMap:
    deadline = time.monotonic() + 20
    while not (chunks := watch.map_of(stream_id)).is_whole:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return chunks


@pytest.fixture
def watch(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    monkeypatch.setattr(watch_module, "LOOK_EVERY_S", 0.02)
    watching = Watch(counted, lambda spool: as_json_object(look(spool, None)))
    watching.start()
    yield watching
    watching.stop()


def test_a_stream_is_read_once_in_pages_and_then_only_what_changes(
    spool: Spool, counted: Counted, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "PAGE", 3)
    stream = record(spool, *range(10))
    chunks = whole(watch, stream.stream_id)
    assert counted.asked.count("page") == 5, "four pages and the end"
    version = chunks.version
    counted.asked.clear()
    with watch.reading():  # nobody looks meanwhile
        park(spool, stream, 4)
        spool.push(stream.stream_id, 12, some_frames(seed=12))
    watch.look_now()
    assert [one for one in counted.asked if one not in ("unfinished", "streams")] == ["2 cells"]
    assert chunks.runs_since(version) == bytes([UNCHANGED, 4, Code.PARKED, 1, UNCHANGED, 7, Code.WAITING, 1])
    assert chunks.runs() == bytes([Code.WAITING, 4, Code.PARKED, 1, Code.WAITING, 5, Code.GAP, 2, Code.WAITING, 1])


def test_what_happens_while_a_stream_is_read_is_not_missed(
    spool: Spool, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells_module, "PAGE", 1)
    stream = record(spool, *range(12))
    watch.map_of(stream.stream_id)
    for idx in range(12, 16):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        park(spool, stream, idx - 12)
    chunks = whole(watch, stream.stream_id)
    watch.look_now()
    assert chunks.runs() == bytes([Code.PARKED, 4, Code.WAITING, 12])


def test_only_rows_that_changed_are_told(spool: Spool, watch: Watch) -> None:
    stream, other = record(spool, 0), record(spool, 0, data_id="data-2")
    version, told = watch.since(-1)
    assert {row["stream_id"] for row in told["streams"]} == {stream.stream_id, other.stream_id}
    assert told["figures"]["backlog"]["chunks"] == 2
    assert watch.since(version)[1]["streams"] == []
    spool.push("data-2", 1, some_frames(seed=1))
    watch.look_now()
    (row,) = watch.since(version)[1]["streams"]
    assert (row["stream_id"], row["pushed"], row["waiting"]) == (other.stream_id, 2, 2)


def test_a_finalized_stream_is_told_once_more_and_then_let_be(spool: Spool, watch: Watch) -> None:
    stream = record(spool)
    version, _ = watch.since(-1)
    spool.seal("data-1")
    lease = spool.lease("data-1", "worker", ttl_s=60)
    assert lease is not None
    lease.finalize({})
    watch.look_now()
    version, told = watch.since(version)
    assert [row["state"] for row in told["streams"]] == ["finalized"]
    assert told["streams"][0]["stream_id"] == stream.stream_id


def test_a_chunk_on_its_way_is_told_until_its_worker_is_gone(spool: Spool, watch: Watch) -> None:
    stream = record(spool, 0, 1)
    lease = spool.lease("data-1", "worker", ttl_s=60)
    chunk = spool.chunk("data-1", 0)
    assert lease is not None
    assert chunk is not None
    lease.attempt_started(chunk)
    watch.look_now()
    assert watch.since(-1)[1]["streams"][0]["sending"] == 0
    lease.release()
    watch.look_now()
    assert watch.since(-1)[1]["streams"][0]["sending"] is None
    assert stream.stream_id


def test_a_spool_that_cannot_be_read_is_said_and_looked_at_again(
    spool: Spool, counted: Counted, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(spool, 0)
    watch.since(-1)

    def refuse() -> int:
        raise SpoolError("the disk refused", hint="Look at the cable.")

    with monkeypatch.context() as broken:
        broken.setattr(counted, "head_seq", refuse)
        watch.look_now()
        figures = watch.since(-1)[1]["figures"]
        assert figures["fault"] == {"words": "the disk refused", "advice": "Look at the cable."}
        assert figures["backlog"]["chunks"] == 1, "what was known stays"
    watch.look_now()
    assert watch.since(-1)[1]["figures"]["fault"] is None


def test_who_was_away_for_too_long_begins_anew(
    spool: Spool, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "_BEHIND_MAX", 3)
    stream = record(spool, 0)
    before = whole(watch, stream.stream_id)
    with watch.reading():  # nobody looks meanwhile
        for idx in range(1, 9):
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
    watch.look_now()
    after = whole(watch, stream.stream_id)
    assert after is not before
    assert after.runs_since(before.version) is None
    assert after.runs() == bytes([Code.WAITING, 9])


def test_nobody_there_costs_nothing(
    spool: Spool, counted: Counted, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "IDLE_AFTER_S", 0.05)
    record(spool, 0)
    watch.since(-1)
    deadline = time.monotonic() + 20
    seen = -1
    while seen != len(counted.asked):  # until it has fallen asleep
        assert time.monotonic() < deadline
        seen = len(counted.asked)
        time.sleep(0.3)
    assert watch.since(-1)[1]["streams"], "and it is there at once when asked"


# The feed ---------------------------------------------------------------------------------------------------


def test_who_reads_slowly_gets_one_message_of_all_that_changed(spool: Spool, watch: Watch) -> None:
    stream = record(spool, 0)

    async def read() -> list[dict[str, Any]]:
        feeds = Feeds(watch)
        messages = feeds.messages()
        told = [await anext(messages)]
        for idx in range(1, 6):
            spool.push(stream.stream_id, idx, some_frames(seed=idx))
            watch.look_now()
        told.append(await anext(messages))
        feeds.end()
        assert [one async for one in messages] == []
        assert not feeds.is_full
        return [json.loads(one.removeprefix(b"data: ")) for one in told]

    first, second = asyncio.run(read())
    assert (first["is_all"], first["streams"][0]["pushed"]) == (True, 1)
    assert (second["is_all"], [row["pushed"] for row in second["streams"]]) == (False, [6])


# Values -----------------------------------------------------------------------------------------------------


def test_a_series_keeps_every_byte_in_bounded_room_whatever_the_clock_does() -> None:
    random = np.random.default_rng(3)
    series = Series()
    times = [*random.integers(1_700_000_000_000, 1_700_000_600_000, 3000), 0, 4_000_000_000_000, -5]
    for at_ms in map(int, times):
        series.came(at_ms, 10)
    for at_ms in map(int, times[:1000]):
        series.went(at_ms + 500, 10)
    series.given_up(int(times[5]), 10)
    told = series.to_json()
    assert len(told["came_bytes"]) <= BUCKETS_MAX
    assert sum(told["came_bytes"]) == 10 * len(times)
    assert sum(told["went_chunks"]) == 1000
    assert told["left_chunks"][-1] == len(times) - 1001
    assert told["from_ms"] <= -5
    assert Series().to_json()["came_bytes"] == []


def some_cell(idx: int, state: ChunkState = ChunkState.SPOOLED) -> Cell:
    return Cell(idx, state, is_here=True, is_confirmed=False, spooled_at_ms=1, left_at_ms=None, wire_bytes=7)


def test_a_late_chunk_finds_its_place_and_counts_once() -> None:
    chunks = ChunkMap()
    chunks.take_page([some_cell(0), some_cell(5)])
    chunks.take_page([])
    version = chunks.version
    chunks.take_changes([some_cell(3), some_cell(3), some_cell(5)])
    assert chunks.runs() == bytes([Code.WAITING, 1, Code.GAP, 2, Code.WAITING, 1, Code.GAP, 1, Code.WAITING, 1])
    assert chunks.runs_since(version) == bytes([UNCHANGED, 3, Code.WAITING, 1])
    assert sum(chunks.series.to_json()["came_bytes"]) == 21
    assert chunks.latest_here(2) == [3, 5]


def test_who_is_behind_by_more_changes_than_are_kept_gets_the_whole_map() -> None:
    chunks = ChunkMap()
    chunks.take_page([])
    version = chunks.version
    for k in range(CHANGES_MAX + 5):
        chunks.take_changes([some_cell(0, ChunkState.PARKED if k % 2 else ChunkState.SPOOLED)])
    assert chunks.runs_since(version) is None
    assert chunks.runs_since(chunks.version) == b""
    assert chunks.runs_since(chunks.version + 1) is None
    assert chunks.runs_since(version - 1) is None, "of a map that was forgotten"
    assert chunks.runs_since(chunks.version - 3) == bytes([Code.WAITING, 1])


def test_one_wild_index_is_a_few_bytes() -> None:
    chunks = ChunkMap()
    chunks.take_page([some_cell(0), some_cell(999_999_999)])
    assert len(chunks.runs()) < 12


def test_text_is_visible_short_and_turns_nothing() -> None:
    assert shown("a\u202eb\x1b[1m\n c\ud800") == "a?b?[1m c?"
    assert len(shown("x" * 10**6)) == 1000
    nested: Any = "deep"
    for _ in range(50):
        nested = {"a": [nested]}
    assert "deep" not in json.dumps(cleaned(nested))


def test_brightness_is_decoded_a_little_at_a_time_and_kept(spool: Spool) -> None:
    stream = record(spool)
    frames = np.zeros((4, 10, 10), np.uint8)
    frames[:, 0, 0] = [10, 20, 30, 40]  # the brightest hundredth
    for idx in range(20):
        spool.push(stream.stream_id, idx, frames)
    trend = Trend(spool)
    some, is_all = trend.of(stream.stream_id, 8.0, list(range(20)))
    assert not is_all
    assert len(some) == 64
    rest, is_all = trend.of(stream.stream_id, 8.0, list(range(20)))
    assert is_all
    assert [bright for _, bright in rest] == [10.0, 20.0, 30.0, 40.0] * 20
    assert [at - rest[0][0] for at, _ in rest[:4]] == [0, 125, 250, 375]


def test_a_frame_that_is_too_large_is_not_decoded(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    record(spool, 0)
    chunk = spool.chunk("data-1", 0)
    assert chunk is not None
    monkeypatch.setattr("uploader.dashboard.pictures.PIXELS_MAX", 100)
    with pytest.raises(TooLarge, match="16 x 12"):
        picture_of(spool, chunk, 0)
