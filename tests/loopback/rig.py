"""A client made by hand for the tests: its own shard encoder, its own requests."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import google_crc32c
import httpx
import numpy as np
import numpy.typing as npt
from numcodecs.zstd import Zstd

from uploader.loopback.process import LoopbackServer

Frames = npt.NDArray[np.uint8]

HEIGHT, WIDTH, CHUNK_SIZE = 6, 8, 4
UPLOAD_URLS = "/data_entries/raw_data/staged/upload_urls/"


def make_frames(n: int = CHUNK_SIZE, *, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (n, HEIGHT, WIDTH), dtype=np.uint8)


def encode(frames: Frames, *, between: bytes = b"") -> bytes:
    """One shard with an index of exactly n entries; `between` lies between the frames and the index."""
    encoder, body, pairs = Zstd(level=3), b"", b""
    for frame in frames:
        compressed = encoder.encode(np.ascontiguousarray(frame))
        pairs += struct.pack("<QQ", len(body), len(compressed))
        body += compressed
    return body + between + with_crc(pairs)


def with_crc(pairs: bytes) -> bytes:
    return pairs + struct.pack("<I", google_crc32c.value(pairs))


class Rig:
    """A client of one server."""

    def __init__(self, server: LoopbackServer) -> None:
        self.server = server

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"X-API-KEY": self.server.api_key, **more.pop("headers", {})}
        with httpx.Client(base_url=self.server.url, trust_env=False, verify=False, timeout=20) as client:
            return client.request(method, path, headers=headers, **more)

    def open_stream(self, **settings: object) -> str:
        answer = self.request("POST", "/rheed/stream/", json={**self.settings(), **settings})
        assert answer.status_code == 200, answer.text
        data_id = answer.json()
        assert isinstance(data_id, str)
        return data_id

    def settings(self) -> dict[str, object]:
        return {
            "data_item_name": "growth",
            "rotational_period": 600.0,
            "rotations_per_min": 12.0,
            "fps_capture_rate": 120.0,
        }

    def query(self, chunk_idx: int = 0) -> dict[str, str]:
        key = f"frames.zarr/frames/c/{chunk_idx}/0/0"
        return {"original_filename": key, "num_parts": "1", "staging_type": "stream"}

    def metadata(self, data_id: str, *, n: int = CHUNK_SIZE) -> dict[str, object]:
        return {
            "data_id": data_id,
            "data_stream": "rheed",
            "is_stream": "1",
            "is_rotating": "1",
            "raw_frame_rate": "120.0",
            "avg_frame_rate": "120.0",
            "chunk_size": str(CHUNK_SIZE),
            "dims": f"{n},{HEIGHT},{WIDTH}",
            "start_unix_ms_utc": "1700000000000",
            "end_unix_ms_utc": "1700000000033",
            "clock_offset_ms": "-12",
            "clock_uncertainty_ms": "3.5",
        }

    def presign(
        self, data_id: str, chunk_idx: int = 0, *, n: int = CHUNK_SIZE, **metadata: object
    ) -> httpx.Response:
        body = {**self.metadata(data_id, n=n), **metadata}
        return self.request("POST", UPLOAD_URLS, params=self.query(chunk_idx), json=body)

    def url(self, data_id: str, chunk_idx: int = 0, *, n: int = CHUNK_SIZE, **metadata: object) -> str:
        answer = self.presign(data_id, chunk_idx, n=n, **metadata)
        assert answer.status_code == 200, answer.text
        url = answer.json()[0]["url"]
        assert isinstance(url, str)
        return url

    def put(self, url: str, body: bytes) -> httpx.Response:
        with httpx.Client(trust_env=False, verify=False, timeout=20) as client:
            return client.put(url, content=body, headers={"Content-Type": ""})

    def send(self, data_id: str, chunk_idx: int, frames: Frames) -> httpx.Response:
        return self.put(self.url(data_id, chunk_idx, n=len(frames)), encode(frames))

    def status(self, data_id: str) -> str:
        rows = self.request("GET", "/data_entries/", params={"data_ids": data_id}).json()
        status = rows[0]["pipeline_status"]
        assert isinstance(status, str)
        return status

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A bare connection to the server."""
        address = urlsplit(self.server.url)
        with socket.create_connection((address.hostname, address.port or 0), timeout=20) as connection:
            yield connection


def put_head(url: str, content_length: int) -> bytes:
    """The head of a PUT, to be sent by hand."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}"
    return f"PUT {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {content_length}\r\n\r\n".encode()


def read_to_end(connection: socket.socket) -> bytes:
    """Everything the server sends until it closes, in whichever way it closes."""
    received = b""
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received
