"""Which file is to be taken next, and when: order, settling and patience. Pure but for the look at a file.

A file is finished when two looks at it agree that lie far enough apart. Only the next few hundred in the order are
looked at, so that half a million that were there before cost one look each when their turn comes.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from uploader.sources.images import natural_key

if TYPE_CHECKING:
    from uploader.sources.watch.looks import Look

AHEAD: Final = 1024
"""So many files are looked at before their turn: at 50/s twenty seconds, and more than any settling takes."""
_TRIES_DOUBLED_MAX: Final = 8


Order: TypeAlias = tuple[bool, tuple[tuple[str | int, ...], str]]


def _order(name: str, *, is_interrupted: bool) -> Order:
    # One that was taken in part goes first: nothing may come between its frames.
    return not is_interrupted, natural_key(name)


@dataclass(slots=True, eq=False)
class Candidate:
    """A file that may be taken.

    Attributes:
        name: in the folder.
        seen_at: when it was first listed, on the steady clock.
        listing: the listing that showed it first. Another one that began later must be complete before it is
            taken: one that is made while files are may show the second of two and not the first.
        settle_s: how long it must not have changed.
        look: as it was last seen.
        same_since: since when it looks like that.
        try_at: not before this; after it could not be read.
        tries: how often it could not.
        is_told: whether it was told that others have gone ahead.
    """

    name: str
    seen_at: float
    listing: int
    settle_s: float
    is_interrupted: bool = False
    look: Look | None = None
    same_since: float = 0.0
    try_at: float = 0.0
    tries: int = 0
    is_told: bool = False
    order: Order = field(init=False)

    def __post_init__(self) -> None:
        self.order = _order(self.name, is_interrupted=self.is_interrupted)

    def __lt__(self, other: Candidate) -> bool:
        return self.order < other.order

    def due_at(self) -> float:
        """When it may be taken if it does not change."""
        return max(self.same_since + self.settle_s, self.try_at)


class Waiting:
    """The files that are to be taken.

    Args:
        look: what a file is like now; ``None`` when it is gone.
        patience_s: how long one that is not finished holds back those after it.
        settled: how long a file of that name must not have changed.
    """

    def __init__(
        self, look: Callable[[str], Look | None], *, patience_s: float, settled: Callable[[str], float]
    ) -> None:
        self._look = look
        self._patience_s = patience_s
        self._settled = settled
        self._names: set[str] = set()
        self._ahead: list[Candidate] = []
        # Not candidates yet: there may be half a million of them.
        self._later: list[tuple[Order, float, int]] = []
        self.gone: list[Candidate] = []
        self.overtaken: list[Candidate] = []
        self.wake_at = 0.0

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def __len__(self) -> int:
        return len(self._names)

    def add(self, name: str, now: float, listing: int, *, is_interrupted: bool = False) -> None:
        """A file was listed for the first time."""
        self._names.add(name)
        order = _order(name, is_interrupted=is_interrupted)
        if not self._ahead or order > self._ahead[-1].order:
            heapq.heappush(self._later, (order, now, listing))
            return
        new = Candidate(name, now, listing, self._settled(name), is_interrupted)
        if self._is_there(new, now):
            insort(self._ahead, new)

    def next(self, now: float, listing: int) -> Candidate | None:
        """The file to take now, which stays here until it is `done`; ``None`` when there is none.

        Those that vanished are in `gone` after this, and those that others went ahead of are in `overtaken`, both
        until they are taken out. `wake_at` says when to ask again.

        Args:
            now: on the steady clock.
            listing: the last one that is complete.
        """
        self._refill(now)
        self.wake_at = float("inf")
        held: list[Candidate] = []
        for one in list(self._ahead):
            # One that could not be read is tried again seldom, but that it was written to is seen at once.
            if (one.tries or now >= one.due_at()) and not self._is_there(one, now):
                continue
            if one.due_at() <= now and listing > one.listing:
                self.overtaken += [late for late in held if not late.is_told]
                for late in held:
                    late.is_told = True
                return one
            # A file that only the next listing can let through is waited for: the listing is not the file's fault.
            ready_at = one.due_at() if one.due_at() > now else now + one.settle_s
            self.wake_at = min(self.wake_at, now + one.settle_s if one.tries else ready_at)
            if now < one.seen_at + self._patience_s or one.due_at() <= now:
                return None
            held.append(one)
        return None

    def done(self, one: Candidate) -> None:
        """It was taken, or will not be."""
        self._names.discard(one.name)
        if one in self._ahead:
            self._ahead.remove(one)

    def changed(self, one: Candidate, look: Look | None, now: float) -> None:
        """It was written to while it was read: it settles anew."""
        one.look, one.same_since, one.tries, one.try_at = look, now, 0, 0.0

    def failed(self, one: Candidate, now: float) -> bool:
        """It could not be read; whether it is to be given up, because it has not changed for so long."""
        if now >= one.same_since + self._patience_s:
            return True
        one.tries += 1
        wait_s = one.settle_s * 2 ** min(one.tries, _TRIES_DOUBLED_MAX)
        one.try_at = min(now + wait_s, one.same_since + self._patience_s)
        return False

    def _refill(self, now: float) -> None:
        while len(self._ahead) < AHEAD and self._later:
            order, seen_at, listing = heapq.heappop(self._later)
            is_interrupted, name = not order[0], order[1][1]
            one = Candidate(name, seen_at, listing, self._settled(name), is_interrupted)
            if self._is_there(one, now):
                self._ahead.append(one)

    def _is_there(self, one: Candidate, now: float) -> bool:
        """Look at it; when it has changed it settles anew."""
        look = self._look(one.name)
        if look is None:
            self.gone.append(one)
            self.done(one)
            return False
        if look != one.look:
            self.changed(one, look, now)
        return True
