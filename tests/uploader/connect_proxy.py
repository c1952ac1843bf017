"""A small proxy on loopback: tunnels for CONNECT, to names that only it knows, with or without a login."""

import base64
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

_LOOK_S = 0.1
_PATIENCE_S = 10.0


class ConnectProxy:
    """Listens on 127.0.0.1 from the start; every name leads to a port of this machine.

    Args:
        ports: where the names lead; a name that is not among them is refused.
        login: the ``name:password`` that it wants; anybody may pass without.
        tls: it is spoken to under TLS itself.
    """

    def __init__(
        self, ports: Mapping[str, int], *, login: str | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self.asked: list[str] = []
        self._ports = ports
        self._login = None if login is None else base64.b64encode(login.encode()).decode()
        self._tls = tls
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(_LOOK_S)
        self._thread = threading.Thread(target=self._accept)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_PATIENCE_S)
        self._listening.close()

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(TimeoutError):
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE_S)
        with suppress(OSError), connection:
            client = connection if self._tls is None else self._tls.wrap_socket(connection, server_side=True)
            with client:
                head = b""
                while b"\r\n\r\n" not in head:
                    if not (got := client.recv(65536)):
                        return
                    head += got
                self._answer(client, head.decode("latin-1").split("\r\n"))

    def _answer(self, client: socket.socket, lines: list[str]) -> None:
        target = lines[0].split()[1]
        self.asked.append(target)
        login = next((one.split()[-1] for one in lines if one.lower().startswith("proxy-authorization:")), None)
        if login != self._login and self._login is not None:
            # As an unkind proxy would: what it was told stands in its answer.
            client.sendall(f"HTTP/1.1 407 Go away {login}\r\nContent-Length: 0\r\n\r\n".encode())
        elif (port := self._ports.get(target.partition(":")[0])) is None:
            client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
        else:
            with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as server:
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_carry, args=(server, client), daemon=True)
                back.start()
                _carry(client, server)
                back.join(_PATIENCE_S)


def _carry(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            to.sendall(piece)
    with suppress(OSError):
        to.shutdown(socket.SHUT_WR)
