"""What every camera does alike: started, asked for frames, and let go of, whatever its driver raises meanwhile.

A camera of one's own is a `Camera` with `begin` and `next_frame`; docs/examples/own_source is a whole one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uploader.sources.base import SourceError, summary
from uploader.sources.drivers import Incomplete, Notices, reason_of, speaking_to
from uploader.sources.frame_numbers import FrameNumbers
from uploader.sources.live import Grabbed, Notice, SourceLost


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What is known of a camera once it has started.

    Attributes:
        name: its model and serial number.
        shape: ``(height, width)`` of its frames, pixels.
        frame_rate: frames per second; ``None`` if it cannot say.
        facts: for the ledger, as JSON takes them.
    """

    name: str
    shape: tuple[int, int]
    frame_rate: float | None
    facts: Mapping[str, Any]


class Camera(ABC):
    """A `uploader.sources.live.LiveSource`, of which the driver's part is missing.

    Args:
        kind: what it is, for people.
        wish: which one was asked for; empty for the first.

    Attributes:
        wish: likewise.
    """

    def __init__(self, kind: str, wish: str) -> None:
        self._kind, self.wish = kind, wish
        self._begun: Begun | None = None
        self._is_started = False
        self._is_told = False
        self._undoing: list[Callable[[], object]] = []
        self._notices = Notices()
        self._incomplete = Incomplete(self._notices)

    @property
    def name(self) -> str:
        """See `LiveSource`."""
        return self._begun.name if self._begun is not None else f"{self._kind} {self.wish}".strip()

    @property
    def shape(self) -> tuple[int, int]:
        """See `LiveSource`."""
        return self._known.shape

    @property
    def frame_rate(self) -> float | None:
        """See `LiveSource`."""
        return self._known.frame_rate

    @property
    def is_over(self) -> bool:
        """See `LiveSource`."""
        return False

    def describe(self) -> str:
        """See `LiveSource`."""
        if self._begun is None:
            return f"{self._kind} {self.wish or '(the first one)'}"
        return summary(f"{self._kind} {self.name}", self.shape, frame_rate=self.frame_rate)

    def facts(self) -> Mapping[str, Any]:
        """See `LiveSource`."""
        return {} if self._begun is None else self._begun.facts

    def start(self) -> None:
        """See `LiveSource`."""
        self.stop()
        try:
            with speaking_to(self.name):
                self._begun = self.begin()
        except BaseException:
            self.stop()
            raise
        self._is_started = True

    def grab(self, timeout_s: float) -> Grabbed | None:
        """See `LiveSource`."""
        if not self._is_started:
            raise SourceLost(f"{self.name} is not started", hint="Start it first.")
        with speaking_to(self.name):
            return self.next_frame(timeout_s)

    def stop(self) -> None:
        """See `LiveSource`."""
        self._is_started = False
        self._incomplete.tell(self.name)
        # Each is tried: what a camera that is gone refuses must not keep the rest from being let go of.
        while self._undoing:
            try:
                self._undoing.pop()()
            except Exception as error:  # noqa: BLE001 - whatever the driver raises
                words = f"{self.name} could not be let go of as it should: {reason_of(error)}"
                self._notices.add(Notice(what="driver_error", words=words))

    def notices(self) -> Sequence[Notice]:
        """See `LiveSource`."""
        return self._notices.take()

    @abstractmethod
    def begin(self) -> Begun:
        """Open the device, set it up and let it give frames; say by `undo` how each of that is undone.

        Whatever it raises becomes a `SourceLost`, except a `SourceError`.
        """

    @abstractmethod
    def next_frame(self, timeout_s: float) -> Grabbed | None:
        """See `LiveSource.grab`; whatever it raises becomes a `SourceLost`, except a `SourceError`."""

    def tell_if_uncounted(self, numbers: FrameNumbers | None = None) -> None:
        """Say once that what the camera or its driver drops cannot be known, where that is so."""
        if self._is_told or (numbers is not None and numbers.counts):
            return
        self._is_told = True
        words = (
            f"{self.name} does not number its frames, so that those which it or its driver drops cannot be told. "
            "All that come are recorded."
        )
        self._notices.add(Notice(what="frames_not_counted", words=words))

    def undo(self, step: Callable[[], object]) -> None:
        """Do this when the camera is stopped, before all that was said earlier; it may fail."""
        self._undoing.append(step)

    @property
    def _known(self) -> Begun:
        if self._begun is None:
            raise SourceError(f"{self.name} was not started yet")
        return self._begun
