"""The routes: pages, files of the page, what they ask for, and what people decide."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from importlib.resources import files
from typing import Any, Final

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from spool import Spool, SpoolError, UnknownStream
from uploader.dashboard import decisions, views
from uploader.dashboard.decisions import BadRequest
from uploader.dashboard.feed import Feeds
from uploader.dashboard.pictures import TREND_CHUNKS, Trend, picture_of
from uploader.dashboard.security import BODY_MAX, Guard, Secrets
from uploader.dashboard.texts import shown
from uploader.dashboard.watch import Watch

DOCUMENT_CHUNKS_MAX: Final = 100_000
"""An audit page and a proof of more chunks are left to the command line, which does not serve others meanwhile."""

_KINDS: Final = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_VERSION: Final = re.compile(r"[0-9]{1,16}", re.ASCII)
_CHUNK_IDX: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_ASSET: Final = re.compile(r"[a-z][a-z-]*\.(css|js|svg)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """What is made of a whole stream when somebody asks for it.

    Attributes:
        audit_page: as ``audit --html`` writes it.
        proof: as ``proof`` writes it.
    """

    audit_page: Callable[[Spool, str], str]
    proof: Callable[[Spool, str], bytes]


def build_app(watch: Watch, held: Secrets, documents: Documents) -> tuple[ASGIApp, Feeds]:
    """The dashboard as one ASGI application, and its open connections.

    Args:
        watch: what is shown; started and stopped with the application.
        held: what guards it.
        documents: how to make what can be downloaded.
    """
    feeds = Feeds(watch)
    pages = _Pages(watch, held, documents, feeds)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        watch.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(watch.stop)

    routes = Starlette(
        routes=pages.routes(),
        lifespan=lifespan,
        exception_handlers={
            SpoolError: _spool_refused,
            BadRequest: _bad_request,
            HTTPException: _no_such_route,
            ClientDisconnect: _client_gone,
        },
    )
    routes.router.redirect_slashes = False
    return _LifespanOutside(routes, Guard(routes, held)), feeds


class _LifespanOutside:
    """The guard sees requests only; starting and stopping go past it."""

    def __init__(self, routes: ASGIApp, guard: ASGIApp) -> None:
        self._routes, self._guard = routes, guard

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - see ASGI
        app = self._routes if scope["type"] == "lifespan" else self._guard
        await app(scope, receive, send)


class _Pages:
    def __init__(self, watch: Watch, held: Secrets, documents: Documents, feeds: Feeds) -> None:
        self._watch = watch
        self._spool = watch.spool
        self._secrets = held
        self._documents = documents
        self._feeds = feeds
        self._trend = Trend(watch.spool)
        self._one_document = anyio.Lock()
        self._one_picture = anyio.Lock()

    def routes(self) -> list[Route]:
        stream = "/api/streams/{stream_id}"
        return [
            Route("/", _page("overview.html")),
            Route("/enter", _page("enter.html")),
            Route("/streams/{stream_id}", self.stream_page),
            Route("/streams/{stream_id}/audit.html", self.audit_page),
            Route("/streams/{stream_id}/proof.json", self.proof),
            Route("/assets/{name}", _asset),
            Route("/api/session", self.session, methods=["POST"]),
            Route("/api/feed", self.feed),
            Route(stream, self.stream),
            Route(f"{stream}/map", self.map),
            Route(f"{stream}/series", self.series),
            Route(f"{stream}/parked", self.parked),
            Route(f"{stream}/chunks/{{chunk_idx}}", self.chunk),
            Route(f"{stream}/latest", self.latest),
            Route(f"{stream}/frames/{{chunk_idx}}", self.frame),
            Route(f"{stream}/retry", self.retry, methods=["POST"]),
            Route(f"{stream}/discard", self.discard, methods=["POST"]),
        ]

    # Pages ----------------------------------------------------------------------------------------------

    async def stream_page(self, request: Request) -> Response:
        await self._stream_id(request)
        return await _page("stream.html")(request)

    async def audit_page(self, request: Request) -> Response:
        async with self._document(request) as stream_id:
            page = await anyio.to_thread.run_sync(self._documents.audit_page, self._spool, stream_id)
        style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
        digest = b64encode(hashlib.sha256((style[1] if style else "").encode()).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none';"
            " form-action 'none'; frame-ancestors 'none'; sandbox"
        )
        headers = {**_download(request, f"{stream_id}.audit.html"), "Content-Security-Policy": policy}
        return Response(page, media_type=_KINDS["html"], headers=headers)

    async def proof(self, request: Request) -> Response:
        async with self._document(request) as stream_id:
            content = await anyio.to_thread.run_sync(self._documents.proof, self._spool, stream_id)
        headers = {"Content-Disposition": f'attachment; filename="{stream_id}.proof.json"'}
        return Response(content, media_type="application/json", headers=headers)

    @asynccontextmanager
    async def _document(self, request: Request) -> AsyncIterator[str]:
        """One at a time: each holds a whole stream in memory."""
        stream_id = await self._stream_id(request)
        stream = await anyio.to_thread.run_sync(self._spool.stream, stream_id)
        if stream.tally.pushed > DOCUMENT_CHUNKS_MAX:
            raise SpoolError(
                f"this stream has more than {DOCUMENT_CHUNKS_MAX:,} chunks",
                hint=f"Use the command line: framespool audit {stream_id} --html FILE, or framespool proof.",
            )
        async with self._one_document:
            yield stream_id

    # What the pages ask for -----------------------------------------------------------------------------

    async def session(self, request: Request) -> Response:
        asked = await _json_of(request)
        if not isinstance(asked, dict) or not self._secrets.is_token(asked.get("token")):
            return JSONResponse({"error": "this is not the token that was printed"}, HTTPStatus.FORBIDDEN)
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"Set-Cookie": self._secrets.set_cookie()})

    async def feed(self, _request: Request) -> Response:
        if self._feeds.is_full:
            return JSONResponse({"error": "too many pages are open"}, HTTPStatus.SERVICE_UNAVAILABLE)
        return StreamingResponse(self._feeds.messages(), media_type="text/event-stream")

    async def stream(self, request: Request) -> Response:
        stream_id = await self._stream_id(request)

        def look() -> dict[str, Any]:
            return views.stream_view(self._spool, stream_id, self._watch.outages_of(stream_id))

        return JSONResponse(await anyio.to_thread.run_sync(look))

    async def map(self, request: Request) -> Response:
        stream_id = await self._stream_id(request)
        since = request.query_params.get("since", "")
        version = int(since) if _VERSION.fullmatch(since) else None

        def look() -> Response:
            chunks = self._watch.map_of(stream_id)
            with self._watch.reading():
                if not chunks.is_whole:
                    return JSONResponse({"read": len(chunks)}, HTTPStatus.ACCEPTED)
                changes = None if version is None else chunks.runs_since(version)
                runs = chunks.runs() if changes is None else changes
                headers = {
                    "Framespool-Version": str(chunks.version),
                    "Framespool-Map": "whole" if changes is None else "changes",
                }
                return Response(runs, media_type="application/octet-stream", headers=headers)

        return await anyio.to_thread.run_sync(look)

    async def series(self, request: Request) -> Response:
        stream_id = await self._stream_id(request)

        def look() -> Response:
            chunks = self._watch.map_of(stream_id)
            with self._watch.reading():
                if not chunks.is_whole:
                    return JSONResponse({"read": len(chunks)}, HTTPStatus.ACCEPTED)
                return JSONResponse(chunks.series.to_json())

        return await anyio.to_thread.run_sync(look)

    async def parked(self, request: Request) -> Response:
        stream_id = await self._stream_id(request)
        return JSONResponse(await anyio.to_thread.run_sync(views.parked_view, self._spool, stream_id))

    async def chunk(self, request: Request) -> Response:
        stream_id, idx = await self._stream_id(request), _chunk_idx(request)
        # A gap is an answer like any other: null.
        return JSONResponse(await anyio.to_thread.run_sync(views.chunk_view, self._spool, stream_id, idx))

    async def latest(self, request: Request) -> Response:
        """The last chunk that is still here, and how bright its frames and those before it are."""
        stream_id = await self._stream_id(request)

        def look() -> Response:
            chunks = self._watch.map_of(stream_id)
            with self._watch.reading():
                if not chunks.is_whole:
                    return JSONResponse({"read": len(chunks)}, HTTPStatus.ACCEPTED)
                idxs = chunks.latest_here(TREND_CHUNKS)
            if not idxs:
                return JSONResponse({"chunk_idx": None, "trend": [], "is_all": True})
            stream = self._spool.stream(stream_id)
            trend, is_all = self._trend.of(stream_id, stream.settings.fps, idxs)
            chunk = self._spool.chunk(stream_id, idxs[-1])
            number = 0 if chunk is None else chunk.n - 1
            at_ms = 0 if chunk is None else chunk.capture_start_ms_utc + number * 1000 / stream.settings.fps
            told = {"chunk_idx": idxs[-1], "frame": number, "captured_ms": round(at_ms)}
            return JSONResponse({**told, "trend": trend, "is_all": is_all})

        async with self._one_picture:
            return await anyio.to_thread.run_sync(look)

    async def frame(self, request: Request) -> Response:
        """The last frame of a chunk."""
        stream_id, idx = await self._stream_id(request), _chunk_idx(request)

        def look() -> Response:
            chunk = self._spool.chunk(stream_id, idx)
            if chunk is None:
                return JSONResponse({"error": f"chunk {idx} was never pushed"}, HTTPStatus.NOT_FOUND)
            return Response(picture_of(self._spool, chunk, chunk.n - 1), media_type="image/png")

        async with self._one_picture:
            return await anyio.to_thread.run_sync(look)

    # What people decide ---------------------------------------------------------------------------------

    async def retry(self, request: Request) -> Response:
        return await self._decide(request, decisions.retry)

    async def discard(self, request: Request) -> Response:
        return await self._decide(request, decisions.discard)

    async def _decide(
        self, request: Request, carry_out: Callable[[Spool, str, object], dict[str, Any]]
    ) -> Response:
        stream_id, asked = await self._stream_id(request), await _json_of(request)

        def decide() -> dict[str, Any]:
            done = carry_out(self._spool, stream_id, asked)
            self._watch.look_now()
            return done

        return JSONResponse(await anyio.to_thread.run_sync(decide))

    async def _stream_id(self, request: Request) -> str:
        """The stream that a path names, by its whole stream_id only.

        Raises:
            UnknownStream: there is none.
        """
        given = request.path_params["stream_id"]
        stream = await anyio.to_thread.run_sync(self._spool.stream, given)
        if stream.stream_id != given:
            raise UnknownStream(f"this spool has no stream {given!r}")
        return stream.stream_id


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    async def serve(_request: Request) -> Response:
        return _file(name)

    return serve


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if not _ASSET.fullmatch(name) or not files(__package__).joinpath("page", name).is_file():
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return _file(name)


def _file(name: str) -> Response:
    content = files(__package__).joinpath("page", name).read_bytes()
    return Response(content, media_type=_KINDS[name.rpartition(".")[2]])


def _download(request: Request, name: str) -> dict[str, str]:
    if "download" not in request.query_params:
        return {}
    return {"Content-Disposition": f'attachment; filename="{name}"'}


def _chunk_idx(request: Request) -> int:
    given = request.path_params["chunk_idx"]
    if not _CHUNK_IDX.fullmatch(given):
        raise HTTPException(HTTPStatus.NOT_FOUND)
    return int(given)


async def _json_of(request: Request) -> object:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_MAX:
            raise BadRequest("that is too much")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("this is not JSON") from error


async def _spool_refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, SpoolError)
    status = HTTPStatus.NOT_FOUND if isinstance(error, UnknownStream) else HTTPStatus.CONFLICT
    return JSONResponse({"error": shown(str(error)), "hint": shown(error.hint or "")}, status)


async def _bad_request(_request: Request, error: Exception) -> Response:
    return JSONResponse({"error": shown(str(error))}, HTTPStatus.BAD_REQUEST)


async def _no_such_route(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _client_gone(_request: Request, _error: Exception) -> Response:
    # Nobody is there to read it; uvicorn throws it away.
    return Response(status_code=HTTPStatus.BAD_REQUEST)
