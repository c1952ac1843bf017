"""Taking in one body: to a temporary file, hashed on the way, a few MiB at a time.

Hashing and writing run in a thread (both release the GIL) while the event loop receives the next block, so
that a large body costs about what the disk and the hashes cost.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

from uploader.loopback.errors import StoreError

BODY_BYTES_MAX: Final = 5 * 1024**3  # S3's own limit for a single PUT
_BLOCK_BYTES: Final = 4 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One body on disk, and what it is."""

    path: Path
    nbytes: int
    md5: str
    sha256: str


def declared_length(header: str | None) -> int:
    """The `Content-Length`.

    Raises:
        StoreError: 411 without one, 400 when it is no number or above the limit.
    """
    if header is None:
        message = "You must provide the Content-Length HTTP header."
        raise StoreError(HTTPStatus.LENGTH_REQUIRED, "MissingContentLength", message)
    if not header.isdecimal() or int(header) > BODY_BYTES_MAX:
        raise StoreError(HTTPStatus.BAD_REQUEST, "EntityTooLarge", "The upload exceeds the maximum allowed size.")
    return int(header)


async def receive_body(pieces: AsyncIterator[bytes], path: Path, *, expected_bytes: int) -> Body:
    """Everything `pieces` brings, in a new file at `path`, which is the caller's to remove.

    Raises:
        StoreError: 400 `IncompleteBody` when it is not `expected_bytes` long.
    """
    with path.open("xb") as file:
        sink = _Sink(file=file)
        block = bytearray()
        writing: asyncio.Task[None] | None = None
        try:
            async for piece in pieces:
                block += piece
                if len(block) >= _BLOCK_BYTES:
                    if writing is not None:
                        await writing
                    writing = asyncio.create_task(asyncio.to_thread(sink.write, block))
                    block = bytearray()
        finally:
            # Also when the client goes away: the thread must be done with the file before it is closed.
            if writing is not None:
                await writing
        await asyncio.to_thread(sink.write, block)
    if sink.nbytes != expected_bytes:
        message = f"Content-Length promised {expected_bytes} bytes, {sink.nbytes} came."
        raise StoreError(HTTPStatus.BAD_REQUEST, "IncompleteBody", message)
    return Body(path=path, nbytes=sink.nbytes, md5=sink.md5.hexdigest(), sha256=sink.sha256.hexdigest())


@dataclass(slots=True, kw_only=True)
class _Sink:
    """A file and the two digests of what went into it."""

    file: BinaryIO
    nbytes: int = 0
    md5: "hashlib._Hash" = field(default_factory=lambda: hashlib.md5(usedforsecurity=False))
    sha256: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def write(self, block: bytearray) -> None:
        self.file.write(block)
        self.md5.update(block)
        self.sha256.update(block)
        self.nbytes += len(block)
