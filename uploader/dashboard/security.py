"""Who may look, and who may decide: one gate in front of every route.

* **Another site's page** cannot reach us under its own name (``Host`` must be this machine's: DNS rebinding),
  cannot have its requests answered (``Sec-Fetch-Site`` and ``Origin``), cannot frame us, and has no cookie
  (``SameSite=Strict``).
* **Another user of this machine** has no token. It is printed once, behind the ``#`` of an address, which browsers
  do not send: no request line, log or ``Referer`` ever holds it. The page hands it in and gets a session instead.
* **Another server on this machine** would be sent our cookie, because cookies know no ports; but only below our
  path, which nobody can guess.
* **A page of ours** can load nothing from elsewhere and run nothing that is not one of our files.

A session is a cookie that no script can read. Whatever is not a file of the page needs it; whatever changes
something also needs to come from our own page, as JSON.
"""

import hmac
import secrets
from http import HTTPStatus
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE: Final = "framespool"
ENTER: Final = "enter"
SESSION: Final = "api/session"
ASSETS: Final = "assets/"
HOSTS: Final = frozenset({"127.0.0.1", "localhost"})
BODY_MAX: Final = 64 * 1024

_ALLOWED: Final = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "worker-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types framespool",
)
POLICY: Final = "; ".join(_ALLOWED)
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_NEEDS_LINK: Final = "This page needs the link that 'framespool dashboard' has printed: open that one.\n"


class Secrets:
    """Those of one run of the dashboard; none is ever written anywhere.

    Attributes:
        place: the path under which everything lies.
        token: what the printed address ends with.
    """

    def __init__(self) -> None:
        self.place = secrets.token_hex(8)
        self.token = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)

    def is_token(self, given: object) -> bool:
        """Whether this is the token."""
        return isinstance(given, str) and _is_same(given, self.token)

    def is_session(self, cookies: str) -> bool:
        """Whether a ``Cookie`` header holds the session."""
        # By hand: other servers on this machine have cookies here too, of whatever shape, and even of our name.
        pairs = (one.strip().partition("=") for one in cookies.split(";"))
        return any(name == COOKIE and _is_same(value, self._session) for name, _, value in pairs)

    def set_cookie(self) -> str:
        """The header's value that begins a session; it ends with the browser, or with the dashboard."""
        return f"{COOKIE}={self._session}; Path=/{self.place}/; HttpOnly; SameSite=Strict"


class Guard:
    """Refuses what should not be answered before any route is looked for, and says how answers are to be taken.

    Args:
        app: the routes, which see paths without the place.
        held: the secrets.
    """

    def __init__(self, app: ASGIApp, held: Secrets) -> None:
        self._app = app
        self._secrets = held
        self._root = f"/{held.place}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            raise NotImplementedError("only HTTP is served here")
        refusal = self._refusal(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                headers.setdefault("Content-Security-Policy", POLICY)
            await send(message)

        if refusal is not None:
            status, words = refusal
            await PlainTextResponse(words, status)(scope, receive, send_with_headers)
            return
        await self._app(
            {**scope, "path": scope["path"][len(self._root) - 1 :], "raw_path": b""}, receive, send_with_headers
        )

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:  # noqa: PLR0911 - reasons, in order
        headers, method = Headers(scope=scope), scope["method"]
        if not _is_host(headers):
            return HTTPStatus.MISDIRECTED_REQUEST, "This is not the name of this machine.\n"
        if not scope["path"].startswith(self._root):
            return HTTPStatus.UNAUTHORIZED, _NEEDS_LINK
        path = scope["path"][len(self._root) :]
        if method not in ("GET", "POST"):
            return HTTPStatus.METHOD_NOT_ALLOWED, "GET and POST only.\n"
        # The entrance is opened from anywhere, a terminal or a file; it shows nothing and does nothing by itself.
        came_from = headers.get("sec-fetch-site")
        if came_from not in (None, "none", "same-origin") and path != ENTER:
            return HTTPStatus.FORBIDDEN, "Another site's page asks for this.\n"
        if method == "POST" and not _is_own_request(headers):
            return HTTPStatus.FORBIDDEN, "This does not come from a page of the dashboard.\n"
        is_open = path == SESSION if method == "POST" else path == ENTER or path.startswith(ASSETS)
        if is_open or self._secrets.is_session(headers.get("cookie", "")):
            return None
        return HTTPStatus.UNAUTHORIZED, _NEEDS_LINK


def _is_same(given: str, held: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), held.encode())


def _is_host(headers: Headers) -> bool:
    """Whether the one ``Host`` is this machine; any port, so that it may be reached through a tunnel."""
    given = headers.getlist("host")
    if len(given) != 1:
        return False
    name, colon, port = given[0].partition(":")
    return name.lower() in HOSTS and (not colon or port.isdecimal())


def _is_own_request(headers: Headers) -> bool:
    """Whether a page of ours has made a request that changes something."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    is_ours = headers.get("origin") == f"http://{headers['host']}"
    length = headers.get("content-length", "")
    return kind == "application/json" and is_ours and length.isdecimal() and int(length) <= BODY_MAX
