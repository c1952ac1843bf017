"""The routes under `/_loopback/`, without a key: faults, outages, an operator's buttons, what was seen."""

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from uploader.loopback.api import json_body
from uploader.loopback.errors import InvalidRequestError, Problem
from uploader.loopback.faults import Faults, parse_rules
from uploader.loopback.gate import CONTROL_PATH, Gate
from uploader.loopback.ingest import Ingest
from uploader.loopback.lifecycle import STATUSES
from uploader.loopback.validation import as_object, as_uuid


class Control:
    """The operator's side of the server."""

    def __init__(self, ingest: Ingest, faults: Faults) -> None:
        self._ingest = ingest
        self._faults = faults
        self.gate: Gate | None = None  # it stands in front of these routes, so it is made after them

    def routes(self) -> list[Route]:
        """All control routes."""
        return [
            Route(CONTROL_PATH + "faults", self.add_faults, methods=["POST"]),
            Route(CONTROL_PATH + "faults", self.list_faults, methods=["GET"]),
            Route(CONTROL_PATH + "faults", self.clear_faults, methods=["DELETE"]),
            Route(CONTROL_PATH + "outage", self.outage, methods=["POST"]),
            Route(CONTROL_PATH + "clock", self.set_clock, methods=["POST"]),
            Route(CONTROL_PATH + "state", self.state, methods=["GET"]),
            Route(CONTROL_PATH + "streams/{data_id}/status", self.set_status, methods=["POST"]),
        ]

    async def add_faults(self, request: Request) -> Response:
        """`POST faults` with a JSON list of rules: they join those in force."""
        self._faults.add(parse_rules(await json_body(request)))
        return JSONResponse(self._faults.summary())

    async def list_faults(self, _request: Request) -> Response:
        """`GET faults`: the rules in force, with how often each has matched and fired."""
        return JSONResponse(self._faults.summary())

    async def clear_faults(self, _request: Request) -> Response:
        """`DELETE faults`: no rule is left."""
        self._faults.clear()
        return JSONResponse([])

    async def outage(self, request: Request) -> Response:
        """`POST outage` `{"down": bool}`: while down, every other request's connection is closed at once."""
        down = as_object(await json_body(request)).get("down")
        if not isinstance(down, bool):
            raise InvalidRequestError(Problem(where="body", field="down", message="must be true or false"))
        self._faults.down = down
        return JSONResponse({"down": down})

    async def set_clock(self, request: Request) -> Response:
        """`POST clock` `{"ahead_s": number}`: how far this server's clock is ahead of the machine's."""
        ahead = as_object(await json_body(request)).get("ahead_s")
        if isinstance(ahead, bool) or not isinstance(ahead, int | float):
            raise InvalidRequestError(Problem(where="body", field="ahead_s", message="must be a number"))
        self._ingest.clock = lambda: time.time() + ahead
        return JSONResponse({"ahead_s": ahead})

    async def set_status(self, request: Request) -> Response:
        """`POST streams/{data_id}/status` `{"status": ...}`: what an operator's buttons do."""
        stream = self._ingest.stream(as_uuid(request.path_params["data_id"], "data_id", "path"))
        status = as_object(await json_body(request)).get("status")
        if not isinstance(status, str) or status not in STATUSES:
            raise InvalidRequestError(
                Problem(where="body", field="status", message=f"must be one of {', '.join(STATUSES)}")
            )
        stream = self._ingest.set_status(stream, status)
        return JSONResponse({"data_id": stream.data_id, "status": stream.status})

    async def state(self, _request: Request) -> Response:
        """`GET state`: what the server has seen and holds."""
        streams = [self._stream(data_id) for data_id in self._ingest.catalogue.stream_ids()]
        answer = {
            "down": self._faults.down,
            "faults": self._faults.summary(),
            "requests": dict(self.gate.requests) if self.gate else {},
            "samples": self._ingest.catalogue.samples(),
            "tags": self._ingest.catalogue.tags(),
            "tracked_samples": self._ingest.catalogue.tracked_samples(),
            "streams": {stream["data_id"]: stream for stream in streams},
        }
        return JSONResponse(answer)

    def _stream(self, data_id: str) -> dict[str, object]:
        stream = self._ingest.stream(data_id)
        received = self._ingest.archive.of(data_id)
        settings = stream.settings
        return {
            "data_id": data_id,
            "name": settings.data_item_name,
            "status": stream.status,
            "settings": {name: getattr(settings, name) for name in settings.__slots__},
            "physical_sample_id": stream.physical_sample_id,
            "tag_ids": self._ingest.catalogue.tags_of(data_id),
            "chunks": received.chunk_count,
            "uploads": len(received.receptions),
            "received": [each.chunk_idx for each in received.receptions],
            "metadata": received.metadata(),
        }
