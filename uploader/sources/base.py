"""What every source of frames promises, and the one error it raises.

Invariants:

1. Every frame is `uint8`, `(H, W)`, C-contiguous, and belongs to whoever received it.
2. All frames of a source have the same shape. One that differs is an error, never cropped or padded.
3. `frames()` starts from the first frame each time it is called.
4. A decoder's own exceptions never leave this package: they become `SourceError`, at one border.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from uploader.errors import UploaderError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

Frame: TypeAlias = NDArray[np.uint8]
"""One image: `uint8`, `(H, W)`, C order."""

IMAGE_BYTES_MAX = 2**30
"""No camera's image comes near this; a damaged header may ask for terabytes."""

_REASON_CHARS = 500


class SourceError(UploaderError):
    """The source cannot be opened or read; `hint` is empty where there is nothing to be done."""

    hint = ""


@runtime_checkable
class Source(Protocol):
    """A finite or endless sequence of frames of one shape that can be read again from its start."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """Short name for people, such as the file's or the folder's."""

    @property
    def frame_rate(self) -> float | None:
        """Frames per second as recorded in the source; None if it does not say."""

    @property
    def length(self) -> int | None:
        """Number of frames; None if it is endless or not known before reading."""

    @property
    def shape(self) -> tuple[int, int]:
        """`(height, width)` of every frame, in pixels."""

    def describe(self) -> str:
        """One line for people: what this is, how many frames, how large, how fast."""

    def frames(self) -> Iterator[Frame]:
        """Yield every frame, from the first.

        Returns:
            `uint8` arrays `(H, W)`, C-contiguous and writable. The receiver owns each one: the source keeps
            no reference to it and never writes to it again.

        Raises:
            SourceError: A frame cannot be read, or its shape differs from `shape`.
        """


@runtime_checkable
class TimedSource(Source, Protocol):
    """A source that may know when its frames were captured."""

    __slots__ = ()

    @property
    def has_times(self) -> bool:
        """Whether it does, for every frame."""

    def timed_frames(self) -> Iterator[tuple[Frame, float]]:
        """Yield every frame as `frames` does, and how long after the first one it was captured, in milliseconds.

        Only for who has seen `has_times`. Times never go back, and the first is 0.

        Raises:
            SourceError: as `frames`; or a frame has no time, or one that goes back.
        """


def times_of(source: Source) -> TimedSource | None:
    """The source as one that knows its times, or `None`."""
    return source if isinstance(source, TimedSource) and source.has_times else None


def since_first(
    timed: Iterable[tuple[Frame, float | None]], where: str
) -> Generator[tuple[Frame, float], None, None]:
    """Count times from the first frame's, and refuse what is no order of events.

    Args:
        timed: frames with their times in milliseconds, from any start.
        where: The file, for messages.

    Raises:
        SourceError: A frame has no time, or one before the last one's.
    """
    first = last = None
    for number, (frame, time_ms) in enumerate(timed):
        if time_ms is None or not math.isfinite(time_ms) or (last is not None and time_ms < last):
            said = "has no time" if time_ms is None else f"has the time {time_ms:g} ms after one of {last} ms"
            raise SourceError(
                f"{where}, frame {number}: {said}",
                hint="Give the frames per second (--fps): its own times are left alone then.",
            )
        first, last = time_ms if first is None else first, time_ms
        yield frame, time_ms - first


def with_times(
    frames: Iterable[Frame], times_ms: Sequence[float], where: str
) -> Generator[tuple[Frame, float], None, None]:
    """Pair frames with the times that were noted for them; see `since_first`."""
    pairs = ((frame, times_ms[k] if k < len(times_ms) else None) for k, frame in enumerate(frames))
    yield from since_first(pairs, where)


def usual_rate(times_ms: NDArray[np.float64]) -> float | None:
    """Frames per second by the usual distance of two times; `None` when they tell of none."""
    usual_ms = float(np.median(np.diff(times_ms))) if len(times_ms) > 1 else 0.0
    return 1000 / usual_ms if usual_ms > 0 else None


def same_shape(frame: Frame, expected: tuple[int, int], where: str) -> Frame:
    """Return `frame` unchanged if its shape is the source's, else refuse it.

    Args:
        frame: `uint8`, `(H, W)`.
        expected: `(height, width)` of the source's first frame.
        where: The file and frame, for the message.

    Raises:
        SourceError: The shape differs; the message names both sizes.
    """
    if frame.shape == expected:
        return frame
    height, width = frame.shape
    raise SourceError(
        f"{where}: this frame is {height} x {width} (height x width), but the first one is "
        f"{expected[0]} x {expected[1]}",
        hint="All frames of a stream must have one size. Stream the frames of each size separately.",
    )


def bearable(shape: tuple[int, ...], itemsize: int, where: str, *, most: int = IMAGE_BYTES_MAX) -> None:
    """Refuse pixels that would take more memory than any real ones, before it is asked for.

    Args:
        shape: of the array that is about to be decoded.
        itemsize: bytes of one of its elements.
        where: The file and what in it, for the message.
        most: Bytes that it may have.

    Raises:
        SourceError: It is larger.
    """
    if math.prod(shape) * itemsize > most:
        raise SourceError(
            f"{where}: {' x '.join(map(str, shape))} samples of {itemsize} bytes are more than any image has",
            hint="Its header may be damaged: open it in another program to see whether it is whole.",
        )


def summary(
    kind: str,
    shape: tuple[int, int],
    *,
    length: int | None = None,
    frame_rate: float | None = None,
    has_times: bool = False,
) -> str:
    """Return the line that `describe()` shows: kind, number of frames, size, rate, and whether they have times."""
    parts = [kind]
    if length is not None:
        parts.append(f"{length} frame" if length == 1 else f"{length} frames")
    parts.append(f"{shape[0]} x {shape[1]} px")
    if frame_rate is not None:
        parts.append(f"{frame_rate:g} frames/s")
    if has_times:
        parts.append("with times")
    return ", ".join(parts)


@contextmanager
def decoding(where: str) -> Iterator[None]:
    """Translate whatever a decoder raises into a `SourceError` that names `where`.

    Running out of memory is not the file's fault and passes through, as do our own errors.
    """
    try:
        yield
    except (SourceError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise SourceError(f"{where}: no such file", hint="Check the path.") from error
    except PermissionError as error:
        raise SourceError(f"{where}: not allowed to read it", hint="Check the file's permissions.") from error
    # Decoders of damaged files raise almost anything: SyntaxError, struct.error, EOFError, KeyError.
    except Exception as error:
        # They also repeat what they have found in the file, at any length.
        reason = str(error).strip()[:_REASON_CHARS] or type(error).__name__
        raise SourceError(
            f"{where}: cannot be read: {reason}",
            hint="Open it in another program to see whether it is whole.",
        ) from error


def missing_extra(package: str, purpose: str, extra: str = "media") -> SourceError:
    """Return the error for an optional decoder that is not installed.

    Args:
        package: Its name on the package index.
        purpose: What it is needed for, as in "read a video".
        extra: The extra of framespool that brings it.
    """
    return SourceError(
        f"{package} is needed to {purpose}, and it is not installed",
        hint=f'Install the extra: pip install "framespool[{extra}]"',
    )
