"""What became of a source's frames before the spool: how many came, which were lost, and when it was away.

Told again from the chunks' captures and the ledger's rows of the stream; see `spool.capture`. Whoever records from
a source adds these rows with `Spool.record`:

* ``source_started``: ``name`` and ``facts``, what the source says of itself; again when recording goes on.
* ``source_lost``, ``source_back``: it was away in between; ``words`` say why.
* ``source_notice``: ``what``, ``words`` and ``detail`` of something that a person should know.
* ``source_stopped``: recording has ended; ``losses`` are those behind the last chunk.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

from spool.capture import Capture, Loss, LossCause
from spool.model import Chunk, Event

LISTED_MAX = 1000
"""So many losses, pauses and notices are told one by one; the sums always tell the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """A time in which the source was away; ``ended_at_ms`` is ``None`` while nobody saw it come back."""

    began_at_ms: int
    ended_at_ms: int | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A notice of the source."""

    at_ms: int
    what: str
    words: str


class SourceStory:
    """Takes in chunks and events in order; of each kind only the first `LISTED_MAX` are kept.

    Attributes:
        name: of the source, as it said last; ``None`` when none was recorded from.
        frames: how many of its frames are in chunks.
        files: how many of those were taken from files.
        lost: how many were lost, by cause.
        losses: one by one.
        pauses: one by one, and ``pause_count`` in all; likewise ``notices``.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.frames = self.files = 0
        self.lost = dict.fromkeys(LossCause, 0)
        self.losses: list[Loss] = []
        self.pauses: list[Pause] = []
        self.notices: list[Told] = []
        self.pause_count = self.notice_count = 0

    @property
    def is_told(self) -> bool:
        """Whether there is anything to tell: the stream was recorded from a source that says something."""
        return self.name is not None or self.frames > 0

    @property
    def captured(self) -> int:
        """How many frames the source is known to have captured: what is in chunks, and what was lost."""
        return self.frames + sum(self.lost.values())

    def add_chunk(self, chunk: Chunk) -> None:
        """Take in the next chunk."""
        if chunk.capture is not None:
            self.frames += chunk.n
            self.files += len(chunk.capture.files)
            self._add_losses(chunk.capture)

    def add_event(self, event: Event) -> None:
        """Take in the next row of the stream."""
        detail = event.detail
        words = str(detail.get("words", ""))
        if event.event == "source_started":
            self.name = str(detail.get("name", ""))
            self._end_pause(event.at_ms)
        elif event.event == "source_lost":
            self._begin_pause(Pause(began_at_ms=event.at_ms, ended_at_ms=None, words=words))
        elif event.event == "source_back":
            self._end_pause(event.at_ms)
        elif event.event == "source_notice":
            self.notice_count += 1
            if len(self.notices) < LISTED_MAX:
                self.notices.append(Told(at_ms=event.at_ms, what=str(detail.get("what", "")), words=words))
        elif event.event == "source_stopped":
            self._add_losses(Capture.of({**Capture().facts(), "losses": detail.get("losses", [])}))

    def to_json(self) -> dict[str, Any] | None:
        """As the audit's JSON shows it; times in milliseconds UTC by the host's clock."""
        if not self.is_told:
            return None
        told: dict[str, Any] = {
            "name": self.name,
            "frames_captured": self.captured,
            "frames_spooled": self.frames,
            "frames_lost": {cause.value: count for cause, count in self.lost.items()},
            "files": self.files,
            "losses": [asdict(one) for one in self.losses],
            "pauses": [asdict(one) for one in self.pauses],
            "pause_count": self.pause_count,
            "notices": [asdict(one) for one in self.notices],
            "notice_count": self.notice_count,
        }
        # To the type, as with `Capture.facts`.
        plain: dict[str, Any] = json.loads(json.dumps(told))
        return plain

    def _add_losses(self, capture: Capture | None) -> None:
        for loss in () if capture is None else capture.losses:
            self.lost[loss.cause] += loss.frames
            if len(self.losses) < LISTED_MAX:
                self.losses.append(loss)

    def _begin_pause(self, pause: Pause) -> None:
        self.pause_count += 1
        if len(self.pauses) < LISTED_MAX:
            self.pauses.append(pause)

    def _end_pause(self, at_ms: int) -> None:
        if self.pauses and self.pauses[-1].ended_at_ms is None and self.pause_count == len(self.pauses):
            last = self.pauses.pop()
            self.pauses.append(Pause(began_at_ms=last.began_at_ms, ended_at_ms=at_ms, words=last.words))
