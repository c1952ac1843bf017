"""The doorbell: a producer rings after each push, so that an idle worker sleeps and a chunk still leaves at once.

::

    streamer ──datagram──▶ 127.0.0.1:port ──▶ worker looks          the port stands in workers/<destination>.bell

Nothing rests on it. A worker looks once a second in any case, so that a ring that is lost, or a producer that does
not know of bells, costs that second. Who else on this machine rings makes a worker look, and nothing more.
"""

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path

from spool import Spool

_HOST = "127.0.0.1"
_RING = b"framespool"
_PORT_MAX = 65535

_log = logging.getLogger(__name__)


def bell_path(spool: Spool, destination: str) -> Path:
    """Where the worker that drains a spool for a destination says how to ring for it."""
    return spool.worker_lock(destination).path.with_suffix(".bell")


class Doorbell:
    """The worker's side: somebody to wait for.

    Args:
        path: gets the port, for as long as the bell hangs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rung = threading.Event()
        self._socket: socket.socket | None = None

    def ring(self) -> None:
        """Ring from within this process."""
        self._rung.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, one since the last wait included; whether there was one."""
        was_rung = self._rung.wait(seconds)
        self._rung.clear()
        return was_rung

    def hang(self) -> None:
        """Let producers ring. Where that cannot be, the worker goes on without: it looks once a second."""
        listener = None
        try:
            listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            listener.bind((_HOST, 0))
            _write_private(self._path, f"{listener.getsockname()[1]}\n")
        except OSError as error:
            _log.info("there is no doorbell (%s); the worker looks once a second", error)
            if listener is not None:
                listener.close()
            return
        self._socket = listener
        threading.Thread(target=self._listen, args=(listener,), name="framespool-bell", daemon=True).start()

    def take_down(self) -> None:
        """End it; harmless when it does not hang."""
        listener, self._socket = self._socket, None
        if listener is None:
            return
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # wakes the thread that listens, which closes the socket
            _send(listener.getsockname()[1])

    def _listen(self, listener: socket.socket) -> None:
        with listener:
            while self._socket is listener:
                try:
                    listener.recv(1024)
                except OSError as error:
                    # Windows says here that a datagram was too long, or could not be given to somebody else.
                    _log.debug("the doorbell: %s", error)
                    if listener.fileno() < 0:
                        return
                self._rung.set()


def ring(path: Path) -> None:
    """The producer's side: ring for the worker, if one hears it. Raises nothing, waits for nothing."""
    try:
        port = int(path.read_text("ascii"))
        if 0 < port <= _PORT_MAX:
            _send(port)
    except (OSError, ValueError):
        pass  # no worker, or one without a bell: it looks by itself


def _send(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(_RING, (_HOST, port))


def _write_private(path: Path, text: str) -> None:
    # Always the same name: who died before the rename leaves it to the next one, and not one more each time.
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
    new.replace(path)
