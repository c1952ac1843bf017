"""Read a spool without framespool, from docs/on-disk-format.md alone: ``python read_spool.py SPOOL``.

Every shard is held against its checksums and its SHA-256, and the ledger's chain is followed. Needs the standard
library and zstd, which is a part of it from Python 3.14 on (before: ``pip install backports.zstd``).
"""

import hashlib
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def crc32c(data: bytes) -> int:
    """The CRC with the reflected polynomial 0x82F63B78, beginning and ending with all bits turned."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def with_crc(data: bytes) -> bytes:
    """Data and its CRC, little endian."""
    return data + struct.pack("<I", crc32c(data))


def read_shard(shard: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """What a shard says of itself, and its frames: height * width bytes each, row by row."""
    end = shard.rindex(b"fs-shard")
    length, crc = struct.unpack("<II", shard[end - 8 : end])
    text = shard[end - 8 - length : end - 8]
    index = shard[end + 8 :]
    if crc32c(text) != crc or with_crc(index[:-4]) != index:
        raise ValueError("a checksum does not hold")
    about = json.loads(text)
    entries = list(struct.iter_unpack("<QQ", index[:-4]))
    packed = [shard[offset : offset + nbytes] for offset, nbytes in entries[: about["n"]]]
    # What is sent: the same frames at the same places, and an index of only those.
    sent = b"".join(packed) + with_crc(index[: 16 * about["n"]])
    if hashlib.sha256(sent).hexdigest() != about["sha256"] or len(sent) != about["wire_bytes"]:
        raise ValueError("these are not the bytes that were spooled")
    return about, [zstd.decompress(one) for one in packed]


def read_ledger(path: Path) -> Iterator[list[Any]]:
    """The rows of ledger.jsonl, each held against the chain: seq, at_ms, stream_id, chunk_idx, event, detail."""
    digest = bytes(32)
    for line in path.read_text("utf-8").splitlines():
        told, _, row = line.partition(" ")
        seq, at_ms, stream_id, chunk_idx, event, detail = json.loads(row)
        own = hashlib.sha256(f"{stream_id or ''}\n{hashlib.sha256(row.encode()).hexdigest()}".encode()).digest()
        digest = hashlib.sha256(digest + own).digest()
        if digest.hex() != told:
            raise ValueError(f"the chain breaks at row {seq}")
        yield [seq, at_ms, stream_id, chunk_idx, event, json.loads(detail)]


def main(root: Path) -> None:
    """Say what is in a spool."""
    for folder in sorted((root / "streams").iterdir()):
        name = json.loads((folder / "stream.json").read_text("utf-8"))["settings"]["name"]
        print(f"{folder.name}  {name}")
        shards = (folder / "frames.zarr" / "frames").glob("c.*.0.0")
        for path in sorted(shards, key=lambda path: int(path.name.split(".")[1])):
            about, frames = read_shard(path.read_bytes())
            shape = f"{about['n']} x {about['height']} x {about['width']}"
            print(f"  chunk {about['chunk_idx']}: {shape}, mean {sum(frames[0]) / len(frames[0]):.1f}")
    print(f"{sum(1 for _ in read_ledger(root / 'ledger.jsonl'))} ledger rows, and the chain holds")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
