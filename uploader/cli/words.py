"""Numbers, sizes, durations and moments as people read them. Pure; ASCII, so that any terminal shows them."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

from uploader.durations import in_words

_UNITS = ("kB", "MB", "GB", "TB", "PB")
_THOUSAND = 1000


def size(count: int) -> str:
    """Bytes with three digits and a decimal unit: ``512 B``, ``1.23 MB``, ``45.6 GB``."""
    if count < _THOUSAND:
        return f"{count} B"
    scaled = float(count)
    for unit in _UNITS:
        scaled /= _THOUSAND
        # What would be rounded up to 1000 belongs to the next unit.
        if scaled < 999.5 or unit == _UNITS[-1]:  # noqa: PLR2004 - see above
            break
    digits = max(0, 2 - (scaled >= 9.995) - (scaled >= 99.95))  # noqa: PLR2004 - three digits in all
    return f"{scaled:.{digits}f} {unit}"


def duration(seconds: float) -> str:
    """See `uploader.durations.in_words`."""
    return in_words(seconds)


def count(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: ``1 chunk``, ``1,200 chunks``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def moment(at_ms: int, pattern: str = "%Y-%m-%d %H:%M:%S", *, digits: int = 0) -> str:
    """A time in UTC; ``digits`` (up to 3) of the second's fraction."""
    seconds, ms = divmod(at_ms, _THOUSAND)
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime(pattern)
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"
    return f"{text}.{ms:03d}"[: len(text) + 1 + digits] if digits else text


def day(at_ms: int) -> str:
    """The date in UTC."""
    return moment(at_ms, "%Y-%m-%d")


def printable(text: str) -> str:
    """Text from elsewhere on one line, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def cut(text: str, width: int) -> str:
    """Text of at most so many characters; what is cut off shows as ``..``."""
    return text if len(text) <= width else text[: max(0, width - 2)] + ".."[:width]


def spans(pairs: tuple[tuple[int, int], ...] | list[tuple[int, int]], *, most: int = 8) -> str:
    """Inclusive spans as ``3, 5-9``; after ``most`` of them only how many follow."""
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in pairs[:most])
    left = len(pairs) - most
    return f"{shown} and {left:,} more" if left > 0 else shown


def wrapped(text: str, width: int, *, indent: str = "") -> list[str]:
    """Text as lines of at most so many characters; the second and later ones are indented."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False) or [""]


def listed(numbers: list[int], *, most: int = 20) -> str:
    """Numbers with commas; after ``most`` of them only how many follow."""
    return spans([(number, number) for number in numbers], most=most)


def lasted(began_ms: int, ended_ms: int) -> str:
    """How long something went on that has ended."""
    return f"for {duration((ended_ms - began_ms) / _THOUSAND)}"


def field(name: str, text: str, columns: int) -> Iterator[str]:
    """What stands beside a name, in lines that fit below one another."""
    lines = wrapped(text, columns - 11)
    yield from (f"{name if k == 0 else '':10} {line}" for k, line in enumerate(lines))
