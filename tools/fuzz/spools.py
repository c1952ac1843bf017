"""Spools full of hostile words, and harm that no spool does to itself."""

import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from spool import Limits, Receipt, Spool
from spool.testing import some_frames, some_settings
from tools.fuzz.hostile import TEXTS, damaged, damaged_text, odds

_FRAMES_BYTES = 40
"""So many bytes of a shard are certainly frames: they lie first, and are few."""


def whole_spool(root: Path, *texts: str) -> Path:
    """A spool with streams in every state, whose names and whose server's words are these."""
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        for number, state in enumerate(("open", "held", "sealed", "troubled", "done")):
            odd = " ".join(text[:200] for text in texts[number::5]).encode("utf-8", "replace").decode()
            destination = "https://api.example" if number % 2 else "http://127.0.0.1:9"
            stream = spool.open_stream(
                some_settings(name=f"growth {odd}", destination=destination), data_id=f"d-{number}"
            )
            for idx in (0, 1, 2, 4):
                spool.push(stream.stream_id, idx, some_frames(seed=idx))
            lease = spool.lease(stream.stream_id, f"worker {odd}", ttl_s=60)
            assert lease is not None
            chunks = [chunk for idx in (0, 1, 2, 4) if (chunk := spool.chunk(stream.stream_id, idx)) is not None]
            receipt = Receipt(
                status=200, etag=odd, checksums={"crc32": odd}, confirmed=False, at_ms=7, server_date=odd,
                request_ids={"x-amz-id-2": odd}, url_path=odd,
            )  # fmt: skip
            for chunk in chunks[: 4 if state == "done" else 1]:
                lease.attempt_started(chunk)
                lease.attempt_failed(chunk, {"words": odd, "outage": True})
                lease.attempt_started(chunk)
                lease.acknowledge(chunk, receipt)
            if state in ("held", "sealed"):
                lease.park(chunks[1], odd)
            if state == "held":
                lease.hold(odd)
            if state == "troubled":
                lease.note_trouble(odd, event="trouble_began", detail={"words": odd, "outage": True})
            if state in ("sealed", "done"):
                spool.seal(stream.stream_id)
            if state == "done":
                lease.finalize({"words": odd})
            lease.release()
    return root


def harmed(chance: random.Random, root: Path) -> str:
    """Do something to the folder that no spool does; what it was."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = chance.choice([*files, root / "index.sqlite3", root / "index.sqlite3"])
    name = path.relative_to(root)
    match chance.randrange(9):
        case 0:
            path.write_bytes(damaged(chance, path.read_bytes()))
            return f"{name} damaged"
        case 1:
            path.write_bytes(path.read_bytes()[: chance.randrange(max(1, path.stat().st_size))])
            return f"{name} cut off"
        case 2:
            path.unlink()
            target = chance.choice(("itself", "folder", "nothing"))
            if target == "itself":
                path.symlink_to(path.name)
            elif target == "folder":
                path.mkdir()
            return f"{name} replaced by {target}"
        case 3:
            odd = path.parent / damaged_text(chance, path.name)[:200].replace("/", "_").replace("\0", "_").strip(
                "."
            )
            with suppress(OSError, ValueError):
                odd.write_bytes(b"?")
            return f"{str(odd.name)!r} added"
        case 4:
            shard = chance.choice(
                [path for path in files if path.name.startswith("c.") and path.stat().st_size > _FRAMES_BYTES]
            )
            content = bytearray(shard.read_bytes())
            at = chance.randrange(_FRAMES_BYTES)
            content[at] ^= 1 << chance.randrange(8)
            shard.write_bytes(content)
            return f"a bit of {shard.relative_to(root)} flipped in byte {at}"
        case _:
            return _changed(chance, root)


def _changed(chance: random.Random, root: Path) -> str:
    """Write a hostile value into one column of the index."""
    with suppress(sqlite3.Error), closing(sqlite3.connect(root / "index.sqlite3")) as db:
        table = chance.choice(("streams", "chunks", "chunks", "ledger", "tally"))
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        if not columns:
            return "nothing changed"
        column = chance.choice(columns)
        worth: object = chance.choice(
            (*TEXTS, None, -1, 1 << 62, -(1 << 62), 1e308, '{"a":1}', "[]", '{"tags": []}', b"\xff")
        )
        if isinstance(worth, str):
            worth = worth.encode("utf-8", "replace").decode()
        old = db.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()  # noqa: S608 - ours
        if isinstance(worth, str) and old and isinstance(old[0], str) and odds(chance, 0.5):  # nearly
            worth = damaged_text(chance, old[0]).encode("utf-8", "replace").decode()
        db.execute(f"UPDATE {table} SET {column} = ?", (worth,))  # noqa: S608 - ours
        db.commit()
        return f"{table}.{column} = {str(worth)[:60]!r}"
    return "nothing changed"
