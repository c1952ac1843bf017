"""A webhook is told everything, in order and late if need be, and holds up no delivery, whatever it does."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from spool import LeasedStream, Limits, Receipt, Spool
from spool.testing import FakeClock, some_frames, some_settings
from tests.cli.shell import Reader as CommandReader
from tests.cli.shell import Shell, finished
from tests.uploader.rig import (
    NO_LIMITS,
    REFUSAL,
    Asked,
    Bench,
    Reply,
    ScriptedServer,
    chunk_path,
    status_rule,
    wait_until,
)
from uploader import webhook as webhook_module
from uploader.onlooking import Watched
from uploader.webhook import Webhook
from uploader.webhook_url import WebhookUrl

SECRET = "/services/T0SECRET/B1SECRET?token=not-for-you"
OUTAGE = {"words": "no line", "outage": True, "key_refused": False}


class Receiver:
    """A chat that takes posts."""

    def __init__(self) -> None:
        self.answer: Callable[[dict[str, Any]], Reply] = lambda _told: Reply()
        self.server = ScriptedServer(self._answered)
        self.told: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return self.server.url + SECRET

    @property
    def kinds(self) -> list[str]:
        """What it has taken, in order."""
        return [one["kind"] for one in self.told]

    def _answered(self, asked: Asked) -> Reply:
        reply = self.answer(asked.json())
        if reply.status == 200 and not reply.body:
            self.told.append(asked.json())
        return reply


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    with made.server:
        yield made


class Story:
    """A spool of which this test is the worker."""

    def __init__(self, root: Path, limits: Limits = NO_LIMITS) -> None:
        self.clock = FakeClock()
        self.spool = Spool(root, limits=limits, clock=self.clock)

    def stream(self, name: str) -> LeasedStream:
        stream = self.spool.open_stream(some_settings(name=name))
        self.spool.push(stream.stream_id, 0, some_frames())
        lease = self.spool.lease(stream.stream_id, "worker", ttl_s=1e9)
        assert lease is not None
        return lease

    def outage(self, lease: LeasedStream) -> None:
        lease.note_trouble("no line", event="trouble_began", detail=OUTAGE)

    def over(self, lease: LeasedStream) -> None:
        lease.note_trouble(None, event="trouble_ended", detail={})

    @contextmanager
    def told_to(self, url: str) -> Iterator[Webhook]:
        watched = Watched(name="mbe1", root=self.spool.root, limits=self.spool.limits, destinations=())
        webhook = Webhook(WebhookUrl(url), [watched], now_ms=self.clock.now_ms)
        webhook.start()
        with closing(webhook):
            yield webhook

    def follow(self, url: str) -> None:
        """Let a webhook begin, so that from now on everything is told."""
        with self.told_to(url):
            wait_until(lambda: list((self.spool.root / "workers").glob("*.told")))


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path / "spool")
    with closing(made.spool):
        yield made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, impatient: None) -> None:  # noqa: ARG001 - its waits are shorter
    monkeypatch.setattr(webhook_module, "LOOK_S", 0.02)
    monkeypatch.setattr(webhook_module, "ROOM_EVERY_S", 0.02)


# From a real worker -------------------------------------------------------------------------------------------


@pytest.fixture
def shell(bench: Bench, receiver: Receiver) -> Shell:
    made = Shell(bench.root, bench.server.url)
    made.environment |= {
        "AS_API_KEY": bench.server.api_key,
        "FRAMESPOOL_MIN_FREE_BYTES": "0",
        "FRAMESPOOL_WEBHOOK": receiver.url,
    }
    return made


def test_a_worker_tells_of_outage_parked_chunk_and_end_and_shows_its_url_nowhere(
    bench: Bench, shell: Shell, receiver: Receiver, tmp_path: Path
) -> None:
    data_id = bench.open_stream(2, name="growth 42")
    bench.server.outage(True)
    log = tmp_path / "w.log"
    with shell.running("worker", "--log-file", str(log), "--log-json", "--verbosity", "4") as process:
        wait_until(lambda: receiver.kinds == ["outage_began"])
        bench.server.faults([status_rule(chunk_path(1), 422, REFUSAL)])
        bench.server.outage(False)
        wait_until(lambda: receiver.kinds == ["outage_began", "outage_ended", "chunk_parked"])
        bench.spool.discard(data_id, [1], why="dark")
        bench.spool.seal(data_id)
        wait_until(lambda: receiver.kinds[3:] == ["stream_finalized"])
        process.terminate()
        assert finished(process).code == 0
    parked = receiver.told[2]
    assert parked["facts"]["chunk_idx"] == 1
    assert "dims are not" in parked["facts"]["why"]
    assert parked["stream_id"] == bench.stream(data_id).stream_id
    assert parked["spool"] == bench.root.name
    assert "chunk 1 of growth 42 is parked" in parked["text"]
    assert len({one["id"] for one in receiver.told}) == 4
    assert [one["at_ms"] for one in receiver.told] == sorted(one["at_ms"] for one in receiver.told)
    said = shell.run("config").out + shell.run("config", "--json").out
    assert "http://127.0.0.1:" in said
    for text in (said, log.read_text(), *_texts(bench.root)):
        assert "SECRET" not in text
        assert "not-for-you" not in text
        assert bench.server.api_key not in text


def _texts(root: Path) -> Iterator[str]:
    for path in root.rglob("*"):
        if path.is_file():
            yield str(path) + path.read_bytes().decode("latin-1")


@pytest.mark.parametrize("trouble", ["hangs", "fails"])
def test_a_webhook_that_does_not_work_holds_up_no_delivery(
    trouble: str, bench: Bench, shell: Shell, receiver: Receiver
) -> None:
    let_go = threading.Event()

    def answer(_told: dict[str, Any]) -> Reply:
        if trouble == "hangs":
            let_go.wait(30)
        return Reply(status=500)

    receiver.answer = answer
    data_id = bench.open_stream(20)
    bench.server.outage(True)
    try:
        with shell.running("worker"):
            wait_until(lambda: bench.stream(data_id).trouble)
            wait_until(lambda: receiver.server.asked)
            bench.server.outage(False)
            bench.spool.seal(data_id)
            # All of it happens while the receiver has answered nothing, or nothing that helps.
            wait_until(lambda: bench.finalized(data_id))
            assert receiver.told == []
            assert len(receiver.server.asked) == 1 or trouble == "fails"
    finally:
        let_go.set()
    bench.assert_arrived(data_id, 20)


# Whatever the receiver does -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_what_could_not_be_told_is_told_by_the_next_worker_in_order(story: Story, receiver: Receiver) -> None:
    story.follow(receiver.url)
    one, two = story.stream("one"), story.stream("two")
    receiver.answer = lambda told: Reply(status=503 if told["kind"] == "stream_held" else 200)
    with story.told_to(receiver.url) as webhook:
        story.outage(one)
        wait_until(lambda: receiver.kinds == ["outage_began"])
        two.hold("a person wants to look")
        wait_until(lambda: webhook.posts()["failed"] >= 3)
        story.over(one)
    assert receiver.kinds == ["outage_began"], "nothing overtakes what could not be told"
    asked = [one.json() for one in receiver.server.asked]
    again = [one["id"] for one in asked if one["kind"] == "stream_held"]
    assert len(set(again)) == 1, "it is the same thing each time"
    receiver.answer = lambda _told: Reply()
    with story.told_to(receiver.url):
        wait_until(lambda: len(receiver.told) == 3)
    assert receiver.kinds == ["outage_began", "stream_held", "outage_ended"]
    assert receiver.told[1]["id"] == again[0]
    with story.told_to(receiver.url):
        story.outage(one)
        wait_until(lambda: len(receiver.told) == 4)
    assert receiver.kinds[3:] == ["outage_began"], "and nothing twice"


@pytest.mark.usefixtures("quick")
def test_a_new_webhook_hears_of_what_is_so_now_and_not_of_history(story: Story, receiver: Receiver) -> None:
    held, waits = story.stream("held"), story.stream("waits")
    held.hold("long ago")
    story.outage(waits)
    with story.told_to(receiver.url):
        wait_until(lambda: receiver.told)
        story.over(waits)
        wait_until(lambda: len(receiver.told) == 2)
    assert receiver.kinds == ["outage_began", "outage_ended"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "reply",
    [
        Reply(status=302, headers={"Location": "/elsewhere"}),
        Reply(body=b"<html>Log in to this network</html>", headers={"Content-Type": "text/html"}),
        Reply(status=404),
        Reply(status=429),
    ],
    ids=["redirect", "portal", "not found", "too many"],
)
def test_what_is_no_answer_of_the_receiver_is_tried_again_where_it_was_sent(
    reply: Reply, story: Story, receiver: Receiver
) -> None:
    story.follow(receiver.url)
    receiver.answer = lambda _told: reply
    with story.told_to(receiver.url) as webhook:
        story.outage(story.stream("one"))
        wait_until(lambda: webhook.posts()["failed"] >= 4)
        receiver.answer = lambda _told: Reply()
        wait_until(lambda: receiver.told)
        wait_until(lambda: webhook.posts()["told"] == 1)
    assert receiver.kinds == ["outage_began"]
    assert {one.path for one in receiver.server.asked} == {SECRET.partition("?")[0]}


@pytest.mark.usefixtures("quick")
def test_what_the_receiver_cannot_take_is_left_out_and_does_not_block_the_rest(
    story: Story, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    story.follow(receiver.url)
    receiver.answer = lambda told: Reply(status=400 if told["kind"] == "outage_began" else 200)
    with story.told_to(receiver.url) as webhook, caplog.at_level(logging.DEBUG):
        one = story.stream("one")
        story.outage(one)
        story.over(one)
        wait_until(lambda: receiver.told)
        assert webhook.posts()["refused"] == webhook_module.REFUSALS_MAX
    assert receiver.kinds == ["outage_ended"]
    assert "does not take outage_began: 127.0.0.1:" in caplog.text
    assert "SECRET" not in caplog.text, "not even where somebody logs what httpx says"
    assert "HTTP Request: POST" in caplog.text


@pytest.mark.usefixtures("quick")
def test_what_is_older_than_a_day_is_left_out(
    story: Story, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    story.follow(receiver.url)
    receiver.answer = lambda _told: Reply(status=500)
    one = story.stream("one")
    with story.told_to(receiver.url) as webhook:
        story.outage(one)
        wait_until(lambda: webhook.posts()["failed"] >= 2)
        story.clock.advance_s(webhook_module.TELL_WITHIN_S + 1)
        story.over(one)
        wait_until(lambda: "could not be told of outage_began within a day" in caplog.text)
        receiver.answer = lambda _told: Reply()
        wait_until(lambda: receiver.kinds == ["outage_ended"])


@pytest.mark.usefixtures("quick")
def test_of_two_processes_one_tells_and_the_other_takes_over(story: Story, receiver: Receiver) -> None:
    story.follow(receiver.url)
    one = story.stream("one")
    with story.told_to(receiver.url) as first:
        story.outage(one)
        wait_until(lambda: first.posts()["told"] == 1)
        with story.told_to(receiver.url) as second:
            story.over(one)
            wait_until(lambda: first.posts()["told"] == 2)
            first.close()
            story.outage(one)
            wait_until(lambda: second.posts()["told"] == 1)
    assert receiver.kinds == ["outage_began", "outage_ended", "outage_began"]


@pytest.mark.usefixtures("quick")
def test_room_that_runs_out_is_told_once_whoever_records(tmp_path: Path, receiver: Receiver) -> None:
    with Spool(tmp_path / "s", limits=NO_LIMITS) as first:
        size = first.push(first.open_stream(some_settings()).stream_id, 0, some_frames(4, 64, 64)).disk_bytes
    story = Story(tmp_path / "s", Limits(min_free_bytes=0, max_bytes=10 * (size + 20)))
    with closing(story.spool):
        story.follow(receiver.url)
        ref = story.spool.streams()[0].stream_id
        with story.told_to(receiver.url):
            for idx in range(1, 9):
                story.spool.push(ref, idx, some_frames(4, 64, 64, seed=idx))
            wait_until(lambda: receiver.told)
        with story.told_to(receiver.url):
            lease = story.spool.lease(ref, "worker", ttl_s=60)
            assert lease is not None
            while (chunk := lease.next_waiting()) is not None:
                lease.acknowledge(chunk, Receipt(status=200, etag=None, confirmed=False, at_ms=1))
            wait_until(lambda: len(receiver.told) == 2)
    assert receiver.kinds == ["spool_filling", "room_again"]
    assert receiver.told[0]["facts"]["urgent"] is False
    assert receiver.told[0]["facts"]["used_share"] >= 0.8


# The URL ------------------------------------------------------------------------------------------------------


@pytest.fixture
def reader(tmp_path: Path) -> Shell:
    return CommandReader(tmp_path / "spool", "http://127.0.0.1:9")


@pytest.mark.parametrize("text", ["ftp://SECRET.example/x", "SECRET", "https://", "@SECRET", "https://a b/SECRET"])
def test_what_is_no_url_is_refused_and_not_repeated(reader: Shell, tmp_path: Path, text: str) -> None:
    said = reader.run("config", "--webhook", text)
    assert said.code == 2
    reader.environment["FRAMESPOOL_WEBHOOK"] = text
    again = reader.run("config")
    assert again.code == 2
    assert "FRAMESPOOL_WEBHOOK" in again.err
    reader.environment["FRAMESPOOL_WEBHOOK"] = ""
    errors = [said.err, again.err]
    if not text.startswith("@"):  # in a file it is one beside it
        (tmp_path / "c.toml").write_text(f"webhook = {json.dumps(text)}\n")
        third = reader.run("config", "--config", str(tmp_path / "c.toml"))
        assert third.code == 2
        errors.append(third.err)
    for err in errors:
        assert "webhook" in err
        assert "SECRET" not in err


def test_it_may_stand_in_a_private_file(reader: Shell, tmp_path: Path) -> None:
    path = tmp_path / "hook"
    path.write_text("https://chat.example/SECRET\n")
    assert WebhookUrl(f"@{path}").reveal() == "https://chat.example/SECRET"
    assert f"@{path}" in reader.run("config", "--webhook", f"@{path}").out
    (tmp_path / "c.toml").write_text('webhook = "@hook"\n')
    assert f"@{path}" in reader.run("config", "--config", str(tmp_path / "c.toml")).out, "it counts from the file"
    assert repr(WebhookUrl("https://u:SECRET@chat.example/SECRET")) == "WebhookUrl('https://chat.example/***')"
