"""What `uploader.destinations.base` asks of a destination, held against each of them.

Everything is asked through the `Destination` protocol; what arrived is read at the far end itself, by its rig
(`tests.destinations.rigs`). Each outcome is one that the protocol names for the request, in words for a screen,
without a secret, and nobody slept for it: see `Watched`.

``FRAMESPOOL_RIG=MODULE:CLASS pytest tests/destinations/test_conformance.py`` runs it against another destination.
"""

import hashlib
import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import numpy as np
import pytest

from spool import (
    Chunk,
    LeasedStream,
    Limits,
    Spool,
    Stream,
    StreamSettings,
    audit,
    check_received,
    make_proof,
    read_proof,
)
from tests.destinations.rigs import RIGS, Rig
from uploader.destinations.base import (
    Delivered,
    Destination,
    Ended,
    Linked,
    Opened,
    Refused,
    Ticket,
    TryLater,
)
from uploader.stamps import stamp
from uploader.worker import Until, UploadWorker

CHUNK_SIZE, SIDE = 4, 128
AFTER_TROUBLE = 4
"""How many tries may find a connection that broke while the far end was away: as many as it keeps."""
PATIENCE_S = 120.0
"""For one try that nobody sleeps in, on a slow machine."""
THREADS = 8
"""Several times what a worker has (`uploader.worker.STREAMS_AT_ONCE`)."""


def rigs() -> Sequence[type[Rig]]:
    """The rigs under test: ours, or the one that the environment names."""
    named = os.environ.get("FRAMESPOOL_RIG")
    if named is None:
        return RIGS
    module, _, name = named.partition(":")
    return [getattr(importlib.import_module(module), name)]


class Watched:
    """A destination, each of whose outcomes is judged by what every outcome has to be."""

    def __init__(self, destination: Destination, secrets: Sequence[str]) -> None:
        self._destination = destination
        self._secrets = list(secrets)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._destination, name)
        return partial(self._ask, name) if callable(found) else found

    def _ask(self, name: str, *args: object) -> object:
        began_s, _asked.name = time.monotonic(), name
        try:
            outcome = getattr(self._destination, name)(*args)
        finally:
            _asked.name = None
        assert time.monotonic() - began_s < PATIENCE_S, f"{name} waited"
        allowed = get_type_hints(getattr(Destination, name))["return"]
        kinds = tuple(get_origin(one) or one for one in get_args(allowed) or (allowed,))
        assert isinstance(outcome, kinds), f"{name} led to {outcome!r}, which is none of {allowed}"
        if isinstance(outcome, Ticket):
            self._secrets += [urlsplit(outcome.url).query] if "?" in outcome.url else []
        words = getattr(outcome, "words", "-")
        assert words.strip(), f"{name} led to {type(outcome).__name__} without a word"
        assert words.isprintable(), f"{words!r} is not for a screen"
        for secret in self._secrets:
            assert secret not in repr(outcome), f"{name} told a secret"
        return outcome


_asked = threading.local()
"""What a thread has just asked a destination for."""


@contextmanager
def sleepless() -> Iterator[None]:
    """While a thread waits for a destination's outcome it does not sleep."""
    sleep = time.sleep

    def refuse(seconds: float) -> None:
        name = getattr(_asked, "name", None)
        assert name is None, f"{name} slept"
        sleep(seconds)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(time, "sleep", refuse)
        yield


def soon(ask: Callable[[], object], tries: int) -> object:
    """What so many tries led to. That a connection is gone is told by the first one that uses it again."""
    for _ in range(tries):
        outcome = ask()
        if not isinstance(outcome, TryLater):
            break
    return outcome


class Recording:
    """A stream in a spool, as a worker holds it."""

    def __init__(self, spool: Spool, url: str, *, chunks: int = 1, seed: int = 0, **settings: Any) -> None:
        self.spool = spool
        given = StreamSettings(
            name=settings.pop("name", f"growth {seed}"),
            destination=url,
            fps=10.0,
            rotations_per_min=0.0,
            chunk_size=CHUNK_SIZE,
            **settings,
        )
        self.stream_id = spool.open_stream(given).stream_id
        dice = np.random.default_rng(seed)
        for idx in range(chunks):
            n = CHUNK_SIZE if idx < chunks - 1 else 3
            frames = dice.integers(0, 256, (n, SIDE, SIDE), dtype=np.uint8)
            spool.push(self.stream_id, idx, frames, capture_start_ms_utc=1_700_000_000_000 + 400 * idx)
        lease = spool.lease(self.stream_id, "the suite", ttl_s=600)
        assert lease is not None
        self.lease: LeasedStream = lease

    @property
    def stream(self) -> Stream:
        return self.lease.stream()

    @property
    def data_id(self) -> str:
        data_id = self.stream.data_id
        assert data_id is not None
        return data_id

    def chunk(self, idx: int = 0) -> Chunk:
        chunk = self.spool.chunk(self.stream_id, idx)
        assert chunk is not None
        return chunk

    def open(self, destination: Destination, *, tries: int = 1) -> None:
        """Have a part for it."""
        name = self.stream.settings.name
        self.lease.part_asked(name, is_name_free=False)
        outcome = soon(lambda: destination.open(self.stream, name), tries)
        assert isinstance(outcome, Opened), outcome
        self.lease.part_opened(outcome.data_id, unlinked=None)

    def send(self, destination: Destination, idx: int = 0, *, instead: "Recording | None" = None) -> object:
        """Try once to deliver a chunk, or that of another recording in its place; the outcome."""
        source = instead or self
        chunk = replace(source.chunk(idx), stream_id=self.stream_id)
        ticket = destination.prepare(self.stream, chunk, stamp(self.stream, chunk, ()))
        if not isinstance(ticket, Ticket):
            return ticket
        return destination.deliver(chunk, ticket, source.lease.read(source.chunk(idx)))

    def deliver(self, destination: Destination, idx: int = 0, *, tries: int = 1) -> Delivered:
        """Have a chunk delivered, and acknowledge it."""
        outcome = soon(lambda: self.send(destination, idx), tries)
        assert isinstance(outcome, Delivered), outcome
        self.lease.acknowledge(self.chunk(idx), outcome.receipt)
        return outcome

    def finish(self, destination: Destination, *, tries: int = 1) -> object:
        """Ask for the end; the outcome."""
        return soon(lambda: destination.finish(self.stream, self.make_proof), tries)

    def make_proof(self) -> bytes:
        return make_proof(self.spool, self.stream_id, made_by="the conformance suite")

    def assert_there(self, rig: Rig, *chunk_idxs: int) -> None:
        """The far end has these chunks, exactly as they were pushed, and no other."""
        held = rig.chunks(self.data_id)
        assert sorted(held) == sorted(chunk_idxs)
        for idx, content in held.items():
            check_received(content, self.chunk(idx), chunk_size=CHUNK_SIZE)


class Desk:
    """A rig, with destinations and recordings as a test wants them."""

    def __init__(self, rig: Rig, spool: Spool, made: ExitStack) -> None:
        self.rig = rig
        self.spool = spool
        self._made = made
        self._recordings = 0

    def destination(self) -> Destination:
        made = self._made.enter_context(closing(self.rig.make()))
        return cast("Destination", Watched(made, self.rig.secrets))

    def record(self, *, chunks: int = 1, **settings: Any) -> Recording:
        self._recordings += 1
        return Recording(self.spool, self.rig.url, chunks=chunks, seed=self._recordings, **settings)


@contextmanager
def a_desk(kind: type[Rig], far_end: object, root: Path) -> Iterator[Desk]:
    rig = kind(root, far_end)
    limits = Limits(min_free_bytes=0)
    with closing(rig), Spool(root / "spool", limits=limits) as spool, ExitStack() as made, sleepless():
        yield Desk(rig, spool, made)


@pytest.fixture(scope="module", params=rigs(), ids=lambda kind: kind.__name__)
def far_end(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    kind: type[Rig] = request.param
    with kind.begin(tmp_path_factory.mktemp("far-end")) as begun:
        yield kind, begun


@pytest.fixture
def desk(far_end: tuple[type[Rig], object], tmp_path: Path) -> Iterator[Desk]:
    with a_desk(*far_end, tmp_path) as made:
        yield made


# The part ---------------------------------------------------------------------------------------------------


def test_a_part_that_is_asked_for_twice_is_the_same_where_it_opens_once(desk: Desk) -> None:
    stream, others = desk.record().stream, desk.record().stream
    first, again = (desk.destination().open(stream, "growth") for _ in range(2))
    other = desk.destination().open(others, "growth")
    assert isinstance(first, Opened)
    assert isinstance(again, Opened)
    assert isinstance(other, Opened)
    assert (first == again) is desk.destination().capabilities.opens_once
    assert other not in (first, again)


def test_the_parts_of_a_name_are_told_where_it_can_list(desk: Desk) -> None:
    destination = desk.destination()
    name = f"growth of {desk.rig.root.name}"
    recording, other = desk.record(name=name), desk.record(name=f"{name} 2")
    recording.open(destination)
    other.open(destination)
    found = desk.destination().namesakes(name)
    if destination.capabilities.can_list:
        assert isinstance(found, Sequence)
        assert [one.data_id for one in found] == [recording.data_id]
        assert desk.destination().namesakes(f"{name} 3") == []
    else:
        assert isinstance(found, Refused)


def test_linking_twice_changes_nothing(desk: Desk) -> None:
    recording = desk.record(physical_sample="GaAs 7", tags=("wafer", "night"))
    destination = desk.destination()
    recording.open(destination)
    first, again = (desk.destination().link(recording.stream) for _ in range(2))
    assert isinstance(first, Linked)
    assert first == again


def test_nothing_speaks_against_a_part_that_was_just_opened(desk: Desk) -> None:
    recording, destination = desk.record(), desk.destination()
    recording.open(destination)
    assert destination.look(recording.stream) is None


# A chunk ----------------------------------------------------------------------------------------------------


def test_a_receipt_is_evidence_of_the_bytes_that_lie_there(desk: Desk) -> None:
    recording, destination = desk.record(chunks=2), desk.destination()
    recording.open(destination)
    for idx in (0, 1):
        receipt = recording.deliver(destination, idx).receipt
        assert receipt.data_id == recording.data_id
        assert "?" not in (receipt.url_path or "")
        assert receipt.confirmed is destination.capabilities.can_checksum
        lies_there = desk.rig.chunks(recording.data_id)[idx]
        told = {receipt.etag, *receipt.checksums.values()}
        if receipt.confirmed:
            assert told & {hashlib.md5(lies_there).hexdigest(), hashlib.sha256(lies_there).hexdigest()}
    recording.assert_there(desk.rig, 0, 1)


def test_a_chunk_that_is_sent_again_lies_there_once(desk: Desk) -> None:
    recording, destination = desk.record(chunks=2), desk.destination()
    recording.open(destination)
    for sender in (destination, destination, desk.destination()):
        outcome = recording.send(sender)
        assert isinstance(outcome, Delivered)
        assert outcome.receipt.confirmed is destination.capabilities.can_checksum
        recording.assert_there(desk.rig, 0)


def test_other_bytes_in_its_place_are_refused_where_it_creates_if_absent(desk: Desk) -> None:
    recording, other, destination = desk.record(), desk.record(), desk.destination()
    recording.open(destination)
    recording.deliver(destination)
    for sender in (destination, desk.destination()):
        outcome = recording.send(sender, instead=other)
        if destination.capabilities.creates_if_absent:
            assert isinstance(outcome, Refused)
            recording.assert_there(desk.rig, 0)
        else:
            assert isinstance(outcome, Delivered)
            check_received(desk.rig.chunks(recording.data_id)[0], other.chunk(), chunk_size=CHUNK_SIZE)


def test_other_bytes_than_were_sent_are_noticed_where_it_can_checksum(desk: Desk) -> None:
    recording, destination = desk.record(), desk.destination()
    recording.open(destination)
    with desk.rig.damaging():
        outcome = recording.send(destination)
    assert isinstance(outcome, Delivered) is not destination.capabilities.can_checksum
    if destination.capabilities.can_checksum:
        assert isinstance(outcome, TryLater)
        recording.deliver(destination)
        recording.assert_there(desk.rig, 0)


def test_a_chunk_that_breaks_off_on_its_way_has_not_arrived_and_does_later(desk: Desk) -> None:
    recording, destination = desk.record(), desk.destination()
    recording.open(destination)
    with desk.rig.cut():
        outcome = recording.send(destination)
    assert isinstance(outcome, TryLater)
    assert outcome.outage
    recording.assert_there(desk.rig)
    recording.deliver(destination, tries=AFTER_TROUBLE)
    recording.assert_there(desk.rig, 0)


def test_while_the_far_end_is_away_everything_may_work_later_and_does(desk: Desk) -> None:
    recording, new, destination = desk.record(chunks=2), desk.record(), desk.destination()
    recording.open(destination)
    recording.deliver(destination)
    with desk.rig.away():
        outcomes = [
            destination.open(new.stream, "growth"),
            recording.send(destination, 1),
            recording.finish(destination),
        ]
    for outcome in outcomes:
        assert isinstance(outcome, TryLater)
        assert outcome.outage
    recording.assert_there(desk.rig, 0)
    recording.deliver(destination, 1, tries=AFTER_TROUBLE)
    recording.assert_there(desk.rig, 0, 1)
    new.open(destination, tries=AFTER_TROUBLE)
    assert isinstance(recording.finish(destination, tries=AFTER_TROUBLE), Ended)


# The end ----------------------------------------------------------------------------------------------------


def test_the_end_may_be_asked_for_twice_and_leaves_a_complete_proof_where_it_keeps_one(desk: Desk) -> None:
    recording, destination = desk.record(chunks=3), desk.destination()
    recording.open(destination)
    for idx in range(3):
        recording.deliver(destination, idx)
    desk.spool.seal(recording.stream_id)
    assert desk.rig.proof(recording.data_id) is None
    for sender in (destination, destination, desk.destination()):
        assert isinstance(recording.finish(sender), Ended)
    recording.assert_there(desk.rig, 0, 1, 2)
    kept = desk.rig.proof(recording.data_id)
    assert (kept is not None) is destination.capabilities.keeps_proof
    if kept is not None:
        told = read_proof(kept).audit
        assert told.stream.stream_id == recording.stream_id
        assert all(one.chunk.receipt is not None for one in told.chunks)
        assert len(told.chunks) == 3


def test_closing_twice_is_no_error(desk: Desk) -> None:
    unused, used, recording = desk.destination(), desk.destination(), desk.record()
    recording.open(used)
    recording.deliver(used)
    for destination in (unused, unused, used, used):
        destination.close()
    recording.assert_there(desk.rig, 0)


# Whatever happens -------------------------------------------------------------------------------------------


def test_in_whatever_trouble_nothing_is_raised_and_nothing_is_believed_that_did_not_happen(desk: Desk) -> None:
    destination = desk.destination()
    unopened = desk.record()
    troubles = {"away": desk.rig.away, "failing": desk.rig.failing, **desk.rig.troubles()}
    for trouble, begin in troubles.items():
        recording, whole = desk.record(), desk.record()
        for one in (recording, whole):
            one.open(destination, tries=AFTER_TROUBLE)
        whole.deliver(destination, tries=AFTER_TROUBLE)
        desk.spool.seal(whole.stream_id)
        chunk, stream = recording.chunk(), recording.stream
        leave = destination.prepare(stream, chunk, stamp(stream, chunk, ()))
        assert isinstance(leave, Ticket)
        with begin():
            destination.read_clock()
            destination.namesakes("growth")
            destination.open(unopened.stream, "growth")
            destination.link(stream)
            destination.look(stream)
            sent = [destination.deliver(chunk, leave, recording.lease.read(chunk)), recording.send(destination)]
            ended = whole.finish(destination)
        if any(isinstance(outcome, Delivered) for outcome in sent):
            recording.assert_there(desk.rig, 0)
        if isinstance(ended, Ended) and destination.capabilities.keeps_proof:
            assert desk.rig.proof(whole.data_id) is not None, f"{trouble}: it has ended without a proof"
        recording.deliver(destination, tries=AFTER_TROUBLE)
        recording.assert_there(desk.rig, 0)
        assert isinstance(whole.finish(destination, tries=AFTER_TROUBLE), Ended), trouble


def test_a_try_ends_with_what_fails_and_at_most_one_more_request_asks_why(desk: Desk) -> None:
    recording, destination = desk.record(), desk.destination()
    recording.open(destination)
    new, chunk = desk.record(), recording.chunk(0)
    leave = stamp(recording.stream, chunk, ())
    ticket = destination.prepare(recording.stream, chunk, leave)
    assert isinstance(ticket, Ticket)
    asks: Mapping[str, Callable[[], object]] = {
        "open": lambda: destination.open(new.stream, "growth"),
        "prepare": lambda: destination.prepare(recording.stream, chunk, leave),
        "deliver": lambda: destination.deliver(chunk, ticket, recording.lease.read(chunk)),
        "finish": lambda: recording.finish(destination),
    }
    for what, ask in asks.items():
        with desk.rig.failing() as failures:
            assert isinstance(ask(), TryLater)
            assert 1 <= failures() <= 2, f"{what} was tried {failures()} times"


def test_eight_threads_use_it_at_once_each_for_its_own_stream(desk: Desk) -> None:
    destination = desk.destination()
    recordings = [desk.record(chunks=3) for _ in range(THREADS)]
    together = threading.Barrier(THREADS)

    def deliver(recording: Recording) -> None:
        together.wait(60)
        recording.open(destination)
        for idx in range(3):
            recording.deliver(destination, idx)
        assert isinstance(recording.finish(destination), Ended)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(deliver, recordings))
    for recording in recordings:
        recording.assert_there(desk.rig, 0, 1, 2)


# With a worker ----------------------------------------------------------------------------------------------


def test_a_worker_delivers_a_whole_stream_and_the_audit_is_complete(desk: Desk) -> None:
    recording = desk.record(chunks=4)
    recording.lease.release()
    desk.spool.seal(recording.stream_id)
    destination = desk.destination()
    worker = UploadWorker(desk.spool, destination, until=Until.DRY)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    worker.stop()
    thread.join(PATIENCE_S)
    recording.assert_there(desk.rig, 0, 1, 2, 3)
    told = audit(desk.spool, recording.stream_id)
    assert told.stream.state == "finalized"
    assert told.complete
    for one in told.chunks:
        assert one.chunk.receipt is not None
        assert one.chunk.receipt.confirmed is destination.capabilities.can_checksum
    assert (desk.rig.proof(recording.data_id) is not None) is destination.capabilities.keeps_proof
