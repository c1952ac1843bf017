"""A watched folder with real files, and a clock that only moves when somebody waits."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from spool import TakenFile
from uploader.sources.live import Grabbed, Wanted
from uploader.sources.watch import WatchedFolder
from uploader.sources.watch.options import parse_options

SHAPE = (6, 9)
_WRITES = itertools.count()


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(name: str, *pictures: np.ndarray) -> bytes:
    """The bytes of a file of that name."""
    made = io.BytesIO()
    if name.lower().endswith((".tif", ".tiff")):
        with tifffile.TiffWriter(made) as writer:
            for one in pictures:
                writer.write(one, photometric="minisblack", contiguous=False, metadata=None)
    else:
        kind = Image.registered_extensions()[Path(name).suffix.lower()]
        Image.fromarray(pictures[0]).save(made, format=kind)
    return made.getvalue()


def write(path: Path, content: bytes) -> None:
    """Write a file, at another time than any other: tests are quicker than the clocks of file systems."""
    path.write_bytes(content)
    moment = 1_700_000_000 * 10**9 + next(_WRITES) * 10**9
    os.utime(path, ns=(moment, moment))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        # No file system tells of less, and neither does this clock: so that whatever waits makes headway.
        self.now += max(seconds, 0.001)


class Rig:
    """A folder, and what is taken from it by one source after another."""

    def __init__(self, folder: Path, options: str = "", **wanted: Any) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.clock = Clock()
        self._options = options
        self._wanted = Wanted(**wanted)
        self.taken: list[Grabbed] = []
        self.notices: list[tuple[str, Any]] = []
        self.open()

    def open(self) -> None:
        """A new process, which remembers what is in the spool."""
        options = parse_options(f"{self.folder}{self._options}", {})
        self.source = WatchedFolder(options, self._wanted, clock=self.clock, sleep=self.clock.sleep)
        self.source.remember([one.file for one in self.taken if one.file is not None])

    def restart(self) -> None:
        self.source.stop()
        self.open()
        self.source.start()

    def write(self, name: str, *pictures: np.ndarray) -> Path:
        return self.put(name, encoded(name, *(pictures or (picture(len(name)),))))

    def put(self, name: str, content: bytes) -> Path:
        """Write a file as a program does that does not rename."""
        write(self.folder / name, content)
        return self.folder / name

    def touch(self, name: str) -> None:
        told = (self.folder / name).stat()
        os.utime(self.folder / name, ns=(told.st_atime_ns, told.st_mtime_ns + 1))

    def grab(self, seconds: float = 20.0) -> Grabbed | None:
        frame = self.source.grab(seconds)
        if frame is not None:
            self.taken.append(frame)
        self.hear()
        return frame

    def is_over(self) -> bool:
        return self.source.is_over

    def hear(self) -> None:
        self.notices += [(one.what, dict(one.detail)) for one in self.source.notices()]

    def run(self, seconds: float = 20.0) -> list[str]:
        """Take what comes until nothing has come for so long; the names of all that was ever taken."""
        while self.grab(seconds) is not None:
            pass
        return self.names

    @property
    def names(self) -> list[str]:
        return [file.name if file.frames == 1 else f"{file.name}#{file.index}" for file in self.files]

    @property
    def files(self) -> list[TakenFile]:
        return [one.file for one in self.taken if one.file is not None]

    def told(self, what: str) -> list[dict[str, Any]]:
        return [detail for kind, detail in self.notices if kind == what]
