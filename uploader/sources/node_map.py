"""The features of a GenICam camera, as pypylon and harvesters both show them: read, checked and set by name.

Both wrap the same library (GenApi); one spells it ``GetMin`` and ``Min``, the other ``min``. What is set here is
checked against what the camera says of itself before it is sent, so that a refusal can name what would be taken.
"""

from __future__ import annotations

import difflib
import enum
import math
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from uploader.sources.base import SourceError

Worth: TypeAlias = int | float | bool | str

_TRUE, _FALSE = frozenset({"1", "on", "true", "yes"}), frozenset({"0", "false", "no", "off"})
_CHOICES_MAX: Final = 40
_NEAREST: Final = 3
# GenApi's EAccessMode: not implemented, not available, write only, read only, read and write.
_WRITABLE, _READABLE = frozenset({2, 4}), frozenset({3, 4})
_NOT_HERE = frozenset({0, 1})
_FIXED_STEP = 1  # GenApi's EIncMode: none, fixed, a list


class Type(enum.IntEnum):
    """What a feature holds: GenApi's EInterfaceType."""

    INTEGER = 2
    BOOLEAN = 3
    COMMAND = 4
    FLOAT = 5
    TEXT = 6
    CHOICE = 9


_TYPES = frozenset(Type)


class Feature:
    """One feature of a camera.

    Attributes:
        name: as the camera spells it.
        type: what it holds.
    """

    def __init__(self, name: str, node: Any, spelt: Callable[[str], str]) -> None:  # noqa: ANN401 - of either package
        self.name = name
        self._node, self._spelt = node, spelt
        self.type = Type(int(_told(_told(node, "node", spelt), "principal_interface_type", spelt)))

    @property
    def is_writable(self) -> bool:
        """Whether the camera takes another worth now."""
        return self._access in _WRITABLE

    @property
    def is_readable(self) -> bool:
        """Whether it can be asked now."""
        return self._access in _READABLE

    @property
    def value(self) -> Worth:
        """What it is now."""
        value: Worth = self._get("value")
        return value

    @property
    def bounds(self) -> tuple[float, float, float | None]:
        """The least, the most, and the step from the least; without a step where any worth between will do."""
        if self.type is Type.INTEGER:
            return self._get("min"), self._get("max"), self._get("inc")
        has_step = int(self._get("inc_mode")) == _FIXED_STEP
        return self._get("min"), self._get("max"), (self._get("inc") if has_step else None)

    @property
    def choices(self) -> tuple[str, ...]:
        """What it may be now, where only some words are taken."""
        entries = ((str(name), self._call("get_entry_by_name", name)) for name in self._get("symbolics"))
        return tuple(name for name, entry in entries if self._access_of(entry) not in _NOT_HERE)

    @property
    def unit(self) -> str:
        """Such as ``us``; empty without one."""
        return str(self._get("unit")) if self.type in {Type.INTEGER, Type.FLOAT} else ""

    def code_of(self, choice: str) -> int:
        """The number that stands for one of the choices."""
        return int(_told(self._call("get_entry_by_name", choice), "value", self._spelt))

    def set(self, worth: Worth) -> None:
        """Set it to what `check` or `parse` has returned."""
        setattr(self._node, self._spelt("value"), worth)

    def parse(self, text: str) -> Worth:
        """What a person typed, in the feature's type and within its bounds.

        Raises:
            SourceError: it is not; the hint says what would be.
        """
        if self.type is Type.TEXT:
            return text
        if self.type is Type.CHOICE:
            return self._one_of(text, self.choices)
        if self.type is Type.BOOLEAN:
            word = text.strip().lower()
            if word not in _TRUE | _FALSE:
                raise SourceError(f"{self.name}={text}: it is on or off", hint="Write true or false.")
            return word in _TRUE
        if self.type is Type.COMMAND:
            raise SourceError(
                f"{self.name} is a command of the camera, and holds nothing", hint="Only settings can be set."
            )
        try:
            number: float = int(text, 0) if self.type is Type.INTEGER else float(text)
        except ValueError:
            kind = "a whole number" if self.type is Type.INTEGER else "a number"
            raise SourceError(f"{self.name}={text}: it is {kind}", hint=f"It takes {self.says()}.") from None
        return self.check(number)

    def check(self, number: float) -> float:
        """A number that it takes, as it is.

        Raises:
            SourceError: it is out of bounds or between two steps; the hint says what is taken.
        """
        nearest = self.nearest(number)
        if number in nearest:
            return number
        low, high, _ = self.bounds
        if low <= number <= high:
            hint = f"The nearest are {' and '.join(map(_shown, nearest))}. It takes {self.says()}."
        else:
            hint = f"It takes {self.says()}, as the camera is set up now."
        raise SourceError(f"{self.name}={_shown(number)} is not taken by the camera", hint=hint)

    def nearest(self, number: float) -> tuple[float, ...]:
        """The worths next to a number that it would take; only that number, if it takes it."""
        low, high, step = self.bounds
        if math.isnan(number):
            return (low, high)
        if not low <= number <= high:
            return (min(max(number, low), low + (high - low) // step * step if step and step > 1 else high),)
        # Cameras round floats to their steps themselves; a whole number between two is refused by them.
        if self.type is Type.FLOAT or not step or (number - low) % step == 0:
            return (number,)
        below = number - (number - low) % step
        return (below, below + step) if below + step <= high else (below,)

    def says(self) -> str:
        """What it takes, for people."""
        if self.type is Type.CHOICE:
            return _listed(self.choices)
        if self.type in {Type.BOOLEAN, Type.TEXT}:
            return "true or false" if self.type is Type.BOOLEAN else "any text"
        low, high, step = self.bounds
        unit = f" {self.unit}" if self.unit else ""
        steps = f" in steps of {_shown(step)}" if step and (step > 1 or self.type is Type.FLOAT) else ""
        return f"{_shown(low)} to {_shown(high)}{unit}{steps}"

    @property
    def _access(self) -> int:
        return self._access_of(self._node)

    def _access_of(self, node: Any) -> int:  # noqa: ANN401 - of either package
        return int(getattr(node, self._spelt("get_access_mode"))())

    def _one_of(self, text: str, choices: tuple[str, ...]) -> str:
        if text in choices:
            return text
        meant = difflib.get_close_matches(text, choices, n=1)
        hint = f"Did you mean {meant[0]}? " if meant else ""
        raise SourceError(f"{self.name}={text} is not taken by the camera", hint=f"{hint}It takes {self.says()}.")

    def _get(self, name: str) -> Any:  # noqa: ANN401 - of the feature's type
        return _told(self._node, name, self._spelt)

    def _call(self, name: str, *given: object) -> Any:  # noqa: ANN401 - a node of either package
        return getattr(self._node, self._spelt(name))(*given)


class NodeMap:
    """Every feature that a camera has, by name.

    Args:
        nodes: all nodes of the map, of either package.
        get: one of them by its name; ``None`` or an error when there is none.
        spelt: how the package spells a name of GenApi.
    """

    def __init__(self, nodes: Iterable[Any], get: Callable[[str], Any], spelt: Callable[[str], str]) -> None:
        self._nodes, self._get, self._spelt = list(nodes), get, spelt

    @classmethod
    def of_pypylon(cls, node_map: Any) -> NodeMap:  # noqa: ANN401 - pypylon has no types
        """The map that pypylon shows."""
        return cls(node_map.GetNodes(), node_map.GetNode, lambda name: name.title().replace("_", ""))

    @classmethod
    def of_genicam(cls, node_map: Any) -> NodeMap:  # noqa: ANN401 - genicam has no types
        """The map that the package genicam shows, which harvesters uses."""
        return cls(node_map.nodes, node_map.get_node, lambda name: name)

    def find(self, *names: str) -> Feature | None:
        """The first of these that the camera has and that can be read or written now."""
        for name in names:
            node = self._node(name)
            if node is not None:
                found = Feature(name, node, self._spelt)
                if found.is_readable or found.is_writable:
                    return found
        return None

    def writable(self, *names: str) -> Feature | None:
        """The first of these that the camera has and that can be set now."""
        return next((one for one in map(self.find, names) if one is not None and one.is_writable), None)

    def read(self, *names: str) -> Worth | None:
        """The worth of the first of these that the camera has; ``None`` without one that can be read."""
        found = next((one for one in map(self.find, names) if one is not None and one.is_readable), None)
        return None if found is None or found.type is Type.COMMAND else found.value

    def must(self, name: str) -> Feature:
        """The feature of this name, to be set.

        Raises:
            SourceError: there is none, with the names that come near it; or it cannot be set now.
        """
        found = self.find(name)
        if found is not None and found.is_writable:
            return found
        if found is not None or self._node(name) is not None:
            raise SourceError(
                f"{name} cannot be set as the camera is set up now",
                hint="It is only told by this camera, or another setting locks it (an automatic one?).",
            )
        near = difflib.get_close_matches(
            name.lower(), names := {one.lower(): one for one in self.names()}, _NEAREST
        )
        raise SourceError(
            f"this camera has no setting {name}",
            hint=f"Did you mean {' or '.join(names[one] for one in near)}?"
            if near
            else "Check its manual for the name.",
        )

    def names(self) -> list[str]:
        """Of every feature that a person might set, in alphabetical order."""
        found = (str(self._name_of(one)) for one in self._nodes)
        return sorted(name for name in found if self._is_usable(name))

    def _is_usable(self, name: str) -> bool:
        found = self.find(name)
        return found is not None and found.is_writable and found.type is not Type.COMMAND

    def _node(self, name: str) -> Any:  # noqa: ANN401 - of either package
        """The node of this name, if it is one for people: a map has many that only serve others."""
        # Both packages tell of a missing node by an exception of their own; the one's, on the first use of it.
        try:
            node = self._get(name)
            inner = getattr(node, self._spelt("node"))
            is_meant = bool(getattr(inner, self._spelt("is_feature"))())
            return node if is_meant and _told(inner, "principal_interface_type", self._spelt) in _TYPES else None
        except Exception:  # noqa: BLE001 - see above
            return None

    def _name_of(self, node: Any) -> str:  # noqa: ANN401 - of either package
        return str(_told(getattr(node, self._spelt("node")), "name", self._spelt))


def _told(node: Any, name: str, spelt: Callable[[str], str]) -> Any:  # noqa: ANN401 - of either package
    """What a node says under this name: some releases have a property for it, all have a method."""
    found = getattr(node, spelt(name), None)
    return found if found is not None else getattr(node, spelt(f"get_{name}"))()


def _shown(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:.10g}"


def _listed(choices: tuple[str, ...]) -> str:
    more = len(choices) - _CHOICES_MAX
    return ", ".join(choices[:_CHOICES_MAX]) + (f" and {more} more" if more > 0 else "")
