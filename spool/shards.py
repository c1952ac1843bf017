"""A chunk's encoded bytes: one Zarr v3 ``sharding_indexed`` shard, in two forms.

::

    on the wire   frame 0 … frame n-1                 index of n entries            CRC-32C
    in the spool  frame 0 … frame n-1   description   index of chunk_size entries   CRC-32C

Frames are compressed one by one with zstd; the index holds little-endian u64 pairs ``(offset, nbytes)``.
Bytes that no entry points to are legal in a shard, so the spool's form also describes itself (stream,
chunk_idx, shape, capture time, digest) and no offset moves between the two. Missing entries of a short
chunk are ``2**64 - 1`` twice, as the Zarr specification says; readers see fill values there.

The description can be found without knowing anything: it ends with its length, its CRC-32C and a magic
word, directly before the index.

Source: Zarr v3 specification, sharding codec 1.0; docs/on-disk-format.md.
"""

import contextlib
import hashlib
import json
import mmap
import os
import struct
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import FileIO
from itertools import accumulate, pairwise
from pathlib import Path

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from spool.capture import Capture
from spool.errors import ShardDamaged
from spool.frame_codec import decompress
from spool.model import Chunk
from spool.states import ChunkState

FRAME_BYTES_MAX = 1 << 31
"""No frame is larger: a whole chunk may not be."""
DESCRIPTION_BYTES_MAX = 4096
"""More than any description takes, trailer included, but for what a source has told of the chunk."""

_MAGIC = b"fs-shard"
_TRAILER = struct.Struct("<II8s")  # length of the description, its CRC-32C, the magic word
_ENTRY_BYTES = 16
_CRC_BYTES = 4
_MISSING = struct.pack("<QQ", 2**64 - 1, 2**64 - 1)
# Enough for the padded index of 500,000 frames a chunk; read only when chunk_size is not known.
_SEARCH_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a spooled shard says about itself; enough to rebuild its index row."""

    format: int = 2
    stream_id: str
    chunk_idx: int
    n: int
    height: int
    width: int
    chunk_size: int
    capture_start_ms_utc: int
    monotonic_ms: int | None
    boot_id: str | None
    spooled_at_ms: int
    sha256: str
    wire_bytes: int
    capture: Capture | None = None


def local_tail(lengths: Sequence[int], description: Description) -> bytes:
    """What follows the compressed frames in the spool's file.

    Args:
        lengths: of the compressed frames, in order.
        description: of the chunk, complete.
    """
    return _described(description) + index_of(lengths, entries=description.chunk_size)


def index_of(lengths: Sequence[int], *, entries: int) -> bytes:
    """The index of frames of these lengths that lie one after the other, with its CRC; padded to ``entries``."""
    offsets = accumulate(lengths, initial=0)
    pairs = b"".join(struct.pack("<QQ", start, end - start) for start, end in pairwise(offsets))
    padded = pairs + _MISSING * (entries - len(lengths))
    return padded + _crc(padded)


def _described(description: Description) -> bytes:
    said = asdict(description)
    if description.capture is None:
        del said["capture"]
    text = json.dumps(said, sort_keys=True).encode()
    return text + _TRAILER.pack(len(text), google_crc32c.value(text), _MAGIC)


def read_description(path: Path, *, chunk_size: int | None = None) -> Description:
    """What the shard at ``path`` says about itself.

    Args:
        path: a file in the spool's form.
        chunk_size: the stream's, when known: then only the end of the description is looked for there.

    Raises:
        ShardDamaged: the file has no intact description: it is cut short, or not a shard.
        OSError: the file cannot be read.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        search = _SEARCH_BYTES
        if chunk_size is not None:
            search = index_bytes(chunk_size) + DESCRIPTION_BYTES_MAX
        start = max(0, size - search)
        file.seek(start)
        tail = file.read()
        at = tail.rfind(_MAGIC) - (_TRAILER.size - len(_MAGIC))
        if at < 0:
            raise ShardDamaged(f"{path.name} does not end as a spooled shard does")
        length, crc, _ = _TRAILER.unpack_from(tail, at)
        if length > start + at:
            raise ShardDamaged(f"{path.name} has an impossible description")
        file.seek(start + at - length)
        text = file.read(length)
    if google_crc32c.value(text) != crc:
        raise ShardDamaged(f"the description in {path.name} is damaged")
    try:
        said = json.loads(text)
        description = Description(**{**said, "capture": Capture.of(said.get("capture"))})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ShardDamaged(f"the description in {path.name} cannot be understood") from error
    frame_bytes = description.wire_bytes - index_bytes(description.n)
    whole = frame_bytes + length + _TRAILER.size + index_bytes(description.chunk_size)
    if whole != size:
        raise ShardDamaged(f"{path.name} has {size} bytes where {whole} were written")
    return description


def described_chunk(description: Description, *, disk_bytes: int, damage: str | None = None) -> Chunk:
    """The chunk that a description speaks of, as it enters the index: waiting, or parked when it is damaged."""
    return Chunk(
        stream_id=description.stream_id,
        chunk_idx=description.chunk_idx,
        state=ChunkState.SPOOLED if damage is None else ChunkState.PARKED,
        n=description.n,
        height=description.height,
        width=description.width,
        wire_bytes=description.wire_bytes,
        sha256=description.sha256,
        disk_bytes=disk_bytes,
        capture_start_ms_utc=description.capture_start_ms_utc,
        monotonic_ms=description.monotonic_ms,
        boot_id=description.boot_id,
        spooled_at_ms=description.spooled_at_ms,
        attempts=0,
        acknowledged_at_ms=None,
        receipt=None,
        parked_reason=damage,
        pruned_at_ms=None,
        capture=description.capture,
    )


def read_wire_form(path: Path, *, n: int, chunk_size: int, wire_bytes: int, sha256: str) -> memoryview:
    """The bytes to send, read from the spool and checked against their digest; read-only, the caller's own.

    Raises:
        ShardDamaged: the file is missing, or its bytes are not those that were spooled.
        OSError: the disk failed to give the bytes; nothing is known about them.
    """
    frame_bytes = _frame_bytes(n, chunk_size=chunk_size, wire_bytes=wire_bytes)
    try:
        # Unbuffered: no copy on the way.
        with path.open("rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size < frame_bytes + index_bytes(chunk_size):
                raise ShardDamaged(f"{path.name} is cut short")
            body = _memory(wire_bytes)
            entries = body[frame_bytes:-_CRC_BYTES]
            _read_into(file, body[:frame_bytes])
            file.seek(-index_bytes(chunk_size), os.SEEK_END)
            _read_into(file, entries)
    except FileNotFoundError:
        raise ShardDamaged(f"{path.name} is missing from the spool") from None
    body[-_CRC_BYTES:] = _crc(bytes(entries))
    if hashlib.sha256(body).hexdigest() != sha256:
        raise ShardDamaged(f"{path.name} does not hold the bytes that were spooled")
    return body.toreadonly()


def _memory(n: int) -> memoryview:
    """So many bytes that go back to the system with the last view of them; the heap would keep them.

    A worker holds two bodies at a time, and an idle one none.
    """
    if sys.platform == "win32":
        return memoryview(mmap.mmap(-1, n))
    else:  # noqa: RET505 - the type checker skips it for Windows
        memory = mmap.mmap(-1, n, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a kernel without large pages
                memory.madvise(mmap.MADV_HUGEPAGE)  # a body has thousands of small ones
        return memoryview(memory)


def padded_for_readers(body: bytes | memoryview, *, n: int, chunk_size: int) -> tuple[bytes | memoryview, ...]:
    """The object that a Zarr reader opens, in parts: the bytes to send, and what a short chunk needs behind them.

    Readers look for an index of ``chunk_size`` entries at the end. What lies before it, and no entry points to, is
    legal: so the object always begins with exactly the bytes that the digest is of.
    """
    if n == chunk_size:
        return (body,)
    entries = bytes(body[-index_bytes(n) : -_CRC_BYTES]) + _MISSING * (chunk_size - n)
    return body, entries + _crc(entries)


def _read_into(file: FileIO, view: memoryview) -> None:
    """Fill the view from the file; what a file that has become shorter does not give fails its digest."""
    while view:
        count = file.readinto(view)
        if not count:
            return
        view = view[count:]


def check_file(path: Path, chunk: Chunk, *, chunk_size: int, origin_id: str) -> None:
    """Read every byte of a shard's file: each must be what was written when the chunk entered.

    Args:
        path: the file.
        chunk: as its index row says.
        chunk_size: of its stream.
        origin_id: see `Stream.origin_id`.

    Raises:
        ShardDamaged: one is not; it says which part of the file, as narrowly as can be told.
        OSError: the file cannot be read.
    """
    description = _described(
        Description(
            stream_id=origin_id,
            chunk_idx=chunk.chunk_idx,
            n=chunk.n,
            height=chunk.height,
            width=chunk.width,
            chunk_size=chunk_size,
            capture_start_ms_utc=chunk.capture_start_ms_utc,
            monotonic_ms=chunk.monotonic_ms,
            boot_id=chunk.boot_id,
            spooled_at_ms=chunk.spooled_at_ms,
            sha256=chunk.sha256,
            wire_bytes=chunk.wire_bytes,
            capture=chunk.capture,
        )
    )
    content = path.read_bytes()
    described_at = _frame_bytes(chunk.n, chunk_size=chunk_size, wire_bytes=chunk.wire_bytes)
    index_at = described_at + len(description)
    size = index_at + index_bytes(chunk_size)
    if len(content) != size:
        raise ShardDamaged(f"it has {len(content)} bytes where {size} were written")
    entries = content[index_at : index_at + chunk.n * _ENTRY_BYTES]
    padded = entries + _MISSING * (chunk_size - chunk.n)
    if content[index_at:] != padded + _crc(padded):
        raise ShardDamaged(f"its index is damaged, somewhere in bytes {index_at} to {size - 1}")
    body = b"".join((content[:described_at], entries, _crc(entries)))
    if hashlib.sha256(body).hexdigest() != chunk.sha256:
        raise ShardDamaged(f"its frames are damaged{_where_damaged(content, entries, described_at, chunk)}")
    if content[described_at:index_at] != description:
        raise ShardDamaged(f"its description is damaged, somewhere in bytes {described_at} to {index_at - 1}")


def check_received(content: bytes, chunk: Chunk, *, chunk_size: int) -> None:
    """Hold what arrived elsewhere against what was recorded.

    Args:
        content: the wire form, alone or made ready for readers, or the file as it lay in the spool.
        chunk: as it was recorded.
        chunk_size: of the stream.

    Raises:
        ShardDamaged: it is something else; it says which part differs, as narrowly as can be told.
    """
    frame_bytes = _frame_bytes(chunk.n, chunk_size=chunk_size, wire_bytes=chunk.wire_bytes)
    body = content
    if len(content) == chunk.wire_bytes + index_bytes(chunk_size):
        body = content[: chunk.wire_bytes]
        if b"".join(padded_for_readers(body, n=chunk.n, chunk_size=chunk_size)) != content:
            raise ShardDamaged(f"its index for readers differs, somewhere in bytes from {chunk.wire_bytes}")
    elif len(content) != chunk.wire_bytes:
        index_at = len(content) - index_bytes(chunk_size)
        entries = content[index_at : index_at + chunk.n * _ENTRY_BYTES]
        padded = entries + _MISSING * (chunk_size - chunk.n)
        if index_at <= frame_bytes or _MAGIC not in content[frame_bytes:index_at]:
            raise ShardDamaged(f"it has {len(content)} bytes where {chunk.wire_bytes} were sent")
        if content[index_at:] != padded + _crc(padded):
            raise ShardDamaged(f"its index differs, somewhere in bytes {index_at} to {len(content) - 1}")
        body = b"".join((content[:frame_bytes], entries, _crc(entries)))
    if hashlib.sha256(body).hexdigest() == chunk.sha256:
        return
    entries = body[frame_bytes:-_CRC_BYTES]
    if body[-_CRC_BYTES:] != _crc(entries):
        raise ShardDamaged(f"its index differs, somewhere in bytes {frame_bytes} to {len(body) - 1}")
    raise ShardDamaged(f"its frames differ{_where_damaged(body, entries, frame_bytes, chunk)}")


def _where_damaged(content: bytes, entries: bytes, end: int, chunk: Chunk) -> str:
    """The first frame that cannot be decoded, or that they all can."""
    for k, (offset, nbytes) in enumerate(struct.iter_unpack("<QQ", entries)):
        try:
            decompress(content[offset : offset + nbytes], frame_bytes=chunk.height * chunk.width)
        except ValueError:
            return f": frame {k}, in bytes {offset} to {offset + nbytes - 1}, cannot be decoded"
    return f", somewhere in bytes 0 to {end - 1}, though each can be decoded"


def decode(body: bytes | memoryview, *, n: int, height: int, width: int) -> NDArray[np.uint8]:
    """The frames of a wire form, uint8 ``(n, height, width)``, owned by the caller.

    Raises:
        ShardDamaged: the bytes are not such a shard.
    """
    # The numbers may come from an index that is damaged: no memory is asked for before one frame has such a size.
    if min(height, width) < 1 or height * width > FRAME_BYTES_MAX:
        raise ShardDamaged(f"no frame has {height} x {width} pixels")
    entries = np.frombuffer(body[-index_bytes(n) : -_CRC_BYTES], dtype="<u8").reshape(n, 2)
    frames: NDArray[np.uint8] | None = None
    for k, (offset, nbytes) in enumerate(entries.tolist()):
        try:
            pixels = decompress(body[offset : offset + nbytes], frame_bytes=height * width)
        except ValueError as error:
            raise ShardDamaged(f"frame {k} of the shard cannot be decoded to {height} x {width} pixels") from error
        if frames is None:
            frames = np.empty((n, height, width), dtype=np.uint8)
        frames[k] = np.frombuffer(pixels, dtype=np.uint8).reshape(height, width)
    assert frames is not None
    return frames


def read_frame(path: Path, chunk: Chunk, number: int, *, chunk_size: int) -> NDArray[np.uint8]:
    """One frame out of the spool's file, uint8 ``(height, width)``; nothing but it and the index is read.

    Raises:
        ShardDamaged: the file is missing or cut short, its index is damaged, or the frame cannot be decoded.
        OSError: the disk failed to give the bytes.
    """
    frame_bytes = _frame_bytes(chunk.n, chunk_size=chunk_size, wire_bytes=chunk.wire_bytes)
    if min(chunk.height, chunk.width) < 1 or chunk.height * chunk.width > FRAME_BYTES_MAX:
        raise ShardDamaged(f"no frame has {chunk.height} x {chunk.width} pixels")
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size < frame_bytes + index_bytes(chunk_size):
                raise ShardDamaged(f"{path.name} is cut short")
            file.seek(-index_bytes(chunk_size), os.SEEK_END)
            entries = file.read(index_bytes(chunk_size))
            if entries[-_CRC_BYTES:] != _crc(entries[:-_CRC_BYTES]):
                raise ShardDamaged(f"the index in {path.name} is damaged")
            offset, nbytes = struct.unpack_from("<QQ", entries, number * _ENTRY_BYTES)
            if offset + nbytes > frame_bytes:
                raise ShardDamaged(f"the index in {path.name} points outside its frames")
            file.seek(offset)
            compressed = file.read(nbytes)
    except FileNotFoundError:
        raise ShardDamaged(f"{path.name} is missing from the spool") from None
    try:
        pixels = decompress(compressed, frame_bytes=chunk.height * chunk.width)
    except ValueError as error:
        raise ShardDamaged(f"frame {number} in {path.name} cannot be decoded") from error
    return np.frombuffer(pixels, dtype=np.uint8).reshape(chunk.height, chunk.width)


def _crc(content: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(content))


def _frame_bytes(n: int, *, chunk_size: int, wire_bytes: int) -> int:
    """How many bytes the frames take; the numbers come from an index that may be damaged."""
    if not 1 <= n <= chunk_size or wire_bytes <= index_bytes(n):
        raise ShardDamaged(f"no chunk of up to {chunk_size} frames has {n} frames in {wire_bytes} bytes")
    return wire_bytes - index_bytes(n)


def index_bytes(entries: int) -> int:
    """How long an index of so many entries is, with its CRC."""
    return entries * _ENTRY_BYTES + _CRC_BYTES
