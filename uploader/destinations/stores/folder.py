"""A folder as a store: on a local disk, or a share that may go away and come back.

What it has acknowledged is as durable as the spool: written whole under another name, fsynced, renamed, the
directory fsynced. It is read back before the rename, so that the digest is of what the file system says.

A share that is not mounted leaves an empty folder behind, on this machine's own disk. So the folder is marked
once, while a person is there, and nothing is written where the mark is not.
"""

import contextlib
import errno
import hashlib
import json
import os
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from spool import Disk
from uploader.destinations.stores.base import KeyTaken, Level, Listed, Pieces, Stored, StoreTrouble, sha256_of

MARK_NAME: Final = ".framespool-destination"
_INCOMING: Final = ".framespool-incoming"
_UNFINISHED_S: Final = 86_400.0
"""What was begun so long ago is not being written any more, whatever the clocks of a share's users say."""
_FULL = frozenset({errno.ENOSPC, *([errno.EDQUOT] if hasattr(errno, "EDQUOT") else [])})


def mark(folder: Path, disk: Disk | None = None) -> bool:
    """Make a folder a destination, while a person is there; whether that could be done.

    ``False`` means that the folder above it is not there: a share that is not mounted.
    """
    disk = disk or Disk()
    if not folder.parent.is_dir():
        return False
    folder.mkdir(exist_ok=True)
    if not _is_whole(folder / MARK_NAME):
        # Half a mark is left by whoever died while writing it.
        disk.remove(folder / MARK_NAME, label="mark")
        what = {"format": "framespool-destination", "version": 1, "id": uuid.uuid4().hex}
        with contextlib.suppress(FileExistsError):
            disk.write_new(folder / MARK_NAME, [json.dumps(what).encode()], label="mark")
            _like(folder, folder / MARK_NAME)
    # Also what was there before: whoever made it may have died before it was durable.
    disk.sync_dir(folder, label="mark")
    disk.sync_dir(folder.parent, label="destination")
    return True


class FolderStore:
    """The folder as `Store`.

    Args:
        url: its name.
        folder: it.
        disk: every step on disk.
        is_marked: nothing is done where its mark is not; for a reader any folder will do.
    """

    def __init__(self, url: str, folder: Path, disk: Disk | None = None, *, is_marked: bool = True) -> None:
        self.url = url
        self._folder = folder
        self._incoming = folder / _INCOMING
        self._disk = disk or Disk()
        self._is_marked = is_marked

    def close(self) -> None:
        """Nothing is held between two calls."""

    def make_room(self, key: str) -> None:
        """See `Store.make_room`."""
        with self._told():
            self._require_mark()
            self._make_dir(self._path(key))
            self._sweep()

    def create(self, key: str, pieces: Pieces) -> Stored:
        """See `Store.create`."""
        with self._told():
            self._require_mark()
            target, ours = self._path(key), sha256_of(pieces)
            # One worker at a time delivers a stream, so that nobody comes between the look and the rename; and
            # where locks do not work, the other one has the same bytes.
            theirs = _digest(target)
            if theirs is None:
                self._write(target, pieces, sha256=ours)
            elif theirs != ours:
                raise KeyTaken(f"{target} is there already, with other bytes")
            else:
                # Whoever wrote it may have died before it was durable.
                self._disk.sync_file(target, label="object")
                self._disk.sync_dir(target.parent, label="object")
        return Stored(was_there=theirs is not None, etag=None, sha256=ours)

    def replace(self, key: str, content: bytes) -> None:
        """See `Store.replace`."""
        with self._told():
            self._require_mark()
            self._write(self._path(key), [content], sha256=sha256_of([content]))

    def read(self, key: str) -> bytes | None:
        """See `Store.read`."""
        with self._told():
            self._require_mark()
            try:
                return self._path(key).read_bytes()
            except FileNotFoundError:
                return None

    def level(self, place: str) -> Level:
        """See `Store.level`; links to folders are not followed, for they may lead in circles."""
        with self._told():
            self._require_mark()
            with os.scandir(self._path(place)) as found:
                names = sorted((one.name, one.is_dir(follow_symlinks=False)) for one in found)
        above = f"{place}/" if place else ""
        return Level(
            places=[f"{above}{name}" for name, is_dir in names if is_dir],
            objects=[f"{above}{name}" for name, is_dir in names if not is_dir],
        )

    def walk(self, place: str) -> Iterator[Listed]:
        """See `Store.walk`."""
        with self._told():
            self._require_mark()
            left = [place]
            while left:
                above = left.pop()
                try:
                    found = os.scandir(self._path(above))
                except FileNotFoundError:
                    continue
                with found:
                    for one in found:
                        key = f"{above}/{one.name}" if above else one.name
                        if one.is_dir(follow_symlinks=False):
                            left.append(key)
                        elif one.is_file():
                            yield Listed(key=key, size_bytes=one.stat().st_size, etag=None)

    def _make_dir(self, path: Path) -> None:
        """Make a folder and those above it, durably; also one that is there, for its maker may have died."""
        if path.parent != self._folder:
            self._make_dir(path.parent)
        try:
            self._disk.make_dir(path, label="destination")
            _like(self._folder, path)
        except FileExistsError:
            self._disk.sync_dir(path.parent, label="destination")

    def _sweep(self) -> None:
        """Remove what writers that have died left unfinished; what is new may be another PC's, under way."""
        with contextlib.suppress(FileNotFoundError):
            for left in self._incoming.iterdir():
                if time.time() - left.stat().st_mtime > _UNFINISHED_S:
                    self._disk.remove(left, label="unfinished")

    def _write(self, target: Path, pieces: Pieces, *, sha256: str) -> None:
        """Write a file whole, read it back, and give it its name."""
        if not self._incoming.is_dir():
            self._make_dir(self._incoming)
        new = self._incoming / uuid.uuid4().hex
        try:
            self._disk.write_new(new, map(bytes, pieces), label="object")
            if _digest(new) != sha256:
                raise StoreTrouble(f"{self._folder} keeps other bytes than it is given", outage=False)
            _like(self._folder, new)
            self._disk.rename(new, target, label="object")
        except BaseException:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    def _require_mark(self) -> None:
        if self._is_marked and not (self._folder / MARK_NAME).is_file():
            raise StoreTrouble(
                f"{self._folder} is not there, or has lost its mark ({MARK_NAME}): is its share mounted?",
                outage=True,
                may_be_done=False,
            )

    def _path(self, key: str) -> Path:
        path = self._folder.joinpath(*filter(None, key.split("/")))
        if ".." in path.parts or not path.is_relative_to(self._folder):
            raise ValueError(f"the key {key!r} leaves the folder")
        return path

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What the file system refuses, in words: nothing is lost, the chunk waits in the spool."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                raise StoreTrouble(f"{self._folder} is full", outage=True) from error
            raise StoreTrouble(f"{self._folder}: {error.strerror or error}", outage=True) from error


def _is_whole(mark: Path) -> bool:
    try:
        return "format" in json.loads(mark.read_bytes())
    except (FileNotFoundError, ValueError, TypeError):
        return False


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb", buffering=0) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _like(folder: Path, path: Path) -> None:
    """Who may read the folder may read what is put there; Windows does so by itself."""
    if sys.platform != "win32":
        allowed = stat.S_IMODE(folder.stat().st_mode)
        path.chmod(allowed if path.is_dir() else allowed & 0o666)
