"""An open spool folder: where things lie, and the one way to write to the index.

::

    SPOOL/
      index.sqlite3                     what is here and what happened to it
      ledger.jsonl                      what happened, once more, for the day on which the index is lost
      reserve                           spare bytes: given up so that a full disk can still acknowledge
      limits.json                       how much disk the latest producer may take; for readers
      incoming/<opener>/<name>          shards being written; swept when their opener is dead
      incoming/<opener>.lock            held for as long as the opener lives
      workers/<destination>.lock        held by the worker that drains for this destination
      streams/<stream_id>/stream.json   what the stream is, for rebuilding the index
      streams/<stream_id>/frames.zarr/  the Zarr store; frames/c.<chunk_idx>.0.0 are the shards
"""

import errno
import hashlib
import json
import logging
import shutil
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from spool import rows
from spool.clock import Clock
from spool.disk import NO_SPACE, Disk
from spool.errors import DiskFailed, SpoolError, SpoolFull
from spool.index import Index, refuse_other_format
from spool.ledger_file import LEDGER_NAME, LedgerFile
from spool.locks import ProcessLock
from spool.model import Part, Stream, new_stream
from spool.retention import Limits, limits_as_text, limits_from_text
from spool.states import StreamState
from spool.zarr_metadata import STORE_NAME, array_document, array_path, group_document, shard_name

INDEX_NAME = "index.sqlite3"
LIMITS_NAME = "limits.json"
RESERVE_BYTES = 4 << 20

_HELD = "Another program may hold the file, or it belongs to another user; what was spooled before is untouched."
_HINTS = {
    errno.EROFS: "The file system is read-only, often after an error of the disk: see the system's log, and mount"
    " it writable again; what was spooled before is untouched.",
    errno.EACCES: _HELD,
    errno.EPERM: _HELD,
}

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolFolder:
    """What producer, worker and recovery share: the paths, the disk, the clock and the index."""

    root: Path
    disk: Disk
    clock: Clock
    index: Index
    ledger_file: LedgerFile
    is_read_only: bool = False

    @classmethod
    def open_to_read(cls, root: Path, *, disk: Disk, clock: Clock) -> "SpoolFolder":
        """Open a folder that is there, and change nothing in it."""
        try:
            refuse_other_format(root / INDEX_NAME)
            index = Index(root / INDEX_NAME, disk, read_only=True)
        except OSError as error:
            raise translated(error, f"the spool folder {root} cannot be read") from error
        ledger_file = LedgerFile(root / LEDGER_NAME, disk)
        return cls(root=root, disk=disk, clock=clock, index=index, ledger_file=ledger_file, is_read_only=True)

    def require_writable(self) -> None:
        """Raise where nothing may be changed; the index refuses by itself.

        Raises:
            SpoolError: it was opened for reading only.
        """
        if self.is_read_only:
            raise SpoolError(
                "this spool is open for reading only", hint="Nothing was changed. Open it with Spool(...) instead."
            )

    @classmethod
    def open(cls, root: Path, *, disk: Disk, clock: Clock) -> "SpoolFolder":
        """Open the folder, creating what is missing.

        Durability: every directory created here is durable, with its entry in its parent.
        """
        try:
            # First, because it leaves the folder of a later framespool untouched.
            if (root / INDEX_NAME).exists():
                refuse_other_format(root / INDEX_NAME)
            for folder in _missing(root):
                _make_dir(disk, folder)
            for name in ("incoming", "workers", "streams"):
                if not (root / name).is_dir():
                    _make_dir(disk, root / name)
            is_new = not (root / INDEX_NAME).exists()
            index = Index(root / INDEX_NAME, disk)
            if is_new:
                disk.sync_dir(root, label="index")
        except OSError as error:
            raise translated(error, f"the spool folder {root} cannot be opened") from error
        ledger_file = LedgerFile(root / LEDGER_NAME, disk)
        return cls(root=root, disk=disk, clock=clock, index=index, ledger_file=ledger_file)

    @contextmanager
    def writing(self, label: str) -> Iterator[sqlite3.Connection]:
        """The one write transaction at this moment; see `Index.writing`. Brings the ledger's file up to date."""
        with self.index.writing(label) as db:
            self.ledger_file.catch_up(db)
            yield db
        self.ledger_file.is_behind = True

    def close(self) -> None:
        """Let go of the index, with the ledger's file up to date."""
        try:
            if self.ledger_file.is_behind:
                self._bring_ledger_file_up("close")
                self.ledger_file.sync()
        finally:
            self.index.close()

    def take_up_ledger_file(self) -> None:
        """Write what a process that died has left unwritten there."""
        with self.index.reading() as db:
            lags = self.ledger_file.lags(db)
        if lags:
            self._bring_ledger_file_up("take_up")

    def _bring_ledger_file_up(self, label: str) -> None:
        try:
            with self.index.writing(label) as db:
                self.ledger_file.catch_up(db)
        except SpoolError as error:
            _log.warning("%s lags behind the index: %s", self.ledger_file.path, error)

    def write(self, label: str, change: Callable[[sqlite3.Connection], _T]) -> _T:
        """Commit a change that must work on a full disk: the reserve is given up for it if need be.

        Durability: on return the change is on stable storage; after a raise nothing has changed.
        """
        try:
            with self.writing(label) as db:
                return change(db)
        except SpoolFull:
            if not self._reserve.exists():
                raise
            _log.warning("the disk is full; the reserve is given up so that the spool can go on")
            try:
                self.disk.remove(self._reserve, label="reserve")
            except OSError as error:
                raise translated(error, "the reserve could not be given up") from error
        with self.writing(label) as db:
            return change(db)

    def free_bytes(self) -> int:
        """What is free on the disk, for whoever looks.

        Raises:
            DiskFailed: it does not say.
        """
        try:
            return self.disk.free_bytes(self.root)
        except OSError as error:
            raise translated(error, "the free space cannot be told") from error

    @property
    def missing_reserve_bytes(self) -> int:
        """What the reserve still needs: all of it after it was given up, else nothing."""
        return 0 if self._reserve.exists() else RESERVE_BYTES

    def ensure_reserve(self, incoming: Path) -> None:
        """Put the reserve (back) in place; a chunk is accepted only while it is there.

        Args:
            incoming: the opener's own folder, where it is written first.

        Raises:
            OSError: there is no room for it.
        """
        if self.missing_reserve_bytes:
            part = incoming / f"reserve-{uuid.uuid4().hex}"
            self.disk.write_new(part, reserve_pieces(), label="reserve")
            self.disk.rename(part, self._reserve, label="reserve")

    def note_limits(self, limits: Limits, incoming: Path) -> None:
        """Tell readers what a producer was told. Nothing rests on it: a failure is logged.

        Args:
            limits: the producer's.
            incoming: its own folder, where the file is written first.
        """
        path, text = self.root / LIMITS_NAME, limits_as_text(limits)
        try:
            if not path.exists() or path.read_bytes() != text.encode():
                self.disk.write_derived(path, text.encode(), label="limits", via=incoming)
        except OSError as error:
            _log.warning("%s could not be written (%s); readers reckon with other limits", path, error)

    def noted_limits(self) -> Limits | None:
        """What the latest producer was told, as far as it could be noted."""
        try:
            return limits_from_text((self.root / LIMITS_NAME).read_text("utf-8"))
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def _reserve(self) -> Path:
        return self.root / "reserve"

    # Streams --------------------------------------------------------------------------------------------

    def stream_folder(self, stream_id: str) -> Path:
        """Where a stream lies. Only stream_ids that come from the index or our own naming get here."""
        return self.root / "streams" / stream_id

    def store_path(self, stream_id: str) -> Path:
        """The Zarr store of a stream."""
        return self.stream_folder(stream_id) / STORE_NAME

    def shard_path(self, stream_id: str, chunk_idx: int) -> Path:
        """The file of a chunk."""
        return array_path(self.stream_folder(stream_id)) / shard_name(chunk_idx)

    def make_stream(self, stream: Stream) -> None:
        """Create a stream's directories and its own description, all durable; goes on where it was cut off."""
        folder = self.stream_folder(stream.stream_id)
        for path in (folder, folder / STORE_NAME, array_path(folder)):
            if not path.is_dir():
                self.disk.make_dir(path, label="stream")
        self.write_stream_description(stream)
        self.write_group_document(stream)
        self.write_array_document(stream, frame_count=0)

    def unmake_stream(self, stream_id: str) -> None:
        """Remove the folder of a stream that could not be begun, unless another opener has adopted it."""

        def remove(db: sqlite3.Connection) -> None:
            if rows.find_stream(db, stream_id) is None:
                shutil.rmtree(self.stream_folder(stream_id), ignore_errors=True)

        try:
            self.write("open_stream_undo", remove)
        except (SpoolError, OSError) as error:
            _log.warning("stream %s could not be begun, and its folder stays: %s", stream_id, error)

    def write_stream_description(self, stream: Stream) -> None:
        """Write ``stream.json`` durably: what the index is rebuilt from besides the shards."""
        path = self.stream_folder(stream.stream_id) / "stream.json"
        part = path.with_name(f"{uuid.uuid4().hex}.part")
        self.disk.write_new(part, [stream_description(stream)], label="stream_json")
        self.disk.rename(part, path, label="stream_json")

    def read_stream_description(self, stream_id: str) -> Stream:
        """A stream as its ``stream.json`` describes it.

        Raises:
            OSError, ValueError, KeyError, TypeError: there is none, or it is damaged.
        """
        text = (self.stream_folder(stream_id) / "stream.json").read_text("utf-8")
        said: dict[str, Any] = json.loads(text)
        if said["stream_id"] != stream_id:
            raise ValueError(f"stream.json speaks of {said['stream_id']!r}")
        stream = new_stream(
            stream_id,
            settings=rows.settings_from_json(json.dumps(said["settings"])),
            parts=tuple(Part(**part) for part in said["parts"]),
            created_at_ms=said["created_at_ms"],
            created_monotonic_ms=said["created_monotonic_ms"],
            boot_id=said["boot_id"],
        )
        if said["sealed_at_ms"] is None:
            return stream
        return replace(stream, state=StreamState.SEALED, sealed_at_ms=said["sealed_at_ms"])

    def asked_to_end_ms(self, stream_id: str) -> int | None:
        """When the stream's own description says that its end was asked for; ``None`` when it says nothing."""
        try:
            return self.read_stream_description(stream_id).sealed_at_ms
        except (OSError, ValueError, KeyError, TypeError, SpoolError):
            return None  # it is lost or damaged

    def write_group_document(self, stream: Stream) -> None:
        """Write the store's own ``zarr.json``. Derived, like the array's."""
        self._write_derived(self.store_path(stream.stream_id) / "zarr.json", group_document(stream))

    def write_array_document(self, stream: Stream, *, frame_count: int) -> None:
        """Let Zarr readers see ``frame_count`` frames. Derived, like the group's."""
        path = array_path(self.stream_folder(stream.stream_id)) / "zarr.json"
        self._write_derived(path, array_document(stream, frame_count=frame_count))

    def _write_derived(self, path: Path, document: bytes) -> None:
        # Nothing durable rests on these files: a failure is told, and mended at the next push or opening.
        try:
            self.disk.write_derived(path, document, label="zarr_json")
        except OSError as error:
            _log.warning("%s could not be refreshed (%s); the frames are safe, readers see fewer", path, error)

    # Who is alive ---------------------------------------------------------------------------------------

    def incoming_locks(self) -> Iterator[ProcessLock]:
        """The locks of every opener that ever wrote here and was not swept."""
        for path in (self.root / "incoming").glob("*.lock"):
            yield ProcessLock(path)

    def worker_lock(self, destination: str) -> ProcessLock:
        """The lock of the one worker that drains for this destination."""
        name = hashlib.sha256(destination.encode()).hexdigest()[:16]
        return ProcessLock(self.root / "workers" / f"{name}.lock")


def is_new(root: Path) -> bool:
    """Whether nothing was ever spooled in this folder: an index can be lost, and be told again by the rest."""
    traces = (root / INDEX_NAME, root / LEDGER_NAME)
    try:
        return not any(path.exists() for path in traces) and not any((root / "streams").iterdir())
    except FileNotFoundError:
        return True
    except OSError:
        return False  # it cannot be read, so that something may be there


def stream_description(stream: Stream) -> bytes:
    """``stream.json``."""
    return json.dumps(
        {
            "format": 2,
            "stream_id": stream.stream_id,
            "parts": [asdict(part) for part in stream.parts],
            "created_at_ms": stream.created_at_ms,
            "created_monotonic_ms": stream.created_monotonic_ms,
            "boot_id": stream.boot_id,
            "sealed_at_ms": stream.sealed_at_ms,
            "settings": stream.settings.facts(),
        },
        indent=1,
    ).encode()


def reserve_pieces() -> list[bytes]:
    """What the reserve holds. Not zeros: a file system that compresses would set nothing aside for them."""
    block = hashlib.shake_256(b"framespool reserve").digest(1 << 16)
    return [block] * (RESERVE_BYTES // len(block))


def translated(error: OSError, what: str) -> SpoolError:
    """The spool's own error for one of the operating system's."""
    if error.errno in NO_SPACE:
        return SpoolFull(f"{what}: the disk is full")
    return DiskFailed(f"{what}: {error}", hint=_HINTS.get(error.errno or 0))


def _missing(root: Path) -> list[Path]:
    """The directories from the top down that must be made for ``root`` to exist."""
    absent = [folder for folder in (root, *root.parents) if not folder.is_dir()]
    return list(reversed(absent))


def _make_dir(disk: Disk, folder: Path) -> None:
    try:
        disk.make_dir(folder, label="folder")
    except FileExistsError:
        if not folder.is_dir():
            raise
        # Another opener was quicker; its entry must be durable before we rely on it.
        disk.sync_dir(folder.parent, label="folder")
