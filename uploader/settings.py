"""The checks on what `RHEEDStreamer.initialize` is given, before anything is begun anywhere."""

import math
import operator
import socket
import time
from collections.abc import Sequence
from typing import Any, SupportsIndex
from uuid import UUID

from spool import StreamSettings
from uploader.errors import ConfigurationError

SECONDS_PER_CHUNK_MIN = 2
NAME_CHARS_MAX = 500


def stream_settings(
    *,
    endpoint: str,
    fps: float,
    rotations_per_min: float,
    chunk_size: SupportsIndex,
    stream_name: str | None,
    physical_sample: str | None,
    project_id: str | None,
    tags: Sequence[str] | None,
    azimuth: str | None,
) -> StreamSettings:
    """The settings of a stream, checked.

    Raises:
        ConfigurationError: one of them cannot be used; the message names it.
    """
    rate = _number("fps", fps)
    if rate <= 0:
        raise ConfigurationError(f"fps is {fps!r}, not more than 0")
    rotations = _number("rotations_per_min", rotations_per_min)
    if rotations < 0:
        raise ConfigurationError(f"rotations_per_min is {rotations_per_min!r}, less than 0")
    try:
        size = operator.index(chunk_size)
    except TypeError as error:
        raise ConfigurationError(f"chunk_size is {chunk_size!r}, not a whole number") from error
    if size < SECONDS_PER_CHUNK_MIN * rate:
        raise ConfigurationError(
            f"chunk_size is {size}, but a chunk must hold at least {SECONDS_PER_CHUNK_MIN} s of frames: "
            f"{SECONDS_PER_CHUNK_MIN * rate:.0f} at {rate:g} fps"
        )
    if azimuth is not None and rotations > 0:
        raise ConfigurationError(
            "azimuth belongs to a stationary sample; this one rotates",
            hint="Nothing was begun. Leave azimuth out, or set rotations_per_min to 0.",
        )
    if not isinstance(tags, list | tuple | set | frozenset | None):
        raise ConfigurationError(f"tags is {tags!r}, not a list of tags")
    project = _text("project_id", project_id)
    if project is not None and not _is_uuid(project):
        raise ConfigurationError(f"project_id is {project!r}, not a UUID")
    if rotations > 0 and not math.isfinite(rate * 60 / rotations):
        raise ConfigurationError(f"rotations_per_min is {rotations_per_min!r}, too small to be a rotation")
    return _settings(
        name=_text("stream_name", stream_name) or _default_name(),
        destination=endpoint,
        fps=rate,
        rotations_per_min=rotations,
        chunk_size=size,
        physical_sample=_text("physical_sample", physical_sample),
        project_id=project,
        tags=tuple(name for tag in tags or () if (name := _text("tags", tag)) is not None),
        azimuth=_text("azimuth", azimuth),
    )


def _settings(**given: Any) -> StreamSettings:  # noqa: ANN401 - the fields of StreamSettings, passed on
    try:
        return StreamSettings(**given)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _default_name() -> str:
    """A name that no other machine gives: the server has nothing else to tell a lost answer's stream by."""
    return f"{time.strftime('RHEED stream %Y-%m-%d %H:%M:%S')} {socket.gethostname()}"[:NAME_CHARS_MAX]


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _number(name: str, value: float) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"{name} is {value!r}, not a number") from error
    if not math.isfinite(number):
        raise ConfigurationError(f"{name} is {value!r}, not a finite number")
    return number


def _text(name: str, value: object) -> str | None:
    """Text for people, trimmed; ``None`` for nothing."""
    if value is None:
        return None
    text = str(value).strip()  # a UUID object is as good as its text
    if len(text) > NAME_CHARS_MAX:
        raise ConfigurationError(f"{name} has {len(text)} characters, more than {NAME_CHARS_MAX}")
    if any(ord(char) < ord(" ") or 0xD800 <= ord(char) <= 0xDFFF for char in text):  # noqa: PLR2004 - surrogates
        raise ConfigurationError(f"{name} holds characters that cannot be sent")
    return text or None
