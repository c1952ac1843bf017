"""A length of time as people type it: ``90s``, ``15min``, ``1h``, ``2d``, ``1.5h``."""

import re

UNITS_S = {"s": 1, "min": 60, "h": 3600, "d": 86400}
EXAMPLES = "90s, 15min, 1h or 2d"

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
