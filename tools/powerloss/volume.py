"""A volume that knows what would survive a power cut, and the images that a cut may leave.

The model is the POSIX file system at its least obliging:

* bytes and size of a file survive once the file was fsynced after they were written;
* a name (created, renamed, removed) survives once its directory was fsynced after the change;
* whatever was not fsynced may survive or not, in any order, names independent of bytes, with two exceptions
  that every file system keeps: a rename within a directory is one step, and a rename across directories
  never loses the file (it may be found under both names);
* bytes that were not fsynced survive sector by sector (512 bytes), so a write may be torn; a size that survives
  without its bytes reads as zeros, or as whatever lay there before;
* after an fsync that failed, what was written before it never becomes durable by a later one: the kernel may
  have marked those pages clean. Only bytes written anew do.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tools.powerloss.files import ROOT, SECTOR_BYTES, File, Kind, Op, carry_out, sized, synced, torn, written

__all__ = [
    "ROOT",
    "SECTOR_BYTES",
    "File",
    "Image",
    "Kind",
    "NameChange",
    "Op",
    "Volume",
    "sized",
    "synced",
    "torn",
    "written",
]


@dataclass(slots=True, kw_only=True, eq=False)
class NameChange:
    """Names of one directory that change in one step; ``None`` stands for no file. Not yet fsynced."""

    parent: int
    sets: tuple[tuple[str, int | None], ...]
    after: "NameChange | None" = None  # never survives without this one


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
                carry_out(file.live, op)
            case "fsync":
                self.files[op.ino].sync()
            case "fsync_failed":
                self.files[op.ino].doubt()
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
                # The new name goes with the old one, and nothing else of its directory.
                _rename(self.durable, change.after)
                self.pending.remove(change.after)
            _rename(self.durable, change)
            self.pending.remove(change)

    def paths(self, op: Op) -> list[str]:
        """Every path that an operation is about."""
        entries = [(folder, name, ino) for folder, names in self.live.items() for name, ino in names.items()]
        there = [self._path(folder, name) for folder, name, ino in entries if ino == op.ino]
        return [self._path(op.parent, op.name), self._path(op.to_parent, op.to_name), *there]

    def _path(self, parent: int, name: str) -> str:
        for folder, names in self.live.items():
            for other, ino in names.items():
                if ino == parent:
                    return self._path(folder, f"{other}/{name}")
        return name

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


def _rename(directories: dict[int, dict[str, int]], change: NameChange) -> None:
    for name, ino in change.sets:
        if ino is None:
            directories[change.parent].pop(name, None)
        else:
            directories[change.parent][name] = ino
