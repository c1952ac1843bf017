"""One client's connection through the proxy, request by request, with the fault that is in force."""

import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NoReturn

from tools.fault_proxy.faults import Fault, Setting
from tools.fault_proxy.impostor import shake_hands
from tools.fault_proxy.pace import Pace
from tools.fault_proxy.wire import Interrupted, Orders, Wire

PORTAL = b"<!DOCTYPE html><html><head><title>Hello</title></head><body>Sign in to this network.</body></html>"
_TLS_HANDSHAKE = b"\x16"
_CONNECT_S = 5.0
_ANSWER_LOST = frozenset({Fault.TRUNCATED_ANSWER, Fault.GARBAGE_ANSWER, Fault.LOST_ANSWER})
_ANSWERED_BY_US = frozenset({Fault.HTML, Fault.REDIRECT, Fault.RESET, Fault.BLACK_HOLE})


class _Hang(Exception):
    """The connection stands and nothing moves any more, until it is reset or the proxy itself ends."""


class _Gone(Exception):
    """The connection is over."""


@dataclass(slots=True, kw_only=True, eq=False)
class Conversation:
    """Serves one accepted connection; `run` in a thread of its own.

    Attributes:
        accepted: the client's socket, owned by this object.
        target: the server's address.
        fault_for: the setting that concerns a request, told as ``METHOD target``, counted when asked.
        count: adds to a counter of the proxy.
        pace: of the line that all conversations of the proxy share.
    """

    accepted: socket.socket
    target: tuple[str, int]
    fault_for: Callable[[str], Setting | None]
    count: Callable[[str, int], None]
    pace: Pace = field(default_factory=Pace)
    orders: Orders = field(default_factory=Orders)
    _server: Wire | None = None

    def run(self) -> None:
        """Serve until either side ends, or the proxy orders it."""
        client = Wire(self.accepted, self.orders)
        try:
            self._talk(client)
        except (Interrupted, _Hang) as order:
            self._end(client, str(order) or "hanging")
        except (OSError, _Gone):
            client.close()
        finally:
            client.close()
            if self._server is not None:
                self._server.close()

    def _end(self, client: Wire, word: str) -> None:
        if word in ("silent", "hanging"):
            # The far side is gone without a word: whoever waits here waits for nothing.
            while self.orders.word != "close":
                time.sleep(0.05)
                if word == "hanging" and self.orders.word == "reset":
                    client.reset()
                    return
        elif word == "reset":
            client.reset()

    def _talk(self, client: Wire) -> None:
        first = client.peek()
        if first.startswith(_TLS_HANDSHAKE):
            self._tls(client)
            return
        while (head := client.head()) is not None:
            method, target = head.split(b" ", 2)[:2]
            self.count("requests", 1)
            setting = self.fault_for(f"{method.decode('latin-1')} {target.decode('latin-1')}")
            body = client.body(head, is_answer=False)
            if setting is not None and setting.fault in _ANSWERED_BY_US:
                self._instead(client, body, setting, is_head=method == b"HEAD")
                continue
            self._pass_on(client, head, body, setting)

    def _tls(self, client: Wire) -> None:
        setting = self.fault_for("TLS ClientHello")
        if setting is not None and setting.fault is Fault.WRONG_CERTIFICATE:
            shake_hands(client)
            client.close()
            return
        if setting is not None:
            client.send(b"SSH-2.0-this is no TLS\r\n" * 4)
            client.close()
            return
        server = self._reach()
        while True:
            for one, other in ((client, server), (server, client)):
                if one.has_news():
                    other.send(one.available())
            self.orders.sleep(0.005)

    def _instead(self, client: Wire, body: Iterable[bytes], setting: Setting, *, is_head: bool) -> None:
        """What comes back without the server's knowing."""
        if setting.fault is Fault.RESET:
            raise Interrupted("reset")
        if setting.fault is Fault.BLACK_HOLE:
            client.swallow()
            raise _Gone
        for _ in body:
            pass
        if setting.fault is Fault.HTML:
            kind = f"Content-Type: text/html\r\nContent-Length: {len(PORTAL)}"
            page = b"" if is_head else PORTAL
            client.send(f"HTTP/1.1 {setting.status} Whatever\r\n{kind}\r\n\r\n".encode() + page)
        else:
            client.send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/login\r\nContent-Length: 0\r\n\r\n")

    # Passing on -----------------------------------------------------------------------------------------

    def _pass_on(self, client: Wire, head: bytes, body: Iterator[bytes], setting: Setting | None) -> None:
        fault = setting.fault if setting else None
        if setting and fault in (Fault.LATENCY, Fault.LINE):
            self.orders.sleep(setting.pause_s)
        server = self._reach()
        server.send(head)
        for piece in self._spoiled_request(body, setting):
            server.send(piece)
            self.count("bytes_up", len(piece))
            if server.has_news():
                break  # it answers before it has heard everything
        answer = server.head()
        while answer is not None and answer.startswith(b"HTTP/1.1 100"):
            client.send(answer)
            answer = server.head()
        if answer is None:
            raise Interrupted("reset")
        # An answer to HEAD tells a length, and nothing follows.
        nothing_follows = head.startswith(b"HEAD ")
        body = iter(()) if nothing_follows else server.body(answer, is_answer=True)
        self._answer(client, answer, body, setting)
        if client.body_left:
            raise _Gone  # the rest of the request would be taken for the next one

    def _spoiled_request(self, body: Iterator[bytes], setting: Setting | None) -> Iterator[bytes]:
        if setting is None:
            yield from body
        elif setting.fault is Fault.STALL and setting.where == "request":
            yield from self._until_stalled(body, setting)
        elif setting.fault is Fault.BANDWIDTH:
            yield from self._slowed(body, setting)
        elif setting.fault is Fault.LINE:
            yield from self._through_the_line(body, setting)
        elif setting.fault is Fault.CORRUPT_REQUEST:
            whole = b"".join(body)
            yield _one_bit_off(whole, setting) if len(whole) >= setting.body_bytes_min else whole
        else:
            yield from body

    def _answer(self, client: Wire, head: bytes, body: Iterator[bytes], setting: Setting | None) -> None:
        if setting is not None and setting.fault in _ANSWER_LOST:
            self._lose(client, head, b"".join(body), setting)
        for piece in self._spoiled_answer(head, body, setting):
            client.send(piece)
            self.count("bytes_down", len(piece))

    def _spoiled_answer(self, head: bytes, body: Iterator[bytes], setting: Setting | None) -> Iterator[bytes]:
        match setting.fault if setting else None:
            case Fault.STALL if setting and setting.where != "request":
                yield from self._until_stalled(iter([head, *body]), setting)
            case Fault.DRIP if setting:
                yield from self._dripping(head, b"".join(body), setting)
            case Fault.BANDWIDTH if setting:
                yield head
                yield from self._slowed(body, setting)
            case Fault.CORRUPT_ANSWER if setting:
                whole = b"".join(body)
                in_body = setting.where == "body" and bool(whole)
                yield head if in_body else _one_bit_off(head, setting)
                yield _one_bit_off(whole, setting) if in_body else whole
            case _:
                yield head
                yield from body

    def _lose(self, client: Wire, head: bytes, body: bytes, setting: Setting) -> NoReturn:
        """The server has done what was asked, and the client does not hear it."""
        if setting.fault is Fault.LOST_ANSWER:
            raise Interrupted("reset")
        cut = head + body[: len(body) // 2] if body else head[: len(head) // 2]
        client.send(cut if setting.fault is Fault.TRUNCATED_ANSWER else _dice(setting).randbytes(200))
        raise _Gone

    def _until_stalled(self, pieces: Iterator[bytes], setting: Setting) -> Iterator[bytes]:
        left = setting.after_bytes
        for piece in pieces:
            yield piece[:left]
            left -= len(piece)
            if left < 0:
                raise _Hang
        raise _Hang

    def _slowed(self, pieces: Iterator[bytes], setting: Setting) -> Iterator[bytes]:
        for piece in pieces:
            for start in range(0, len(piece), 4096):
                part = piece[start : start + 4096]
                self.orders.sleep(len(part) / setting.bytes_per_s)
                yield part

    def _through_the_line(self, pieces: Iterator[bytes], setting: Setting) -> Iterator[bytes]:
        for piece in pieces:
            self.orders.sleep(self.pace.wait_s(len(piece), setting.bytes_per_s))
            yield piece

    def _dripping(self, head: bytes, body: bytes, setting: Setting) -> Iterator[bytes]:
        at_once, slowly = (head, body) if setting.where == "body" else (b"", head + body)
        yield at_once
        for start in range(0, len(slowly), setting.bytes_each):
            yield slowly[start : start + setting.bytes_each]
            self.orders.sleep(setting.pause_s)

    def _reach(self) -> Wire:
        """The server, connected to when first needed."""
        if self._server is None:
            try:
                reached = socket.create_connection(self.target, timeout=_CONNECT_S)
            except OSError as error:
                raise Interrupted("reset") from error
            reached.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._server = Wire(reached, self.orders)
        return self._server


def _dice(setting: Setting) -> random.Random:
    return random.Random(setting.seed)  # noqa: S311 - repeatable is the point


def _one_bit_off(content: bytes, setting: Setting) -> bytes:
    if not content:
        return content
    dice = _dice(setting)
    changed = bytearray(content)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(7)
    return bytes(changed)
