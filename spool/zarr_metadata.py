"""The ``zarr.json`` documents that let any Zarr reader open a stream.

They are derived from the index and written again whenever the stream grows; recovery never reads them.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from spool.frame_codec import ZSTD_LEVEL
from spool.model import Stream

STORE_NAME = "frames.zarr"
ARRAY_NAME = "frames"

_SHARD_NAME = re.compile(r"c\.(0|[1-9][0-9]{0,18})\.0\.0", re.ASCII)
_LENGTH = 2**60  # stands for the number of frames; no array is so long


def shard_name(chunk_idx: int) -> str:
    """The chunk key of a shard: flat, because the separator is a dot (two directories and fsyncs fewer)."""
    return f"c.{chunk_idx}.0.0"


def chunk_idx_of(name: str) -> int | None:
    """The chunk_idx of a shard's file name; ``None`` for any other name."""
    key = _SHARD_NAME.fullmatch(name)
    return int(key[1]) if key else None


def group_document(stream: Stream) -> bytes:
    """``zarr.json`` of the store's root."""
    return _dump(
        {
            "zarr_format": 3,
            "node_type": "group",
            "attributes": {"stream_id": stream.stream_id, "name": stream.settings.name},
        }
    )


def array_document(stream: Stream, *, frame_count: int) -> bytes:
    """``zarr.json`` of the array ``frames``, shape ``(frame_count, height, width)``.

    Before the first chunk the frame size is not known; the array is then empty, ``(0, 1, 1)``.
    """
    settings = stream.settings
    before, after = _around_the_length(
        stream.stream_id,
        (settings.chunk_size, stream.height or 1, stream.width or 1),
        settings.fps,
        settings.rotations_per_min,
    )
    return b"%b%d%b" % (before, frame_count, after)


@lru_cache(maxsize=64, typed=True)
def _around_the_length(
    stream_id: str, shape: tuple[int, int, int], fps: float, rotations_per_min: float
) -> tuple[bytes, bytes]:
    """The array's document before and after its length, the one thing in it that changes with each push."""
    chunk_size, height, width = shape
    document = _dump(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [_LENGTH, height, width],
            "data_type": "uint8",
            "chunk_grid": {
                "name": "regular",
                "configuration": {"chunk_shape": [chunk_size, height, width]},
            },
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": 0,
            "codecs": [_sharding(height, width)],
            "attributes": {
                "fps": fps,
                "rotations_per_min": rotations_per_min,
                "stream_id": stream_id,
            },
            "dimension_names": ["time", "y", "x"],
        }
    )
    before, _, after = document.partition(b"%d" % _LENGTH)
    return before, after


def array_path(stream_folder: Path) -> Path:
    """The directory that holds the shards of a stream."""
    return stream_folder / STORE_NAME / ARRAY_NAME


def _sharding(height: int, width: int) -> dict[str, Any]:
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": [1, height, width],
            "codecs": [
                {"name": "bytes"},
                {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}},
            ],
            "index_codecs": [
                {"name": "bytes", "configuration": {"endian": "little"}},
                {"name": "crc32c"},
            ],
            "index_location": "end",
        },
    }


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()
