"""Notices, gathered: a thousand broken files are told of in a few lines, and none is uncounted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from uploader.sources.live import Notice

if TYPE_CHECKING:
    from collections.abc import Sequence

SINGLE_MAX: Final = 10
"""So many notices of a kind are told one by one; what follows within the time below is only counted."""
GATHERED_S: Final = 60.0


@dataclass(slots=True)
class _Kind:
    since: float
    told: int = 0
    gathered: int = 0
    first: str = ""
    last: str = ""


class Telling:
    """What is to be told, until somebody asks."""

    def __init__(self) -> None:
        self._waiting: list[Notice] = []
        self._kinds: dict[str, _Kind] = {}

    def tell(self, now: float, what: str, file: str, words: str, **detail: Any) -> None:  # noqa: ANN401 - as JSON takes it
        """Something happened to a file.

        Args:
            now: on the steady clock, seconds.
            what: a short name for machines.
            file: its name.
            words: for people.
            detail: figures, as JSON takes them.
        """
        kind = self._kinds.setdefault(what, _Kind(now))
        if now - kind.since >= GATHERED_S:
            self._close(what, kind)
            kind = self._kinds[what] = _Kind(now)
        if kind.told < SINGLE_MAX:
            kind.told += 1
            self._waiting.append(Notice(what=what, words=words, detail={"file": file, **detail}))
            return
        kind.gathered += 1
        kind.first, kind.last = kind.first or file, file

    def take(self, now: float, *, everything: bool = False) -> Sequence[Notice]:
        """What has not been told yet; ``everything``: also what is still being counted."""
        for what, kind in list(self._kinds.items()):
            if everything or now - kind.since >= GATHERED_S:
                self._close(what, kind)
                del self._kinds[what]
        waiting, self._waiting = self._waiting, []
        return waiting

    def _close(self, what: str, kind: _Kind) -> None:
        if not kind.gathered:
            return
        words = f"The same happened to {kind.gathered} further files, from {kind.first} to {kind.last}"
        detail = {"files": kind.gathered, "first": kind.first, "last": kind.last}
        self._waiting.append(Notice(what=what, words=words, detail=detail))
