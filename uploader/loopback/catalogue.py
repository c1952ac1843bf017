"""What the server knows by name: streams, samples, tags, upload permissions. One SQLite file.

Every method commits before it returns, so whatever was answered is still known after `kill -9`. One thread
only: the server calls it from its event loop, where statements this small do not matter.
"""

import json
import sqlite3
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from uploader.loopback.lifecycle import ACTIVE, Stream
from uploader.loopback.validation import ChunkMetadata, StreamSettings

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS streams (
    position INTEGER PRIMARY KEY, data_id TEXT UNIQUE NOT NULL, settings TEXT NOT NULL,
    status TEXT NOT NULL, status_at REAL NOT NULL, opened_at REAL NOT NULL,
    first_chunk_at REAL, last_chunk_at REAL, physical_sample_id TEXT);
CREATE TABLE IF NOT EXISTS samples (
    position INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, folded TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS tags (
    position INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, name TEXT NOT NULL, folded TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS stream_tags (data_id TEXT, tag_id TEXT, PRIMARY KEY (data_id, tag_id));
CREATE TABLE IF NOT EXISTS tracked_samples (
    project_id TEXT, physical_sample_id TEXT, active INTEGER NOT NULL,
    PRIMARY KEY (project_id, physical_sample_id));
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY, data_id TEXT NOT NULL, chunk_idx INTEGER NOT NULL, n INTEGER NOT NULL,
    height INTEGER NOT NULL, width INTEGER NOT NULL, chunk_size INTEGER NOT NULL, body TEXT NOT NULL);
"""


class Catalogue:
    """The server's memory of everything that has a name or an id."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        # Surviving this process is promised, surviving the power is not: see the package's docstring.
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    # streams

    def open_stream(self, settings: StreamSettings, *, now: float) -> str:
        """Record a new, active stream; its new `data_id`."""
        data_id = str(uuid.uuid4())
        self._db.execute(
            "INSERT INTO streams (data_id, settings, status, status_at, opened_at) VALUES (?, ?, ?, ?, ?)",
            (data_id, json.dumps(asdict(settings)), ACTIVE, now, now),
        )
        return data_id

    def stream(self, data_id: str) -> Stream | None:
        """The stream as recorded, or None."""
        row = self._db.execute("SELECT * FROM streams WHERE data_id = ?", (data_id,)).fetchone()
        return None if row is None else _to_stream(row)

    def stream_ids(self) -> list[str]:
        """Every stream, in the order in which they were opened."""
        return [row["data_id"] for row in self._db.execute("SELECT data_id FROM streams ORDER BY position")]

    def set_status(self, data_id: str, status: str, *, now: float) -> None:
        """Record a change of status."""
        self._db.execute("UPDATE streams SET status = ?, status_at = ? WHERE data_id = ?", (status, now, data_id))

    def heard_from(self, data_id: str, *, now: float) -> None:
        """Record that a chunk has arrived."""
        self._db.execute(
            "UPDATE streams SET first_chunk_at = coalesce(first_chunk_at, ?), last_chunk_at = ? WHERE data_id = ?",
            (now, now, data_id),
        )

    # samples and tags

    def samples(self) -> list[dict[str, str]]:
        """All physical samples, `{"id", "name"}` each."""
        return self._named("samples")

    def tags(self) -> list[dict[str, str]]:
        """All tags, `{"id", "name"}` each."""
        return self._named("tags")

    def create_sample(self, name: str) -> tuple[str, bool]:
        """The id of the sample of that name, ignoring case, and whether it is new."""
        return self._create("samples", name)

    def create_tag(self, name: str) -> tuple[str, bool]:
        """The id of the tag of that name, ignoring case, and whether it is new."""
        return self._create("tags", name)

    def link_sample(self, data_ids: Iterable[str], physical_sample_id: str) -> None:
        """Say which sample the streams show."""
        self._db.executemany(
            "UPDATE streams SET physical_sample_id = ? WHERE data_id = ?",
            [(physical_sample_id, data_id) for data_id in data_ids],
        )

    def track_sample(self, project_id: str, physical_sample_id: str, *, active: bool) -> None:
        """Make the sample one that the project tracks."""
        self._db.execute(
            "INSERT OR REPLACE INTO tracked_samples VALUES (?, ?, ?)",
            (project_id, physical_sample_id, active),
        )

    def tracked_samples(self) -> list[dict[str, object]]:
        """Every link of a project to a sample."""
        rows = self._db.execute("SELECT project_id, physical_sample_id, active FROM tracked_samples")
        return [{**dict(row), "active": bool(row["active"])} for row in rows]

    def attach_tags(self, data_ids: Iterable[str], tag_ids: Iterable[str]) -> None:
        """Attach each tag to each stream."""
        tags = list(tag_ids)
        self._db.executemany(
            "INSERT OR IGNORE INTO stream_tags VALUES (?, ?)",
            [(each, tag) for each in data_ids for tag in tags],
        )

    def tags_of(self, data_id: str) -> list[str]:
        """The ids of the tags attached to a stream."""
        rows = self._db.execute("SELECT tag_id FROM stream_tags WHERE data_id = ? ORDER BY rowid", (data_id,))
        return [row["tag_id"] for row in rows]

    # upload permissions

    def add_upload(self, chunk: ChunkMetadata) -> str:
        """Remember what an upload is about to bring; its new `upload_id`."""
        upload_id = uuid.uuid4().hex
        self._db.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                upload_id,
                chunk.data_id,
                chunk.chunk_idx,
                chunk.n,
                chunk.height,
                chunk.width,
                chunk.chunk_size,
                json.dumps(dict(chunk.body)),
            ),
        )
        return upload_id

    def upload(self, upload_id: str) -> ChunkMetadata | None:
        """What that upload is to bring, or None."""
        row = self._db.execute("SELECT * FROM uploads WHERE upload_id = ?", (upload_id,)).fetchone()
        if row is None:
            return None
        facts = {name: row[name] for name in row.keys() if name not in {"upload_id", "body"}}  # noqa: SIM118 - iterating a Row gives values
        return ChunkMetadata(**facts, body=json.loads(row["body"]))

    def _named(self, table: str) -> list[dict[str, str]]:
        return [dict(row) for row in self._db.execute(f"SELECT id, name FROM {table} ORDER BY position")]  # noqa: S608 - our own table names

    def _create(self, table: str, name: str) -> tuple[str, bool]:
        folded = name.strip().casefold()
        row = self._db.execute(f"SELECT id FROM {table} WHERE folded = ?", (folded,)).fetchone()  # noqa: S608 - our own table names
        if row is not None:
            return row["id"], False
        new_id = str(uuid.uuid4())
        self._db.execute(
            f"INSERT INTO {table} (id, name, folded) VALUES (?, ?, ?)",  # noqa: S608 - our own table names
            (new_id, name.strip(), folded),
        )
        return new_id, True


def _to_stream(row: sqlite3.Row) -> Stream:
    return Stream(
        data_id=row["data_id"],
        settings=StreamSettings(**json.loads(row["settings"])),
        status=row["status"],
        status_at=row["status_at"],
        opened_at=row["opened_at"],
        first_chunk_at=row["first_chunk_at"],
        last_chunk_at=row["last_chunk_at"],
        physical_sample_id=row["physical_sample_id"],
    )
