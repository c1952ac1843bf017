"""Whether an open spool holds the frames that were pushed, and takes more."""

from collections.abc import Container
from functools import lru_cache

import numpy as np

from spool import Chunk, ChunkConflict, Spool, Stream, StreamSealed, shards
from spool.testing import wire_sha256
from tools.powerloss import promises
from tools.powerloss.promises import MISSING


class Lost(AssertionError):
    """A promise was broken; the message says which."""


def check_frames(spool: Spool, gone: Container[tuple[str, int]] = ()) -> None:
    """What a worker would send, and what was pruned, is exactly what was pushed.

    Args:
        spool: open.
        gone: parked chunks whose files may be missing, by stream and index.
    """
    for stream in spool.streams():
        leased = spool.lease(stream.stream_id, "judge", ttl_s=60, take_over=True)
        assert leased is not None
        for chunk in spool.chunks(stream.stream_id):
            if chunk.sha256 != _sha256(stream.settings.name, chunk.chunk_idx):
                raise Lost(f"chunk {chunk.chunk_idx} of {stream.settings.name} has another digest")
            may_lack = chunk.parked_reason == MISSING or (promises.name_of(stream), chunk.chunk_idx) in gone
            is_here = chunk.disk_bytes and not (chunk.state == "parked" and may_lack)
            if is_here and not are_pushed(leased.read(chunk), stream, chunk):
                raise Lost(f"chunk {chunk.chunk_idx} of {stream.settings.name} has other frames")
        leased.release()


def are_pushed(body: bytes | memoryview, stream: Stream, chunk: Chunk) -> bool:
    """Whether the bytes to send hold the frames that were pushed."""
    # Decoding the same bytes a thousand times says nothing new.
    return _decodes_to(bytes(body), stream.settings.name, chunk.chunk_idx, (chunk.n, chunk.height, chunk.width))


@lru_cache(maxsize=256)
def _decodes_to(body: bytes, stream: str, idx: int, shape: tuple[int, int, int]) -> bool:
    n, height, width = shape
    frames = shards.decode(body, n=n, height=height, width=width)
    return np.array_equal(frames, promises.frames_of(stream, idx))


@lru_cache(maxsize=256)
def _sha256(stream: str, idx: int) -> str:
    return wire_sha256(promises.frames_of(stream, idx))


def push_all_again(spool: Spool) -> bool:
    """Every chunk again with the same frames, and a new one; whether any stream still takes chunks."""
    any_open = False
    # A copy's chunks come with its original's.
    for stream in (one for one in spool.streams() if one.settings.copy_of is None):
        name = stream.settings.name
        if stream.state != "open":
            try:
                _push(spool, stream, 90)
            except StreamSealed:
                continue
            raise Lost(f"{name} is {stream.state} and takes a chunk")
        any_open = True
        for chunk in list(spool.chunks(stream.stream_id)):
            try:
                again = _push(spool, stream, chunk.chunk_idx)
            except ChunkConflict:
                if chunk.state != "discarded":
                    raise
            else:
                # One whose file was gone is whole again.
                if again != chunk and not (chunk.parked_reason == MISSING and again.state == "spooled"):
                    raise Lost(f"pushing chunk {chunk.chunk_idx} of {name} again changed it")
        new = _push(spool, stream, stream.next_chunk_idx)
        if new.state != "spooled":
            raise Lost(f"the next chunk of {name} is {new.state}")
    return any_open


def _push(spool: Spool, stream: Stream, idx: int) -> Chunk:
    frames = promises.frames_of(stream.settings.name, idx)
    return spool.push(stream.stream_id, idx, frames, promises.capture_start(idx))
