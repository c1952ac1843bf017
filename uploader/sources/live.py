"""What a live source promises: a camera, or a folder that fills. It gives each frame once, when it comes.

A recording can be read again from its start (`uploader.sources.base.Source`); what is live cannot. So whoever
takes from it never waits for a disk, and every frame that is missing is counted: the camera's own frame numbers
tell of it.

Invariants:

1. Every frame is ``uint8`` ``(H, W)``, C-contiguous, and belongs to whoever received it.
2. All frames of a source have the shape that it says. One that differs is an error, never cropped or padded.
3. `start`, `grab` and `stop` are called by one thread, `stop` also after an error, and `start` again after `stop`.
4. What a driver raises never leaves the source: it becomes `SourceError`, or `SourceLost` where it may come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from uploader.sources.base import SourceError

if TYPE_CHECKING:
    from spool import TakenFile
    from uploader.sources.base import Frame
    from uploader.sources.pixels import Scaling


class SourceLost(SourceError):
    """The source is gone, and may come back: a camera was unplugged, a share is away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grabbed:
    """A frame, with what its source says of it.

    Attributes:
        frame: ``uint8`` ``(H, W)``.
        number: the source's own count of it, from any start; one that is skipped is a frame lost by the source.
            It begins anew with each `LiveSource.start`. ``None`` where the source does not count.
        device_ns: when it was exposed, nanoseconds on the source's own steady clock; ``None`` without one.
        captured_at_ms: likewise, milliseconds UTC by the host's clock, where the source knows that itself; else it
            follows from ``device_ns``, or is the moment at which the frame came.
        file: where it was taken from.
    """

    frame: Frame
    number: int | None = None
    device_ns: int | None = None
    captured_at_ms: float | None = None
    file: TakenFile | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that happened at the source: it is told to the operator, and kept in the ledger.

    Attributes:
        what: a short name for machines, such as ``file_changed``.
        words: for people: what happened, what is safe, what to do.
        detail: figures and names, as JSON takes them.
    """

    what: str
    words: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class LiveSource(Protocol):
    """Gives frames as they come; see the module's invariants."""

    @property
    def name(self) -> str:
        """Short name for people, and for the stream: the camera's model and serial number, or the folder's."""

    @property
    def shape(self) -> tuple[int, int] | None:
        """``(height, width)`` of every frame, in pixels; known once `start` has returned.

        ``None`` before that, and for a folder that is empty yet: there the first frame tells.
        """

    @property
    def frame_rate(self) -> float | None:
        """Frames per second that the source will give; known once `start` has returned; None if it cannot say."""

    @property
    def is_over(self) -> bool:
        """Whether no frame will ever come again. A camera's never is; a folder's may be, if it was told so."""

    def describe(self) -> str:
        """One line for people: what this is, how large, how fast."""

    def facts(self) -> Mapping[str, Any]:
        """What the ledger keeps of it: model, serial number, driver, settings as they are; as JSON takes them."""

    def start(self) -> None:
        """Begin to give frames.

        Raises:
            SourceLost: it is not there now; trying again later may help.
            SourceError: it cannot be used as it was asked for.
        """

    def grab(self, timeout_s: float) -> Grabbed | None:
        """The next frame; ``None`` when none came in that time, or the source is over.

        Raises:
            SourceLost: it is gone. `stop`, then `start` until that works.
            SourceError: it gives something that cannot be recorded.
        """

    def stop(self) -> None:
        """Give no more frames, and let go of the device. Never raises; may be called at any time, and twice."""

    def notices(self) -> Sequence[Notice]:
        """What has happened since this was last asked that somebody should know."""


@runtime_checkable
class Remembering(Protocol):
    """A live source that gives each of its files once, whatever is killed meanwhile.

    It can wait, as no camera can: who has no room for its frames grabs none, and nothing is lost by that. What was
    grabbed counts as taken until the process ends; after that only what `remember` tells.
    """

    def remember(self, taken: Iterable[TakenFile]) -> None:
        """What is in the spool already, in order; called before the first `LiveSource.start`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a live source is to be set up; ``None`` for as it is.

    Attributes:
        fps: frames per second.
        region: ``(x, y, width, height)`` of the sensor, in pixels after binning.
        binning: so many pixels become one, each way.
        scaling: how deeper pixels become ``uint8``; without it they are refused.
        settings: the device's own, by their names.
    """

    fps: float | None = None
    region: tuple[int, int, int, int] | None = None
    binning: int | None = None
    scaling: Scaling | None = None
    settings: Mapping[str, str] = field(default_factory=dict)


OpensLive = Callable[[str, Wanted], LiveSource]
"""From what follows the colon of ``scheme:rest`` to a source that is ready to be started; raises `SourceError`."""
