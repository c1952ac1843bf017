"""A stream on a USB disk, for the day on which the network of this place never comes back.

A pack is a folder::

    PACK/
      stream.proof                      what is known of the stream; see `spool.proof`. Written last
      frames.zarr/frames/c.<k>.0.0      the shards that are not acknowledged yet, as they lie in the spool

Packed, a stream is held here: two that deliver it would be one too many. Unpacked on another machine, it is
delivered from there. What was delivered there can be packed again and unpacked here: then the receipts come home.
"""

import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spool import shards
from spool.disk import Disk
from spool.errors import ProofBroken, ShardDamaged, SpoolError
from spool.model import Chunk, Stream
from spool.proof import Proof, make_proof, read_proof
from spool.spool import Spool
from spool.states import ChunkState, StreamState
from spool.verify import Progress
from spool.zarr_metadata import STORE_NAME, array_document, array_path, group_document, shard_name

PROOF_NAME = "stream.proof"
_PATIENCE_S = 20.0
_PAUSE_S = 0.1
_LEASE_S = 3600.0
_KEPT = (ChunkState.SPOOLED, ChunkState.PARKED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What was packed.

    Attributes:
        path: the folder.
        stream_id: of what.
        chunks: how many shards it holds; ``bytes`` is their size.
        damaged: chunk_idx of those among them that are damaged; they went along as they are.
        held: whether the stream is held here from now on.
    """

    path: Path
    stream_id: str
    chunks: int
    bytes: int
    damaged: tuple[int, ...]
    held: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What was unpacked.

    Attributes:
        stream_id: of what.
        is_new: the stream was not in this spool before.
        chunks: how many waiting or parked chunks came in, with their bytes.
        receipts: how many acknowledgements came in.
        left: chunk_idx of those that could not come in, and why.
    """

    stream_id: str
    is_new: bool
    chunks: int
    receipts: int
    left: dict[int, str]


def pack(
    spool: Spool, ref: str, path: Path, *, made_by: str, who: str, progress: Progress | None = None
) -> Packed:
    """Copy what of a stream was not delivered into a folder, and hold the stream here.

    Args:
        spool: an open spool.
        ref: the stream.
        path: the folder; must not exist.
        made_by: the program, for people.
        who: the person, for the ledger.
        progress: hears bytes done, and of how many.

    Durability: on return the pack is whole, as far as its disk keeps what it says it has written.

    Raises:
        SpoolError: there is such a folder already, or a worker does not let go of the stream: nothing was changed,
            unless it says that the stream is held.
        OSError: the folder cannot be written; the stream is held.
    """
    if path.exists():
        raise SpoolError(f"{path} is there already", hint="A pack is never overwritten: choose another name.")
    stream = spool.stream(ref)
    must_hold = stream.state is not StreamState.FINALIZED
    if must_hold:
        spool.hold(ref, f"it was packed for delivery elsewhere, into {path.name}", who=who)
    lease = _leased(spool, ref) if must_hold else None
    try:
        array = array_path(path)
        array.mkdir(parents=True)
        (path / STORE_NAME / "zarr.json").write_bytes(group_document(stream))
        kept = [chunk for chunk in spool.chunks(ref) if chunk.state in _KEPT]
        damaged = _copy(spool, stream, kept, array, progress or (lambda _done, _all: None))
        frames = (kept[-1].chunk_idx * stream.settings.chunk_size + kept[-1].n) if kept else 0
        (array / "zarr.json").write_bytes(array_document(spool.stream(ref), frame_count=frames))
        size = sum(chunk.disk_bytes for chunk in kept)
        spool.record("packed", ref=ref, into=path.name, chunks=len(kept), bytes=size, who=who)
        proof = make_proof(spool, ref, made_by=made_by)
        Disk().write_new(path / PROOF_NAME, [proof], label="pack")
        Disk().sync_dir(path, label="pack")
    finally:
        if lease is not None:
            lease.release()
    return Packed(
        path=path,
        stream_id=stream.stream_id,
        chunks=len(kept),
        bytes=size,
        damaged=tuple(damaged),
        held=must_hold,
    )


def unpack(spool: Spool, path: Path, *, who: str, progress: Progress | None = None) -> Unpacked:
    """Take in a pack: a stream to deliver from here, or the receipts of one that was delivered elsewhere.

    Doing it again changes nothing; cut off, it goes on where it was. The pack stays as it is.

    Args:
        spool: an open spool.
        path: the pack.
        who: the person, for the ledger.
        progress: hears bytes done, and of how many.

    Raises:
        ProofBroken: it is no pack, or its proof does not hold; nothing was changed.
        SpoolError: a chunk is here with other bytes, or the disk refused; what came in before stays.
    """
    proof = _proof(path)
    stream = proof.audit.stream
    detail = {"from": path.name, "head": proof.head, "head_seq": proof.head_seq, "who": who}
    is_new = spool.take_in_stream(stream, detail, proof.clock_readings)
    came = receipts = done = 0
    left: dict[int, str] = {}
    whole = sum(chunk.disk_bytes for chunk in proof.chunks if chunk.state in _KEPT)
    for chunk in proof.chunks:
        is_kept = chunk.state in _KEPT
        try:
            is_here = spool.chunk(stream.stream_id, chunk.chunk_idx) is not None
            pieces = None if is_here or not is_kept else _pieces(proof, chunk, path)
            changed = spool.take_in_chunk(chunk, pieces, proof.why_discarded(chunk.chunk_idx))
        except ShardDamaged as error:
            left[chunk.chunk_idx] = str(error)
            continue
        came += changed and is_kept
        receipts += changed and chunk.state is ChunkState.ACKNOWLEDGED
        if is_kept:
            done += chunk.disk_bytes
            (progress or (lambda _done, _all: None))(done, whole)
    if not left:
        spool.take_in_end(stream)
    return Unpacked(stream_id=stream.stream_id, is_new=is_new, chunks=came, receipts=receipts, left=left)


def look_into(spool: Spool | None, path: Path) -> Unpacked:
    """What `unpack` would do; changes nothing.

    Args:
        spool: into which; ``None`` for one that is not there yet.
        path: the pack, every byte of which is checked.

    Raises:
        ProofBroken: it is no pack, or its proof does not hold.
    """
    proof = _proof(path)
    stream_id = proof.audit.stream.stream_id
    known = {stream.stream_id for stream in spool.streams()} if spool is not None else set()
    came = receipts = 0
    left: dict[int, str] = {}
    for chunk in proof.chunks:
        here = spool.chunk(stream_id, chunk.chunk_idx) if spool is not None and stream_id in known else None
        if chunk.state is ChunkState.ACKNOWLEDGED:
            receipts += here is None or here.state in _KEPT
        elif chunk.state in _KEPT and here is None:
            try:
                _pieces(proof, chunk, path)
            except ShardDamaged as error:
                left[chunk.chunk_idx] = str(error)
            else:
                came += 1
    return Unpacked(stream_id=stream_id, is_new=stream_id not in known, chunks=came, receipts=receipts, left=left)


def _proof(path: Path) -> Proof:
    try:
        content = (path / PROOF_NAME).read_bytes()
    except FileNotFoundError:
        raise ProofBroken(
            f"{path} is no pack, or its packing was cut off: it has no {PROOF_NAME}",
            hint="Pack it again: the stream is held there, and nothing is lost.",
        ) from None
    return read_proof(content)


def _leased(spool: Spool, ref: str) -> Any:  # noqa: ANN401 - a `LeasedStream`
    """The stream's lease, once its worker has noticed that the stream is held."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        lease = spool.lease(ref, f"pack {uuid.uuid4().hex}", ttl_s=_LEASE_S)
        if lease is not None:
            return lease
        if time.monotonic() > deadline:
            raise SpoolError(
                "a worker is in the middle of delivering this stream; it is held from now on",
                hint="Stop the worker and pack again, or let 'framespool retry' deliver it from here after all.",
            )
        time.sleep(_PAUSE_S)


def _copy(spool: Spool, stream: Stream, kept: list[Chunk], array: Path, progress: Progress) -> list[int]:
    damaged, done = [], 0
    whole = sum(chunk.disk_bytes for chunk in kept)
    for chunk in kept:
        source = array_path(spool.root / "streams" / stream.stream_id) / shard_name(chunk.chunk_idx)
        try:
            shards.check_file(source, chunk, chunk_size=stream.settings.chunk_size, origin_id=stream.origin_id)
        except (ShardDamaged, FileNotFoundError):
            damaged.append(chunk.chunk_idx)
        if source.exists():
            Disk().write_new(array / source.name, [source.read_bytes()], label="pack")
        done += chunk.disk_bytes
        progress(done, whole)
    Disk().sync_dir(array, label="pack")
    return damaged


def _pieces(proof: Proof, chunk: Chunk, path: Path) -> list[bytes]:
    """A shard of the pack, every byte of it checked.

    Raises:
        ShardDamaged: it is missing, or is not what the proof tells of.
    """
    shard = array_path(path) / shard_name(chunk.chunk_idx)
    try:
        shards.check_file(
            shard, chunk, chunk_size=proof.audit.stream.settings.chunk_size, origin_id=proof.audit.stream.origin_id
        )
    except FileNotFoundError:
        raise ShardDamaged(f"chunk {chunk.chunk_idx} is missing from the pack") from None
    return [shard.read_bytes()]
