"""Running the application under uvicorn: the socket, the announcement, the end."""

import json
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import uvicorn
from starlette.types import ASGIApp

from uploader.loopback.gate import TransportInState
from uploader.loopback.places import write_whole

# Below every system's range of outgoing ports. While the server is down, a client that keeps trying a port
# inside that range can be given the very same port and connect to itself.
_PORTS: Final = range(20000, 30000)
_PORT_TRIES: Final = 100
_SHUTDOWN_S: Final = 1


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 chooses a free one.

    Raises:
        OSError: The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port:
        return socket.create_server((host, port), family=family)
    for candidate in random.sample(_PORTS, _PORT_TRIES):
        try:
            return socket.create_server((host, candidate), family=family)
        except OSError:
            continue
    return socket.create_server((host, 0), family=family)


def url_of(listener: socket.socket) -> str:
    """The base URL under which a listening socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    app: ASGIApp,
    listener: socket.socket,
    *,
    announce: Callable[[str], None],
    ready_file: Path | None,
    until_stdin_closes: bool,
) -> None:
    """Serve until SIGTERM, Ctrl-C or, when asked to, the end of stdin; `announce` the URL once accepting."""
    url = url_of(listener)

    def ready() -> None:
        if ready_file is not None:
            ready_file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(ready_file, json.dumps({"url": url, "pid": os.getpid()}).encode())
        announce(url)

    config = uvicorn.Config(
        app,
        http=TransportInState,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = _Server(config, ready)
    # uvicorn shuts down on these signals and then raises them again, for whoever was listening before: us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_cleanly)
    if until_stdin_closes:
        threading.Thread(target=_stop_with_stdin, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it has begun to accept."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()


def _stop_with_stdin(server: uvicorn.Server) -> None:
    # os.read, not sys.stdin: a thread inside sys.stdin's lock makes the interpreter's exit fail.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True


def _exit_cleanly(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)
