"""The application: routes, the key that guards them, errors as answers, the gate in front of it all."""

import hmac
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from uploader.loopback.api import STAGED_PATH, TIME_PATH, Api, api_refused, store_refused
from uploader.loopback.control import Control
from uploader.loopback.errors import ApiError, StoreError
from uploader.loopback.faults import Faults
from uploader.loopback.gate import CONTROL_PATH, Gate
from uploader.loopback.ingest import Ingest, Terms


def build_app(terms: Terms) -> ASGIApp:
    """The far end, as one ASGI application, remembering what the root remembers."""
    ingest, faults = Ingest(terms), Faults()
    control = Control(ingest, faults)
    routes = Starlette(
        routes=[*Api(ingest).routes(), *control.routes()],
        exception_handlers={
            ApiError: api_refused,
            StoreError: store_refused,
            HTTPException: _no_such_route,
            ClientDisconnect: _client_gone,
        },
    )
    # A path that is nearly right is wrong: no redirect papers over it.
    routes.router.redirect_slashes = False
    control.gate = Gate(_KeyCheck(routes, terms.api_key), faults)
    return control.gate


class _KeyCheck:
    """Refuses API requests without the right `X-API-KEY`: 401 without one, 403 with another."""

    def __init__(self, app: ASGIApp, api_key: str) -> None:
        self._app = app
        self._api_key = api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _is_open(scope["method"], scope["path"]):
            given = dict(scope["headers"]).get(b"x-api-key")
            if given is None:
                answer = JSONResponse({"detail": "X-API-KEY is missing."}, HTTPStatus.UNAUTHORIZED)
                await answer(scope, receive, send)
                return
            if not hmac.compare_digest(given, self._api_key):
                answer = JSONResponse({"detail": "This API key is not valid."}, HTTPStatus.FORBIDDEN)
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_open(method: str, path: str) -> bool:
    if path.startswith(CONTROL_PATH) or path == TIME_PATH:
        return True
    return method == "PUT" and path.startswith(STAGED_PATH)


async def _no_such_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"detail": error.detail}, error.status_code, error.headers)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    # Nobody is there to read it; uvicorn throws it away.
    return Response(status_code=HTTPStatus.BAD_REQUEST)
