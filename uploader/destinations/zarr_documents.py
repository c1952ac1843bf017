"""What lets any Zarr reader open a stream at its destination: the group, its arrays, and the times of its frames.

::

    zarr.json             the group: settings as attributes, and both arrays' documents, consolidated
    frames/zarr.json      uint8 (time, y, x), one shard a chunk
    frames/c.K.0.0        the shard of chunk K
    time/zarr.json        int64 (time), microseconds since 1970 UTC: when each frame was captured
    time/c.K              those of chunk K

The consolidated documents are one object: whoever opens the group sees both arrays equally long, at any moment.
"""

import json
from typing import Any

import google_crc32c
import numpy as np

from spool import Chunk, Stream, array_document

NO_TIME = -(2**63)
"""The time of a frame that is not there; ``NaT`` to numpy, xarray and pandas."""


def time_chunk(chunk: Chunk, *, chunk_size: int, start_ms: float, fps: float) -> bytes:
    """The object ``time/c.K``: when each frame of a chunk was captured, and its CRC."""
    times = np.full(chunk_size, NO_TIME, dtype="<i8")
    times[: chunk.n] = np.rint(start_ms * 1000 + np.arange(chunk.n) * (1e6 / fps)).astype("<i8")
    content = times.tobytes()
    return content + int(google_crc32c.value(content)).to_bytes(4, "little")


def documents(stream: Stream, *, data_id: str, frame_count: int) -> dict[str, bytes]:
    """The three ``zarr.json`` by their keys within the group, the group's last."""
    frames = json.loads(array_document(stream, frame_count=frame_count))
    time = _time_document(stream, frame_count=frame_count)
    group = {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": _attributes(stream, data_id),
        "consolidated_metadata": {
            "kind": "inline",
            "must_understand": False,
            "metadata": {"frames": frames, "time": time},
        },
    }
    return {"time/zarr.json": _dump(time), "frames/zarr.json": _dump(frames), "zarr.json": _dump(group)}


def _time_document(stream: Stream, *, frame_count: int) -> dict[str, Any]:
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [frame_count],
        "data_type": "int64",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [stream.settings.chunk_size]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": NO_TIME,
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "attributes": {"units": "microseconds since 1970-01-01", "calendar": "proleptic_gregorian"},
        "dimension_names": ["time"],
    }


def _attributes(stream: Stream, data_id: str) -> dict[str, Any]:
    settings = stream.settings
    return {
        "name": settings.name,
        "stream_id": stream.stream_id,
        "data_id": data_id,
        "fps": settings.fps,
        "rotations_per_min": settings.rotations_per_min,
        "chunk_size": settings.chunk_size,
        "physical_sample": settings.physical_sample,
        "project_id": settings.project_id,
        "tags": list(settings.tags),
        "azimuth": settings.azimuth,
        "created_at_unix_ms_utc": stream.created_at_ms,
    }


def _dump(document: dict[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()
