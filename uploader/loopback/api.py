"""The vendor's routes: the JSON API and the object store behind its upload URLs."""

import secrets
from http import HTTPStatus
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from uploader.loopback.errors import ApiError, InvalidRequestError, Problem, StoreError
from uploader.loopback.ingest import Ingest
from uploader.loopback.receiving import declared_length
from uploader.loopback.validation import as_name, as_object, as_uuid, as_uuids, parse_chunk, parse_settings

TIME_PATH = "/gateway/time"
STAGED_PATH = "/staged/"


class Api:
    """Answers as the protocol says."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest
        self._catalogue = ingest.catalogue

    def routes(self) -> list[Route]:
        """All routes of the far end."""
        return [
            Route(TIME_PATH, self.time, methods=["GET"]),
            Route("/physical_samples/", self.samples, methods=["GET"]),
            Route("/physical_samples/", self.create_sample, methods=["POST"]),
            Route("/tags/", self.tags, methods=["GET"]),
            Route("/tags/", self.create_tag, methods=["POST"]),
            Route("/tags/data-items/", self.attach_tags, methods=["POST"]),
            Route("/rheed/stream/", self.open_stream, methods=["POST"]),
            Route("/rheed/stream/{data_id}/end", self.end_stream, methods=["POST"]),
            Route("/data_entries/", self.entries, methods=["GET"]),
            Route("/data_entries/physical_sample", self.link_sample, methods=["POST"]),
            Route("/data_entries/raw_data/staged/upload_urls/", self.presign, methods=["POST"]),
            Route("/projects/{project_id}/configuration/tracking_samples", self.track_sample, methods=["POST"]),
            Route(STAGED_PATH + "{key:path}", self.put, methods=["PUT"]),
        ]

    async def time(self, _request: Request) -> Response:
        """`GET /gateway/time`."""
        received = self._ingest.clock() * 1000
        answer = {"receivedAtUnixMs": received, "transmittedAtUnixMs": self._ingest.clock() * 1000}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def samples(self, _request: Request) -> Response:
        """`GET /physical_samples/`."""
        return JSONResponse(self._catalogue.samples())

    async def create_sample(self, request: Request) -> Response:
        """`POST /physical_samples/`; 409 with the id when the name is taken."""
        sample_id, new = self._catalogue.create_sample(as_name(await json_body(request)))
        if not new:
            raise ApiError(HTTPStatus.CONFLICT, {"physical_sample_id": sample_id})
        return JSONResponse({"physical_sample_id": sample_id})

    async def tags(self, _request: Request) -> Response:
        """`GET /tags/`."""
        return JSONResponse(self._catalogue.tags())

    async def create_tag(self, request: Request) -> Response:
        """`POST /tags/`; 400 when the name is taken."""
        name = as_name(await json_body(request))
        tag_id, new = self._catalogue.create_tag(name)
        if not new:
            raise ApiError(HTTPStatus.BAD_REQUEST, f"The tag {name!r} exists.")
        return JSONResponse({"id": tag_id, "name": name})

    async def attach_tags(self, request: Request) -> Response:
        """`POST /tags/data-items/`."""
        body = as_object(await json_body(request))
        data_ids, tag_ids = (
            as_uuids(body.get("data_ids"), "data_ids"),
            as_uuids(body.get("tag_ids"), "tag_ids"),
        )
        _must_be_known("tag", tag_ids, self._catalogue.tags())
        self._note_on_all(data_ids, "tags_attached", tag_ids=tag_ids)
        self._catalogue.attach_tags(data_ids, tag_ids)
        return JSONResponse({"data_ids": data_ids, "tag_ids": tag_ids})

    async def open_stream(self, request: Request) -> Response:
        """`POST /rheed/stream/`: the bare `data_id`."""
        return JSONResponse(self._ingest.open_stream(parse_settings(await json_body(request))))

    async def end_stream(self, request: Request) -> Response:
        """`POST /rheed/stream/{data_id}/end`; 409 when ended before, 503 while the first analysis runs."""
        stream = self._ingest.end(as_uuid(request.path_params["data_id"], "data_id", "path"))
        return JSONResponse({"data_id": stream.data_id, "pipeline_status": stream.status})

    async def entries(self, request: Request) -> Response:
        """`GET /data_entries/`: catalogue rows, of all streams when no `data_ids` are given."""
        given = [each for value in request.query_params.getlist("data_ids") for each in value.split(",")]
        wanted = [as_uuid(each, "data_ids", "query") for each in given]
        known = self._catalogue.stream_ids()
        return JSONResponse([self._entry(each) for each in known if each in wanted or not wanted])

    async def link_sample(self, request: Request) -> Response:
        """`POST /data_entries/physical_sample`."""
        body = as_object(await json_body(request))
        data_ids = as_uuids(body.get("data_ids"), "data_ids")
        sample_id = self._known_sample(body)
        self._note_on_all(data_ids, "sample_linked", physical_sample_id=sample_id)
        self._catalogue.link_sample(data_ids, sample_id)
        return JSONResponse({"data_ids": data_ids, "physical_sample_id": sample_id})

    async def track_sample(self, request: Request) -> Response:
        """`POST /projects/{project_id}/configuration/tracking_samples`; any project is taken to exist."""
        project_id = as_uuid(request.path_params["project_id"], "project_id", "path")
        body = as_object(await json_body(request))
        active = body.get("set_active")
        if not isinstance(active, bool):
            raise InvalidRequestError(Problem(where="body", field="set_active", message="must be true or false"))
        sample_id = self._known_sample(body)
        self._catalogue.track_sample(project_id, sample_id, active=active)
        return JSONResponse({"project_id": project_id, "physical_sample_id": sample_id, "active": active})

    async def presign(self, request: Request) -> Response:
        """`POST /data_entries/raw_data/staged/upload_urls/`: permission to upload one chunk."""
        chunk = parse_chunk(request.query_params, await json_body(request))
        upload_id, path = self._ingest.permit(chunk)
        # The address the client used, so that a proxy in between stays in between.
        url = str(request.base_url).rstrip("/") + path
        return JSONResponse([{"upload_id": upload_id, "url": url, "part": 1}])

    async def put(self, request: Request) -> Response:
        """`PUT` to an upload URL."""
        path, now = request.scope["path"], self._ingest.clock()
        upload_id = self._ingest.presigner.check(request.method, path, request.query_params, now=now)
        chunk = self._ingest.promised(upload_id)
        expected_bytes = declared_length(request.headers.get("Content-Length"))
        body = await self._ingest.receive(request.stream(), chunk, expected_bytes=expected_bytes)
        return Response(headers={"ETag": f'"{body.md5}"', "x-amz-request-id": new_request_id()})

    def _entry(self, data_id: str) -> dict[str, object]:
        stream = self._ingest.stream(data_id)
        return {
            "id": data_id,
            "data_id": data_id,
            "name": stream.settings.data_item_name,
            "pipeline_status": stream.status,
            "project_id": stream.settings.project_id,
            "physical_sample_id": stream.physical_sample_id,
            "tag_ids": self._catalogue.tags_of(data_id),
            "opened_at_unix_ms": round(stream.opened_at * 1000),
        }

    def _known_sample(self, body: dict[str, object]) -> str:
        sample_id = as_uuid(body.get("physical_sample_id"), "physical_sample_id")
        _must_be_known("physical sample", [sample_id], self._catalogue.samples())
        return sample_id

    def _note_on_all(self, data_ids: list[str], event: str, **facts: object) -> None:
        for stream in [self._ingest.stream(each) for each in data_ids]:  # all looked up before the first is noted
            self._ingest.archive.of(stream.data_id).note(event, now=self._ingest.clock(), **facts)


async def json_body(request: Request) -> object:
    """The body as JSON, or `InvalidRequestError`."""
    try:
        body: object = await request.json()
    except ValueError as error:
        raise InvalidRequestError(Problem(where="body", field=None, message=f"is not JSON: {error}")) from error
    return body


def api_refused(_request: Request, error: Exception) -> Response:
    """An `ApiError` as JSON."""
    assert isinstance(error, ApiError)
    headers = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return JSONResponse({"detail": error.detail}, error.status, headers)


def store_refused(request: Request, error: Exception) -> Response:
    """A `StoreError` as S3 words it."""
    assert isinstance(error, StoreError)
    request_id = new_request_id()
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{error.code}</Code><Message>{escape(error.message)}</Message>"
        f"<Resource>{escape(request.url.path)}</Resource><RequestId>{request_id}</RequestId></Error>"
    )
    headers = {"x-amz-request-id": request_id}
    return Response(xml, error.status, headers, media_type="application/xml")


def new_request_id() -> str:
    """What S3 puts into `x-amz-request-id`."""
    return secrets.token_hex(8).upper()


def _must_be_known(what: str, ids: list[str], rows: list[dict[str, str]]) -> None:
    for unknown in set(ids) - {row["id"] for row in rows}:
        raise ApiError(HTTPStatus.NOT_FOUND, f"There is no {what} {unknown}.")
