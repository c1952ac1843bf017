"""Running the loopback server from Python, as the separate process that it should be.

with LoopbackServer(root) as server:
    streamer = RHEEDStreamer(api_key=server.api_key, endpoint=server.url)
"""

import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self
from urllib.parse import urlsplit

import zarr

KEY_VARIABLE: Final = "FRAMESPOOL_LOOPBACK_KEY"
_STOP_S: Final = 10.0
_CONTROL_S: Final = 30.0


class LoopbackError(Exception):
    """The server did not start; the message is what it said."""


class LoopbackServer:
    """One loopback server process; as a context manager, started and stopped with the block.

    Args:
        root: Where the server keeps everything. A root used before is continued.
        api_key: The key that clients must send; it reaches the process through its environment.
        host: A loopback address.
        port: 0 chooses a free one; later starts of this object use the same one again.
        silence_s: A stream without data for so long becomes `stream_error`.
        analysis_s: For so long after a stream's first chunk its end is answered 503.
        url_expiry_s: How long an upload URL is good for.
        start_timeout_s: How long a start may take.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        api_key: str = "loopback-key",
        host: str = "127.0.0.1",
        port: int = 0,
        silence_s: float = 7200.0,
        analysis_s: float = 0.0,
        url_expiry_s: float = 900.0,
        start_timeout_s: float = 30.0,
    ) -> None:
        self.root = Path(root)
        self.api_key = api_key
        self.url = ""
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._arguments = [
            *("--root", str(self.root), "--host", host),
            *(
                "--silence-s",
                str(silence_s),
                "--analysis-s",
                str(analysis_s),
                "--url-expiry-s",
                str(url_expiry_s),
            ),
        ]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def complaints(self) -> Path:
        """The file that gets what the process writes to stderr; nothing, as long as all is well."""
        return self.root / "server.stderr"

    @property
    def pid(self) -> int:
        """The server's process id.

        Raises:
            LoopbackError: It is not running.
        """
        if self._process is None:
            raise LoopbackError("The loopback server is not running.")
        return self._process.pid

    def start(self) -> None:
        """Start the process; on return it answers requests at `url`.

        Raises:
            LoopbackError: It ended instead, or took longer than `start_timeout_s`.
        """
        assert self._process is None, "already started"
        self.root.mkdir(parents=True, exist_ok=True)
        with self.complaints.open("a+", encoding="utf-8") as complaints:
            earlier = complaints.seek(0, os.SEEK_END)
            process = _launch([*self._arguments, "--port", str(self._port)], self.api_key, complaints)
            # Reading waits for the line or for the end of the process, and the timer brings about the latter.
            too_long = threading.Timer(self._start_timeout_s, process.kill)
            too_long.start()
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            too_long.cancel()
            self._process = process
            if not url:
                self._reap()
                complaints.seek(earlier)
                raise LoopbackError(complaints.read().strip() or "The loopback server did not start in time.")
        self.url = url
        self._port = urlsplit(url).port or 0

    def stop(self) -> None:
        """Stop the process in an orderly way; nothing happens when it is not running."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        # Either is the request to stop: Windows has no such signal, and elsewhere a forked child of ours may hold
        # a copy of the pipe.
        self._process.stdin.close()
        if os.name != "nt":
            self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reap()

    def kill(self) -> None:
        """Kill the process at once, as `kill -9` does; nothing happens when it is not running."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def restart(self) -> None:
        """Stop it if it runs, and start it again: same root, same address, no faults."""
        self.stop()
        self.start()

    def faults(self, rules: Sequence[Mapping[str, object]]) -> None:
        """Add fault rules, as `uploader.loopback.faults` describes them, behind those in force."""
        self._control("POST", "faults", [dict(rule) for rule in rules])

    def clear_faults(self) -> None:
        """Remove every fault rule."""
        self._control("DELETE", "faults")

    def outage(self, down: bool) -> None:
        """While `down`, every request's connection is closed at once."""
        self._control("POST", "outage", {"down": down})

    def set_clock(self, ahead_s: float) -> None:
        """Put the server's clock so far ahead of this machine's: silence limits and URLs run out by it."""
        self._control("POST", "clock", {"ahead_s": ahead_s})

    def set_status(self, data_id: str, status: str) -> None:
        """Set a stream's status, such as `stream_paused`, as an operator would."""
        self._control("POST", f"streams/{data_id}/status", {"status": status})

    def state(self) -> dict[str, Any]:
        """What the server has seen and holds: streams, samples, tags, faults, request counters."""
        summary: dict[str, Any] = self._control("GET", "state")
        return summary

    def received(self, data_id: str) -> zarr.Array[Any]:
        """The frames received so far, `(T, H, W)` uint8, opened by plain zarr-python.

        Raises:
            FileNotFoundError: No chunk of that stream has been received.
        """
        group = zarr.open_group(self.root / "received" / data_id / "frames.zarr", mode="r")
        frames = group["frames"]
        assert isinstance(frames, zarr.Array)
        return frames

    def objects(self, data_id: str) -> dict[int, bytes]:
        """The bytes of each object received, by chunk_idx."""
        chunks = self.root / "received" / data_id / "objects" / "frames.zarr" / "frames" / "c"
        found = {int(path.parts[-3]): path for path in chunks.glob("*/0/0")}
        return {chunk_idx: found[chunk_idx].read_bytes() for chunk_idx in sorted(found)}

    def log(self, data_id: str) -> list[dict[str, Any]]:
        """The stream's log: one entry per event and per accepted body (`"event": "received"`), in order."""
        text = (self.root / "received" / data_id / "log.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]

    def _control(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - whatever JSON comes
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_CONTROL_S)
        try:
            connection.request(method, f"/_loopback/{path}", json.dumps(body))
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status >= http.client.BAD_REQUEST:
            raise LoopbackError(f"The loopback server refused: {answer}")
        return answer

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None


def _launch(arguments: list[str], api_key: str, complaints: IO[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, KEY_VARIABLE: api_key}
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        # Not installed, perhaps. For an installed package this folder would be site-packages, which must not
        # come before the standard library.
        paths = [str(checkout), *filter(None, [environment.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    # -P: whatever lies in the current folder is not to be imported in our place.
    command = [sys.executable, "-P", "-m", "uploader.loopback", *arguments, "--until-stdin-closes"]
    return subprocess.Popen(  # noqa: S603 - our own module, no shell
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints, text=True
    )
