"""A volume that knows what would survive a power cut, and the images that a cut may leave.

The model is the POSIX file system at its least obliging:

* bytes and size of a file survive once the file was fsynced after they were written;
* a name (created, renamed, removed) survives once its directory was fsynced after the change;
* whatever was not fsynced may survive or not, in any order, names independent of bytes, with two exceptions
  that every file system keeps: a rename within a directory is one step, and a rename across directories
  never loses the file (it may be found under both names);
* bytes that were not fsynced survive sector by sector (512 bytes), so a write may be torn; a size that survives
  without its bytes reads as zeros, or as whatever lay there before.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

SECTOR_BYTES = 512
ROOT = 1
_STALE = bytes(range(7, 256, 3))

Kind = Literal["create", "mkdir", "remove", "rename", "write", "truncate", "fsync", "fsync_dir", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation on the volume. Files and directories are known by number, so that a name may change.

    Attributes:
        ino: the file or directory that it is about.
        parent: the directory of ``name``.
        to_parent: where a rename leads, with ``to_name``.
        offset: of a write; the new size of a truncate.
        data: of a write; what a note says.
    """

    kind: Kind
    ino: int = 0
    parent: int = 0
    name: str = ""
    to_parent: int = 0
    to_name: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True, kw_only=True, eq=False)
class NameChange:
    """Names of one directory that change in one step; ``None`` stands for no file. Not yet fsynced."""

    parent: int
    sets: tuple[tuple[str, int | None], ...]
    after: "NameChange | None" = None  # never survives without this one


@dataclass(slots=True)
class File:
    """The bytes that programs see, those that are durable, and the operations between the two."""

    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[Op] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What a cut has left: the names (a directory has no number) and the bytes behind the numbers."""

    names: dict[str, int | None]
    contents: dict[int, bytes]

    def key(self) -> int:
        """Equal for equal images."""
        there = ((path, None if ino is None else self.contents[ino]) for path, ino in self.names.items())
        return hash(tuple(sorted(there, key=lambda entry: entry[0])))


class Volume:
    """The state of a volume as operations are applied, one after the other."""

    def __init__(self) -> None:
        self.files: dict[int, File] = {}
        self.live: dict[int, dict[str, int]] = {ROOT: {}}
        self.durable: dict[int, dict[str, int]] = {ROOT: {}}
        self.pending: list[NameChange] = []

    def apply(self, op: Op) -> None:
        """Take the operation."""
        match op.kind:
            case "create" | "mkdir" | "remove" | "rename":
                self._name(op)
            case "write" | "truncate":
                file = self.files[op.ino]
                file.pending.append(op)
                _change(file.live, op)
            case "fsync":
                file = self.files[op.ino]
                if file.pending:
                    file.durable = bytes(file.live)
                    file.pending = []
            case "fsync_dir":
                self._settle(op.ino)
            case "note":
                pass

    def _name(self, op: Op) -> None:
        if op.kind == "rename" and op.parent == op.to_parent:
            self._set(op.parent, (op.name, None), (op.to_name, op.ino))
        elif op.kind == "rename":
            added = self._set(op.to_parent, (op.to_name, op.ino))
            self._set(op.parent, (op.name, None)).after = added
        elif op.kind == "remove":
            self._set(op.parent, (op.name, None))
        else:
            if op.kind == "create":
                self.files[op.ino] = File()
            else:
                self.live[op.ino], self.durable[op.ino] = {}, {}
            self._set(op.parent, (op.name, op.ino))

    def _set(self, parent: int, *sets: tuple[str, int | None]) -> NameChange:
        change = NameChange(parent=parent, sets=sets)
        self.pending.append(change)
        _rename(self.live, change)
        return change

    def _settle(self, directory: int) -> None:
        for change in [one for one in self.pending if one.parent == directory]:
            if change.after is not None and change.after in self.pending:
                self._settle(change.after.parent)
            _rename(self.durable, change)
            self.pending.remove(change)

    def image(self, *, keep: Callable[[NameChange], bool], content: Callable[[File], bytes]) -> Image:
        """What a cut at this moment leaves, by two choices over all that is not durable."""
        directories = {ino: dict(names) for ino, names in self.durable.items()}
        dropped: set[int] = set()
        for change in self.pending:
            if (change.after is None or id(change.after) not in dropped) and keep(change):
                _rename(directories, change)
            else:
                dropped.add(id(change))
        image = Image(names={}, contents={})
        self._walk(ROOT, "", directories, content, image)
        return image

    def _walk(
        self,
        directory: int,
        prefix: str,
        directories: dict[int, dict[str, int]],
        content: Callable[[File], bytes],
        image: Image,
    ) -> None:
        for name, ino in directories[directory].items():
            if ino in directories:
                image.names[prefix + name] = None
                self._walk(ino, f"{prefix}{name}/", directories, content, image)
            else:
                image.names[prefix + name] = ino
                if ino not in image.contents:
                    file = self.files[ino]
                    image.contents[ino] = content(file) if file.pending else file.durable


def synced(file: File) -> bytes:
    """Nothing of a file survives but what was fsynced."""
    return file.durable


def written(file: File) -> bytes:
    """Everything that was written survives."""
    return bytes(file.live)


def sized(file: File) -> bytes:
    """Sizes survive and bytes do not: the new part of a file reads as zeros."""
    content = bytearray(file.durable)
    for op in file.pending:
        _resize(content, op)
    return bytes(content)


def torn(file: File, chance: random.Random) -> bytes:
    """Some of the sizes, in their order, and some of the sectors survive."""
    content = bytearray(file.durable)
    sizes = chance.randint(0, len(file.pending))
    kept = chance.choice((0.1, 0.5, 0.9))
    filler = chance.choice((b"\0", _STALE))
    for position, op in enumerate(file.pending):
        if position < sizes:
            _resize(content, op, filler)
        if op.kind == "write":
            for start, end in _sectors(op):
                if end <= len(content) and chance.random() < kept:
                    content[start:end] = op.data[start - op.offset : end - op.offset]
    return bytes(content)


def _sectors(op: Op) -> list[tuple[int, int]]:
    end = op.offset + len(op.data)
    first = op.offset - op.offset % SECTOR_BYTES
    return [(max(op.offset, at), min(end, at + SECTOR_BYTES)) for at in range(first, end, SECTOR_BYTES)]


def _rename(directories: dict[int, dict[str, int]], change: NameChange) -> None:
    for name, ino in change.sets:
        if ino is None:
            directories[change.parent].pop(name, None)
        else:
            directories[change.parent][name] = ino


def _resize(content: bytearray, op: Op, filler: bytes = b"\0") -> None:
    if op.kind == "truncate" and op.offset < len(content):
        del content[op.offset :]
    lacking = (op.offset if op.kind == "truncate" else op.offset + len(op.data)) - len(content)
    if lacking > 0:
        content += (filler * (lacking // len(filler) + 1))[:lacking]


def _change(content: bytearray, op: Op) -> None:
    _resize(content, op)
    if op.kind == "write":
        content[op.offset : op.offset + len(op.data)] = op.data
