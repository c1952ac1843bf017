"""The trouble a stream is in, told once and not at every try."""

import time
from dataclasses import dataclass
from enum import Enum, auto


class Turn(Enum):
    """What one more failed try means for what is told."""

    BEGINS = auto()
    CHANGES = auto()
    """Other words, the same kind of trouble."""
    TURNS = auto()
    """Trouble of another kind: an outage that was none before, or a key that is refused now."""
    GOES_ON = auto()


@dataclass(slots=True)
class Trouble:
    """The trouble a stream is in: since when, how often tried, and what was last said about it.

    Attributes:
        kind: whether it is an outage, and whether the key is refused; ``None`` while an earlier worker knew it.
    """

    since_s: float | None = None
    tries: int = 0
    words: str | None = None
    kind: tuple[bool, bool] | None = None

    @property
    def lasted_s(self) -> float:
        """How long it has lasted by now, seconds."""
        return 0.0 if self.since_s is None else round(time.monotonic() - self.since_s, 3)

    def resume(self, words: str | None) -> None:
        """Go on with what an earlier worker, or an earlier turn, has noted."""
        if words is not None and self.since_s is None:
            self.since_s, self.words = time.monotonic(), words

    def add(self, words: str, kind: tuple[bool, bool]) -> Turn:
        """Count one more failed try."""
        self.tries += 1
        before, self.kind = self.kind, kind
        if words == self.words:
            return Turn.GOES_ON
        self.words = words
        if self.since_s is not None:
            return Turn.CHANGES if kind == before else Turn.TURNS
        self.since_s = time.monotonic()
        return Turn.BEGINS
