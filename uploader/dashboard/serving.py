"""Running the dashboard under uvicorn: the socket, the announcement, the end."""

import signal
import socket
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import uvicorn
from starlette.types import ASGIApp

from uploader.dashboard.feed import Feeds

HOST: Final = "127.0.0.1"
_CONNECTIONS_MAX: Final = 200
_SHUTDOWN_S: Final = 1


def bind(port: int) -> socket.socket:
    """A listening socket on this machine's own address; port 0 chooses a free one.

    Raises:
        OSError: the port cannot be had.
    """
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":
            # Else another program could listen on the same port, and be handed our visitors.
            made.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((HOST, port))
        made.listen()
    except BaseException:
        made.close()
        raise
    return made


def serve(app: ASGIApp, feeds: Feeds, listener: socket.socket, *, announce: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; ``announce`` is called once requests are answered."""
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS_MAX,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    # uvicorn shuts down on these signals and then raises them again, for whoever was listening before: us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit_cleanly)
    _Server(config, feeds, announce).run(sockets=[listener])


class _Server(uvicorn.Server):
    """Says when it has begun to accept, and lets go of browsers when it ends."""

    def __init__(self, config: uvicorn.Config, feeds: Feeds, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._feeds = feeds
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._feeds.end()
        await super().shutdown(sockets)


def _exit_cleanly(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)
