"""Looking at a folder and its files, without ever following a link or waiting for a pipe."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from uploader.sources.live import SourceLost

# Links are told of, and never followed; opening a pipe must not wait for its other end.
_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@dataclass(frozen=True, slots=True)
class Look:
    """A file as it was at one moment; another one is another file, or the same after it was written to."""

    size: int
    modified_ns: int
    inode: int
    kind: Literal["file", "folder", "other"]


def look_of(told: os.stat_result) -> Look:
    """From what the system says of a file."""
    # Windows numbers files in several ways, by how it is asked.
    inode = 0 if os.name == "nt" else told.st_ino
    kind: Literal["file", "folder", "other"] = "other"
    if stat.S_ISREG(told.st_mode):
        kind = "file"
    elif stat.S_ISDIR(told.st_mode):
        kind = "folder"
    return Look(told.st_size, told.st_mtime_ns, inode, kind)


def open_to_read(path: Path) -> IO[bytes]:
    """Open a file whatever it is; that it is a regular one is for `look_of` its descriptor to say.

    Raises:
        OSError: it is gone, may not be read, is held by its writer, or is a link (``ELOOP``).
    """
    return os.fdopen(os.open(path, _FLAGS), "rb")


class Place:
    """The folder, known by what it is and not only by its path: an empty mount point is not the share.

    Args:
        path: of the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[int, int] | None = None

    def found(self) -> None:
        """Take what is there now for the folder.

        Raises:
            SourceLost: there is nothing, or it cannot be reached.
            NotADirectoryError: it is no folder.
        """
        self._known = None
        self._known = self._identity()

    def modified_ns(self) -> int:
        """When a name was last added or removed, as the file system says; and see that it is the same folder.

        Raises:
            SourceLost: it is not, or not there.
        """
        try:
            told = self.path.stat()
        except OSError as error:
            raise self.lost(error) from error
        if self._known is not None and (told.st_dev, told.st_ino) != self._known:
            raise SourceLost(
                f"{self.path}: another folder is there now: the share may have been taken away",
                hint="What was taken is safe. It goes on when the folder is back.",
            )
        return told.st_mtime_ns

    def look(self, name: str) -> Look | None:
        """One of its files; ``None`` when it is gone while the folder is still there.

        Raises:
            SourceLost: the folder is not there.
        """
        try:
            return look_of(os.lstat(self.path / name))
        except FileNotFoundError:
            self.modified_ns()
            return None
        except OSError as error:
            raise self.lost(error) from error

    def lost(self, error: OSError) -> SourceLost:
        """What an error of the system means for who watches."""
        told = error.strerror or str(error)
        return SourceLost(
            f"{self.path}: the folder cannot be reached: {told}",
            hint="What was taken is safe. It goes on when the folder is back.",
        )

    def _identity(self) -> tuple[int, int]:
        try:
            told = self.path.stat()
        except OSError as error:
            raise self.lost(error) from error
        if not stat.S_ISDIR(told.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(self.path))
        return told.st_dev, told.st_ino
