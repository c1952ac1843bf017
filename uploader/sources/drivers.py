"""The border to the makers' drivers: what they raise becomes ours, and what they find is told in one form."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from uploader.sources.base import SourceError
from uploader.sources.live import Notice, SourceLost

QUEUE_S: Final = 2.0  # of frames that a driver holds for us: the grab thread may be late by so much
_QUEUE_MIN, _QUEUE_MAX, _QUEUE_BYTES_MAX = 16, 512, 256 * 2**20
_REASON_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A device that is there.

    Attributes:
        name: what to record it by, as ``pylon:22334455``.
        says: what it is, for people.
        serial: its serial number, where it has one.
        model: likewise.
    """

    name: str
    says: str
    serial: str | None = None
    model: str | None = None


@contextmanager
def speaking_to(device: str) -> Iterator[None]:
    """Translate whatever a driver raises into a `SourceLost`: a device that does not answer may do so again.

    What is wrong with a setting is found before it is sent; what a driver says nevertheless is about the device.
    """
    try:
        yield
    except (SourceError, MemoryError):
        raise
    except Exception as error:  # each driver has its own tree
        raise SourceLost(
            f"{device} does not do what it was told: {reason_of(error)}",
            hint="Check its cable and power, and that no other program uses it.",
        ) from error


def reason_of(error: BaseException) -> str:
    """What a driver's exception says, on one line."""
    return " ".join(str(error).split())[:_REASON_CHARS] or type(error).__name__


def queue_length(frame_rate: float | None, frame_bytes: int) -> int:
    """How many frames a driver is to hold for us, so that none is dropped while the grab thread waits its turn."""
    wanted = _QUEUE_MIN if frame_rate is None else int(frame_rate * QUEUE_S)
    affordable = _QUEUE_BYTES_MAX // max(frame_bytes, 1)
    return max(_QUEUE_MIN, min(wanted, affordable, _QUEUE_MAX))


def version_of(package: str) -> str | None:
    """Of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:  # it lies on the path without having been installed
        return None


class Notices:
    """What has happened; added to and taken from by different threads."""

    def __init__(self) -> None:
        self._waiting: deque[Notice] = deque()

    def add(self, notice: Notice) -> None:
        """Keep it until it is asked for."""
        self._waiting.append(notice)

    def take(self) -> Sequence[Notice]:
        """All that came since this was last asked."""
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


class Incomplete:
    """Frames that came damaged and are not given: each is a gap in the camera's numbers, and here is why."""

    def __init__(self, notices: Notices) -> None:
        self._notices = notices
        self._count = 0
        self._first: int | None = None
        self._last: int | None = None
        self._reason = ""

    def add(self, number: int | None, reason: str) -> None:
        """One more."""
        if self._count == 0:
            self._first = number
        self._last, self._reason = number, reason.rstrip(". ")
        self._count += 1

    def tell(self, device: str) -> None:
        """Make one notice of all of them; called when a whole frame comes, or none."""
        if self._count == 0:
            return
        frames = "1 frame" if self._count == 1 else f"{self._count} frames"
        self._notices.add(
            Notice(
                what="frames_incomplete",
                words=f"{frames} of {device} came incomplete and cannot be recorded: {self._reason}. "
                "Check the cable, the network card's settings (jumbo frames) and the load of this machine.",
                detail={
                    "frames": self._count,
                    "first_number": self._first,
                    "last_number": self._last,
                    "reason": self._reason,
                },
            )
        )
        self._count = 0
