"""Listing the folder over and over, however large it is, at a bearable cost.

A listing of half a million names takes a third of a second. So the next one begins four times as long after it.
None is made while the folder's own time of change has stood still for a while: not at once, because file systems
count that time in steps of up to two seconds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from uploader.sources.watch.reading import SUFFIXES, suffix_of

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from uploader.sources.watch.looks import Place

EVERY_S: Final = 0.2
_SHARE: Final = 4
_STILL_S: Final = 3.0
# What does not keep that time is listed nevertheless, now and then.
_UNTRUSTED_S: Final = 10.0
_UNTRUSTED_SHARE: Final = 50
_TEMPORARY_STARTS: Final = (".", "~", "#")


class Listing:
    """The names in a folder.

    Args:
        place: the folder.
        clock: the steady clock, seconds.

    Attributes:
        number: of the listing that is being made, or was made last; they are counted from 1.
        complete: the last one that was made to its end.
        due_at: when to list again.
    """

    def __init__(self, place: Place, clock: Callable[[], float]) -> None:
        self._place = place
        self._clock = clock
        self.number = 0
        self.complete = 0
        self.due_at = 0.0
        self._modified_ns: int | None = None
        self._still_since = 0.0
        self._listed_at = float("-inf")
        self._took_s = 0.0

    def names(self, known: Container[str]) -> list[str]:
        """List those that are not known, or none if nothing was added since the last listing.

        Raises:
            SourceLost: the folder is not there.
        """
        began = self._clock()
        self.number += 1
        modified_ns = self._place.modified_ns()
        if modified_ns != self._modified_ns:
            self._modified_ns, self._still_since = modified_ns, began
        new: list[str] = []
        if not self._is_known(began):
            try:
                # Names alone, in one go: twice as fast as entry by entry, and each is looked at later anyway.
                new = [name for name in os.listdir(self._place.path) if name not in known]
            except OSError as error:
                raise self._place.lost(error) from error
            # A share that went away meanwhile may have ended the listing early.
            self._place.modified_ns()
            self._listed_at = began
            self._took_s = self._clock() - began
        self.complete = self.number
        ended = self._clock()
        # The first one counts for nothing before there is a second (`Candidate.listing`), and its cost comes once.
        self.due_at = ended + (EVERY_S if self.number == 1 else max(EVERY_S, _SHARE * (ended - began)))
        return new

    def _is_known(self, now: float) -> bool:
        """Whether nothing can have been added since the last listing."""
        trusted = self._listed_at >= self._still_since + _STILL_S
        return trusted and now < self._listed_at + max(_UNTRUSTED_S, _UNTRUSTED_SHARE * self._took_s)


def is_temporary(name: str) -> bool:
    """Whether a name is one that programs give to what they have not finished, or what no one is to see."""
    return name.startswith(_TEMPORARY_STARTS) or name.endswith("~") or suffix_of(name) not in SUFFIXES
