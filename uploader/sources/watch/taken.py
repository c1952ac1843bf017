"""What has been taken, in little memory: a night at 50 files/s leaves millions of files."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from spool import TakenFile

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

# Size, time of change, frames taken, frames in it, digest.
_RECORD: Final = struct.Struct("<QqII32s")


class Taken:
    """The files that were taken, whole or in part, in their order.

    A file whose frames were taken only in part was interrupted; it is gone on with.
    """

    def __init__(self) -> None:
        self._records: dict[str, bytes] = {}
        self._names: list[str] = []
        self._unfinished: dict[str, None] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def __len__(self) -> int:
        return len(self._names)

    @property
    def known(self) -> Container[str]:
        """The names, for who asks for very many of them."""
        return self._records

    def add(self, file: TakenFile) -> None:
        """A frame was taken from a file. Frames of a file come in order; one that came before changes nothing."""
        known = self._records.get(file.name)
        so_far = 0 if known is None else _RECORD.unpack(known)[2]
        if known is None:
            self._names.append(file.name)
        if 0 <= file.index < so_far:
            return
        digest = bytes.fromhex(file.sha256)
        self._records[file.name] = _RECORD.pack(file.size, file.modified_ns, file.index + 1, file.frames, digest)
        if file.index + 1 < file.frames:
            self._unfinished[file.name] = None
        else:
            self._unfinished.pop(file.name, None)

    def file(self, name: str) -> TakenFile:
        """The last frame that was taken from a file, and the file as it was last seen."""
        size, modified_ns, so_far, frames, digest = _RECORD.unpack(self._records[name])
        return TakenFile(
            name=name, size=size, modified_ns=modified_ns, sha256=digest.hex(), index=so_far - 1, frames=frames
        )

    def seen(self, name: str, size: int, modified_ns: int) -> None:
        """A file was looked at and told of: not again before it changes once more."""
        _, _, so_far, frames, digest = _RECORD.unpack(self._records[name])
        self._records[name] = _RECORD.pack(size, modified_ns, so_far, frames, digest)

    def looks_like(self, name: str, size: int, modified_ns: int) -> bool:
        """Whether a file is as it was last seen."""
        return _RECORD.unpack(self._records[name])[:2] == (size, modified_ns)

    def is_finished(self, name: str) -> bool:
        """Whether there is nothing more to be taken from a file."""
        return name not in self._unfinished

    def unfinished(self) -> Iterator[TakenFile]:
        """The files that were interrupted."""
        return (self.file(name) for name in list(self._unfinished))

    def give_up(self, name: str) -> None:
        """The rest of a file will not come."""
        self._unfinished.pop(name, None)

    def latest(self, count: int) -> list[str]:
        """The files that were taken last."""
        return self._names[-count:]

    def slice(self, start: int, count: int) -> list[str]:
        """Some of them by the order in which they were taken."""
        return self._names[start : start + count]
