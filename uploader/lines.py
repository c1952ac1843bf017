"""Connections to a server, one exchange at a time on each, under a watchdog.

The timeouts of single reads and writes do not see a peer that gives one byte in time, again and again: such an
exchange would never end, and with it the one probe of an outage that all streams wait for. So the exchange as
a whole has a deadline; past it the connection is shut down under whoever waits for it.
"""

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import httpx

from uploader.watchdog import Watch, Watchdog
from uploader.way_out import WayOut

_HEADERS = {"User-Agent": "framespool"}
_WHOLE = 1.25
"""The watchdog comes after the timeouts, so that silence is told apart from an answer that does not end."""
_CONNECTS_MAX = 4
"""A name may stand for several addresses, and a proxy may come first: each may take the time to connect."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long an exchange may take, in seconds.

    Attributes:
        connect_s: for one address.
        stall_s: without a single byte of the request taken.
        sending_s: for the whole of the request.
        answer_s: without a single byte of the answer, and a little more for the whole of it.
    """

    connect_s: float
    stall_s: float
    sending_s: float
    answer_s: float

    @property
    def timeout(self) -> httpx.Timeout:
        """What single reads and writes may take."""
        return httpx.Timeout(connect=self.connect_s, write=self.stall_s, read=self.answer_s, pool=self.connect_s)


class Line:
    """One connection; opened when it is first used, used by one thread at a time.

    Attributes:
        client: to send a request with.
    """

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self._socket: socket.socket | None = None
        self._watch: Watch | None = None
        self._answer_s = 0.0

    @contextmanager
    def watched(self, watchdog: Watchdog, patience: Patience) -> Iterator[Watch]:
        """Be under watch for one exchange."""
        self._answer_s = patience.answer_s
        seconds = _CONNECTS_MAX * patience.connect_s + _WHOLE * patience.sending_s
        with watchdog.over(seconds, self._cut) as self._watch:
            yield self._watch

    def trace(self, event: str, info: Mapping[str, object]) -> None:
        """Told by httpcore of each step of an exchange: its documented ``trace`` extension."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            stream = info["return_value"]
            assert hasattr(stream, "get_extra_info")
            self._socket = stream.get_extra_info("socket")
        elif event.endswith("receive_response_headers.started") and not _is_to_proxy(info):
            assert self._watch is not None
            self._watch.give(_WHOLE * self._answer_s)

    def _cut(self) -> None:
        with suppress(OSError):  # it may just have ended by itself
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)


class Lines:
    """The connections to one server: those that stand are used again, those that had a fault never are.

    Attributes:
        secrets: what must appear nowhere, even where the other side repeats it.
        is_closed: `close` was called.

    Raises:
        ConfigurationError: the environment names a proxy or certificates that cannot be used.
    """

    def __init__(self) -> None:
        self._way_out = WayOut()
        self.secrets = self._way_out.secrets
        self._lock = threading.Lock()
        self._idle: list[Line] = []
        self._watchdog = Watchdog()
        self.is_closed = False

    @contextmanager
    def one(self, patience: Patience) -> Iterator[tuple[Line, Watch]]:
        """A connection for one exchange; it is closed when that raises or is cut."""
        with self._lock:
            line = self._idle.pop() if self._idle else None
        line = line or Line(self._client())
        is_sound = False
        try:
            with line.watched(self._watchdog, patience) as watch:
                yield line, watch
            is_sound = not watch.was_cut
        finally:
            with self._lock:
                is_kept = is_sound and not self.is_closed
                if is_kept:
                    self._idle.append(line)
            if not is_kept:
                line.client.close()

    def close(self) -> None:
        """Close the connections that nobody uses, and end the watchdog once nothing is left to watch."""
        with self._lock:
            idle, self._idle = self._idle, []
            self.is_closed = True
        for line in idle:
            line.client.close()
        self._watchdog.close()

    def _client(self) -> httpx.Client:
        return httpx.Client(headers=_HEADERS, transport=self._way_out.transport())


def _is_to_proxy(info: Mapping[str, object]) -> bool:
    """Whether a step belongs to the opening of a tunnel: the request itself is still to be sent after that."""
    return getattr(info["request"], "method", b"") == b"CONNECT"
