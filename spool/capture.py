"""What a source says of a chunk's frames: its own numbers and times, its files, and what was lost before them.

It is a fact of the chunk, as its capture time is: it stands in the shard's description, in the index and in the
ledger, so that an audit reaches back to the camera, and a watched file is taken once whatever is killed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Self


class LossCause(StrEnum):
    """Where a frame was lost that never became part of a chunk."""

    SOURCE = "source"
    """The camera or its driver dropped it: its own frame numbers skip it."""
    OVERFLOW = "overflow"
    """It came while all the room for frames in memory was taken: the disk, or the computer, was too slow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Frames that were lost one after the other.

    Attributes:
        cause: where.
        frames: how many.
        at_ms: when that was noticed, milliseconds UTC by the host's clock.
        after: the source's number of the last frame before them; ``None`` when it does not count.
    """

    cause: LossCause
    frames: int
    at_ms: int
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenFile:
    """The file that a frame was taken from.

    Attributes:
        name: below the folder that is watched, with ``/``.
        size: bytes.
        modified_ns: when it was last written, nanoseconds since the epoch, as its file system says.
        sha256: of its bytes, in hex.
        index: which of its frames it is, counted from 0.
        frames: how many it has; by this a file of which only some are in the spool is known, and gone on with.
    """

    name: str
    size: int
    modified_ns: int
    sha256: str
    index: int = 0
    frames: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What a source says of a chunk.

    Attributes:
        first: the source's own number of the chunk's first frame; ``None`` when it does not count.
        last: that of its last one.
        losses: what was lost since the chunk before: before its first frame, or between its frames.
        device_ns: when the first frame was exposed, nanoseconds on the source's own clock; ``None`` without one.
        offset_ns: what was added to that for nanoseconds since the Unix epoch on the host's clock.
        files: where its frames were taken from, one for each, in order; empty for a camera.
    """

    first: int | None = None
    last: int | None = None
    losses: tuple[Loss, ...] = ()
    device_ns: int | None = None
    offset_ns: int | None = None
    files: tuple[TakenFile, ...] = ()

    def facts(self) -> dict[str, Any]:
        """As JSON gives it back, to the type: a proof holds what was told against what is written."""
        told: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return told

    @classmethod
    def of(cls, facts: Mapping[str, Any] | None) -> Self | None:
        """What `facts` has told; ``None`` of ``None``.

        Raises:
            TypeError, ValueError, KeyError: it is something else.
        """
        if facts is None:
            return None
        told = dict(facts)
        losses = tuple(Loss(**{**one, "cause": LossCause(one["cause"])}) for one in told.pop("losses"))
        files = tuple(TakenFile(**one) for one in told.pop("files"))
        found = cls(losses=losses, files=files, **told)
        if not all(map(_is_whole_or_none, (found.first, found.last, found.device_ns, found.offset_ns))):
            raise ValueError("a source's number is no number")
        if not all(map(_is_sound_loss, losses)) or not all(map(_is_sound_file, files)):
            raise ValueError("what a source has told is not what it can be")
        return found


def _is_sound_loss(loss: Loss) -> bool:
    return _is_whole(loss.frames) and loss.frames > 0 and _is_whole(loss.at_ms) and _is_whole_or_none(loss.after)


def _is_sound_file(file: TakenFile) -> bool:
    texts: tuple[object, ...] = (file.name, file.sha256)
    numbers = (file.size, file.modified_ns, file.index, file.frames)
    return all(isinstance(one, str) for one in texts) and all(map(_is_whole, numbers))


def _is_whole_or_none(value: object) -> bool:
    return value is None or _is_whole(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
