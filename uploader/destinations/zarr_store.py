"""A store of objects as a destination: each stream lands as a Zarr group that any reader opens in place.

A stream's data_id is its name and its stream_id, so that it is the same whoever asks, and however often. Where the
group lies is said by the layout. A layout may change, or be another one for whoever goes on with the stream; so
the place is noted once, before anything lies there, and who finds a note goes by it. Without one the place is the
data_id.

A chunk's object begins with exactly the bytes that the ledger's SHA-256 is of; a short chunk's goes on with
an index of ``chunk_size`` entries, which Zarr readers look for at its end. What is written last is the proof,
beside the group: readers of Zarr wonder about what is none in one.
"""

import json
import socket
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
    Capabilities,
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
from uploader.layout import DEFAULT_LAYOUT, folder_name, is_place, place_of
from uploader.rate import CutShort, Meter
from uploader.stamps import Stamp

PROOF_SUFFIX = ".proof.json"
PLACES = ".framespool-places"
"""Where the notes lie: a small object for each stream that has its place from a layout, named by its data_id."""
_CREATED = 201
_LAST_TWO = 2
_DESCRIBES_WITHIN_S = 2.0
"""While a backlog is sent readers see it grow at least so often: a document is as much to ask for as a chunk."""
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class _Ticket(Ticket):
    stream: Stream
    place: str


class ZarrDestination:
    """A `Store` as `Destination`.

    Args:
        store: where to.
        meter: gives out the bytes of the bodies; without it as fast as it goes.
        layout: where streams that begin here are to lie, see `uploader.layout`.
    """

    capabilities = Capabilities(
        opens_once=True, can_list=False, can_checksum=True, creates_if_absent=True, keeps_proof=True
    )

    def __init__(self, store: Store, meter: Meter | None = None, *, layout: str = DEFAULT_LAYOUT) -> None:
        self.url = store.url
        self._store = store
        self._meter = meter or Meter()
        self._layout = layout
        # By data_id, and by place; each stream is one thread's at a time.
        self._places: dict[str, str] = {}
        self._frame_counts: dict[str, int] = {}
        self._described_at_s: dict[str, float] = {}

    def close(self) -> None:
        """See `Destination.close`."""
        self._store.close()

    def read_clock(self) -> ClockReading | None:
        """See `Destination.read_clock`; a store has no clock that counts."""
        return None

    def namesakes(self, name: str) -> Sequence[Namesake] | TryLater | Refused:
        """See `Destination.namesakes`; a group is found by its stream_id, and nobody else's is like it."""
        return Refused(words=f"{self.url} does not know the streams of the name {name!r}")

    def open(self, stream: Stream, name: str) -> Opened | TryLater | Refused:
        """See `Destination.open`."""
        del name
        data_id = folder_name(stream)

        def begin() -> Opened:
            place = self._places[data_id] = self._settled(stream, data_id)
            for part in ("", "/time", "/frames"):
                self._store.make_room(f"{place}{part}")
            self._describe(stream, data_id, place, self._frame_count(place))
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
        """See `Destination.prepare`; its times are stored here, so that a chunk waits for itself alone."""
        data_id = stream.data_id
        assert data_id is not None

        def prepare() -> _Ticket:
            place, settings = self._place(data_id), stream.settings
            times = time_chunk(chunk, chunk_size=settings.chunk_size, start_ms=stamp.start_ms, fps=settings.fps)
            # Not if absent: a chunk that is sent again may have a better stamp.
            self._store.replace(f"{place}/time/c.{chunk.chunk_idx}", times)
            return _Ticket(
                url=f"{place}/frames/{shard_name(chunk.chunk_idx)}",
                got_at_s=time.monotonic(),
                data_id=data_id,
                stream=stream,
                place=place,
            )

        return _asked(prepare)

    def deliver(self, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> Delivered | TryLater | Refused:
        """See `Destination.deliver`."""
        assert isinstance(ticket, _Ticket)
        settings, data_id, place = ticket.stream.settings, ticket.data_id, ticket.place

        try:
            with self._meter.sending(chunk.stream_id, body) as pieces:
                # A store takes an object as a whole: its share of the line is waited for first.
                deque(pieces, maxlen=0)
        except CutShort:
            return TryLater(words="the worker is stopping")

        def put() -> Delivered:
            stored = self._store.create(
                ticket.url, padded_for_readers(body, n=chunk.n, chunk_size=settings.chunk_size)
            )
            self._arrived(ticket.stream, data_id, place, _reach(chunk, settings.chunk_size))
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
        data_id = stream.data_id
        assert data_id is not None

        def end() -> Ended:
            place = self._place(data_id)
            key = f"{place}{PROOF_SUFFIX}"
            there = self._store.read(key)
            content = there if there is not None and _proves(there, stream) else proof()
            chunks = (one.chunk for one in read_proof(content).audit.chunks)
            delivered = [_reach(one, stream.settings.chunk_size) for one in chunks if one.receipt is not None]
            self._describe(stream, data_id, place, max([*delivered, self._frame_count(place)]))
            # One that is there is written again: whoever wrote it may have died before it was durable.
            self._store.replace(key, content)
            return Ended(words=f"{key} is written")

        outcome = _asked(end)
        return TryLater(words=outcome.words) if isinstance(outcome, Refused) else outcome

    def _place(self, data_id: str) -> str:
        """Where a stream lies that was opened, whoever did that."""
        if data_id not in self._places:
            note = self._store.read(_note_key(data_id))
            if note is None and self._store.read(f"{data_id}/zarr.json") is None:
                # To begin anew would scatter its chunks, and its proof would tell of some that are not beside it.
                raise StoreTrouble(
                    f"{self.url} does not have {data_id} any more, nor a note of its place in {PLACES}:"
                    " put back what was taken away",
                    outage=False,
                )
            self._places[data_id] = data_id if note is None else self._told(data_id, note)
        return self._places[data_id]

    def _settled(self, stream: Stream, data_id: str) -> str:
        """Where a stream is to lie that is being opened: as noted, or by the layout, which is noted then."""
        note = self._store.read(_note_key(data_id))
        if note is None:
            place = place_of(stream, self._layout, host=socket.gethostname())
            if place == data_id or self._store.read(f"{data_id}/zarr.json") is not None:
                return data_id  # it was begun before there was a layout, and the answer was lost
            note = json.dumps({"format": "framespool-place", "version": 1, "place": place}).encode()
        # Also one that is there: whoever wrote it may have died before it was durable.
        self._store.make_room(PLACES)
        self._store.create(_note_key(data_id), [note])
        return self._told(data_id, note)

    def _told(self, data_id: str, note: bytes) -> str:
        """The place that a note tells."""
        try:
            place = json.loads(note)["place"]
        except (ValueError, LookupError, TypeError, RecursionError):
            place = None
        if not is_place(place, data_id):
            raise StoreTrouble(
                f"{self.url}/{_note_key(data_id)} does not tell the place of {data_id}: put it right",
                outage=False,
            )
        return str(place)

    def _frame_count(self, place: str) -> int:
        if place not in self._frame_counts:
            self._frame_counts[place] = _length(self._store.read(f"{place}/frames/zarr.json"))
        return self._frame_counts[place]

    def _arrived(self, stream: Stream, data_id: str, place: str, reaches: int) -> None:
        """Let readers see a chunk: at once, unless more follow at once and they have seen some just now."""
        frame_count = max(reaches, self._frame_count(place))
        since_s = time.monotonic() - self._described_at_s.get(place, -_DESCRIBES_WITHIN_S)
        # As of when leave was asked for, which may be while the one before was sent.
        if stream.tally.spooled <= _LAST_TWO or since_s >= _DESCRIBES_WITHIN_S:
            self._describe(stream, data_id, place, frame_count)
        self._frame_counts[place] = frame_count

    def _describe(self, stream: Stream, data_id: str, place: str, frame_count: int) -> None:
        for key, content in documents(stream, data_id=data_id, frame_count=frame_count).items():
            self._store.replace(f"{place}/{key}", content)
        self._frame_counts[place] = frame_count
        self._described_at_s[place] = time.monotonic()


def _reach(chunk: Chunk, chunk_size: int) -> int:
    """The length of an array that ends with this chunk."""
    return chunk.chunk_idx * chunk_size + chunk.n


def _note_key(data_id: str) -> str:
    return f"{PLACES}/{data_id}"


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
