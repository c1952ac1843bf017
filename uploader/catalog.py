"""Every stream below a place in a store, read from what lies there: no server is asked, and no spool.

A stream is a group (`uploader.destinations.zarr_documents`) and, once it is complete, its proof beside it.
Invariants:

1. Nothing that lies there ends the listing: what is broken or cannot be read becomes an entry that says so, what
   is somebody else's is passed by. Only a store that answers nothing at all raises.
2. A stream's chunks are listed only when they are to be checked: a place costs one listing, a stream two objects.
3. A proof is looked for before its group is read. It is written last, so no group ever seems behind its proof.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from spool import Chunk, ChunkState, Proof, ProofBroken, SpoolError, read_proof
from uploader.destinations.stores.base import Level, Store, StoreTrouble
from uploader.destinations.zarr_store import PROOF_SUFFIX
from uploader.stored import Check, Stored, held_against, what_is_there

_AT_ONCE = 16  # a store far away answers many as quickly as one
_DEPTH_MAX = 32
_TROUBLES_MAX = 10
_TEXT_MAX = 500
_STREAM_ID = re.compile(r"[0-9]{8}t[0-9]{6}-[0-9a-f]{12}", re.ASCII)
_DOCUMENT = "zarr.json"


class State(StrEnum):
    """What can be said of what lies at a place."""

    GROWING = "growing"
    """There is no proof yet."""
    COMPLETE = "complete"
    """Its proof holds: every frame that was recorded was acknowledged."""
    GAPS = "gaps"
    """Its proof holds, and tells of chunks that never came: skipped, or discarded."""
    DAMAGED = "damaged"
    """Its proof or its group does not hold, or what is there is not what the proof tells of."""
    UNREADABLE = "unreadable"
    """The store does not let it be read."""
    FOREIGN = "foreign"
    """A Zarr group or array that is no stream of ours."""


BAD = frozenset({State.GAPS, State.DAMAGED, State.UNREADABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What lies at one place. ``None`` is what cannot be told.

    Attributes:
        place: where, below what was asked for; with slashes.
        says: why it is in this state.
        began_at_ms: when its first frame was captured, or else when it was created.
        frames: how many a reader finds.
        size_bytes: what was sent of it, or what lies there where that was looked at.
        chunks: how many were acknowledged, by its proof; without one, how many its frames take.
        stored: what a check has found.
    """

    place: str
    state: State
    says: str = ""
    stream_id: str | None = None
    name: str | None = None
    sample: str | None = None
    project: str | None = None
    began_at_ms: int | None = None
    frames: int | None = None
    size_bytes: int | None = None
    chunks: int | None = None
    stored: Stored | None = None


def _anything(_entry: Entry) -> bool:
    return True


class Catalog:
    """Reads a store; used once.

    Args:
        store: where.
        check: how the objects of a stream are held against its proof.
        wants: which entries are wanted; only those are checked.
        tell: is told how many places were looked at so far.
    """

    def __init__(
        self,
        store: Store,
        *,
        check: Check = Check.NOTHING,
        wants: Callable[[Entry], bool] = _anything,
        tell: Callable[[int], None] = lambda _seen: None,
    ) -> None:
        self._store = store
        self._check = check
        self._wants = wants
        self._tell = tell
        self._seen = self._troubles = 0
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="framespool-catalog")

    def entries(self, only: str | None = None) -> Iterator[Entry]:
        """Whatever lies below, place by place in the order of names.

        Args:
            only: the one place that is asked for, instead of all.

        Raises:
            StoreTrouble: the store itself cannot be read, or not any more.
        """
        try:
            if only is None:
                yield from filter(self._wants, self._below(self._store.level(""), is_foreign=False))
            else:
                has_proof = self._store.read(only + PROOF_SUFFIX) is not None
                found = self._looked_at(only, has_proof=has_proof)
                yield from [] if found is None else [found]
        finally:
            self._pool.shutdown(cancel_futures=True)

    @staticmethod
    def is_stream(store: Store) -> bool:
        """Whether the store's own address is that of one stream, whose proof then lies outside of it."""
        return _as_stream("", _parsed(store.read(_DOCUMENT))) is not None

    def _below(self, level: Level, *, is_foreign: bool) -> Iterator[Entry]:
        proved = {key.removesuffix(PROOF_SUFFIX) for key in level.objects if key.endswith(PROOF_SUFFIX)}
        names = {_last(key) for key in level.objects}
        if ".zarray" in names:  # of Zarr 2: what lies below are its chunks
            return
        places = [one for one in level.places if not _last(one).startswith(".")]
        for one, found in self._looked_at_ahead(places, proved):
            self._seen += 1
            self._tell(self._seen)
            self._end_if_store_is_gone(found)
            is_others = found is not None and found.state is State.FOREIGN
            if found is not None and not (is_others and is_foreign):
                yield found
            if found is None or (is_others and found.says == "group"):
                yield from self._deeper(one, is_foreign=is_foreign or is_others)
        for one in sorted(proved.difference(level.places)):
            yield Entry(place=one, state=State.DAMAGED, says="its proof is there, and its group is not")

    def _deeper(self, place: str, *, is_foreign: bool) -> Iterator[Entry]:
        if place.count("/") >= _DEPTH_MAX:
            yield Entry(place=place, state=State.UNREADABLE, says="it lies too deep to be looked into")
            return
        try:
            level = self._store.level(place)
        except StoreTrouble as error:
            found = Entry(place=place, state=State.UNREADABLE, says=str(error))
            self._end_if_store_is_gone(found)
            yield found
        else:
            yield from self._below(level, is_foreign=is_foreign)

    def _looked_at_ahead(self, places: list[str], proved: set[str]) -> Iterator[tuple[str, Entry | None]]:
        """Each place and what lies there, in order, while the next ones are being read."""
        ahead: deque[tuple[str, Future[Entry | None]]] = deque()
        for place in places:
            ahead.append((place, self._pool.submit(self._looked_at, place, has_proof=place in proved)))
            if len(ahead) > 2 * _AT_ONCE:
                first, found = ahead.popleft()
                yield first, found.result()
        for first, found in ahead:
            yield first, found.result()

    def _end_if_store_is_gone(self, found: Entry | None) -> None:
        is_trouble = found is not None and found.state is State.UNREADABLE
        self._troubles = self._troubles + 1 if is_trouble else 0
        if self._troubles and self._troubles % _TROUBLES_MAX == 0:
            self._store.level("")  # it may be theirs alone

    def _looked_at(self, place: str, *, has_proof: bool) -> Entry | None:
        """What lies at a place; ``None`` when that is no group, so that others may lie below."""
        try:
            return self._read(place, has_proof=has_proof)
        except StoreTrouble as error:
            return Entry(place=place, state=State.UNREADABLE, says=str(error))

    def _read(self, place: str, *, has_proof: bool) -> Entry | None:
        content = self._store.read(f"{place}/{_DOCUMENT}")
        if content is None and not has_proof:
            return None
        document = _parsed(content)
        found = _as_stream(place, document)
        if found is None and (has_proof or _STREAM_ID.search(_last(place))):
            what = "is missing" if content is None else "is not a stream's"
            return Entry(place=place, state=State.DAMAGED, says=f"its {_DOCUMENT} {what}")
        if found is None:
            return Entry(place=place, state=State.FOREIGN, says=str(document.get("node_type", ""))[:_TEXT_MAX])
        chunk_size = _whole(document["attributes"].get("chunk_size"))
        proof = self._store.read(place + PROOF_SUFFIX) if has_proof else None
        try:
            return self._growing(found, chunk_size) if proof is None else self._ended(found, read_proof(proof))
        except ProofBroken as error:
            return replace(found, state=State.DAMAGED, says=f"its proof does not hold: {error}")
        except SpoolError as error:
            return replace(found, state=State.UNREADABLE, says=f"its proof cannot be checked: {error}")

    def _growing(self, found: Entry, chunk_size: int | None) -> Entry:
        first = self._store.read(f"{found.place}/time/c.0")
        if first is not None and (at_ms := int.from_bytes(first[:8], "little", signed=True) // 1000) > 0:
            found = replace(found, began_at_ms=at_ms)
        if not chunk_size or found.frames is None:
            return replace(found, state=State.DAMAGED, says=f"its {_DOCUMENT} does not tell its frames")
        found = replace(found, chunks=-(-found.frames // chunk_size))
        if self._check is Check.NOTHING or not self._wants(found):
            return found
        stored = what_is_there(self._store, found.place, found.chunks or 0)
        return replace(found, stored=stored, size_bytes=stored.size_bytes)

    def _ended(self, found: Entry, proof: Proof) -> Entry:
        audit = proof.audit
        totals, settings = audit.totals, audit.stream.settings
        delivered = [one.chunk for one in audit.chunks if one.chunk.state is ChunkState.ACKNOWLEDGED]
        frames = _reach(delivered, settings.chunk_size)
        wrong = ""
        if audit.stream.stream_id != found.stream_id:
            wrong = f"its proof is of another stream, {audit.stream.stream_id}"
        elif found.frames is None or not frames <= found.frames <= _reach(proof.chunks, settings.chunk_size):
            # A chunk whose answer was lost, and that was discarded then, may be there all the same.
            wrong = f"its {_DOCUMENT} tells of {found.frames} frames, its proof of {frames}"
        is_complete = totals.complete or not audit.chunks
        found = replace(
            found,
            state=State.DAMAGED if wrong else State.COMPLETE if is_complete else State.GAPS,
            says=wrong,
            began_at_ms=totals.captured_ms[0] if totals.captured_ms else found.began_at_ms,
            size_bytes=sum(one.wire_bytes for one in delivered),
            chunks=len(delivered),
        )
        if wrong or self._check is Check.NOTHING or not self._wants(found):
            return found
        stored = held_against(self._store, found.place, audit, self._check)
        return replace(
            found,
            state=found.state if stored.is_well else State.DAMAGED,
            size_bytes=stored.size_bytes,
            stored=stored,
        )


def _reach(chunks: Iterable[Chunk], chunk_size: int) -> int:
    """How many frames an array has whose last chunk is the last of these."""
    return max((one.chunk_idx * chunk_size + one.n for one in chunks), default=0)


def _parsed(content: bytes | None) -> dict[str, Any]:
    try:
        said = json.loads(content or b"")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _as_stream(place: str, document: dict[str, Any]) -> Entry | None:
    """What a group's document tells, if it is a stream's."""
    said = document.get("attributes")
    if not isinstance(said, dict) or not _STREAM_ID.fullmatch(str(said.get("stream_id"))):
        return None
    try:
        shape = document["consolidated_metadata"]["metadata"]["frames"]["shape"]
        frames = _whole(shape[0])
    except (LookupError, TypeError):
        frames = None
    return Entry(
        place=place,
        state=State.GROWING,
        stream_id=str(said["stream_id"]),
        name=_text(said.get("name")),
        sample=_text(said.get("physical_sample")),
        project=_text(said.get("project_id")),
        began_at_ms=_whole(said.get("created_at_unix_ms_utc")),
        frames=frames,
    )


def _text(said: object) -> str | None:
    return said[:_TEXT_MAX] if isinstance(said, str) else None


def _whole(said: object) -> int | None:
    return said if type(said) is int and said >= 0 else None


def _last(key: str) -> str:
    return key.rpartition("/")[2]
