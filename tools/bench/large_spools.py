"""Spools of a million chunks, made in a minute: as the product itself would have left them.

Everything lies there as after so many pushes and deliveries: rows, tally, the ledger with its chain, its copy as
text, the Zarr metadata and the waiting shards. ``framespool verify`` finds such a spool whole. Only the writing is
quick: one transaction, no fsync, the same frames for every chunk.

By hand: ``python tools/bench/large_spools.py FOLDER --acknowledged 1000000 --waiting 1000``
"""

import argparse
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from spool import Limits, Receipt, Spool, ledger, rows, shards
from spool.clock import HostClock
from spool.disk import Disk
from spool.encoding import Encoding
from spool.folder import INDEX_NAME, SpoolFolder
from spool.ledger_file import LEDGER_NAME
from spool.model import Chunk
from spool.testing import FakeClock, some_frames, some_settings

PACE_MS: Final = 500
"""From one chunk to the next: four frames at 8 frames per second."""
DATA_ID: Final = "large-1"

_FRAMES, _HEIGHT, _WIDTH = 4, 12, 16
# They stand for what differs from chunk to chunk, in texts that the product's own code makes.
_PLACES = _IDX, _CAPTURE, _MONOTONIC, _SPOOLED, _DISK, _SENT, _ANSWERED = tuple(range(810_000_001, 810_000_008))
_NAMES = ("idx", "capture", "monotonic", "spooled", "disk", "sent", "answered")


def make_large_spool(
    root: Path, *, acknowledged: int, waiting: int = 0, destination: str | None = None, data_id: str = DATA_ID
) -> str:
    """Make a spool with one open stream of so many chunks, the latest pushed just now.

    Args:
        root: the folder; must not exist.
        acknowledged: chunks that were delivered, confirmed and pruned: rows without files.
        waiting: chunks after them that wait, with real, small shards.
        destination: where they are to be delivered; without, nowhere.
        data_id: the stream's there.

    Returns:
        The stream_id.
    """
    clock = FakeClock(HostClock().now_ms() - (acknowledged + waiting) * PACE_MS)
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as spool:
        settings = some_settings(name="large", fps=_FRAMES * 1000 / PACE_MS, chunk_size=_FRAMES)
        settings = replace(settings, destination=destination or settings.destination)
        stream_id = spool.open_stream(settings, data_id=data_id).stream_id
    folder = SpoolFolder.open(root, disk=Disk(), clock=clock)
    try:
        _Filling(folder, stream_id, acknowledged=acknowledged, waiting=waiting).fill()
    finally:
        folder.close()
    return stream_id


class _Filling:
    """One stream's chunks, written in one go."""

    def __init__(self, folder: SpoolFolder, stream_id: str, *, acknowledged: int, waiting: int) -> None:
        self._folder = folder
        self._stream_id = stream_id
        self._acknowledged = acknowledged
        self._waiting = waiting
        self._start = folder.clock.moment()
        with ThreadPoolExecutor(1) as threads:
            self._encoding = Encoding(some_frames(_FRAMES, _HEIGHT, _WIDTH, seed=1), threads, ahead=1)
            self._frames = [one for run in self._encoding.runs() for one in run]
        self._disk_bytes = len(b"".join(self._shard_pieces(0)))  # of the pruned ones; theirs are gone

    def fill(self) -> None:
        """The files, the rows, and what is derived from them."""
        path, text = self._folder.root / INDEX_NAME, self._folder.root / LEDGER_NAME
        with closing(sqlite3.connect(path, isolation_level=None)) as db, text.open("ab") as lines:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA cache_size = -100000")
            db.execute("BEGIN IMMEDIATE")
            self._fill_tables(db, lines)
            db.execute("COMMIT")
        with self._folder.index.reading() as db:
            key, stream = rows.require_stream(db, self._stream_id)
            frame_count = rows.frame_count(db, key, stream)
        self._folder.write_array_document(stream, frame_count=frame_count)

    def _fill_tables(self, db: sqlite3.Connection, lines: BinaryIO) -> None:
        (key,) = db.execute("SELECT stream_key FROM streams").fetchone()
        # What each row costs to keep in order, all of them can have at once, at the end.
        beside = db.execute(
            "SELECT type, name, sql FROM sqlite_master"
            " WHERE type IN ('trigger', 'index') AND tbl_name IN ('chunks', 'ledger') AND sql IS NOT NULL"
        ).fetchall()
        for kind, name, _ in beside:
            db.execute(f"DROP {kind} {name}")
        db.executemany(rows.INSERT_CHUNK, self._chunk_rows(key))
        db.executemany(
            "INSERT INTO ledger (at_ms, stream_id, chunk_idx, event, detail, seq, previous, digest)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            self._ledger_rows(db, lines),
        )
        for _, _, made_by in beside:
            db.execute(made_by)
        db.execute(
            "INSERT INTO tally SELECT stream_key, state, count(*), sum(wire_bytes), sum(disk_bytes) FROM chunks"
            " GROUP BY stream_key, state"
        )
        db.execute(
            "UPDATE streams SET height = ?, width = ?, next_chunk_idx = ?, watermark = ?, last_spooled_at_ms ="
            " (SELECT max(spooled_at_ms) FROM chunks) WHERE stream_key = ?",
            (_HEIGHT, _WIDTH, self._count, self._acknowledged - 1, key),
        )

    @property
    def _count(self) -> int:
        return self._acknowledged + self._waiting

    def _chunk_rows(self, key: int) -> Iterator[dict[str, object]]:
        columns = rows.chunk_columns(key, self._model())
        receipt = _Text(json.dumps(asdict(self._receipt())))
        for idx in range(self._acknowledged):
            told = self._told(idx)
            columns |= {
                "chunk_idx": idx,
                "state": "acknowledged",
                "disk_bytes": 0,
                "capture_start_ms_utc": told["capture"],
                "monotonic_ms": told["monotonic"],
                "spooled_at_ms": told["spooled"],
                "attempts": 1,
                "acknowledged_at_ms": told["answered"],
                "pruned_at_ms": told["answered"],
                "receipt": receipt.told(told),
            }
            yield columns
        for idx in range(self._acknowledged, self._count):
            pieces = self._shard_pieces(idx)
            with self._folder.shard_path(self._stream_id, idx).open("wb") as file:
                file.writelines(pieces)
            chunk = shards.described_chunk(self._description(idx), disk_bytes=sum(map(len, pieces)))
            yield rows.chunk_columns(key, chunk)

    def _ledger_rows(self, db: sqlite3.Connection, lines: BinaryIO) -> Iterator[tuple[object, ...]]:
        """Each row as the index keeps it; on the way its line is written."""
        seq, digest = db.execute("SELECT seq, digest FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        spooled, *delivered = self._happenings()
        owner = self._stream_id.encode() + b"\n"
        for idx in range(self._count):
            told = self._told(idx)
            for one in (spooled, *delivered) if idx < self._acknowledged else (spooled,):
                seq += 1
                at_ms = told[one.at]
                covered = f"[{seq},{at_ms},{one.covered.told(told)}"
                row_sha256 = hashlib.sha256(covered.encode()).hexdigest()
                own = hashlib.sha256(owner + row_sha256.encode()).digest()
                previous, digest = digest, hashlib.sha256(digest + own).digest()
                lines.write(f"{digest.hex()} {covered}\n".encode())
                yield at_ms, self._stream_id, idx, one.event, one.detail.told(told), seq, previous, digest

    def _happenings(self) -> "list[_Happening]":
        """What the ledger tells of a chunk's life."""
        sent = {"data_id": DATA_ID, "start_unix_ms_utc": _CAPTURE, "clock_offset_ms": 0.0}
        details: tuple[tuple[str, str, dict[str, Any]], ...] = (
            ("spooled", "spooled", ledger.entry_facts(self._model())),
            ("attempt_started", "sent", sent),
            ("acknowledged", "answered", asdict(self._receipt())),
            ("pruned", "answered", {"disk_bytes": _DISK}),
        )
        found = []
        for event, at, detail in details:
            text = json.dumps(detail, sort_keys=True, separators=(",", ":"))
            covered = json.dumps([self._stream_id, _IDX, event, text], separators=(",", ":"))
            found.append(_Happening(event, at, _Text(text), _Text(covered.removeprefix("["))))
        return found

    def _told(self, idx: int) -> dict[str, int]:
        """What differs from chunk to chunk."""
        spooled = self._start.at_ms + (idx + 1) * PACE_MS
        description = self._description(idx) if idx >= self._acknowledged else None
        disk_bytes = self._disk_bytes
        if description is not None:
            disk_bytes = sum(map(len, self._shard_pieces(idx)))
        assert self._start.monotonic_ms is not None
        return {
            "idx": idx,
            "capture": spooled - PACE_MS,
            "monotonic": self._start.monotonic_ms + idx * PACE_MS,
            "spooled": spooled,
            "disk": disk_bytes,
            "sent": spooled + 10,
            "answered": spooled + 50,
        }

    def _description(self, idx: int) -> shards.Description:
        spooled = self._start.at_ms + (idx + 1) * PACE_MS
        assert self._start.monotonic_ms is not None
        return self._describing(idx, spooled - PACE_MS, self._start.monotonic_ms + idx * PACE_MS, spooled)

    def _describing(self, idx: int, capture: int, monotonic: int, spooled: int) -> shards.Description:
        draft = shards.Description(
            stream_id=self._stream_id,
            chunk_idx=idx,
            n=_FRAMES,
            height=_HEIGHT,
            width=_WIDTH,
            chunk_size=_FRAMES,
            capture_start_ms_utc=capture,
            monotonic_ms=monotonic,
            boot_id=self._start.boot_id,
            spooled_at_ms=spooled,
            sha256="",
            wire_bytes=0,
        )
        return self._encoding.completed(draft)

    def _shard_pieces(self, idx: int) -> list[bytes]:
        return [*self._frames, self._encoding.tail(self._description(idx))]

    def _model(self) -> Chunk:
        """A chunk whose numbers are places."""
        return shards.described_chunk(self._describing(_IDX, _CAPTURE, _MONOTONIC, _SPOOLED), disk_bytes=_DISK)

    def _receipt(self) -> Receipt:
        return Receipt(
            status=200,
            etag="0123456789abcdef0123456789abcdef",
            confirmed=True,
            at_ms=_ANSWERED,
            checksums={"md5": "0123456789abcdef0123456789abcdef"},
            server_date="Tue, 24 Nov 2026 12:00:00 GMT",
            request_ids={"x-amz-request-id": "0123456789ABCDEF"},
            url_path=f"/bucket/{DATA_ID}/c/{_IDX}/0/0",
            data_id=DATA_ID,
        )


class _Text:
    """A text that the product's code made, with places for what differs."""

    def __init__(self, text: str) -> None:
        form = text.replace("%", "%%")
        for place, name in zip(_PLACES, _NAMES, strict=True):
            form = form.replace(str(place), f"%({name})d")
        self._form = form

    def told(self, told: dict[str, int]) -> str:
        """It, of one chunk."""
        return self._form % told


class _Happening:
    """A kind of row of the ledger: when it happens, its detail, and what its digest covers after seq and time."""

    def __init__(self, event: str, at: str, detail: _Text, covered: _Text) -> None:
        self.event, self.at, self.detail, self.covered = event, at, detail, covered


def main() -> None:
    """Make one by hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--acknowledged", type=int, required=True)
    parser.add_argument("--waiting", type=int, default=0)
    asked = parser.parse_args()
    print(make_large_spool(asked.root, acknowledged=asked.acknowledged, waiting=asked.waiting))


if __name__ == "__main__":
    main()
