"""Streams on their way to folders: a worker that brings them there, and whether what must lie there does."""

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from spool import (
    Chunk,
    ChunkState,
    Clock,
    Disk,
    Limits,
    ShardDamaged,
    Spool,
    Stream,
    StreamState,
    check_received,
    read_proof,
    shard_name,
)
from tools.powerloss.frames import Lost
from tools.powerloss.promises import frames_of, name_of
from tools.powerloss.steps import FOLDER_URL, FOLDERS
from uploader.destinations.stores.folder import MARK_NAME, FolderStore, mark
from uploader.destinations.zarr_store import PLACES, PROOF_SUFFIX, ZarrDestination
from uploader.layout import DEFAULT_LAYOUT, folder_name, is_place
from uploader.worker import Until, UploadWorker

INCOMING = ".framespool-incoming"
_PATIENCE_S = 10.0
_TWO_DAYS_S = 2 * 86_400

FramesOf = Callable[[str, int], NDArray[np.uint8]]


def open_share(share: Path, disk: Disk, url: str = FOLDER_URL, *, layout: str = DEFAULT_LAYOUT) -> ZarrDestination:
    """The folder as a worker's destination."""
    return ZarrDestination(FolderStore(url, share, disk), layout=layout)


class GarblingDisk(Disk):
    """The real disk, but of one object it keeps other bytes than it is given, as a share does that has bad memory.

    Args:
        before: see `Disk`.
        which: of the objects and documents that are written, from 1.
    """

    def __init__(self, before: Callable[[str, Path], None], which: int) -> None:
        super().__init__(before)
        self._which = which

    def write_new(self, path: Path, pieces: Iterable[bytes | Sequence[bytes]], *, label: str) -> None:
        """See `Disk.write_new`."""
        self._which -= 1
        if self._which == 0:
            pieces = [bytes(piece)[::-1] for piece in pieces if isinstance(piece, bytes)]
        super().write_new(path, pieces, label=label)


def deliver(root: Path, destination: ZarrDestination, disk: Disk, clock: Clock) -> None:
    """Let a worker bring everything there that waits.

    Args:
        root: the spool's folder; the worker opens it for itself.
        destination: the folder.
        disk: the spool's.
        clock: the spool's.
    """
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock, disk=disk) as spool, closing(destination):
        worker = UploadWorker(spool, destination, until=Until.DRY)
        # Whoever waits in vain leaves something undelivered, which is what is looked for.
        patience = threading.Timer(_PATIENCE_S, worker.stop)
        patience.daemon = True
        patience.start()
        try:
            worker.run()
        finally:
            patience.cancel()


def check_arrived(root: Path, clock: Clock, frames: FramesOf = frames_of) -> None:
    """Hold the folders against the spool that has delivered to them; they lie beside it.

    Args:
        root: the spool's folder, as recovered.
        clock: the spool's.
        frames: those of a chunk, by its stream's name.

    Raises:
        Lost: what is acknowledged is not there, or is not readable; or something is claimed that is not there.
    """
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        for url, share in _shares(root):
            for stream in _streams(spool, url):
                _check_mark(share)
                _check(spool, stream, share, frames)


def check_shares(root: Path, clock: Clock, frames: FramesOf = frames_of) -> None:
    """The same, and then new workers bring everything to its end, by no layout.

    Raises:
        Lost: see `check_arrived`; or something never arrives, or is left behind.
    """
    check_arrived(root, clock, frames)
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        streams = {url: _streams(spool, url) for url, _ in _shares(root)}
        for stream in spool.streams():
            if stream.settings.destination in FOLDERS and stream.settings.copy_of is None:
                spool.seal(stream.stream_id)
    for url, share in _shares(root):
        if streams[url]:
            deliver(root, open_share(share, Disk(), url), Disk(), clock)
        elif share.is_dir():
            mark(share)  # nothing was begun there; the next recording marks it
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        for url, share in _shares(root):
            for stream in _streams(spool, url):
                _check(spool, stream, share, frames)
                _check_ended(spool, stream, share)
            if streams[url] or share.is_dir():
                _check_tidy(streams[url], share)


def _shares(root: Path) -> list[tuple[str, Path]]:
    return [(url, root.with_name(name)) for url, name in FOLDERS.items()]


def _streams(spool: Spool, url: str) -> list[Stream]:
    return [stream for stream in spool.streams() if stream.settings.destination == url]


def _check_mark(share: Path) -> None:
    """It was there, durably, before any stream began; without it no worker writes there."""
    mark = share / MARK_NAME
    if not mark.is_file() or json.loads(mark.read_bytes())["format"] != "framespool-destination":
        raise Lost("the folder has lost its mark")


def _check(spool: Spool, stream: Stream, share: Path, frames: FramesOf) -> None:
    """What is acknowledged lies there, whole and readable; nothing claims more than that. The rest lies here."""
    group, name = _group(share, stream), name_of(stream)
    chunks = {chunk.chunk_idx: chunk for chunk in spool.chunks(stream.stream_id)}
    if stream.data_id not in (None, group.name):
        raise Lost(f"{name} is delivered as {stream.data_id}, not as {group.name}")
    for chunk in chunks.values():
        if chunk.state is ChunkState.SPOOLED:
            _check_waiting(spool, stream, chunk, frames)
    acknowledged = [chunk for chunk in chunks.values() if chunk.state is ChunkState.ACKNOWLEDGED]
    for chunk in acknowledged:
        _check_acknowledged(share, stream, chunk)
    # What has its name there is whole. A chunk before it may still wait: one that was pushed later, into a gap.
    named = [chunk for idx, chunk in chunks.items() if (group / "frames" / shard_name(idx)).exists()]
    for chunk in named:
        _object(group, stream, chunk)
    reach = max((chunk.chunk_idx * stream.settings.chunk_size + chunk.n for chunk in named), default=0)
    for what, length in _claims(group):
        if length > reach:
            raise Lost(f"{what} claims {length} frames of {name}, and those that are there end with {reach}")
    if stream.data_id is not None:
        _check_readable(group, stream, acknowledged, frames)
    if stream.state is StreamState.FINALIZED:
        _check_proof(group, stream, acknowledged)


def _check_waiting(spool: Spool, stream: Stream, chunk: Chunk, frames: FramesOf) -> None:
    """Whatever a stream's other destinations have: the bytes stay until the last one has them."""
    if not np.array_equal(spool.frames(chunk), frames(stream.settings.name, chunk.chunk_idx)):
        raise Lost(f"chunk {chunk.chunk_idx} of {name_of(stream)} waits with other frames")


def _check_acknowledged(share: Path, stream: Stream, chunk: Chunk) -> None:
    group, receipt, what = _group(share, stream), chunk.receipt, f"chunk {chunk.chunk_idx} of {name_of(stream)}"
    content = _object(group, stream, chunk)
    if receipt is None or not receipt.confirmed:
        raise Lost(f"{what} is acknowledged and not confirmed")
    if receipt.url_path != f"{group.relative_to(share).as_posix()}/frames/{shard_name(chunk.chunk_idx)}":
        raise Lost(f"{what} has the receipt of another place: {receipt.url_path}")
    if receipt.checksums.get("sha256") != hashlib.sha256(content).hexdigest():
        raise Lost(f"{what} is another object than the one of its receipt")


def _group(share: Path, stream: Stream) -> Path:
    """Where the stream lies: as its note says, which is whole whenever it is there."""
    note = share / PLACES / folder_name(stream)
    if not note.exists():
        return share / folder_name(stream)
    try:
        place: str = json.loads(note.read_bytes())["place"]
    except (ValueError, LookupError, TypeError) as error:
        raise Lost(f"the note of the place of {name_of(stream)} is torn") from error
    if not is_place(place, folder_name(stream)):
        raise Lost(f"the note of {name_of(stream)} tells of {place!r}")
    return share / place


def _object(group: Path, stream: Stream, chunk: Chunk) -> bytes:
    """A chunk's object, which has exactly the bytes of its digest."""
    try:
        content = (group / "frames" / shard_name(chunk.chunk_idx)).read_bytes()
        check_received(content, chunk, chunk_size=stream.settings.chunk_size)
    except (FileNotFoundError, ShardDamaged) as error:
        what = f"chunk {chunk.chunk_idx} of {stream.settings.name}, {chunk.state}"
        raise Lost(f"{what}, is not whole in the folder: {error}") from error
    return content


def _claims(group: Path) -> Iterator[tuple[str, int]]:
    """How many frames each document tells of."""
    for key in ("frames/zarr.json", "time/zarr.json", "zarr.json"):
        if not (group / key).exists():
            continue
        said: dict[str, Any] = json.loads((group / key).read_bytes())
        arrays = said["consolidated_metadata"]["metadata"] if key == "zarr.json" else {key: said}
        yield from ((f"{key}: {name}", array["shape"][0]) for name, array in arrays.items())


def _check_readable(group: Path, stream: Stream, acknowledged: list[Chunk], frames: FramesOf) -> None:
    """Zarr-python, through the group's document, reads the acknowledged frames that it has, and their times."""
    opened = zarr.open_group(group, mode="r")
    array, times = opened["frames"], opened["time"]
    assert isinstance(array, zarr.Array)
    assert isinstance(times, zarr.Array)
    read, read_times = np.asarray(array[:]), np.asarray(times[:])
    if array.shape[:1] != times.shape:
        raise Lost(f"the group tells of {array.shape[0]} frames and {times.shape[0]} times")
    for chunk in acknowledged:
        start = chunk.chunk_idx * stream.settings.chunk_size
        part = slice(start, start + chunk.n)
        if part.stop > len(read) and stream.state is not StreamState.FINALIZED:
            continue  # while more follow at once, readers see it with those
        if not np.array_equal(read[part], frames(stream.settings.name, chunk.chunk_idx)):
            raise Lost(f"a reader finds other frames in chunk {chunk.chunk_idx} of {stream.settings.name}")
        if np.any(read_times[part] < 0):
            raise Lost(f"a reader finds no times for chunk {chunk.chunk_idx} of {stream.settings.name}")


def _check_proof(group: Path, stream: Stream, acknowledged: list[Chunk]) -> None:
    proof = read_proof(group.with_name(group.name + PROOF_SUFFIX).read_bytes())
    proven = {chunk.chunk_idx: chunk.sha256 for chunk in proof.chunks if chunk.receipt is not None}
    if proof.audit.stream.stream_id != stream.stream_id or len(proof.chunks) != stream.tally.pushed:
        raise Lost(f"the proof of {stream.settings.name} is not of all of it")
    if proven != {chunk.chunk_idx: chunk.sha256 for chunk in acknowledged}:
        raise Lost(f"the proof of {stream.settings.name} tells of other chunks: {sorted(proven)}")


def _check_ended(spool: Spool, stream: Stream, share: Path) -> None:
    """Nothing is left to do, and each chunk lies there once."""
    left = [chunk for chunk in spool.chunks(stream.stream_id) if chunk.state in ("spooled", "parked")]
    if left:
        raise Lost(f"{[(chunk.chunk_idx, str(chunk.state), chunk.parked_reason) for chunk in left]} never arrive")
    if stream.state is not StreamState.FINALIZED:
        raise Lost(f"{name_of(stream)} stays {stream.state}: {stream.trouble}")
    acknowledged = Counter(
        int(event.chunk_idx or 0)
        for event in spool.events()
        if event.event == "acknowledged" and event.stream_id == stream.stream_id
    )
    chunks = {chunk.chunk_idx: chunk.state for chunk in spool.chunks(stream.stream_id)}
    if acknowledged != Counter(idx for idx, state in chunks.items() if state is ChunkState.ACKNOWLEDGED):
        raise Lost(f"{name_of(stream)} has other receipts than one for each of its chunks: {acknowledged}")
    found = {path.name for path in (_group(share, stream) / "frames").glob("c.*")}
    # One that was discarded meanwhile may have arrived before.
    if not {*map(shard_name, acknowledged)} <= found <= {*map(shard_name, chunks)}:
        raise Lost(f"of {name_of(stream)} {sorted(found)} lie in the folder, and its chunks are {sorted(chunks)}")


def _check_tidy(streams: list[Stream], share: Path) -> None:
    """Two days later the next stream leaves nothing there but what is of the format, and the mark is whole."""
    _check_mark(share)
    for left in (share / INCOMING).glob("*"):
        os.utime(left, (time.time() - _TWO_DAYS_S,) * 2)
    FolderStore(FOLDER_URL, share).make_room("later")
    groups = [_group(share, stream) for stream in streams]
    known = {share / MARK_NAME, share / INCOMING, share / "later", share / PLACES}
    known |= {share / PLACES / folder_name(stream) for stream in streams}
    for group in groups:
        known |= {
            group.with_name(group.name + PROOF_SUFFIX),
            group / "frames",
            group / "time",
            group / "zarr.json",
        }
        known |= {group, *group.parents}
    inside = {group / part for group in groups for part in ("frames", "time")}
    found = {path for path in share.rglob("*") if inside.isdisjoint(path.parents)}
    if strange := [path.relative_to(share).as_posix() for path in found - known]:
        raise Lost(f"in the folder stays {sorted(strange)}")
