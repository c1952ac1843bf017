"""Judging one body: is it a `sharding_indexed` shard of exactly n frames?

Layout: the compressed frames, then n pairs of little-endian u64 `(offset, nbytes)`, then the CRC-32C of those
pairs. Bytes that no pair points to are legal. A pair of 2^64-1, which Zarr reads as "no chunk here", is not:
every frame of an upload has to be there, the dark ones too.

Source: the Zarr v3 sharding codec, version 1.0.
"""

import os
import shutil
import struct
from http import HTTPStatus
from pathlib import Path
from typing import Final

import google_crc32c

from uploader.loopback.errors import StoreError

_PAIR_BYTES: Final = 16
_CRC_BYTES: Final = 4
_NO_CHUNK: Final = b"\xff" * _PAIR_BYTES


def read_index(path: Path, *, n: int) -> bytes:
    """The n pairs at the end of the file, checked.

    Raises:
        StoreError: 400 `InvalidShard`: too short, the checksum does not fit n pairs, or a pair points
            outside the bytes before the index.
    """
    length = index_bytes(n)
    body_bytes = path.stat().st_size
    if body_bytes < length:
        raise _refused(f"{body_bytes} bytes are too few for an index of {n} entries")
    with path.open("rb") as body:
        body.seek(-length, os.SEEK_END)
        tail = body.read()
    pairs, crc = tail[:-_CRC_BYTES], int.from_bytes(tail[-_CRC_BYTES:], "little")
    if google_crc32c.value(pairs) != crc:
        raise _refused(f"the checksum at the end does not fit an index of exactly {n} entries")
    for frame, (offset, nbytes) in enumerate(struct.iter_unpack("<QQ", pairs)):
        if nbytes == 0 or offset + nbytes > body_bytes - length:
            raise _refused(f"the index puts frame {frame} at {offset}+{nbytes}, outside the shard")
    return pairs


def write_padded(source: Path, target: Path, pairs: bytes, *, chunk_size: int) -> None:
    """Copy a short chunk's shard, its index padded with "no chunk here" to the array's chunk size."""
    padded = pairs + _NO_CHUNK * (chunk_size - len(pairs) // _PAIR_BYTES)
    shutil.copyfile(source, target)
    with target.open("r+b") as shard:
        shard.seek(-len(pairs) - _CRC_BYTES, os.SEEK_END)
        shard.write(padded + google_crc32c.value(padded).to_bytes(_CRC_BYTES, "little"))


def index_bytes(n: int) -> int:
    """The size of an index of n entries, its checksum included."""
    return n * _PAIR_BYTES + _CRC_BYTES


def _refused(why: str) -> StoreError:
    return StoreError(HTTPStatus.BAD_REQUEST, "InvalidShard", f"The body is not the promised shard: {why}.")
