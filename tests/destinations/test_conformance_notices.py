"""The suite notices: a destination that breaks one word of the contract fails the test for that word."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import pytest

from spool import Chunk, Stream
from tests.destinations import test_conformance as suite
from tests.destinations.rigs import MemoryRig
from uploader.destinations.base import (
    Closed,
    Delivered,
    Destination,
    Ended,
    Linked,
    Namesake,
    Opened,
    Refused,
    Ticket,
    TryLater,
)
from uploader.destinations.stores.base import KeyTaken, Pieces, Stored, StoreTrouble, sha256_of
from uploader.destinations.stores.memory import MemoryStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.stamps import Stamp

Sent = Delivered | TryLater | Refused
Broken = ZarrDestination | MemoryStore


class OpensAnother(ZarrDestination):
    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        super().open(stream, name)
        return Opened(data_id=uuid4().hex)


class ListsNothing(ZarrDestination):
    capabilities = replace(ZarrDestination.capabilities, can_list=True)

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        del name
        return []


class LinksTwice(ZarrDestination):
    def link(self, stream: Stream) -> Linked | TryLater | Refused:
        del stream
        return Linked(facts={"link": uuid4().hex})


class TakesNothingAtFirst(ZarrDestination):
    def look(self, stream: Stream) -> TryLater | Closed | None:
        del stream
        return Closed(words="it is over", by_person=False)


class MakesUpEvidence(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        outcome = super().deliver(chunk, ticket, body)
        assert isinstance(outcome, Delivered)
        return Delivered(receipt=replace(outcome.receipt, checksums={"sha256": chunk.sha256[::-1]}))


class Raises(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        outcome = super().deliver(chunk, ticket, body)
        if isinstance(outcome, TryLater):
            raise OSError(outcome.words)
        return outcome


class MakesUpAnOutcome(ZarrDestination):
    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        outcome = super().finish(stream, proof)
        return Refused(words=outcome.words) if isinstance(outcome, TryLater) else outcome  # type: ignore[return-value]


class KnowsNoOutage(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        outcome = super().deliver(chunk, ticket, body)
        return replace(outcome, outage=False) if isinstance(outcome, TryLater) else outcome


class Retries(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        for _ in range(8):
            outcome = super().deliver(chunk, ticket, body)
            if not isinstance(outcome, TryLater):
                break
        return outcome


class Sleeps(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        time.sleep(0.001)
        return super().deliver(chunk, ticket, body)


class TellsASecret(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        outcome = super().deliver(chunk, ticket, body)
        return replace(outcome, words=f"token {SECRET}") if isinstance(outcome, TryLater) else outcome


class Speechless(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        outcome = super().deliver(chunk, ticket, body)
        return replace(outcome, words="") if isinstance(outcome, TryLater) else outcome


class EndsWithoutAProof(ZarrDestination):
    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        del stream, proof
        return Ended(words="it has ended")


class ProvesTooEarly(ZarrDestination):
    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Sent:
        self._store.replace(f"{ticket.data_id}.proof.json", b"{}")
        return super().deliver(chunk, ticket, body)


class EndsOnce(ZarrDestination):
    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        if self._store.read(f"{stream.data_id}.proof.json") is not None:
            return TryLater(words="it has ended before")
        return super().finish(stream, proof)


class ClosesOnce(ZarrDestination):
    is_closed = False

    def close(self) -> None:
        if self.is_closed:
            raise ValueError("it is closed")
        self.is_closed = True


class OneStreamAtATime(ZarrDestination):
    """Remembers the stream that was opened last, whoever asks."""

    _all_are_open = threading.Barrier(suite.THREADS)
    _last: ClassVar[Stream | None] = None

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        outcome = super().open(stream, name)
        self._all_are_open.wait(60)
        return outcome

    def prepare(self, stream: Stream, chunk: Chunk, stamp: Stamp) -> Ticket | TryLater | Refused | Closed:
        last = type(self)._last or stream
        type(self)._last = last
        return super().prepare(last, chunk, stamp)


class Trusting(MemoryStore):
    """Never looks at what it has kept."""

    def create(self, key: str, pieces: Pieces) -> Stored:
        self._pass()
        was_there = key in self.objects
        self.objects[key] = b"".join(pieces)
        return Stored(was_there=was_there, etag=None, sha256=sha256_of(pieces))


class KeepsCopies(MemoryStore):
    """Keeps what is sent again under a further key."""

    def create(self, key: str, pieces: Pieces) -> Stored:
        if key in self.objects:
            self.objects[key.replace("c.0.", "c.7.")] = b"".join(pieces)
        return super().create(key, pieces)


class Piecemeal(MemoryStore):
    """Lets others see what has only arrived in part."""

    def create(self, key: str, pieces: Pieces) -> Stored:
        if key not in self.objects and isinstance(self.objects, dict):
            dict.__setitem__(self.objects, key, bytes(pieces[0])[:100])
            self.objects[key] = b"".join(pieces)
        return super().create(key, pieces)


class RefusesForGood(MemoryStore):
    """Takes every trouble for a refusal."""

    def _pass(self) -> None:
        if self.trouble is not None:
            raise KeyTaken(str(self.trouble))


class SwallowsTrouble(MemoryStore):
    """Says that it has replaced what it has not."""

    def replace(self, key: str, content: bytes) -> None:
        try:
            super().replace(key, content)
        except StoreTrouble:
            return

    def read(self, key: str) -> bytes | None:
        return self.objects.get(key)


SECRET = "very-secret-token"

_OPENS = suite.test_a_part_that_is_asked_for_twice_is_the_same_where_it_opens_once
_LISTS = suite.test_the_parts_of_a_name_are_told_where_it_can_list
_LINKS = suite.test_linking_twice_changes_nothing
_LOOKS = suite.test_nothing_speaks_against_a_part_that_was_just_opened
_EVIDENCE = suite.test_a_receipt_is_evidence_of_the_bytes_that_lie_there
_AGAIN = suite.test_a_chunk_that_is_sent_again_lies_there_once
_ABSENT = suite.test_other_bytes_in_its_place_are_refused_where_it_creates_if_absent
_DAMAGED = suite.test_other_bytes_than_were_sent_are_noticed_where_it_can_checksum
_CUT = suite.test_a_chunk_that_breaks_off_on_its_way_has_not_arrived_and_does_later
_AWAY = suite.test_while_the_far_end_is_away_everything_may_work_later_and_does
_END = suite.test_the_end_may_be_asked_for_twice_and_leaves_a_complete_proof_where_it_keeps_one
_CLOSE = suite.test_closing_twice_is_no_error
_TROUBLE = suite.test_in_whatever_trouble_nothing_is_raised_and_nothing_is_believed_that_did_not_happen
_BOUNDED = suite.test_a_try_ends_with_what_fails_and_at_most_one_more_request_asks_why
_THREADS = suite.test_eight_threads_use_it_at_once_each_for_its_own_stream
_WORKER = suite.test_a_worker_delivers_a_whole_stream_and_the_audit_is_complete

BROKEN: Sequence[tuple[Callable[[suite.Desk], None], type[Broken], str]] = (
    (_OPENS, OpensAnother, r"== Opened\("),
    (_LISTS, ListsNothing, r"\[\] == \["),
    (_LINKS, LinksTwice, r"== Linked\("),
    (_LOOKS, TakesNothingAtFirst, "it is over"),
    (_EVIDENCE, MakesUpEvidence, r"\} & \{"),
    (_EVIDENCE, Sleeps, "deliver slept"),
    (_AGAIN, KeepsCopies, r"\[0, 7\] == \[0\]"),
    (_ABSENT, Trusting, r"isinstance\(Delivered"),
    (_DAMAGED, Trusting, r"isinstance\(Delivered"),
    (_CUT, Piecemeal, r"\[0\] == \[\]"),
    (_CUT, KnowsNoOutage, "outage=False"),
    (_CUT, TellsASecret, "deliver told a secret"),
    (_CUT, Speechless, "without a word"),
    (_AWAY, RefusesForGood, r"isinstance\(Refused"),
    (_AWAY, MakesUpAnOutcome, "finish led to Refused"),
    (_END, EndsWithoutAProof, "keeps_proof"),
    (_END, ProvesTooEarly, "b'{}' is None"),
    (_END, EndsOnce, "it has ended before"),
    (_CLOSE, ClosesOnce, "it is closed"),
    (_TROUBLE, Raises, "nobody is there"),
    (_TROUBLE, SwallowsTrouble, "ended without a proof"),
    (_BOUNDED, Retries, "deliver was tried 8 times"),
    (_THREADS, OneStreamAtATime, "other bytes"),
    (_WORKER, EndsWithoutAProof, "keeps_proof"),
)


@pytest.mark.parametrize(("test", "broken", "says"), BROKEN, ids=lambda one: getattr(one, "__name__", "")[:40])
def test_a_broken_word_is_noticed(
    test: Callable[[suite.Desk], None], broken: type[Broken], says: str, tmp_path: Path
) -> None:
    class BrokenRig(MemoryRig):
        secrets = (SECRET,)

        def make(self) -> Destination:
            kind = broken if issubclass(broken, MemoryStore) else MemoryStore
            store = kind(self.url, self.shelf)
            self.stores.append(store)
            return broken(store) if issubclass(broken, ZarrDestination) else ZarrDestination(store)

    with (
        pytest.raises((AssertionError, OSError, ValueError), match=says),
        suite.a_desk(BrokenRig, None, tmp_path) as desk,
    ):
        test(desk)


def test_every_test_of_the_suite_has_been_seen_to_fail() -> None:
    tests = {name for name in vars(suite) if name.startswith("test_")}
    assert tests == {test.__name__ for test, _, _ in BROKEN}
