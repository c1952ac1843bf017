"""What a lab's program is told of deliveries: from the ledger, in order, each thing once."""

import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from spool import DiskFailed, LeasedStream, Receipt, Spool
from spool.testing import FakeClock, some_frames, some_settings
from tests.uploader.rig import (
    CHUNK_SIZE,
    FPS,
    REFUSAL,
    Bench,
    chunk_path,
    status_rule,
    wait_until,
)
from tests.uploader.rig import (
    some_frames as frames_of,
)
from uploader.events import EventKind, StreamerEvent
from uploader.news import LOOK_EVERY_S, Away, News, NewsWatch
from uploader.streamer import RHEEDStreamer

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=7)
SERVER = some_settings().destination
NAS = "file:///mnt/nas"
OUTAGE = {"words": "no line", "outage": True, "key_refused": False}
KEY = {"words": "wrong key", "outage": True, "key_refused": True}
LATER = {"words": "busy", "outage": False, "key_refused": False}


class Story:
    """A spool of which this test is the worker, and what was told of it."""

    def __init__(self, root: Path) -> None:
        self.clock = FakeClock()
        self.spool = Spool(root, clock=self.clock)
        self.told: list[StreamerEvent] = []
        self.news = News(self.spool)
        self.look()

    def stream(self, name: str, chunks: int = 1, *, destination: str = SERVER) -> LeasedStream:
        stream = self.spool.open_stream(
            replace(some_settings(name=name), destination=destination), data_id=f"data-{name}"
        )
        for idx in range(chunks):
            self.spool.push(stream.stream_id, idx, some_frames(seed=idx))
        lease = self.spool.lease(stream.stream_id, "worker", ttl_s=1e6)
        assert lease is not None
        return lease

    def began(self, lease: LeasedStream, detail: dict[str, object], event: str = "trouble_began") -> None:
        lease.note_trouble(str(detail["words"]), event=event, detail=detail)

    def ended(self, lease: LeasedStream) -> None:
        lease.note_trouble(None, event="trouble_ended", detail={"lasted_s": 1, "tries": 1})

    def look(self) -> list[tuple[str, str | None]]:
        new = []
        for seq, events in self.news.look():
            self.news.after_seq = seq
            new += events
        self.told += new
        return [(event.kind.value, str(event.facts.get("name"))) for event in new]


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path / "spool")
    with closing(made.spool):
        yield made


def test_an_outage_is_of_a_destination_and_told_once_however_many_streams_wait(story: Story) -> None:
    one, two, other = story.stream("one"), story.stream("two"), story.stream("other", destination=NAS)
    for lease in (one, two):
        story.began(lease, OUTAGE)
    assert story.look() == [("outage_began", "one")]
    story.began(other, OUTAGE)
    assert story.look() == [("outage_began", "other")]
    story.clock.advance_s(90 * 60)
    story.ended(one)
    assert story.look() == []
    story.ended(two)
    assert story.look() == [("outage_ended", "two")]
    over = story.told[-1]
    assert over.facts["lasted_s"] == 90 * 60
    assert over.words == f"the outage of {over.facts['destination']} is over after 1 h 30 min"
    assert over.at_ms == story.clock.now_ms()
    assert set(story.news.away) == {NAS}


def test_trouble_of_one_stream_is_no_outage_until_it_becomes_one(story: Story) -> None:
    lease = story.stream("one")
    story.began(lease, LATER)
    assert story.look() == []
    story.began(lease, OUTAGE, event="trouble_changed")
    assert story.look() == [("outage_began", "one")]
    story.began(lease, KEY, event="trouble_changed")
    assert story.look() == [("key_refused", "one")]
    story.began(lease, LATER, event="trouble_changed")
    assert story.look() == [("outage_ended", "one")]


def test_a_key_that_is_refused_from_the_beginning_is_an_outage_too(story: Story) -> None:
    story.began(story.stream("one"), KEY)
    assert story.look() == [("outage_began", "one"), ("key_refused", "one")]
    story.began(story.stream("two"), KEY)
    assert story.look() == [], "once for all streams"


def test_a_stream_for_which_nothing_more_is_sent_keeps_no_outage_open(story: Story) -> None:
    held, given_up = story.stream("held"), story.stream("given up")
    story.began(held, OUTAGE)
    story.began(given_up, OUTAGE)
    held.hold("a person wants to look")
    story.spool.discard(given_up.stream_id, [0], why="dark")
    assert story.look() == [("outage_began", "held"), ("stream_held", "held"), ("outage_ended", "given up")]


def test_a_parked_chunk_and_the_end_of_a_stream_are_told_with_their_facts(story: Story) -> None:
    lease = story.stream("growth", 2)
    first = lease.next_waiting()
    assert first is not None
    lease.park(first, "dims are wrong")
    second = lease.next_waiting()
    assert second is not None
    lease.acknowledge(second, RECEIPT)
    assert story.look() == [("chunk_parked", "growth")]
    parked = story.told[-1]
    assert (parked.facts["chunk_idx"], parked.facts["why"]) == (0, "dims are wrong")
    assert parked.stream_id == lease.stream_id
    story.spool.discard(lease.stream_id, [0], why="given up")
    story.spool.seal(lease.stream_id)
    lease.finalize({})
    assert story.look() == [("stream_finalized", "growth")]
    assert story.told[-1].facts["chunks"] == 1


def test_whoever_remembers_its_row_misses_nothing_and_hears_nothing_twice(story: Story) -> None:
    lease = story.stream("one")
    story.began(lease, OUTAGE)
    story.look()
    memory = {url: Away.of(away.to_json()) for url, away in story.news.away.items()}
    seq = story.news.after_seq
    story.ended(lease)
    story.began(lease, OUTAGE)
    story.news = News(story.spool, after_seq=seq, away=memory)
    assert story.look() == [("outage_ended", "one"), ("outage_began", "one")]


def test_whoever_begins_hears_of_the_outage_that_goes_on_and_not_of_history(story: Story) -> None:
    lease, over = story.stream("one"), story.stream("over")
    story.began(over, OUTAGE)
    story.ended(over)
    began_ms = story.clock.now_ms()
    story.began(lease, OUTAGE)
    story.clock.advance_s(60)
    story.news = News(story.spool)
    assert story.look() == [("outage_began", "one")]
    assert story.told[-1].at_ms == began_ms
    story.ended(lease)
    assert story.look() == [("outage_ended", "one")]
    assert story.told[-1].facts["lasted_s"] == 60


# In a program that records ------------------------------------------------------------------------------------


def test_a_program_hears_of_outage_parked_chunk_and_end_within_its_own_calls(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.news.LOOK_EVERY_S", 0.0)
    told: list[tuple[EventKind, str]] = []

    def on_event(event: StreamerEvent) -> None:
        told.append((event.kind, threading.current_thread().name))

    with RHEEDStreamer(
        bench.server.api_key, bench.server.url, spool_dir=bench.root, worker="thread", on_event=on_event
    ) as streamer:
        data_id = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
        bench.server.outage(True)
        streamer.push(data_id, 0, frames_of(0))
        wait_until(lambda: bench.stream(data_id).trouble)
        streamer.push(data_id, 1, frames_of(1))
        bench.server.outage(False)
        bench.server.faults([status_rule(chunk_path(1), 422, REFUSAL)])
        wait_until(lambda: bench.stream(data_id).tally.parked)
        streamer.finalize(data_id, drain_timeout_s=0)
        bench.server.clear_faults()
        bench.spool.retry(data_id)
        assert streamer.finalize(data_id, drain_timeout_s=20).finalized
    here = threading.current_thread().name
    kinds = ("outage_began", "outage_ended", "chunk_parked", "stream_finalized")
    assert told == [(EventKind(kind), here) for kind in kinds]


def test_looking_costs_nothing_more_often_than_once_a_second_and_breaks_no_recording(
    story: Story, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s, told = [100.0], list[StreamerEvent]()
    watch = NewsWatch(story.spool, told.append, now_s=lambda: now_s[0])
    lease = story.stream("one")
    watch.look()
    story.began(lease, OUTAGE)
    watch.look()
    assert told == []
    now_s[0] += LOOK_EVERY_S
    watch.look()
    assert [event.kind for event in told] == [EventKind.OUTAGE_BEGAN]
    story.ended(lease)

    def broken(*_: object, **__: object) -> object:
        raise DiskFailed("gone")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING):
        patched.setattr(story.spool, "events_of", broken)
        watch.look(now=True)
    assert "what is new cannot be told: gone" in caplog.text
    watch.look(now=True)
    assert [event.kind for event in told] == [EventKind.OUTAGE_BEGAN, EventKind.OUTAGE_ENDED]
