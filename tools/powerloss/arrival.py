"""A stream on its way to a folder: a worker that brings it there, and whether what must lie there does."""

import hashlib
import json
import os
import threading
import time
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
from tools.powerloss.promises import frames_of
from tools.powerloss.steps import FOLDER_URL
from uploader.destinations.stores.folder import MARK_NAME, FolderStore, mark
from uploader.destinations.zarr_store import PROOF_SUFFIX, ZarrDestination
from uploader.layout import folder_name
from uploader.worker import Until, UploadWorker

INCOMING = ".framespool-incoming"
_PATIENCE_S = 10.0
_TWO_DAYS_S = 2 * 86_400

FramesOf = Callable[[str, int], NDArray[np.uint8]]


def open_share(share: Path, disk: Disk) -> ZarrDestination:
    """The folder as a worker's destination."""
    return ZarrDestination(FolderStore(FOLDER_URL, share, disk))


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


def check_arrived(root: Path, share: Path, clock: Clock, frames: FramesOf = frames_of) -> None:
    """Hold a folder against the spool that has delivered to it.

    Args:
        root: the spool's folder, as recovered.
        share: the folder.
        clock: the spool's.
        frames: those of a chunk, by its stream's name.

    Raises:
        Lost: what is acknowledged is not there, or is not readable; or something is claimed that is not there.
    """
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        for stream in _streams(spool):
            _check_mark(share)
            _check(spool, stream, share, frames)


def check_share(root: Path, share: Path, clock: Clock, frames: FramesOf = frames_of) -> None:
    """The same, and then a new worker brings everything to its end.

    Raises:
        Lost: see `check_arrived`; or something never arrives, or is left behind.
    """
    check_arrived(root, share, clock, frames)
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        streams = _streams(spool)
        for stream in streams:
            spool.seal(stream.stream_id)
    if not streams:
        if share.is_dir():
            # Nothing was begun there; the next recording marks it.
            mark(share)
            _check_tidy([], share)
        return
    deliver(root, open_share(share, Disk()), Disk(), clock)
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        for stream in _streams(spool):
            _check(spool, stream, share, frames)
            _check_ended(spool, stream)
        _check_tidy(streams, share)


def _streams(spool: Spool) -> list[Stream]:
    return [stream for stream in spool.streams() if stream.settings.destination == FOLDER_URL]


def _check_mark(share: Path) -> None:
    """It was there, durably, before any stream began; without it no worker writes there."""
    mark = share / MARK_NAME
    if not mark.is_file() or json.loads(mark.read_bytes())["format"] != "framespool-destination":
        raise Lost("the folder has lost its mark")


def _check(spool: Spool, stream: Stream, share: Path, frames: FramesOf) -> None:
    """What is acknowledged lies there, whole and readable; nothing claims more than that."""
    group, name = share / folder_name(stream), stream.settings.name
    chunks = {chunk.chunk_idx: chunk for chunk in spool.chunks(stream.stream_id)}
    if stream.data_id not in (None, group.name):
        raise Lost(f"{name} is delivered as {stream.data_id}, not as {group.name}")
    acknowledged = [chunk for chunk in chunks.values() if chunk.state is ChunkState.ACKNOWLEDGED]
    for chunk in acknowledged:
        content = _object(group, stream, chunk)
        receipt = chunk.receipt
        if receipt is None or not receipt.confirmed:
            raise Lost(f"chunk {chunk.chunk_idx} of {name} is acknowledged and not confirmed")
        if receipt.checksums.get("sha256") != hashlib.sha256(content).hexdigest():
            raise Lost(f"chunk {chunk.chunk_idx} of {name} is another object than the one of its receipt")
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


def _check_ended(spool: Spool, stream: Stream) -> None:
    """Nothing is left to do."""
    left = [chunk for chunk in spool.chunks(stream.stream_id) if chunk.state in ("spooled", "parked")]
    if left:
        raise Lost(f"{[(chunk.chunk_idx, str(chunk.state), chunk.parked_reason) for chunk in left]} never arrive")
    if stream.state is not StreamState.FINALIZED:
        raise Lost(f"{stream.settings.name} stays {stream.state}: {stream.trouble}")


def _check_tidy(streams: list[Stream], share: Path) -> None:
    """Two days later the next stream leaves nothing there but what is of the format, and the mark is whole."""
    _check_mark(share)
    for left in (share / INCOMING).glob("*"):
        os.utime(left, (time.time() - _TWO_DAYS_S,) * 2)
    FolderStore(FOLDER_URL, share).make_room("later")
    names = {folder_name(stream) for stream in streams}
    known = {MARK_NAME, INCOMING, "later", *names, *(name + PROOF_SUFFIX for name in names)}
    strange = {path.name for path in share.iterdir()} - known
    strange |= {path.name for path in (share / INCOMING).glob("*")}
    for name in names:
        strange |= {path.name for path in (share / name).iterdir()} - {"frames", "time", "zarr.json"}
    if strange:
        raise Lost(f"in the folder stays {sorted(strange)}")
