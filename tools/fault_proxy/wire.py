"""One end of a proxied connection: reading heads and bodies of HTTP/1.1, always ready to be interrupted."""

import contextlib
import re
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator

PIECE_BYTES = 64 * 1024
LOOK_S = 0.05
_HEAD_BYTES_MAX = 256 * 1024
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)


class Interrupted(Exception):
    """The proxy has ordered what becomes of this connection."""


class Orders:
    """What the proxy wants of one connection: ``None``, ``silent``, ``reset`` or ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.word: str | None = None

    def give(self, word: str) -> None:
        """Order it; an order is never taken back, only ``close`` replaces another."""
        with self._lock:
            if self.word is None or word == "close":
                self.word = word

    def obey(self) -> None:
        """Raise `Interrupted` if there is an order."""
        if self.word is not None:
            raise Interrupted(self.word)

    def sleep(self, seconds: float) -> None:
        """Wait, unless ordered otherwise."""
        ends = time.monotonic() + seconds
        while (left := ends - time.monotonic()) > 0:
            self.obey()
            time.sleep(min(left, LOOK_S))


class Wire:
    """A connected socket with a buffer for what has been read too far.

    Args:
        sock: owned by this object from now on.
        orders: looked at whenever something is waited for.
    """

    def __init__(self, sock: socket.socket, orders: Orders) -> None:
        self.sock = sock
        self._orders = orders
        self._buffer = b""
        self.body_left = 0
        """How much of the current body has not been taken yet."""

    def peek(self) -> bytes:
        """What has come and is not taken yet, waiting for the first byte; empty at the end."""
        if not self._buffer:
            self._buffer = self._receive()
        return self._buffer

    def head(self) -> bytes | None:
        """The next message's head with its empty line; ``None`` when the other side has ended."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            more = self._receive()
            if not more or len(self._buffer) > _HEAD_BYTES_MAX:
                return None
            self._buffer += more
        found, self._buffer = self._buffer[: end + 4], self._buffer[end + 4 :]
        return found

    def body(self, head: bytes, *, is_answer: bool) -> Iterator[bytes]:
        """The body that belongs to this head, in pieces."""
        length = _LENGTH.search(head)
        if length is not None:
            yield from self._exactly(int(length[1]))
        elif _CHUNKED.search(head):
            yield from self._until(b"0\r\n\r\n")
        elif is_answer and not re.match(rb"HTTP/1.\d (1\d\d|204|304)", head):
            yield from iter(self._take, b"")

    def send(self, content: bytes) -> None:
        """Send all of it, waiting for room.

        Raises:
            OSError: the other side is gone.
        """
        rest = memoryview(content)
        while rest:
            self._orders.obey()
            if select.select([], [self.sock], [], LOOK_S)[1]:
                rest = rest[self.sock.send(rest[:PIECE_BYTES]) :]

    def has_news(self) -> bool:
        """Whether something, or the end, can be read at once."""
        return bool(self._buffer) or bool(select.select([self.sock], [], [], 0)[0])

    def available(self) -> bytes:
        """What has come; to be asked when there is news.

        Raises:
            ConnectionError: the other side has ended.
        """
        taken = self._take()
        if not taken:
            raise ConnectionResetError("the other side has ended")
        return taken

    def swallow(self) -> None:
        """Take whatever comes until the other side ends; nothing goes back."""
        self._buffer = b""
        while self._receive():
            pass

    def reset(self) -> None:
        """End the connection with an RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(OSError):
            self.sock.close()

    def _receive(self) -> bytes:
        while True:
            self._orders.obey()
            if select.select([self.sock], [], [], LOOK_S)[0]:
                return self.sock.recv(PIECE_BYTES)

    def _take(self) -> bytes:
        taken, self._buffer = self.peek(), b""
        return taken

    def _exactly(self, left: int) -> Iterator[bytes]:
        self.body_left = left
        while self.body_left:
            piece = self._take()
            if not piece:
                return
            piece, self._buffer = piece[: self.body_left], piece[self.body_left :]
            self.body_left -= len(piece)
            yield piece

    def _until(self, end: bytes) -> Iterator[bytes]:
        last = b""
        while last != end and (piece := self._take()):
            last = (last + piece)[-len(end) :]
            yield piece
