"""The simulator's settings as a person types them after `sim:`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uploader.sources.base import SourceError
from uploader.sources.simulator import SimulatorSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN_CHARS = 100  # of what was typed


def parse_simulator(text: str) -> SimulatorSettings:
    """Read `key=value` pairs separated by commas, such as `frames=200,rpm=15`; empty text gives the defaults.

    Raises:
        SourceError: A key is unknown or given twice, or a value is not of its kind or out of its range.
    """
    given: dict[str, Any] = {}
    for pair in text.split(",") if text.strip() else ():
        key, equals, value = (part.strip() for part in pair.partition("="))
        if key not in _KEYS:
            raise SourceError(f"simulator: unknown setting {key[:_SHOWN_CHARS]!r}", hint=_KNOWN)
        field, read, kind = _KEYS[key]
        if field in given:
            raise SourceError(f"simulator: {key} is given twice", hint="Keep one of them.")
        try:
            given[field] = read(value)
        except ValueError as error:
            found = repr(value[:_SHOWN_CHARS]) if equals else "nothing"
            raise SourceError(f"simulator: {key} must be {kind}, not {found}", hint=_KNOWN) from error
    return SimulatorSettings(**given)


def _integer_or_none(text: str) -> int | None:
    return None if text == "none" else int(text)


def _switch(text: str) -> bool:
    try:
        return {"on": True, "off": False}[text]
    except KeyError:
        raise ValueError(text) from None


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("+"))


# What a person types: the setting it sets, how it is read, and what to call its kind.
_KEYS: dict[str, tuple[str, Callable[[str], object], str]] = {
    "brightness": ("brightness_electrons", float, "a number of electrons"),
    "dark_every": ("dark_every", _integer_or_none, "a whole number or none"),
    "dark_frames": ("dark_frames", _integers, "whole numbers joined by +"),
    "dark_probability": ("dark_probability", float, "a number"),
    "fps": ("fps", float, "a number"),
    "frames": ("frames", _integer_or_none, "a whole number or none"),
    "gain": ("gain", float, "a number"),
    "growth_period": ("growth_period_s", float, "a number of seconds"),
    "height": ("height", int, "a whole number"),
    "kikuchi": ("kikuchi", _switch, "on or off"),
    "offset": ("offset", float, "a number"),
    "rpm": ("rotations_per_min", float, "a number"),
    "seed": ("seed", int, "a whole number"),
    "width": ("width", int, "a whole number"),
}
_KNOWN = f"Known settings: {', '.join(_KEYS)}. Write for example sim:frames=200,rpm=15"
