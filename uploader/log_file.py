"""A log in files of a bounded size and number, for workers that run for months.

``worker.log`` is the current one, ``worker.1.log`` the one before, and so on. The process that writes is the one
that renames: it closes the file first, as Windows asks. Where somebody else has it open at that moment (a second
worker, a virus scanner) it goes on in the same file and tries again later.
"""

import logging
import os
import sys
import time
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TextIO

_AGAIN_S = 5.0
"""After a file could not be renamed."""


class RotatingLog(logging.Handler):
    """Writes records to files; private to the user.

    Args:
        path: the current file; its folder is made.
        bytes_max: a file that would grow beyond this is set aside first.
        files_max: how many there are at most, the current one included; older ones are deleted.

    Raises:
        OSError: the folder or the file cannot be made.
    """

    def __init__(self, path: Path, *, bytes_max: int, files_max: int) -> None:
        super().__init__()
        self._path = path
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._rests_until_s = 0.0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: int | None = open_private(path)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`; a disk that refuses costs the record, never the worker."""
        try:
            line = self.format(record).encode("utf-8", "backslashreplace")[: self._bytes_max - 1] + b"\n"
            self._make_room(len(line))
            if self._file is None:
                self._file = open_private(self._path)
            os.write(self._file, line)
        except OSError:
            pass
        except Exception:  # noqa: BLE001 - a record that cannot be formatted
            self.handleError(record)

    def close(self) -> None:
        """See `logging.Handler`."""
        self.acquire()
        try:
            self._let_go()
        finally:
            self.release()
        super().close()

    def _make_room(self, line_bytes: int) -> None:
        """Set the file aside when it is full; begin with the current one when somebody else has done that."""
        if self._file is not None and not self._is_in_place(self._file):
            self._let_go()
        size = self._path.stat().st_size if self._path.exists() else 0
        if size == 0 or size + line_bytes <= self._bytes_max or time.monotonic() < self._rests_until_s:
            return
        self._let_go()
        try:
            self._shift()
        except OSError:
            self._rests_until_s = time.monotonic() + _AGAIN_S

    def _shift(self) -> None:
        older = [self._path, *(_numbered(self._path, number) for number in range(1, self._files_max))]
        older[-1].unlink(missing_ok=True)
        for newer, place in reversed(list(pairwise(older))):
            if newer.exists():
                newer.replace(place)

    def _is_in_place(self, file: int) -> bool:
        if sys.platform == "win32":
            return True  # an open file cannot be renamed there
        else:  # noqa: RET505 - so that type checkers follow either platform
            with suppress(FileNotFoundError):
                return os.path.samestat(os.fstat(file), self._path.stat())
            return False

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def open_private(path: Path) -> int:
    """A descriptor that appends to a file only its user can read."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)


def have_standard_streams(log: Path | None) -> None:
    """Give a process that was started without a console (``pythonw``, a scheduled task) somewhere to print.

    Args:
        log: what it prints goes beside this file; nowhere without one.
    """
    if sys.stdout is not None and sys.stderr is not None:
        return
    path = Path(os.devnull) if log is None else stderr_beside(log)
    stream: TextIO = os.fdopen(open_private(path), "a", encoding="utf-8", errors="backslashreplace")
    sys.stdout, sys.stderr = sys.stdout or stream, sys.stderr or stream


def stderr_beside(log: Path) -> Path:
    """Where what a process prints goes, when what it logs goes to ``log``."""
    return log.with_name(f"{log.stem}.stderr{log.suffix}")


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}.{number}{path.suffix}")
