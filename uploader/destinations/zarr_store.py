"""A store of objects as a destination: each stream lands as a Zarr group that any reader opens in place.

The group's folder is named after the stream and its stream_id, so that it is the same whoever asks, and however
often. A chunk's object begins with exactly the bytes that the ledger's SHA-256 is of; a short chunk's goes on with
an index of ``chunk_size`` entries, which Zarr readers look for at its end. What is written last is the proof,
beside the group: readers of Zarr wonder about what is none in one.
"""

import json
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from spool import (
    Chunk,
    ClockReading,
    ProofBroken,
    Receipt,
    Stream,
    padded_for_readers,
    read_proof,
    shard_name,
)
from uploader.destinations.base import (
    Closed,
    Delivered,
    Ended,
    Linked,
    Namesake,
    Opened,
    Refused,
    Ticket,
    TryLater,
)
from uploader.destinations.stores.base import KeyTaken, Store, StoreTrouble
from uploader.destinations.zarr_documents import documents, time_chunk
from uploader.rate import CutShort, Meter
from uploader.stamps import Stamp

PROOF_SUFFIX = ".proof.json"
_NOT_PLAIN = re.compile(r"[^0-9A-Za-z]+")
_NAME_CHARS = 60
_CREATED = 201
_LAST_TWO = 2
_DESCRIBES_WITHIN_S = 2.0
"""While a backlog is sent readers see it grow at least so often: a document is as much to ask for as a chunk."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Ticket(Ticket):
    stream: Stream
    stamp: Stamp


class ZarrDestination:
    """A `Store` as `Destination`.

    Args:
        store: where to.
        meter: gives out the bytes of the bodies; without it as fast as it goes.
    """

    def __init__(self, store: Store, meter: Meter | None = None) -> None:
        self.url = store.url
        self.opens_once = True
        self._store = store
        self._meter = meter or Meter()
        self._frame_counts: dict[str, int] = {}  # each stream is one thread's at a time
        self._described_at_s: dict[str, float] = {}

    def close(self) -> None:
        """See `Destination.close`."""
        self._store.close()

    def read_clock(self) -> ClockReading | None:
        """See `Destination.read_clock`; a store has no clock that counts."""
        return None

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        """See `Destination.namesakes`; a folder is found by its stream_id, and nobody else's is like it."""
        del name
        return ()

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        """See `Destination.open`."""
        del name
        data_id = folder_name(stream)

        def begin() -> Opened:
            for part in ("", "/time", "/frames"):
                self._store.make_room(f"{data_id}{part}")
            self._describe(stream, data_id, self._frame_count(data_id))
            return Opened(data_id=data_id)

        return _asked(begin)

    def link(self, stream: Stream) -> Linked | TryLater | Refused:
        """See `Destination.link`; the settings are the group's attributes."""
        del stream
        return Linked(facts={})

    def look(self, stream: Stream) -> TryLater | Closed | None:
        """See `Destination.look`; a store ends nothing by itself."""
        del stream
        return None

    def prepare(self, stream: Stream, chunk: Chunk, stamp: Stamp) -> Ticket | TryLater | Refused | Closed:
        """See `Destination.prepare`."""
        assert stream.data_id is not None
        key = f"{stream.data_id}/frames/{shard_name(chunk.chunk_idx)}"
        return _Ticket(url=key, got_at_s=time.monotonic(), data_id=stream.data_id, stream=stream, stamp=stamp)

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """See `Destination.deliver`."""
        assert isinstance(ticket, _Ticket)
        settings, data_id = ticket.stream.settings, ticket.data_id

        try:
            with self._meter.sending(chunk.stream_id, body) as pieces:
                # A store takes an object as a whole: its share of the line is waited for first.
                deque(pieces, maxlen=0)
        except CutShort:
            return TryLater(words="the worker is stopping")

        def put() -> Delivered:
            times = time_chunk(
                chunk, chunk_size=settings.chunk_size, start_ms=ticket.stamp.start_ms, fps=settings.fps
            )
            # Not if absent: a chunk that is sent again may have a better stamp.
            self._store.replace(f"{data_id}/time/c.{chunk.chunk_idx}", times)
            stored = self._store.create(
                ticket.url, padded_for_readers(body, n=chunk.n, chunk_size=settings.chunk_size)
            )
            self._arrived(ticket.stream, data_id, _reach(chunk, settings.chunk_size))
            return Delivered(
                receipt=Receipt(
                    status=_CREATED,
                    etag=stored.etag,
                    checksums={} if stored.sha256 is None else {"sha256": stored.sha256},
                    confirmed=stored.sha256 is not None,
                    at_ms=time.time_ns() // 1_000_000,
                    url_path=ticket.url,
                    data_id=data_id,
                )
            )

        return _asked(put)

    def finish(self, stream: Stream, proof: Callable[[], bytes]) -> Ended | TryLater:
        """See `Destination.finish`: the proof is written, last."""
        assert stream.data_id is not None
        data_id, key = stream.data_id, f"{stream.data_id}{PROOF_SUFFIX}"

        def end() -> Ended:
            there = self._store.read(key)
            content = there if there is not None and _proves(there, stream) else proof()
            chunks = (one.chunk for one in read_proof(content).audit.chunks)
            delivered = [_reach(one, stream.settings.chunk_size) for one in chunks if one.receipt is not None]
            self._describe(stream, data_id, max([*delivered, self._frame_count(data_id)]))
            # One that is there is written again: whoever wrote it may have died before it was durable.
            self._store.replace(key, content)
            return Ended(words=f"{key} is written")

        outcome = _asked(end)
        return TryLater(words=outcome.words) if isinstance(outcome, Refused) else outcome

    def _frame_count(self, data_id: str) -> int:
        if data_id not in self._frame_counts:
            self._frame_counts[data_id] = _length(self._store.read(f"{data_id}/frames/zarr.json"))
        return self._frame_counts[data_id]

    def _arrived(self, stream: Stream, data_id: str, reaches: int) -> None:
        """Let readers see a chunk: at once, unless more follow at once and they have seen some just now."""
        frame_count = max(reaches, self._frame_count(data_id))
        since_s = time.monotonic() - self._described_at_s.get(data_id, -_DESCRIBES_WITHIN_S)
        # As of when leave was asked for, which may be while the one before was sent.
        if stream.tally.spooled <= _LAST_TWO or since_s >= _DESCRIBES_WITHIN_S:
            self._describe(stream, data_id, frame_count)
        self._frame_counts[data_id] = frame_count

    def _describe(self, stream: Stream, data_id: str, frame_count: int) -> None:
        for key, content in documents(stream, data_id=data_id, frame_count=frame_count).items():
            self._store.replace(f"{data_id}/{key}", content)
        self._frame_counts[data_id] = frame_count
        self._described_at_s[data_id] = time.monotonic()


def _reach(chunk: Chunk, chunk_size: int) -> int:
    """The length of an array that ends with this chunk."""
    return chunk.chunk_idx * chunk_size + chunk.n


def folder_name(stream: Stream) -> str:
    """What a stream's group is called in a store: its name, as far as that is plain, and its stream_id."""
    plain = _NOT_PLAIN.sub("-", stream.settings.name).strip("-")[:_NAME_CHARS].rstrip("-")
    return f"{plain or 'stream'}-{stream.stream_id}"


def _length(document: bytes | None) -> int:
    """The number of frames that an array's document tells of; 0 for none, or one that cannot be read."""
    try:
        return int(json.loads(document or b"")["shape"][0])
    except (ValueError, LookupError, TypeError):
        return 0


def _proves(content: bytes, stream: Stream) -> bool:
    """Whether it is the proof of this stream, complete."""
    try:
        audit = read_proof(content).audit
    except ProofBroken:
        return False
    return audit.stream.stream_id == stream.stream_id and len(audit.chunks) == stream.tally.pushed


def _asked(ask: Callable[[], _T]) -> _T | TryLater | Refused:
    """What asking the store led to, with its troubles as outcomes."""
    try:
        return ask()
    except KeyTaken as error:
        return Refused(words=str(error))
    except StoreTrouble as error:
        return TryLater(
            words=str(error),
            outage=error.outage,
            key_refused=error.key_refused,
            min_wait_s=error.min_wait_s,
            may_be_done=error.may_be_done,
            mismatch=error.mismatch,
        )
