"""The oracle: what was promised, written down outside the spool by those who were promised it.

One append-only file a producer, one JSON line an event, fsynced. ``meant`` is written before ``push()`` is
called and ``accepted`` after it has returned: a producer killed in between leaves a chunk in doubt, which may
exist or not, but never with other frames.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SUFFIX = ".obligations.jsonl"
Frames = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Obligation:
    """One chunk: what its frames are, and whether ``push()`` has returned."""

    chunk_idx: int
    sha256: str
    n: int
    height: int
    width: int
    accepted: bool


@dataclass(slots=True, kw_only=True)
class Promised:
    """One stream as its producer knows it."""

    data_id: str
    ordinal: int
    chunk_size: int
    ended: bool = False
    chunks: dict[int, Obligation] = field(default_factory=dict)


def frames_digest(frames: Frames) -> str:
    """The SHA-256 of raw frames, C order."""
    return hashlib.sha256(np.ascontiguousarray(frames).tobytes()).hexdigest()


class Record:
    """One producer's file, continued when it exists.

    Args:
        path: ends with `SUFFIX`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _cut_torn_line(path)

    def write(self, event: str, **facts: object) -> None:
        """Append one line; on return it is on stable storage."""
        line = json.dumps({"event": event, **facts}).encode() + b"\n"
        with self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def chunk(self, event: str, data_id: str, chunk_idx: int, frames: Frames) -> Obligation:
        """Write down that a chunk is ``meant`` or ``accepted``."""
        n, height, width = frames.shape
        line = {"chunk_idx": chunk_idx, "sha256": frames_digest(frames), "n": n, "height": height, "width": width}
        self.write(event, stream=data_id, **line)
        return _obligation({"event": event, **line})


def promised(path: Path) -> list[Promised]:
    """The streams of one producer, oldest first."""
    streams: dict[str, Promised] = {}
    for line in _lines(path):
        if line["event"] == "opened":
            streams[line["stream"]] = Promised(
                data_id=line["stream"], ordinal=line["ordinal"], chunk_size=line["chunk_size"]
            )
        elif line["event"] == "ended":
            streams[line["stream"]].ended = True
        elif line["event"] in ("meant", "accepted"):
            streams[line["stream"]].chunks[line["chunk_idx"]] = _obligation(line)
    return list(streams.values())


def push_times_ms(folder: Path) -> list[float]:
    """How long each push of all producers took."""
    files = sorted(folder.glob(f"*{SUFFIX}"))
    return [line["push_ms"] for path in files for line in _lines(path) if line["event"] == "took"]


def pushes_begun(folder: Path) -> int:
    """How often ``push()`` was called, repetitions included."""
    return sum(line["event"] == "meant" for path in folder.glob(f"*{SUFFIX}") for line in _lines(path))


def everything_promised(folder: Path) -> list[Promised]:
    """The streams of all producers that wrote into a folder."""
    return [stream for path in sorted(folder.glob(f"*{SUFFIX}")) for stream in promised(path)]


def _obligation(line: Mapping[str, Any]) -> Obligation:
    return Obligation(
        chunk_idx=line["chunk_idx"],
        sha256=line["sha256"],
        n=line["n"],
        height=line["height"],
        width=line["width"],
        accepted=line["event"] == "accepted",
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def _cut_torn_line(path: Path) -> None:
    """A kill may have torn the last line: what it would have said never became an obligation."""
    if path.exists():
        content = path.read_bytes()
        os.truncate(path, content.rfind(b"\n") + 1)
