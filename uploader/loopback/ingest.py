"""The server's parts put together, and the few decisions that need more than one of them."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

from uploader.loopback import lifecycle
from uploader.loopback.catalogue import Catalogue
from uploader.loopback.errors import ApiError, StoreError
from uploader.loopback.landing import Archive
from uploader.loopback.lifecycle import Stream
from uploader.loopback.places import Places
from uploader.loopback.presign import Presigner
from uploader.loopback.receiving import Body, receive_body
from uploader.loopback.validation import ChunkMetadata, StreamSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How this server was started."""

    root: Path
    api_key: str
    silence_s: float = 7200.0
    analysis_s: float = 0.0
    url_expiry_s: float = 900.0


class Ingest:
    """Everything behind the routes."""

    def __init__(self, terms: Terms, *, clock: Callable[[], float] = time.time) -> None:
        self.terms = terms
        self.clock = clock
        self._places = Places(root=terms.root)
        self.catalogue = Catalogue(self._places.catalogue)
        self.archive = Archive(self._places)
        self.presigner = Presigner(self._places.secret, expiry_s=terms.url_expiry_s)
        self._landing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def open_stream(self, settings: StreamSettings) -> str:
        """Open a stream; its `data_id`."""
        now = self.clock()
        data_id = self.catalogue.open_stream(settings, now=now)
        self.archive.of(data_id).note("opened", now=now, name=settings.data_item_name)
        return data_id

    def stream(self, data_id: str) -> Stream:
        """The stream as it is by now.

        Raises:
            ApiError: 404, there is none.
        """
        recorded = self.catalogue.stream(data_id)
        if recorded is None:
            raise ApiError(HTTPStatus.NOT_FOUND, f"There is no stream {data_id}.")
        now = self.clock()
        status = lifecycle.status_by_now(recorded, now=now, silence_s=self.terms.silence_s)
        return recorded if status == recorded.status else self.set_status(recorded, status)

    def set_status(self, stream: Stream, status: str) -> Stream:
        """Record a status, whoever caused it; the stream as it is then."""
        now = self.clock()
        self.catalogue.set_status(stream.data_id, status, now=now)
        self.archive.of(stream.data_id).note("status", now=now, before=stream.status, status=status)
        return replace(stream, status=status, status_at=now)

    def end(self, data_id: str) -> Stream:
        """End a stream because its client asked.

        Raises:
            ApiError: 404; 409 when it has ended before; 503 while the first analysis is running.
        """
        stream = self.stream(data_id)
        if stream.status in lifecycle.ENDED:
            raise _conflict("The stream has already ended", stream)
        now = self.clock()
        if lifecycle.analysis_is_running(stream, now=now, analysis_s=self.terms.analysis_s):
            detail = "The first analysis of this stream is still running."
            raise ApiError(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_after_s=1)
        self.archive.of(data_id).note("ended", now=now)
        return self.set_status(stream, lifecycle.FINALIZING)

    def permit(self, chunk: ChunkMetadata) -> tuple[str, str]:
        """Give out permission for one upload: its `upload_id`, and path and query of its URL.

        Raises:
            ApiError: 404; 409 when the stream is not active.
        """
        stream = self.stream(chunk.data_id)
        if stream.status != lifecycle.ACTIVE:
            raise _conflict("The stream takes no chunks now", stream)
        upload_id = self.catalogue.add_upload(chunk)
        path = f"/staged/{chunk.data_id}/{chunk.key}"
        return upload_id, self.presigner.sign(path, upload_id, now=self.clock())

    def promised(self, upload_id: str) -> ChunkMetadata:
        """What an upload is to bring.

        Raises:
            StoreError: 404 `NoSuchUpload`.
        """
        chunk = self.catalogue.upload(upload_id)
        if chunk is None:
            raise StoreError(HTTPStatus.NOT_FOUND, "NoSuchUpload", "The specified upload does not exist.")
        return chunk

    async def receive(self, pieces: AsyncIterator[bytes], chunk: ChunkMetadata, *, expected_bytes: int) -> Body:
        """Take in the body of one upload and land it; what was received.

        As in S3, the state of the stream does not matter here: a URL given out is good until it expires.

        Raises:
            StoreError: 400; nothing has changed.
        """
        path = self._places.new_incoming()
        try:
            body = await receive_body(pieces, path, expected_bytes=expected_bytes)
            async with self._landing[chunk.data_id]:
                status = self.stream(chunk.data_id).status
                now = self.clock()
                received = self.archive.of(chunk.data_id)
                await asyncio.to_thread(received.land, body, chunk, now=now, stream_status=status)
                self.catalogue.heard_from(chunk.data_id, now=now)
        finally:
            path.unlink(missing_ok=True)
        return body


def _conflict(what: str, stream: Stream) -> ApiError:
    return ApiError(HTTPStatus.CONFLICT, {"message": f"{what}: it is {stream.status}.", "status": stream.status})
