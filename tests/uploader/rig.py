"""What the tests of the uploader share: small frames, patience with a deadline, a bench, a scripted server."""

import hashlib
import json
import os
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import numpy as np
import numpy.typing as npt

from spool import Chunk, Clock, Limits, Spool, Stream, StreamSettings
from uploader.api import AtomscaleApi
from uploader.config import ApiKey
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.loopback.process import LoopbackServer
from uploader.opening import open_on_server
from uploader.rate import Meter, parse_schedule
from uploader.worker import UploadWorker

Frames = npt.NDArray[np.uint8]

FPS, CHUNK_SIZE, HEIGHT, WIDTH = 2.0, 4, 6, 8
PRESIGN = {"method": "POST", "path": "upload_urls"}
PUT = {"method": "PUT"}
END = {"method": "POST", "path": "/end$"}
CATALOGUE = {"method": "GET", "path": "^/data_entries/"}
NO_LIMITS = Limits(min_free_bytes=0)
PRESIGNS = "POST /data_entries/raw_data/staged/upload_urls/"
PUTS = "PUT /staged"
ENDS = "POST /rheed/stream/{id}/end"


def some_frames(seed: int, n: int = CHUNK_SIZE, *, height: int = HEIGHT, width: int = WIDTH) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (n, height, width), dtype=np.uint8)


def wait_until(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Look often until the condition holds; a failed test when the time is over."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {within_s:g} s"
        time.sleep(0.01)


def status_rule(
    match: Mapping[str, str],
    status: int,
    body: object = "",
    *,
    times: int | None = None,
    after: int = 0,
    headers: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """A fault rule that answers with this status."""
    return {
        "match": dict(match),
        "action": "status",
        "status": status,
        "body": body,
        "headers": dict(headers or {}),
        "times": times,
        "after": after,
    }


class Bench:
    """A spool and a server side by side, with a worker between them when asked for."""

    def __init__(self, server: LoopbackServer, root: Path) -> None:
        self.server = server
        self.root = root
        self.spool = Spool(root, limits=NO_LIMITS)

    def settings(self, **changes: Any) -> StreamSettings:
        given: dict[str, Any] = {
            "name": "growth",
            "destination": self.server.url,
            "fps": FPS,
            "rotations_per_min": 0.0,
            "chunk_size": CHUNK_SIZE,
        }
        return StreamSettings(**{**given, **changes})

    def open_stream(self, chunks: int = 0, **changes: Any) -> str:
        """A stream on the server and here; its data_id."""
        settings = self.settings(**changes)
        with AtomscaleApi(self.server.url, ApiKey(self.server.api_key)) as api:
            data_id = open_on_server(api, settings).data_id
        self.spool.open_stream(settings, data_id=data_id)
        self.push(data_id, *range(chunks))
        return data_id

    def push(self, data_id: str, *chunk_idxs: int) -> None:
        for idx in chunk_idxs:
            self.spool.push(data_id, idx, self.frames(data_id, idx))

    def frames(self, data_id: str, chunk_idx: int) -> Frames:
        return some_frames(int(data_id[:6], 16) + chunk_idx)

    def stream(self, data_id: str) -> Stream:
        return self.spool.stream(data_id)

    def chunk(self, data_id: str, chunk_idx: int) -> Chunk:
        chunk = self.spool.chunk(data_id, chunk_idx)
        assert chunk is not None
        return chunk

    def acknowledged(self, data_id: str) -> int:
        return self.stream(data_id).tally.acknowledged

    def finalized(self, data_id: str) -> bool:
        return self.stream(data_id).state == "finalized"

    def ledger(self, data_id: str, *events: str) -> list[tuple[str, int | None]]:
        """``(event, chunk_idx)`` of the stream's ledger rows, of the given kinds or all."""
        found = [(event.event, event.chunk_idx) for event in self.spool.events(data_id)]
        return [one for one in found if not events or one[0] in events]

    def receptions(self, data_id: str) -> list[int]:
        """The chunks in the order in which the server accepted them, repetitions included."""
        return [line["chunk_idx"] for line in self.server.log(data_id) if line["event"] == "received"]

    def requests(self, route: str) -> int:
        return int(self.server.state()["requests"].get(route, 0))

    def assert_arrived(self, data_id: str, chunks: int) -> None:
        """The server holds exactly our bytes, in order at first arrival, and we know it."""
        held = self.server.objects(data_id)
        assert list(held) == list(range(chunks))
        for idx, body in held.items():
            chunk = self.chunk(data_id, idx)
            assert hashlib.sha256(body).hexdigest() == chunk.sha256
            assert chunk.state == "acknowledged"
            assert chunk.receipt is not None
        assert list(dict.fromkeys(self.receptions(data_id))) == list(range(chunks))
        assert not any(line.get("changed") for line in self.server.log(data_id))
        pushed = np.concatenate([self.frames(data_id, idx) for idx in range(chunks)])
        np.testing.assert_array_equal(np.asarray(self.server.received(data_id)[:]), pushed)

    def shard(self, data_id: str, chunk_idx: int) -> Path:
        return self.spool.zarr_path(data_id) / "frames" / f"c.{chunk_idx}.0.0"

    @contextmanager
    def delivering(
        self,
        *,
        url: str | None = None,
        key: str | None = None,
        clock: Clock | None = None,
        max_rate: str = "unlimited",
        streams_at_once: int = 4,
        **habits: Any,
    ) -> Iterator[UploadWorker]:
        """A worker in a thread of this process, with its own opening of the spool; ``habits`` are its own."""
        meter = Meter(parse_schedule(max_rate), uploads_max=streams_at_once)
        destination = AtomscaleDestination(url or self.server.url, ApiKey(key or self.server.api_key), meter)
        with Spool(self.root, limits=NO_LIMITS, clock=clock) as spool, closing(destination):
            worker = UploadWorker(spool, destination, streams_at_once=streams_at_once, meter=meter, **habits)
            thread = threading.Thread(target=worker.run, name="test-worker", daemon=True)
            thread.start()
            try:
                yield worker
            finally:
                worker.stop()
                thread.join(20)
                assert not thread.is_alive(), "the worker did not stop"


def end_workers(root: Path) -> None:
    """End the worker processes that a test has started on its spool and that are still there."""
    if not (root / "index.sqlite3").exists():
        return
    with Spool(root, limits=NO_LIMITS) as spool:
        started = [event.detail for event in spool.events() if event.event == "worker_started"]
        for detail in started:
            lock = spool.worker_lock(detail["destination"])
            if detail["pid"] == os.getpid() or not lock.is_held_elsewhere():
                continue
            with suppress(ProcessLookupError):
                os.kill(detail["pid"], signal.SIGKILL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request as a scripted server saw it; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a scripted server answers."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def json_reply(body: object, status: int = 200) -> Reply:
    return Reply(status=status, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


class ScriptedServer:
    """A real server on 127.0.0.1 that answers what a function says and remembers what it was asked."""

    def __init__(self, answer: Callable[[Asked], Reply], *, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        told = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(
                    method=self.command,
                    path=parts.path,
                    query=parse_qs(parts.query),
                    headers={name.lower(): value for name, value in self.headers.items()},
                    body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
                )
                told.asked.append(asked)
                reply = answer(asked)
                with suppress(OSError):  # the client has had enough
                    self.send_response(reply.status)
                    for name, value in reply.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(reply.body)))
                    self.end_headers()
                    self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815 - names of the base class

        class Server(ThreadingHTTPServer):
            request_queue_size = 64  # five are too few for threads that all come at once

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


XML = "<?xml version='1.0'?><Error><Code>{}</Code></Error>"
REFUSAL = {"detail": "dims are not what the stream was opened with"}


def chunk_path(chunk_idx: int) -> dict[str, str]:
    return {**PRESIGN, "path": f"upload_urls.*/c/{chunk_idx}/0/0"}
