"""The server's API, one method per request of the protocol; each returns an `Answer` and decides nothing."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self
from urllib.parse import quote

from uploader.answers import meaning_of
from uploader.config import ApiKey
from uploader.exchange import exchange
from uploader.keys import Keys
from uploader.lines import Lines, Patience
from uploader.meanings import Answer, Meaning, Step

CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 20.0


class AtomscaleApi:
    """A connection to the API. The key goes into the header of each request and nowhere else.

    Args:
        endpoint: the base URL.
        key: the API key, or where to ask for one: a request whose key is refused is repeated with each other key.
        timeout_s: how long an answer may take; connecting has at most `CONNECT_TIMEOUT_S` of it.
    """

    def __init__(self, endpoint: str, key: ApiKey | Keys, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.endpoint = endpoint
        self._keys = key if isinstance(key, Keys) else Keys.only(endpoint, key)
        self._lines = Lines()
        self._patience = Patience(
            connect_s=min(timeout_s, CONNECT_TIMEOUT_S), stall_s=timeout_s, sending_s=timeout_s, answer_s=timeout_s
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._lines.close()

    def server_time(self) -> Answer:
        """The reference clock; needs no key."""
        return self._ask("GET", "/gateway/time", headers={"Cache-Control": "no-store"})

    def samples(self) -> Answer:
        """Every physical sample: ``[{"id", "name"}, …]``."""
        return self._get("/physical_samples/")

    def create_sample(self, name: str) -> Answer:
        """A new physical sample; 409 names the one that has the name."""
        return self._post("/physical_samples/", {"name": name})

    def tags(self) -> Answer:
        """Every tag: ``[{"id", "name"}, …]``."""
        return self._get("/tags/")

    def create_tag(self, name: str) -> Answer:
        """A new tag; 400 when the name is taken."""
        return self._post("/tags/", {"name": name})

    def open_stream(self, settings: Mapping[str, object]) -> Answer:
        """A new stream; its data_id as a bare JSON string."""
        return self._post("/rheed/stream/", settings)

    def link_sample(self, data_id: str, sample_id: str) -> Answer:
        """Say which sample the stream shows."""
        return self._post(
            "/data_entries/physical_sample", {"data_ids": [data_id], "physical_sample_id": sample_id}
        )

    def link_project(self, project_id: str, sample_id: str) -> Answer:
        """Let the project track the sample."""
        return self._post(
            f"/projects/{quote(project_id, safe='')}/configuration/tracking_samples",
            {"physical_sample_id": sample_id, "set_active": True},
        )

    def attach_tags(self, data_id: str, tag_ids: Sequence[str]) -> Answer:
        """Tag the stream."""
        return self._post("/tags/data-items/", {"data_ids": [data_id], "tag_ids": list(tag_ids)})

    def presign(self, chunk_idx: int, metadata: Mapping[str, str]) -> Answer:
        """A fresh URL for one chunk."""
        params = {
            "original_filename": f"frames.zarr/frames/c/{chunk_idx}/0/0",
            "num_parts": "1",
            "staging_type": "stream",
        }
        return self._post("/data_entries/raw_data/staged/upload_urls/", metadata, params=params)

    def end_stream(self, data_id: str) -> Answer:
        """Ask for the end of the stream."""
        return self._post(f"/rheed/stream/{quote(data_id, safe='')}/end", None)

    def catalogue(self, data_id: str) -> Answer:
        """The catalogue's rows of one stream."""
        return self._get("/data_entries/", params={"data_ids": data_id})

    def whole_catalogue(self) -> Answer:
        """The catalogue's rows of all streams."""
        return self._get("/data_entries/")

    def _get(self, path: str, *, params: Mapping[str, str] | None = None) -> Answer:
        return self._ask_with_key("GET", path, params=params)

    def _post(self, path: str, body: object, *, params: Mapping[str, str] | None = None) -> Answer:
        return self._ask_with_key("POST", path, params=params, body=body)

    def _ask_with_key(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        key, refused = self._keys.current(), list[ApiKey]()
        while True:
            answer = self._ask(method, path, headers={"X-API-KEY": key.reveal()}, params=params, body=body)
            meaning = meaning_of(Step.API, answer).meaning
            if meaning is not Meaning.PAUSED:
                if refused and meaning is not Meaning.OUTAGE:
                    self._keys.use(key)
                return answer
            refused.append(key)
            another = self._keys.renewed(*refused)
            if another is None:
                return answer
            key = another

    def _ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: object = None,
    ) -> Answer:
        answer = exchange(
            self._lines,
            method,
            f"{self.endpoint}{path}",
            patience=self._patience,
            headers=headers,
            params=params,
            body_json=body,
        )
        return answer.without(*self._keys.secrets(), *self._lines.secrets)
