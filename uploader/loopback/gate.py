"""Stands in front of the routes: counts requests, and misbehaves when told to.

Closing a connection without an answer is nothing that ASGI can express. `TransportInState` therefore puts the
connection's transport where the gate finds it; the gate uses it and then waits until uvicorn has noticed, so
that uvicorn does not answer 500 by itself.
"""

import asyncio
import re
from collections import Counter
from http import HTTPStatus
from typing import Final, cast

from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from uploader.loopback.faults import Faults, Rule

CONTROL_PATH: Final = "/_loopback/"
_TRANSPORT: Final = "loopback_transport"
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_PORTAL: Final = (
    "<!DOCTYPE html><html><head><title>Welcome to Campus WiFi</title></head>"
    "<body><form action='/login'>Please sign in to use this network.</form></body></html>"
)


class TransportInState(H11Protocol):
    """uvicorn's protocol; each request's `scope["state"]` also has the connection's transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, _TRANSPORT: transport}


class Gate:
    """The ASGI application in front of the application."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults
        self.requests: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request pass, or not."""
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PATH):
            await self._app(scope, receive, send)
            return
        method, path = scope["method"], scope["path"]
        self.requests[route_of(method, path)] += 1
        if self._faults.down:
            await _hang_up(scope, receive)
            return
        for rule in self._faults.firing(method, path, scope["query_string"].decode("latin-1")):
            if rule.action == "delay":
                await asyncio.sleep(rule.seconds)
            else:
                await self._misbehave(rule, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _misbehave(self, rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
        match rule.action:
            case "status":
                kind = "application/json" if rule.body[:1] in ("{", "[", '"') else "text/plain"
                kind = "application/xml" if rule.body.startswith("<") else kind
                told = {name.lower(): value for name, value in rule.headers.items()}
                answer = Response(rule.body, rule.status, {"content-type": kind, **told})
                await answer(scope, receive, send)
            case "html200":
                await HTMLResponse(_PORTAL)(scope, receive, send)
            case "drop":
                await _hang_up(scope, receive)
            case "cut":
                await self._app(scope, _cutting(rule.cut_after_bytes, scope, receive), send)
            case "lost_answer":
                await self._app(scope, receive, _Captured().send)
                await _hang_up(scope, receive)
            case "truncated_answer":
                captured = _Captured()
                await self._app(scope, receive, captured.send)
                await _hang_up(scope, receive, after=captured.first_part())
            case _:
                raise AssertionError(rule.action)


class _Captured:
    """An answer that is kept instead of sent."""

    def __init__(self) -> None:
        self._start: Message = {}
        self._body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        else:
            self._body += message.get("body", b"")

    def first_part(self) -> bytes:
        """The answer as sent, up to the middle of its body, or of its head when it has no body."""
        status = HTTPStatus(self._start["status"])
        lines = [f"HTTP/1.1 {status.value} {status.phrase}".encode()]
        lines += [name + b": " + value for name, value in self._start["headers"]]
        head = b"\r\n".join([*lines, b"", b""])
        return head + self._body[: len(self._body) // 2] if self._body else head[: len(head) // 2]


def route_of(method: str, path: str) -> str:
    """The route under which a request is counted: ids and keys are left out."""
    if path.startswith("/staged/"):
        return f"{method} /staged"
    return f"{method} {_UUID.sub('{id}', path)}"


def _cutting(limit: int, scope: Scope, receive: Receive) -> Receive:
    """A `receive` that closes the connection once more than `limit` bytes of the body have come."""
    seen = 0

    async def receive_some() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit or not message.get("more_body", False):
            await _hang_up(scope, receive)
            return {"type": "http.disconnect"}
        return message

    return receive_some


async def _hang_up(scope: Scope, receive: Receive, *, after: bytes = b"") -> None:
    """Close the connection, having sent only `after`."""
    transport = cast("asyncio.Transport", scope["state"][_TRANSPORT])
    if after:
        transport.write(after)
        transport.close()  # lets the bytes out first
    else:
        transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass
