"""Where accepted bodies land: as the object itself, as part of a readable Zarr array, as a line in the log.

In that order, each step whole or not at all, so that a kill in between leaves an array that opens and, at
worst, an object that nobody was told about: its client had no answer and will send it again. The log is the
truth about what was accepted; everything remembered here is read back from it.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from uploader.loopback.errors import StoreError
from uploader.loopback.places import Places, link_or_copy, replace, write_whole
from uploader.loopback.receiving import Body
from uploader.loopback.shard import read_index, write_padded
from uploader.loopback.validation import ChunkMetadata

RECEIVED: Final = "received"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """One accepted body; `seq` counts them from 0 in order of acceptance."""

    seq: int
    chunk_idx: int
    n: int
    height: int
    width: int
    chunk_size: int
    nbytes: int
    sha256: str

    @property
    def geometry(self) -> tuple[int, int, int]:
        """What all chunks of one array share: chunk_size, height, width."""
        return self.chunk_size, self.height, self.width


class ReceivedStream:
    """What has been received of one stream."""

    def __init__(self, folder: Path, places: Places) -> None:
        self._folder = folder
        self._places = places
        self._log = folder / "log.jsonl"
        self._lines = _whole_lines(self._log)
        self.receptions = [_to_reception(line) for line in self._lines if line["event"] == RECEIVED]
        self._latest = {each.chunk_idx: each for each in self.receptions}

    @property
    def chunk_count(self) -> int:
        """How many different chunks are here."""
        return len(self._latest)

    def metadata(self) -> dict[int, object]:
        """The presign body of each chunk's last accepted upload, by chunk_idx."""
        return {line["chunk_idx"]: line["metadata"] for line in self._lines if line["event"] == RECEIVED}

    def note(self, event: str, *, now: float, **facts: object) -> None:
        """Append an event to the log."""
        self._append({"event": event, "at_unix_ms": round(now * 1000), **facts})

    def land(self, body: Body, chunk: ChunkMetadata, *, now: float, stream_status: str) -> Reception:
        """Accept a body: when this returns, object, array and log have it.

        Raises:
            StoreError: 400, the body is not the promised shard or does not fit the array; nothing changed.
        """
        pairs = read_index(body.path, n=chunk.n)
        reception = Reception(
            seq=len(self.receptions),
            chunk_idx=chunk.chunk_idx,
            n=chunk.n,
            height=chunk.height,
            width=chunk.width,
            chunk_size=chunk.chunk_size,
            nbytes=body.nbytes,
            sha256=body.sha256,
        )
        first = self.receptions[0] if self.receptions else reception
        if first.geometry != reception.geometry:
            message = f"(chunk_size, h, w) is {first.geometry} in this stream, not {reception.geometry}."
            raise StoreError(HTTPStatus.BAD_REQUEST, "InvalidShard", message)
        before = self._latest.get(chunk.chunk_idx)
        self._place(body.path, pairs, chunk)
        self._describe_array(reception)
        self._append(
            {
                "event": RECEIVED,
                "seq": reception.seq,
                "chunk_idx": chunk.chunk_idx,
                "bytes": body.nbytes,
                "md5": body.md5,
                "sha256": body.sha256,
                "received_at_unix_ms": round(now * 1000),
                "changed": before is not None and before.sha256 != body.sha256,
                "stream_status": stream_status,
                "dims": [chunk.n, chunk.height, chunk.width],
                "chunk_size": chunk.chunk_size,
                "metadata": dict(chunk.body),
            }
        )
        self.receptions.append(reception)
        self._latest[chunk.chunk_idx] = reception
        return reception

    def _place(self, body: Path, pairs: bytes, chunk: ChunkMetadata) -> None:
        shard = self._places.new_incoming()
        if chunk.n == chunk.chunk_size:
            link_or_copy(body, shard)
        else:
            write_padded(body, shard, pairs, chunk_size=chunk.chunk_size)
        replace(body, self._folder / "objects" / chunk.key)
        replace(shard, self._folder / chunk.key)

    def _describe_array(self, newest: Reception) -> None:
        """Write the array's metadata, its length reaching to the end of the last chunk received so far."""
        last = max([*self._latest.values(), newest], key=lambda each: (each.chunk_idx, each.seq))
        store = self._folder / "frames.zarr"
        group = {"zarr_format": 3, "node_type": "group", "attributes": {}}
        for path, document in ((store, group), (store / "frames", _array_metadata(last))):
            content = json.dumps(document, indent=1).encode()
            target = path / "zarr.json"
            if not target.exists() or target.read_bytes() != content:
                write_whole(target, content)

    def _append(self, line: Mapping[str, object]) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(line)
        with self._log.open("ab") as log:
            log.write(text.encode() + b"\n")
        self._lines.append(json.loads(text))


class Archive:
    """All that has been received, by stream."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._streams: dict[str, ReceivedStream] = {}

    def of(self, data_id: str) -> ReceivedStream:
        """What has been received of that stream; nothing yet, when it is new."""
        if data_id not in self._streams:
            self._streams[data_id] = ReceivedStream(self._places.received / data_id, self._places)
        return self._streams[data_id]


def _whole_lines(log: Path) -> list[dict[str, Any]]:
    """The log's lines; a last line that a kill tore is cut off, so that the next one starts clean."""
    content = b""
    with contextlib.suppress(FileNotFoundError):
        content = log.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(log, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _to_reception(line: Mapping[str, Any]) -> Reception:
    n, height, width = line["dims"]
    return Reception(
        seq=line["seq"],
        chunk_idx=line["chunk_idx"],
        n=n,
        height=height,
        width=width,
        chunk_size=line["chunk_size"],
        nbytes=line["bytes"],
        sha256=line["sha256"],
    )


def _array_metadata(last: Reception) -> dict[str, object]:
    inner = [
        {"name": "bytes"},
        {"name": "zstd", "configuration": {"level": 3, "checksum": False}},
    ]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {
        "chunk_shape": [1, last.height, last.width],
        "codecs": inner,
        "index_codecs": index,
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [last.chunk_idx * last.chunk_size + last.n, last.height, last.width],
        "data_type": "uint8",
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [last.chunk_size, last.height, last.width]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "attributes": {},
    }
