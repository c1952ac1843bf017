"""Times and their units as recordings note them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NAMES: Final = {
    1e-6: ("ns", "nsec", "nanosecond", "nanoseconds"),
    1e-3: ("us", "µs", "\N{GREEK SMALL LETTER MU}s", "usec", "microsecond", "microseconds"),
    1.0: ("ms", "msec", "millisecond", "milliseconds"),
    1e3: ("s", "sec", "secs", "second", "seconds"),
    60e3: ("min", "minute", "minutes"),
    3600e3: ("h", "hr", "hour", "hours"),
    86400e3: ("d", "day", "days"),
}
_IN_MS: Final = {name: factor for factor, names in _NAMES.items() for name in names}


def factor_to_ms(unit: object) -> float | None:
    """What a number in that unit is multiplied by to be milliseconds; ``None`` for what is no unit of time.

    The unit may go on as CF conventions have it: ``microseconds since 1970-01-01``.
    """
    if isinstance(unit, bytes):
        unit = unit.decode("utf-8", "replace")
    words = str(unit).split()
    if not words or (len(words) > 1 and words[1] != "since"):
        return None
    # "Ms" would be a million seconds, but nobody means that.
    return _IN_MS.get(words[0].lower())


def in_ms(value: object, unit: object) -> float | None:
    """A number or its text, in milliseconds; ``None`` if it is none, or has no unit of time."""
    factor = factor_to_ms(unit)
    try:
        number = float(value)  # type: ignore[arg-type] # what it is not is caught
    except (TypeError, ValueError, OverflowError):
        return None
    return number * factor if factor is not None and math.isfinite(number) else None


def noted_ms(values: NDArray[Any], unit: object, count: int) -> NDArray[np.float64] | None:
    """Return the times of frames in milliseconds since the first of them, `float64` `(count,)`.

    Args:
        values: numbers, or numpy's own moments, which have their unit with them.
        unit: of the numbers.
        count: how many frames there are.

    Returns:
        ``None`` if they are not one for each frame, have no unit of time, are not finite, or go back.
    """
    if values.shape != (count,) or not count:
        return None
    factor = factor_to_ms(unit) if values.dtype.kind in "iuf" else None
    if values.dtype.kind == "M":
        if np.isnat(values).any():
            return None
        values, factor = values.astype("datetime64[ns]").view(np.int64), 1e-6
    if factor is None or not np.isfinite(values).all() or (values[1:] < values[:-1]).any():
        return None
    # Subtracted as they are: microseconds since 1970 are more than a float holds exactly once there are fractions.
    since_first: NDArray[np.float64] = (values - values[0]).astype(np.float64)
    return since_first * factor
