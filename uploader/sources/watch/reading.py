"""From a finished file to frames: opened once, hashed, decoded to its end before its first frame is given.

Images and small stacks are decoded from the very bytes that were hashed. What is larger is read again from the
disk, and that it has not changed meanwhile is looked at before and after.
"""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from spool import TakenFile
from uploader.sources.base import Frame, SourceError
from uploader.sources.images import IMAGE_SUFFIXES, TIFF_SUFFIXES, decode_image
from uploader.sources.live import Grabbed
from uploader.sources.tiff import count_pages, decode_pages
from uploader.sources.video import VIDEO_SUFFIXES, open_video
from uploader.sources.watch.looks import Look, look_of, open_to_read
from uploader.sources.watch.recorded import recorded_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from uploader.sources.pixels import Scaling
    from uploader.sources.watch.options import TimeOf

SUFFIXES: Final = IMAGE_SUFFIXES | VIDEO_SUFFIXES
GROWING_SUFFIXES: Final = TIFF_SUFFIXES | VIDEO_SUFFIXES
"""What more frames may come to; an image of another kind is whole as soon as it can be decoded."""

IMAGE_BYTES_MAX: Final = 2**30
STACK_BYTES_MAX: Final = 2**38
_MEMORY_BYTES_MAX: Final = 64 * 2**20
_PIECE_BYTES: Final = 4 * 2**20


class ChangedWhileRead(SourceError):
    """Somebody writes to the file: it is not finished."""


class OtherFile(SourceError):
    """What is there now is not what some frames were taken from already.

    Attributes:
        found: the digest of what is there.
    """

    def __init__(self, found: str) -> None:
        super().__init__("it was written anew after some of its frames were taken")
        self.found = found


class OtherShape(SourceError):
    """Its frames do not have the size of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """How files become frames.

    Attributes:
        folder: where they are.
        scaling: how deeper pixels become ``uint8``.
        fps: frames per second within a file that does not say when each was captured; ``None`` if nobody knows.
        time: where a frame's time comes from.
        untimed: is told the name of a file in which no time is noted, where that is what was asked for.
    """

    folder: Path
    scaling: Scaling | None
    fps: float | None
    time: TimeOf
    untimed: Callable[[str], None]

    def frames(
        self, name: str, look: Look, shape: tuple[int, int] | None, interrupted: TakenFile | None
    ) -> Generator[Grabbed | None, None, None]:
        """Give a file's frames; ``None`` now and then, where it takes long.

        Args:
            name: of the file.
            look: as it was when it was finished.
            shape: that its frames must have; ``None`` for any.
            interrupted: the last frame that was taken from it, to go on behind that.

        Raises:
            ChangedWhileRead: it was not finished.
            OtherFile: it is not the one that was interrupted.
            OtherShape: as it says.
            SourceError: it cannot be decoded to its end, or needs a scaling.
            OSError: it cannot be opened or read.
        """
        path = self.folder / name
        with open_to_read(path) as file:
            self._unchanged(name, file, look)
            kept: IO[bytes] = file
            if look.size <= _MEMORY_BYTES_MAX or not may_grow(name):
                kept = io.BytesIO(file.read(look.size + 1))
            digest = yield from _digest(kept)
            self._unchanged(name, file, look)
            if interrupted is not None and digest != interrupted.sha256:
                raise OtherFile(digest)
            content = _Content(name=name, path=path, file=kept, scaling=self.scaling, fps=self.fps)
            first, times = yield from content.examined(shape)
            self._unchanged(name, file, look)
            noted_ms = self._noted_ms(kept, name)
            start = 0 if interrupted is None else interrupted.index + 1
            with closing(content.decoded(start, first)) as decoded:
                for index, frame in enumerate(decoded, start):
                    # Large files are decoded from the disk: whatever was given until now was there as a whole.
                    self._unchanged(name, file, look)
                    captured_ms = _captured_ms(times, index, written_ms=look.modified_ns / 1e6, noted_ms=noted_ms)
                    taken = TakenFile(
                        name=name,
                        size=look.size,
                        modified_ns=look.modified_ns,
                        sha256=digest,
                        index=index,
                        frames=content.count,
                    )
                    yield Grabbed(frame=frame, captured_at_ms=captured_ms, file=taken)

    def digest(self, name: str, look: Look) -> Generator[None, None, str]:
        """The digest of a file; the same errors as `frames`."""
        with open_to_read(self.folder / name) as file:
            self._unchanged(name, file, look)
            found = yield from _digest(file)
            self._unchanged(name, file, look)
        return found

    def _noted_ms(self, file: IO[bytes], name: str) -> float | None:
        if self.time == "modified":
            return None
        noted_ms = None if is_video(name) else recorded_ms(file)
        if noted_ms is None:
            self.untimed(name)
        return noted_ms

    def _unchanged(self, name: str, file: IO[bytes], look: Look) -> None:
        # ffmpeg opens a video by its name, so that the name must still lead to what was hashed.
        seen = [look_of(os.fstat(file.fileno()))] + [look_of(os.lstat(self.folder / name))] * is_video(name)
        if any(one != look for one in seen):
            raise ChangedWhileRead(f"{self.folder / name}: is still being written")


def is_video(name: str) -> bool:
    """Whether a name is a video's."""
    return suffix_of(name) in VIDEO_SUFFIXES


def may_grow(name: str) -> bool:
    """Whether more frames may come to a file of that name."""
    return suffix_of(name) in GROWING_SUFFIXES


def bytes_max(name: str) -> int:
    """The most that a file of that name may have."""
    return STACK_BYTES_MAX if may_grow(name) else IMAGE_BYTES_MAX


def suffix_of(name: str) -> str:
    """The suffix in small letters, with its dot; without the cost of a path."""
    return name[name.rfind(".") :].lower() if "." in name else ""


def _captured_ms(times: Sequence[float] | None, index: int, *, written_ms: float, noted_ms: float | None) -> float:
    """When a frame was captured: a file is written when its last frame is there, and noted with its first one."""
    if times is None:
        return written_ms if noted_ms is None else noted_ms
    return written_ms + times[index] - times[-1] if noted_ms is None else noted_ms + times[index] - times[0]


def _digest(file: IO[bytes]) -> Generator[None, None, str]:
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        yield
    file.seek(0)
    return digest.hexdigest()


@dataclass(slots=True, kw_only=True)
class _Content:
    """What is in an open file."""

    name: str
    path: Path
    file: IO[bytes]
    scaling: Scaling | None
    fps: float | None
    count: int = 0

    def examined(
        self, shape: tuple[int, int] | None
    ) -> Generator[None, None, tuple[Frame | None, Sequence[float] | None]]:
        """Decode it to its end: so much is known then.

        Returns:
            Its only frame, or ``None`` if there are several; and when each was captured in milliseconds, from any
            start, or ``None`` if nobody knows.
        """
        first: Frame | None = None
        times: list[float] = []
        self.count = 0
        for frame, time_ms in self._timed():
            if shape is not None and frame.shape != shape:
                height, width = frame.shape
                raise OtherShape(
                    f"{self.path}: is {height} x {width} (height x width), and the frames before it are"
                    f" {shape[0]} x {shape[1]}"
                )
            shape = (frame.shape[0], frame.shape[1])
            first = frame if self.count == 0 else None
            self.count += 1
            if time_ms is not None:
                times.append(time_ms)
            yield
        return first, times if len(times) == self.count else None

    def decoded(self, start: int, only: Frame | None) -> Generator[Frame, None, None]:
        """Its frames from one on."""
        if only is not None:
            yield from (only,) if start == 0 else ()
        elif is_video(self.name):
            for number, frame in enumerate(open_video(self.path, scaling=self.scaling).frames()):
                if number >= start:
                    yield frame
        else:
            self.file.seek(0)
            yield from decode_pages(self.file, self.scaling, str(self.path), start=start)

    def _timed(self) -> Iterator[tuple[Frame, float | None]]:
        if is_video(self.name):
            yield from open_video(self.path, scaling=self.scaling).timed_frames()
        elif suffix_of(self.name) in TIFF_SUFFIXES:
            _, noted = count_pages(self.file, str(self.path))
            self.file.seek(0)
            for number, frame in enumerate(decode_pages(self.file, self.scaling, str(self.path))):
                yield frame, self._even_ms(number) if noted is None else float(noted[number])
        else:
            yield decode_image(self.file, self.scaling, str(self.path)), 0.0

    def _even_ms(self, number: int) -> float | None:
        return None if self.fps is None else number * 1000 / self.fps
