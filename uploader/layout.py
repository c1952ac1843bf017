"""Where below a destination a stream's group lies: a template, such as ``garching/mbe-3/{date}/{stream}``.

Invariants of a place, whatever the template, the sample and the host are called:

1. It is relative, its parts are joined by slashes, and each begins with a letter, a digit or ``_`` and ends
   without a dot: nothing leaves the destination, nothing is hidden, and every file system takes it as it is.
2. No part is one of the names that Windows keeps for itself, and each is of a bounded length.
3. Its last part holds the stream_id, so that no two streams have the same place.
"""

import re
import string
from datetime import UTC, datetime

from spool import Stream

FIELDS = ("date", "year", "month", "sample", "project", "host", "stream")
DEFAULT_LAYOUT = "{stream}"
VALUE_CHARS_MAX = 40
PART_CHARS_MAX, PLACE_CHARS_MAX = 180, 230  # below a short folder, Windows takes 260 in all

_NOT_PLAIN = re.compile(r"[^0-9A-Za-z]+")
_NAME_CHARS = 60
_LITERAL = re.compile(r"[0-9A-Za-z_.=/-]*", re.ASCII)
_PART = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.=-]*[0-9A-Za-z_=-])?", re.ASCII)
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(?:\..*)?", re.ASCII | re.IGNORECASE)
# The longest worth that each can have.
_LONGEST = dict.fromkeys(FIELDS, "x" * VALUE_CHARS_MAX) | {
    "date": "2026-11-26",
    "year": "2026",
    "month": "11",
    "stream": "x" * (_NAME_CHARS + 29),
}


def folder_name(stream: Stream) -> str:
    """What a stream's group is called in a store: its name, as far as that is plain, and its stream_id."""
    return f"{plain(stream.settings.name, _NAME_CHARS) or 'stream'}-{stream.stream_id}"


def plain(text: str, chars_max: int = VALUE_CHARS_MAX) -> str:
    """Text as part of a name anywhere: letters and digits of ASCII, single hyphens between them; may be empty."""
    return _NOT_PLAIN.sub("-", text).strip("-")[:chars_max].rstrip("-")


def checked_layout(value: object) -> str:
    """A template, if every place that it leads to is as the module says.

    Raises:
        ValueError: it is none; the message goes on after its name.
    """
    if not isinstance(value, str):
        raise ValueError(f"is of type {type(value).__name__}, not text")  # noqa: TRY004 - see uploader.kinds
    try:
        for literal, name, spec, conversion in string.Formatter().parse(value):
            _check_piece(literal, name, is_plain=not (spec or conversion))
        if "{stream}" not in value.rpartition("/")[2]:
            raise ValueError("without {stream} in its last part two streams would lie in one place")
        longest = value.format_map(_LONGEST)
        for part, filled in zip(value.split("/"), longest.split("/"), strict=True):
            _check_part(part, filled)
        if len(longest) > PLACE_CHARS_MAX:
            raise ValueError(f"a place may become longer than {PLACE_CHARS_MAX} characters")
    except ValueError as error:
        raise ValueError(f"is {value!r}: {error}") from error
    return value


def place_of(stream: Stream, layout: str, *, host: str) -> str:
    """Where the stream's group is to lie; ``layout`` was checked."""
    settings, day = stream.settings, _day(stream.created_at_ms)
    worths = {
        "date": f"{day:%Y-%m-%d}",
        "year": f"{day:%Y}",
        "month": f"{day:%m}",
        "sample": _worth("sample", settings.physical_sample),
        "project": _worth("project", settings.project_id),
        "host": _worth("host", host),
        "stream": folder_name(stream),
    }
    parts = layout.format_map(worths).split("/")
    return "/".join(f"_{part}" if _RESERVED.fullmatch(part) else part for part in parts)


def is_place(text: object, name: str) -> bool:
    """Whether it is the place of a stream whose group is called so, by any layout."""
    if not isinstance(text, str) or len(text) > 2 * PLACE_CHARS_MAX:
        return False
    parts = text.split("/")
    return all(_PART.fullmatch(part) for part in parts) and name in parts[-1]


def _check_piece(literal: str, name: str | None, *, is_plain: bool) -> None:
    if name is not None and (name not in FIELDS or not is_plain):
        raise ValueError(f"{{{name}}} is none of {', '.join(f'{{{one}}}' for one in FIELDS)}")
    if not _LITERAL.fullmatch(literal):
        raise ValueError("it may hold letters, digits, '-', '_', '.', '=', and slashes between its parts")


def _check_part(part: str, longest: str) -> None:
    if not _PART.fullmatch(longest):
        raise ValueError(f"its part {part!r} is no name that a folder can have everywhere")
    if _RESERVED.fullmatch(part):
        raise ValueError(f"Windows keeps the name {part!r} for itself")
    if len(longest) > PART_CHARS_MAX:
        raise ValueError(f"its part {part!r} may become longer than {PART_CHARS_MAX} characters")


def _worth(name: str, text: str | None) -> str:
    return f"no-{name}" if text is None else plain(text) or name


def _day(at_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # no calendar has it: the host's clock was far off
        return datetime.fromtimestamp(0, UTC)
