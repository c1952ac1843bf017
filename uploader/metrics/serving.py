"""Where metrics are to be had: at a port, read when somebody asks; in a file, replaced now and then.

Both have threads of their own. Nothing here reaches the worker's threads, and a disk, a port or a reader that
fails is told in the log and tried again: what is shown never holds up what is delivered.
"""

import contextlib
import logging
import socket
import sys
import threading
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, write_to_textfile
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.registry import Collector

AGAIN_S = 10.0
"""After a port was taken by somebody else."""
WRITE_EVERY_S = 15.0
"""As often as Prometheus asks by default."""
LOOK_S = 1.0
"""How soon the end is noticed."""
_PATIENCE_S = 10.0
"""With somebody who has connected and asks nothing."""

_log = logging.getLogger(__name__)


class Endpoint:
    """Answers Prometheus.

    Args:
        address: the name or number to listen at, and the port; 0 for any that is free.
        collector: makes the metrics.

    Attributes:
        port: that it listens at; ``None`` while it does not.
    """

    def __init__(self, address: tuple[str, int], collector: Collector) -> None:
        self._address = address
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)
        ProcessCollector(registry=registry)
        self._app = make_wsgi_app(registry)
        self._over = threading.Event()
        self._server: ThreadingWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.port: int | None = None

    def start(self, *, patiently: bool) -> None:
        """Listen from now on.

        Args:
            patiently: where the port is taken, say so and try again.

        Raises:
            OSError: it cannot be listened at, and not patiently.
        """
        try:
            self._listen()
        except OSError as error:
            if not patiently:
                raise
            _log.warning(
                "no metrics at %s port %d: %s. It is tried again; deliveries go on", *self._address, error
            )
        self._thread = threading.Thread(target=self._serve, name="framespool-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    def _listen(self) -> None:
        host, port = self._address
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

        class Server(_Server):
            address_family = family

        self._server = make_server(host, port, self._app, Server, _Handler)
        self._server.timeout = LOOK_S
        self.port = int(self._server.server_address[1])
        _log.info("metrics at http://%s/metrics", _authority(host, self.port))

    def _serve(self) -> None:
        while self._server is None:
            if self._over.wait(AGAIN_S):
                return
            with contextlib.suppress(OSError):  # it was told once
                self._listen()
        with self._server as server:
            while not self._over.is_set():
                server.handle_request()


class TextFile:
    """Writes the metrics to a file, for node_exporter's textfile collector.

    Args:
        path: replaced whole at each writing.
        collector: makes the metrics. Those of this process are left out: node_exporter has such names of its own.
    """

    def __init__(self, path: Path, collector: Collector) -> None:
        self._path = path
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(collector)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_writing, name="framespool-metrics-file", daemon=True)
        self._told = ""

    def start(self, *, patiently: bool) -> None:
        """Write now, and then again and again.

        Args:
            patiently: where it cannot be written, say so and try again.

        Raises:
            OSError: it cannot be written, and not patiently.
        """
        if patiently:
            self._write_or_say()
        else:
            self._write()
        self._thread.start()

    def close(self) -> None:
        """Write once more, and never again: the file says how it ended."""
        self._over.set()
        self._thread.join(_PATIENCE_S)
        self._write_or_say()

    def _keep_writing(self) -> None:
        while not self._over.wait(WRITE_EVERY_S):
            self._write_or_say()

    def _write_or_say(self) -> None:
        try:
            self._write()
        except OSError as error:
            if str(error) != self._told:
                _log.warning("the metrics cannot be written to %s: %s. It is tried again", self._path, error)
            self._told = str(error)
        else:
            self._told = ""

    def _write(self) -> None:
        write_to_textfile(str(self._path), self._registry)


class _Server(ThreadingWSGIServer):
    # Elsewhere it means a port that was left a moment ago; on Windows one that somebody else has.
    allow_reuse_address = sys.platform != "win32"

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - as the base class
        """Somebody has connected and gone away, or said nothing."""
        _log.debug("asked for metrics by %s, in vain", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    """Patient for so long, and quiet."""

    timeout = _PATIENCE_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Requests are not worth a line each."""


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
