"""What may be pushed: the checks that a chunk passes before anything is done with it."""

import math
import operator
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spool.errors import FramesRejected
from spool.model import Stream

CHUNK_IDX_MAX = 1_000_000_000
"""The highest chunk_idx; keeps ``chunk_idx * chunk_size`` far inside 64 bits for every Zarr reader."""

CHUNK_BYTES_MAX = 1 << 31
"""The most bytes of frames in one chunk: it is compressed and sent as a whole, from memory."""


def accept_frames(frames: ArrayLike, stream: Stream) -> NDArray[np.uint8]:
    """The frames as uint8 ``(n, height, width)``, not copied; a single ``(height, width)`` becomes n = 1.

    Raises:
        FramesRejected: they are not what this stream can hold.
    """
    try:
        array = np.asarray(frames)
    except Exception as error:  # an object may say it is an array, and then raise anything at all
        raise FramesRejected(f"frames are not an array: {error!r:.300}") from error
    if isinstance(frames, np.ma.MaskedArray) and np.ma.is_masked(frames):
        raise FramesRejected(
            "some pixels of the frames are masked, and a mask cannot be stored",
            hint="Nothing was stored. Say what masked pixels are to be: frames.filled(0).",
        )
    if array.dtype != np.uint8:
        raise FramesRejected(
            f"frames are {array.dtype}, not uint8",
            hint="Nothing was stored. Scale the frames to 8 bits yourself: framespool never casts silently.",
        )
    if array.ndim == 2:  # noqa: PLR2004 - one frame, (height, width)
        array = array[np.newaxis]
    if array.ndim != 3:  # noqa: PLR2004 - (n, height, width)
        raise FramesRejected(f"frames have shape {array.shape}, not (n, height, width) or (height, width)")
    n, height, width = array.shape
    if array.size > CHUNK_BYTES_MAX:
        raise FramesRejected(
            f"{n} x {height} x {width} frames are {array.size:,} bytes; a chunk holds up to {CHUNK_BYTES_MAX:,}",
            hint="Nothing was stored. Push fewer frames at a time.",
        )
    if 0 in array.shape:
        raise FramesRejected(f"frames have shape {array.shape}: there is nothing in them")
    if n > stream.settings.chunk_size:
        raise FramesRejected(
            f"{n} frames in one chunk, but the stream's chunk_size is {stream.settings.chunk_size}",
            hint="Nothing was stored. Push fewer frames at a time, or initialize with a larger chunk_size.",
        )
    require_same_size(stream, height, width)
    return array


def require_same_size(stream: Stream, height: int, width: int) -> None:
    """Refuse frames of another size than the stream's.

    Raises:
        FramesRejected: the sizes differ.
    """
    if stream.height is not None and (height, width) != (stream.height, stream.width):
        raise FramesRejected(
            f"frames are {height} x {width}, but this stream's are {stream.height} x {stream.width}",
            hint="Nothing was stored. Start a new stream for another region of interest or binning.",
        )


def accept_chunk_idx(chunk_idx: SupportsIndex) -> int:
    """The chunk_idx as an ``int``.

    Raises:
        FramesRejected: it is not a whole number from 0 to `CHUNK_IDX_MAX`.
    """
    try:
        idx = operator.index(chunk_idx)
    except TypeError:
        idx = -1
    if isinstance(chunk_idx, bool) or not 0 <= idx <= CHUNK_IDX_MAX:
        raise FramesRejected(
            f"chunk_idx is {_short(chunk_idx)}, not a whole number from 0 to {CHUNK_IDX_MAX}",
            hint="Nothing was stored; the frames are still yours. Count chunks 0, 1, 2, …",
        )
    return idx


def accept_capture_start(capture_start_ms_utc: float | None, *, now_ms: int, n: int, fps: float) -> int:
    """The capture time of the first frame, milliseconds UTC by the host clock.

    Without one, the chunk is taken to have just finished: start = now - n / fps.

    Raises:
        FramesRejected: it is not a finite number of milliseconds after 1970.
    """
    if capture_start_ms_utc is None:
        return int(now_ms - n * 1000 / fps)
    try:
        start = float(capture_start_ms_utc)
    except (TypeError, ValueError, OverflowError):
        start = math.nan
    if not (math.isfinite(start) and 0 <= start < 2**53):
        raise FramesRejected(
            f"capture_start_ms_utc is {_short(capture_start_ms_utc)}, not milliseconds since 1970 in UTC",
            hint="Nothing was stored; the frames are still yours. Pass time.time() * 1000, or leave it out.",
        )
    return int(start)


def _short(value: object) -> str:
    """What was given, as far as a person wants to read it."""
    try:
        return repr(value)[:100]
    except ValueError:  # an int of thousands of digits
        return f"a {type(value).__name__} that is far too large"
