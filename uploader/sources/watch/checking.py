"""Files that were taken are looked at again: one that holds something else now is told of, never taken again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from uploader.outside import printable
from uploader.sources.watch.options import is_plain
from uploader.sources.watch.reading import ChangedWhileRead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from spool import TakenFile
    from uploader.sources.watch.looks import Look, Place
    from uploader.sources.watch.reading import Reader
    from uploader.sources.watch.taken import Taken
    from uploader.sources.watch.telling import Telling

_LATEST: Final = 256
_PORTION: Final = 64
_SWEEP_S: Final = 0.005


class Checking:
    """Looks at a few files after each listing: the latest, and others in turn.

    Args:
        taken: the files.
        place: where they are.
        reader: for their digests.
        telling: where to tell of them.
        settle_s: how long a file must not have changed before it is read again.
        clock: the steady clock, seconds.

    Attributes:
        suspects: files that look as if they had been written to, as they look, and since when.
        wake_at: when the next of them may be read.
    """

    def __init__(
        self,
        taken: Taken,
        place: Place,
        reader: Reader,
        telling: Telling,
        *,
        settle_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._taken = taken
        self._place = place
        self._reader = reader
        self._telling = telling
        self._settle_s = settle_s
        self._clock = clock
        self._turn = 0
        self.suspects: dict[str, tuple[Look, float]] = {}
        self.wake_at = float("inf")

    def sweep(self) -> None:
        """Look at some of them, for some milliseconds.

        Raises:
            SourceLost: the folder is not there.
        """
        began = self._clock()
        self._look_at(reversed(self._taken.latest(_LATEST)), until=began + _SWEEP_S / 2)
        portions = -(-len(self._taken) // _PORTION)
        for _ in range(portions):
            self._turn = (self._turn + 1) % portions
            self._look_at(self._taken.slice(self._turn * _PORTION, _PORTION), until=float("inf"))
            if self._clock() >= began + _SWEEP_S:
                return

    def next(self, now: float) -> Generator[None, None, None] | None:
        """Read one again that has not changed for long enough."""
        self.wake_at = float("inf")
        for name, (look, since) in self.suspects.items():
            if now >= since + self._settle_s:
                return self._compare(name, look)
            self.wake_at = min(self.wake_at, since + self._settle_s)
        return None

    def tell_changed(self, taken: TakenFile, look: Look, found: str | None) -> None:
        """A file holds something else than what was taken; ``found`` is its digest, if it still is a file."""
        self._taken.seen(taken.name, look.size, look.modified_ns)
        name = printable(taken.name)
        words = (
            f"{name} was written anew after it was taken. What was taken of it stays as it is; what it holds now"
            " is not taken. Give the new one another name"
        )
        detail = {"taken_sha256": taken.sha256, "found_sha256": found, "taken_frames": taken.index + 1}
        self._telling.tell(self._clock(), "file_changed", name, words, **detail)

    def _look_at(self, names: Iterable[str], *, until: float) -> None:
        for name in names:
            # What the ledger of another system tells may be a path here.
            if is_plain(name) and name not in self.suspects and self._taken.is_finished(name):
                look = self._place.look(name)
                if look is not None and not self._taken.looks_like(name, look.size, look.modified_ns):
                    self.suspects[name] = (look, self._clock())
            if self._clock() >= until:
                return

    def _compare(self, name: str, look: Look) -> Generator[None, None, None]:
        taken = self._taken.file(name)
        found: str | None = None
        if look.kind == "file":
            try:
                found = yield from self._reader.digest(name, look)
            except (OSError, ChangedWhileRead):
                # Its writer has it, or it is gone: it is looked at again in its turn.
                self._place.modified_ns()
                del self.suspects[name]
                return
        del self.suspects[name]
        if found == taken.sha256:
            self._taken.seen(name, look.size, look.modified_ns)
        else:
            self.tell_changed(taken, look, found)
