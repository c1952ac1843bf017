"""The words of an examination: what is looked at, what was found, and how a check is told apart from others."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from spool import DEFAULT_MIN_FREE_BYTES
from uploader.outside import printable

DISK_LIMIT_S = 60.0
NETWORK_LIMIT_S = 10.0

Number = float | int | str | None


class Verdict(StrEnum):
    """What a finding comes to."""

    OK = "ok"
    WARNING = "warning"
    """It works, but a person should know."""
    PROBLEM = "problem"
    """It keeps recording or delivery from working."""
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check came to.

    Attributes:
        verdict: what it comes to.
        seen: what was seen, with numbers; after ``not checked`` the reason.
        advice: what to do next, if anything.
        numbers: the same numbers for machines; names end with their units.
    """

    verdict: Verdict
    seen: str
    advice: str | None = None
    numbers: Mapping[str, Number] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined.

    Attributes:
        root: the spool's folder; it may not exist yet.
        endpoint: the server's base URL.
        min_free_bytes: what stays free on the disk for everybody else.
        began_wall_s, began_monotonic_s: both clocks at the beginning; they part when the host clock is set.
    """

    root: Path
    endpoint: str
    min_free_bytes: int = DEFAULT_MIN_FREE_BYTES
    began_wall_s: float = field(default_factory=time.time)
    began_monotonic_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that is looked at.

    Attributes:
        name: one word.
        look: does it. The subject is only looked at: nothing in it is different afterwards.
        needs: the checks without whose success this one says nothing.
        asks_network: whether it leaves this machine.
        of: the endpoints that it says something of; ``None`` for any.
    """

    name: str
    look: Callable[[Subject], Finding]
    needs: tuple[str, ...] = ()
    asks_network: bool = False
    of: Callable[[str], bool] | None = None

    @property
    def limit_s(self) -> float:
        """How long it may take."""
        return NETWORK_LIMIT_S if self.asks_network else DISK_LIMIT_S


def ok(seen: str, **numbers: Number) -> Finding:
    """All is well."""
    return Finding(verdict=Verdict.OK, seen=printable(seen), numbers=numbers)


def warning(seen: str, advice: str, **numbers: Number) -> Finding:
    """It works, but a person should know."""
    return Finding(verdict=Verdict.WARNING, seen=printable(seen), advice=printable(advice), numbers=numbers)


def problem(seen: str, advice: str, **numbers: Number) -> Finding:
    """It keeps recording or delivery from working."""
    return Finding(verdict=Verdict.PROBLEM, seen=printable(seen), advice=printable(advice), numbers=numbers)


def not_checked(why: str) -> Finding:
    """It could not, or was not to be, looked at."""
    return Finding(verdict=Verdict.NOT_CHECKED, seen=printable(why))
