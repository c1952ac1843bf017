"""Request bodies in, frozen values out; anything the protocol does not allow is an `InvalidRequestError`.

Pure: no disk, no catalogue. Fields the protocol does not name are ignored, as the real server is not known to
refuse them; they are still kept in the log, where a test can look.
"""

import math
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from uploader.loopback.errors import InvalidRequestError, Problem

KEY: Final = re.compile(r"frames\.zarr/frames/c/(0|[1-9][0-9]{0,8})/0/0")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")
_DIMS: Final = re.compile(r"([1-9][0-9]{0,8}),([1-9][0-9]{0,8}),([1-9][0-9]{0,8})")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSettings:
    """What a stream was opened with."""

    data_item_name: str
    rotational_period: float | None
    rotations_per_min: float
    fps_capture_rate: float
    project_id: str | None
    azimuth_label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkMetadata:
    """What a client says about a chunk when it asks for permission to upload it; `body` is that, verbatim."""

    data_id: str
    chunk_idx: int
    n: int
    height: int
    width: int
    chunk_size: int
    body: Mapping[str, object]

    @property
    def key(self) -> str:
        """The object's key within its stream."""
        return f"frames.zarr/frames/c/{self.chunk_idx}/0/0"


def as_object(body: object) -> dict[str, object]:
    """The body as a JSON object, or `InvalidRequestError`."""
    if not isinstance(body, dict):
        raise InvalidRequestError(Problem(where="body", field=None, message="must be a JSON object"))
    return body


def as_uuid(value: object, field: str, where: str = "body") -> str:
    """The value as a UUID in canonical spelling, or `InvalidRequestError`."""
    if not _is_uuid(value):
        raise InvalidRequestError(Problem(where=where, field=field, message="must be a UUID string"))
    return str(uuid.UUID(str(value)))


def as_uuids(value: object, field: str) -> list[str]:
    """The value as a non-empty list of UUIDs, or `InvalidRequestError`."""
    if not isinstance(value, list) or not value:
        raise InvalidRequestError(
            Problem(where="body", field=field, message="must be a non-empty list of UUID strings")
        )
    return [as_uuid(each, field) for each in value]


def as_name(body: object) -> str:
    """The trimmed `name` of a sample or tag to create, or `InvalidRequestError`."""
    name = as_object(body).get("name")
    if not isinstance(name, str) or not name.strip():
        raise InvalidRequestError(
            Problem(where="body", field="name", message="must be a string that is not blank")
        )
    return name.strip()


def parse_settings(body: object) -> StreamSettings:
    """The settings of a stream to open.

    Raises:
        InvalidRequestError: A required setting is missing or any has the wrong JSON type.
    """
    given = as_object(body)
    problems = [
        Problem(where="body", field=name, message="is required" if name not in given else f"must be {what}")
        for name, (check, what) in _SETTINGS.items()
        if not check(given.get(name)) or (name in _SETTINGS_REQUIRED and name not in given)
    ]
    if not problems and given.get("azimuth_label") is not None and given["rotations_per_min"] != 0:
        problems.append(Problem(where="body", field="azimuth_label", message="is for stationary streams only"))
    if problems:
        raise InvalidRequestError(*problems)
    return StreamSettings(**{name: given.get(name) for name in _SETTINGS})  # type: ignore[arg-type]  # checked above


def parse_chunk(query: Mapping[str, str], body: object) -> ChunkMetadata:
    """The chunk that a presign request describes.

    Raises:
        InvalidRequestError: The query is not the protocol's, a required field is missing, or a value is not a
            JSON string of the right form.
    """
    given = as_object(body)
    key = KEY.fullmatch(query.get("original_filename", ""))
    problems = [*_query_problems(query, key), *_chunk_problems(given)]
    if problems or key is None:
        raise InvalidRequestError(*problems)
    n, height, width = (int(part) for part in str(given["dims"]).split(","))
    chunk_size = int(str(given["chunk_size"]))
    if n > chunk_size:
        raise InvalidRequestError(
            Problem(where="body", field="dims", message=f"has {n} frames, more than chunk_size {chunk_size}")
        )
    if int(str(given["end_unix_ms_utc"])) < int(str(given["start_unix_ms_utc"])):
        raise InvalidRequestError(
            Problem(where="body", field="end_unix_ms_utc", message="is before start_unix_ms_utc")
        )
    return ChunkMetadata(
        data_id=as_uuid(given["data_id"], "data_id"),
        chunk_idx=int(key[1]),
        n=n,
        height=height,
        width=width,
        chunk_size=chunk_size,
        body=given,
    )


def _query_problems(query: Mapping[str, str], key: re.Match[str] | None) -> list[Problem]:
    problems = []
    if key is None:
        message = "must be frames.zarr/frames/c/{chunk_idx}/0/0"
        problems.append(Problem(where="query", field="original_filename", message=message))
    for name, expected in (("num_parts", "1"), ("staging_type", "stream")):
        if query.get(name) != expected:
            problems.append(Problem(where="query", field=name, message=f"must be {expected}"))
    return problems


def _chunk_problems(given: Mapping[str, object]) -> list[Problem]:
    problems = []
    for name, (check, what) in _CHUNK.items():
        value = given.get(name)
        if name not in given:
            if name not in _CHUNK_OPTIONAL:
                problems.append(Problem(where="body", field=name, message="is required"))
        elif not isinstance(value, str):
            message = f"must be a JSON string, not {type(value).__name__}"
            problems.append(Problem(where="body", field=name, message=message))
        elif not check(value):
            problems.append(Problem(where="body", field=name, message=f"must be {what}"))
    return problems


def _is_uuid(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(uuid.UUID(value))
    except ValueError:
        return False


def _is_number(value: object) -> bool:
    # JSON's true and false arrive as bool, which Python counts as int.
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _optional(check: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or check(value)


def _is_number_text(text: str) -> bool:
    try:
        return text.strip() == text and "_" not in text and math.isfinite(float(text))
    except ValueError:
        return False


def _is_integer_text(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None


def _is_count_text(text: str) -> bool:
    return _is_integer_text(text) and int(text) > 0


_SETTINGS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "data_item_name": (_is_text, "a string that is not blank"),
    "rotational_period": (_optional(_is_number), "a JSON number or null"),
    "rotations_per_min": (_is_number, "a JSON number"),
    "fps_capture_rate": (_is_number, "a JSON number"),
    "project_id": (_optional(_is_uuid), "a UUID string"),
    "azimuth_label": (_optional(_is_text), "a string that is not blank"),
}
_SETTINGS_REQUIRED: Final = frozenset(
    {"data_item_name", "rotational_period", "rotations_per_min", "fps_capture_rate"}
)

_CHUNK: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "data_id": (_is_uuid, "a UUID"),
    "data_stream": ("rheed".__eq__, '"rheed"'),
    "is_stream": ("1".__eq__, '"1"'),
    "is_rotating": (frozenset({"0", "1"}).__contains__, '"0" or "1"'),
    "raw_frame_rate": (_is_number_text, 'a number in a string, as in "120.0"'),
    "avg_frame_rate": (_is_number_text, 'a number in a string, as in "120.0"'),
    "chunk_size": (_is_count_text, 'a positive whole number in a string, as in "240"'),
    "dims": (lambda text: _DIMS.fullmatch(text) is not None, '"n,h,w", three positive whole numbers'),
    "start_unix_ms_utc": (_is_integer_text, "a whole number of milliseconds in a string"),
    "end_unix_ms_utc": (_is_integer_text, "a whole number of milliseconds in a string"),
    "clock_offset_ms": (_is_integer_text, "a whole number of milliseconds in a string"),
    "clock_uncertainty_ms": (_is_number_text, "a number of milliseconds in a string"),
}
_CHUNK_OPTIONAL: Final = frozenset({"clock_offset_ms", "clock_uncertainty_ms"})
