"""A disk and an SQLite that leave one durable step out, to see that its absence is found."""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

from spool import Disk, folder

RESERVE_BYTES = 1 << 16
"""Of spare bytes: how many makes no difference to a cut, and thousands of copies take time."""


def small_reserve() -> AbstractContextManager[object]:
    """Set fewer spare bytes aside meanwhile."""
    return patch.object(folder, "RESERVE_BYTES", RESERVE_BYTES)


class ForgetfulDisk(Disk):
    """The real disk with one durable step left out, and something done before a chosen step, once.

    Args:
        without: ``label.fsync`` or ``label.fsync_dir``, the latter also of one folder: ``label.fsync_dir@NAME``.
    """

    def __init__(self, without: str) -> None:
        super().__init__(self._watch)
        self.without = without
        self._label, self._skip = "", 0
        self._meanwhile: Callable[[], None] | None = None

    def at(self, place: str, meanwhile: Callable[[], None]) -> None:
        """Do this before the next step with this label, after so many of them: ``label:skip``."""
        self._label, _, skip = place.partition(":")
        self._skip, self._meanwhile = int(skip or 0), meanwhile

    def _watch(self, label: str, _path: Path) -> None:
        if label != self._label or self._meanwhile is None:
            return
        if self._skip:
            self._skip -= 1
            return
        meanwhile, self._meanwhile = self._meanwhile, None
        meanwhile()

    def write_new(self, path: Path, pieces: Iterable[bytes | Sequence[bytes]], *, label: str) -> None:
        """See `Disk.write_new`."""
        if f"{label}.fsync" != self.without:
            super().write_new(path, pieces, label=label)
            return
        for step in ("create", "write", "fsync"):
            self.before(f"{label}.{step}", path)
        with path.open("xb") as file:
            file.writelines(chain.from_iterable([one] if isinstance(one, bytes) else one for one in pieces))

    def sync_file(self, path: Path, *, label: str) -> None:
        """See `Disk.sync_file`."""
        if f"{label}.fsync" != self.without:
            super().sync_file(path, label=label)
        else:
            self.before(f"{label}.fsync", path)

    def sync_dir(self, path: Path, *, label: str) -> None:
        """See `Disk.sync_dir`."""
        if self.without not in (f"{label}.fsync_dir", f"{label}.fsync_dir@{path.name}"):
            super().sync_dir(path, label=label)
        else:
            self.before(f"{label}.fsync_dir", path)


class ForgetfulConnection(sqlite3.Connection):
    """SQLite with another ``synchronous`` than the spool asks for."""

    synchronous = "OFF"

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as in sqlite3
        """See `sqlite3.Connection.execute`."""
        if sql == "PRAGMA synchronous = EXTRA":
            sql = f"PRAGMA synchronous = {self.synchronous}"
        return super().execute(sql, *parameters)


def forget_in_sqlite(synchronous: str) -> None:
    """Let every connection of this process have another ``synchronous``."""
    ForgetfulConnection.synchronous = synchronous
    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=ForgetfulConnection, **kwargs)  # type: ignore[assignment]
