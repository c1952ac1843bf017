"""Opening a stream on the server: find or create what it is linked to, open it, link it.

Samples and tags are resolved before the stream is opened, so that a bad one creates nothing. When a person waits
(`open_on_server`) and a link fails, the new stream is ended again, so that the server's pipeline can clean up. A
worker takes the same steps one by one: what cannot be linked then holds back the link, not the frames.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from spool import DATA_ID, StreamSettings
from uploader.answers import meaning_of, retry_after_s
from uploader.api import AtomscaleApi
from uploader.destinations.base import Namesake
from uploader.errors import KeyRefused, RequestRefused, ServerUnreachable
from uploader.faults import NEVER_SENT, SLOW
from uploader.meanings import Answer, Meaning, Step

_TAKEN_SAMPLE = 409
_TAKEN_TAG = 400
_TURNED_AWAY = frozenset({407, 408, 425, 429, 501, 503, 511})
"""With these the request was not even looked at."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What a stream is linked to on the server: the server's ids."""

    sample_id: str | None = None
    project_id: str | None = None
    tag_ids: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.facts())

    def facts(self) -> dict[str, Any]:
        """What the ledger keeps; nothing when nothing is linked."""
        links = {"sample_id": self.sample_id, "project_id": self.project_id, "tag_ids": list(self.tag_ids)}
        return {name: linked for name, linked in links.items() if linked}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A stream of the server, and what it was linked to there."""

    data_id: str
    links: Links


def open_on_server(
    api: AtomscaleApi, settings: StreamSettings, *, about_to_create: Callable[[], None] = lambda: None
) -> Opened:
    """Open the stream on the server, linked to its sample, project and tags.

    Args:
        api: a connection.
        settings: of the stream.
        about_to_create: called right before the server is asked for the stream; what it raises ends it there.

    Raises:
        ServerUnreachable: no usable answer; try again later.
        KeyRefused: the API key is not accepted.
        RequestRefused: the server said no, or a sample or tag UUID does not exist there.
    """
    links = resolve(api, settings)
    about_to_create()
    data_id = create(api, settings, settings.name)
    try:
        link(api, data_id, links)
    except BaseException:
        end_again(api, data_id)
        raise
    return Opened(data_id=data_id, links=links)


def resolve(api: AtomscaleApi, settings: StreamSettings) -> Links:
    """The server's ids of sample, project and tags; those named that are not there are created.

    Raises:
        ServerUnreachable, KeyRefused, RequestRefused: see `open_on_server`.
    """
    # Everything is looked up before anything is created, so that an unknown UUID leaves no trace.
    wanted_sample = settings.physical_sample
    samples = _named(_answered(api.samples(), "looking up the sample")) if wanted_sample else []
    tags = _named(_answered(api.tags(), "looking up the tags")) if settings.tags else []
    sample_id = _match(samples, wanted_sample, "sample") if wanted_sample else None
    found_tags = {tag: _match(tags, tag, "tag") for tag in settings.tags}
    if wanted_sample and sample_id is None:
        sample_id = _create_sample(api, wanted_sample)
    tag_ids = tuple(dict.fromkeys(found or _create_tag(api, tag) for tag, found in found_tags.items()))
    return Links(sample_id=sample_id, project_id=settings.project_id if sample_id else None, tag_ids=tag_ids)


def create(api: AtomscaleApi, settings: StreamSettings, name: str) -> str:
    """Open a stream on the server, linked to nothing yet; its data_id."""
    return _data_id(_answered(api.open_stream(stream_request(settings, name)), "opening the stream"))


def link(api: AtomscaleApi, data_id: str, links: Links) -> None:
    """Link a stream to what was resolved; doing it twice changes nothing."""
    if links.sample_id:
        _answered(api.link_sample(data_id, links.sample_id), "linking the sample")
    if links.sample_id and links.project_id:
        _answered(api.link_project(links.project_id, links.sample_id), "linking the project")
    if links.tag_ids:
        _answered(api.attach_tags(data_id, links.tag_ids), "attaching the tags")


def namesakes(api: AtomscaleApi, name: str) -> list[Namesake]:
    """The streams that the server has under exactly this name.

    Raises:
        ServerUnreachable: no usable answer, or one that tells no names.
        KeyRefused, RequestRefused: the server said no.
    """
    said = _answered(api.whole_catalogue(), "looking for the stream")
    rows = [row for row in said if isinstance(row, Mapping)] if isinstance(said, list) else None
    if rows is None or any(not isinstance(row.get("name"), str) for row in rows):
        raise ServerUnreachable("looking for the stream: the catalogue tells no names")
    found = {str(row.get("data_id") or row.get("id")): row for row in rows if row["name"] == name}
    return [
        Namesake(data_id=data_id, is_linked=bool(row.get("physical_sample_id") or row.get("tag_ids")))
        for data_id, row in found.items()
        if DATA_ID.fullmatch(data_id)
    ]


def end_again(api: AtomscaleApi, data_id: str) -> None:
    """End a stream that cannot be used; if that fails too, the server ends it after two hours of silence."""
    answer = api.end_stream(data_id)
    if meaning_of(Step.END, answer).meaning is not Meaning.DONE:
        _log.warning("the new stream %s could not be ended again: %s", data_id, answer.words)


def stream_request(settings: StreamSettings, name: str) -> dict[str, object]:
    """The settings as the protocol wants them, under this name."""
    rotations = settings.rotations_per_min
    request: dict[str, object] = {
        "data_item_name": name,
        "rotational_period": settings.fps * 60 / rotations if rotations > 0 else None,
        "rotations_per_min": rotations,
        "fps_capture_rate": settings.fps,
    }
    if settings.project_id is not None:
        request["project_id"] = settings.project_id
    if settings.azimuth is not None:
        request["azimuth_label"] = settings.azimuth
    return request


def _answered(answer: Answer, doing: str) -> Any:  # noqa: ANN401 - whatever JSON the server says
    """The JSON of a success; anything else as the error that the caller can act on."""
    row = meaning_of(Step.API, answer)
    if row.meaning is Meaning.DONE:
        return answer.json()
    if row.meaning is Meaning.PAUSED:
        raise KeyRefused(f"{doing}: {answer.words} ({row.says})")
    if row.meaning is Meaning.REFUSED:
        raise RequestRefused(f"{doing}: {answer.words}: {answer.excerpt}", status=answer.status)
    raise ServerUnreachable(
        f"{doing}: {answer.words} ({row.says})",
        is_outage=row.meaning is Meaning.OUTAGE,
        was_sent=answer.fault not in NEVER_SENT and answer.status not in _TURNED_AWAY,
        was_slow=answer.fault in SLOW,
        min_wait_s=retry_after_s(answer),
    )


def _data_id(said: object) -> str:
    if not isinstance(said, str) or not DATA_ID.fullmatch(said):
        raise ServerUnreachable("opening the stream: the answer is not a stream id")
    return said


def _create_sample(api: AtomscaleApi, name: str) -> str:
    answer = api.create_sample(name.strip())
    if answer.status == _TAKEN_SAMPLE:
        said = answer.json()
        detail = said.get("detail") if isinstance(said, dict) else None
    else:
        detail = _answered(answer, "creating the sample")
    return _id_in(detail, ("physical_sample_id", "id"), "creating the sample")


def _create_tag(api: AtomscaleApi, name: str) -> str:
    answer = api.create_tag(name.strip())
    if answer.status == _TAKEN_TAG:  # somebody was quicker: it is in the list now
        known = _named(_answered(api.tags(), "looking up the tags"))
        if (found := _match(known, name, "tag")) is not None:
            return found
    return _id_in(_answered(answer, "creating the tag"), ("id", "tag_id"), "creating the tag")


def _named(said: object) -> list[tuple[str, str]]:
    """The ``(id, name)`` pairs of a list answer."""
    if not isinstance(said, list):
        raise ServerUnreachable("the server's list is not a list")
    return [
        (one["id"], one["name"])
        for one in said
        if isinstance(one, Mapping) and isinstance(one.get("id"), str) and isinstance(one.get("name"), str)
    ]


def _match(known: list[tuple[str, str]], wanted: str, kind: str) -> str | None:
    """The id that a person means; ``None`` for a name that is not there yet."""
    if (identity := _uuid(wanted)) is not None:
        for found, _ in known:
            if _uuid(found) == identity:
                return found
        raise RequestRefused(f"the server has no {kind} with the id {wanted}")
    trimmed = wanted.strip().casefold()
    return next((found for found, name in known if name.strip().casefold() == trimmed), None)


def _uuid(text: str) -> UUID | None:
    """The UUID that a text spells, in any of its spellings."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


def _id_in(said: object, names: tuple[str, ...], doing: str) -> str:
    for name in names:
        value = said.get(name) if isinstance(said, dict) else None
        if isinstance(value, str) and value:
            return value
    raise ServerUnreachable(f"{doing}: the answer holds no id")
