"""A length of time as people type it: ``90s``, ``15min``, ``1h``, ``2d``, ``1.5h``; and as they are told it."""

import re

UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}
EXAMPLES = "90s, 15min, 1h or 2d"

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_WRITTEN = re.compile(rf"([0-9]{{1,9}}(?:\.[0-9]{{1,9}})?) ?({'|'.join(UNITS_S)})", re.ASCII)


def duration(text: str) -> float:
    """The seconds, more than zero. A bare number has no unit, and is refused.

    Raises:
        ValueError: it is no such length; it says so as the end of a sentence.
    """
    written = _WRITTEN.fullmatch(text.strip())
    if written is None:
        raise ValueError(f"is {text!r}, not a length of time such as {EXAMPLES}")
    seconds = float(written[1]) * UNITS_S[written[2]]
    if not seconds:
        raise ValueError(f"is {text!r}, which is no time at all")
    return seconds


def in_words(seconds: float) -> str:
    """A length of time in its two largest units: ``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 10 min``."""
    whole = max(0, round(seconds))
    if seconds < 9.95:  # noqa: PLR2004 - below ten, tenths are wanted
        return f"{max(0.0, seconds):.1f} s"
    if whole < _MINUTE_S:
        return f"{whole} s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S} min {whole % _MINUTE_S:02d} s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S} h {whole % _HOUR_S // _MINUTE_S:02d} min"
    return f"{whole // _DAY_S} d {whole % _DAY_S // _HOUR_S:02d} h"
