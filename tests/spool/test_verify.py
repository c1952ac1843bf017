"""`verify` names whatever does not fit, and `repair` mends what something intact still tells."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from spool import ChunkState, Limits, Problem, Receipt, Spool, SpoolError, Stream, audit, ledger, repair, verify
from spool.testing import check_invariants, some_frames

RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1_700_000_000_001, url_path="/c/0")


@pytest.fixture
def used(spool: Spool, stream: Stream) -> Stream:
    """Chunks in every state; the spool is closed."""
    ref = stream.stream_id
    for idx in range(6):
        spool.push(ref, idx, some_frames(seed=idx))
    lease = spool.lease(ref, "worker", ttl_s=60)
    assert lease is not None
    for idx in (0, 1):
        chunk = spool.chunk(ref, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, RECEIPT)
        if idx == 0:
            spool.prune()
    chunk = spool.chunk(ref, 2)
    assert chunk is not None
    lease.park(chunk, "refused")
    lease.release()
    spool.discard(ref, [3], why="no use")
    spool.close()
    return stream


def shard(spool: Spool, stream: Stream, idx: int) -> Path:
    return spool.root / "streams" / stream.stream_id / "frames.zarr" / "frames" / f"c.{idx}.0.0"


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x20
    path.write_bytes(content)


def named(root: Path) -> list[Problem]:
    return list(verify(root, settle_s=0).problems)


def sql(root: Path, *statements: str) -> None:
    """What no spool does to itself."""
    with closing(sqlite3.connect(root / "index.sqlite3")) as db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            db.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            db.execute(statement)
        for _, text in triggers:
            db.execute(text)
        db.commit()


def test_a_sound_spool_is_sound_and_stays_as_it_is(spool: Spool, used: Stream) -> None:
    before = {path: path.read_bytes() for path in spool.root.rglob("*") if path.is_file()}
    found = verify(spool.root)
    assert found.problems == ()
    assert (found.streams, found.chunks, found.shards) == (1, 6, 4)
    assert {path: path.read_bytes() for path in spool.root.rglob("*") if path.is_file()} == before
    assert used.stream_id in found.root.joinpath("streams").iterdir().__next__().name


def test_it_may_run_while_a_producer_pushes(spool: Spool, stream: Stream) -> None:
    told = []
    for idx in range(20):
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
        told.append(verify(spool.root).problems)
    assert told == [()] * 20


@pytest.mark.parametrize(
    ("at", "part"),
    [
        (0, "frame 0, in bytes 0 to"),
        (20, "its frames are damaged, somewhere in bytes 0 to 803"),
        (-1, "its index is damaged"),
        (-3, "its index"),
        (900, "its description"),
    ],
)
def test_a_damaged_shard_is_named_with_the_part_that_is(spool: Spool, used: Stream, at: int, part: str) -> None:
    flip(shard(spool, used, 4), at)
    (problem,) = named(spool.root)
    assert (problem.kind, problem.chunk_idx) == ("damaged", 4)
    assert part in problem.says, problem.says


def test_the_progress_reaches_the_end(spool: Spool, used: Stream) -> None:
    steps: list[tuple[int, int]] = []
    found = verify(spool.root, progress=lambda done, whole: steps.append((done, whole)))
    assert steps[-1] == (found.bytes_read, found.bytes_read)
    assert steps == sorted(steps)
    assert used.stream_id


Harm = Callable[[Spool, Stream], Any]

MENDED: dict[str, tuple[Harm, str]] = {
    "a document that Zarr reads": (lambda s, t: flip(shard(s, t, 4).with_name("zarr.json"), 9), "derived"),
    "the group's": (lambda s, t: shard(s, t, 4).parents[1].joinpath("zarr.json").unlink(), "derived"),
    "the stream's description": (lambda s, t: flip(shard(s, t, 4).parents[2] / "stream.json", 70), "derived"),
    "it is missing": (lambda s, t: shard(s, t, 4).parents[2].joinpath("stream.json").unlink(), "derived"),
    "the reserve": (lambda s, _: flip(s.root / "reserve", 99), "derived"),
    "the limits": (lambda s, _: flip(s.root / "limits.json", 50), "derived"),
    "the ledger's file": (lambda s, _: flip(s.root / "ledger.jsonl", 400), "ledger_file"),
    "cut off": (lambda s, _: cut(s.root / "ledger.jsonl", -20), "ledger_file"),
    "a page of the index": (lambda s, _: wipe(s.root / "index.sqlite3", 2), "index"),
    "its head": (lambda s, _: wipe(s.root / "index.sqlite3", 0), "index"),
    "all of it": (lambda s, _: (s.root / "index.sqlite3").unlink(), "index"),
    "a trigger": (lambda s, _: plain_sql(s.root, "DROP TRIGGER ledger_stays"), "index"),
    "a chunk's digest": (
        lambda s, _: sql(s.root, "UPDATE chunks SET sha256 = 'a' WHERE chunk_idx = 4"),
        "disagrees",
    ),
    "a chunk's state": (
        lambda s, _: sql(s.root, "UPDATE chunks SET state = 'acknowledged' WHERE chunk_idx = 4"),
        "disagrees",
    ),
    "a chunk's row": (lambda s, _: sql(s.root, "DELETE FROM chunks WHERE chunk_idx = 4"), "disagrees"),
    "the watermark": (lambda s, _: sql(s.root, "UPDATE streams SET watermark = 4"), "disagrees"),
    "a counter": (lambda s, _: sql(s.root, "UPDATE tally SET chunks = 7 WHERE state = 'spooled'"), "disagrees"),
    "the stream's name": (lambda s, _: sql(s.root, "UPDATE streams SET name = 'other'"), "disagrees"),
    "a row of the ledger": (
        lambda s, _: sql(s.root, "UPDATE ledger SET detail = '{}' WHERE seq = 5"),
        "ledger",
    ),
    "dropped": (lambda s, _: sql(s.root, "DELETE FROM ledger WHERE seq = 5"), "ledger"),
    "swapped": (
        lambda s, _: sql(
            s.root,
            "UPDATE ledger SET seq = 999 WHERE seq = 5",
            "UPDATE ledger SET seq = 5 WHERE seq = 6",
            "UPDATE ledger SET seq = 6 WHERE seq = 999",
        ),
        "ledger",
    ),
    "appended": (
        lambda s, _: sql(
            s.root,
            "INSERT INTO ledger SELECT seq + 1, at_ms, stream_id, chunk_idx, event, detail, previous, digest"
            " FROM ledger ORDER BY seq DESC LIMIT 1",
        ),
        "ledger",
    ),
}


def cut(path: Path, at: int) -> None:
    path.write_bytes(path.read_bytes()[:at])


def wipe(path: Path, page: int) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: page * 4096] + bytes(4096) + content[(page + 1) * 4096 :])


def plain_sql(root: Path, statement: str) -> None:
    with closing(sqlite3.connect(root / "index.sqlite3")) as db:
        db.execute(statement)
        db.commit()


@pytest.mark.parametrize("what", MENDED)
def test_what_is_derived_is_named_and_mended_and_nothing_is_forgotten(
    spool: Spool, used: Stream, what: str
) -> None:
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as opened:
        before = audit(opened, used.stream_id).to_json()
    harm, kind = MENDED[what]
    harm(spool, used)
    problems = named(spool.root)
    assert kind in {problem.kind for problem in problems}, problems
    repaired = repair(spool.root)
    assert repaired.done
    assert repaired.after.problems == (), [str(one) for one in repaired.after.problems]
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        assert audit(again, used.stream_id).to_json() == before
        check_invariants(again)


NOT_TOLD = {"stream_key", "trouble", "lease_owner", "lease_until_ms", "lease_token"}
"""What nothing else tells: see the module's text."""


def columns() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(files("spool").joinpath("schema.sql").read_text("utf-8"))
        return [
            (table, row[1])
            for table in ("streams", "chunks", "tally", "ledger")
            for row in db.execute(f"PRAGMA table_info({table})")
            if row[1] not in NOT_TOLD
        ]


@pytest.mark.parametrize(("table", "column"), columns())
def test_any_column_of_the_index_that_is_changed_is_named_and_told_again(
    spool: Spool, used: Stream, table: str, column: str
) -> None:
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as opened:
        before = audit(opened, used.stream_id).to_json()
    where = {"streams": "1", "chunks": "chunk_idx = 4", "tally": "state = 'spooled'", "ledger": "seq = 9"}[table]
    with closing(sqlite3.connect(spool.root / "index.sqlite3")) as db:
        (kind, old) = db.execute(f"SELECT typeof({column}), {column} FROM {table} WHERE {where}").fetchone()
    worth = {"text": "'x' || {}", "integer": "{} + 77", "real": "{} + 0.5", "null": "5", "blob": "x'00'"}[kind]
    if column == "state":
        worth = {"streams": "'sealed'", "chunks": "'parked'", "tally": "'parked '"}[table]
    sql(spool.root, f"UPDATE {table} SET {column} = {worth.format(column)} WHERE {where}")
    assert named(spool.root), f"{table}.{column} was {old!r}"
    assert repair(spool.root).after.problems == ()
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        assert audit(again, used.stream_id).to_json() == before


def test_a_chain_that_was_forged_to_its_end_is_told_by_its_other_copy(spool: Spool, used: Stream) -> None:
    """Whoever edits a row and computes every later digest anew has another head, and another file."""
    with closing(sqlite3.connect(spool.root / "index.sqlite3")) as db:
        db.execute("DROP TRIGGER ledger_is_append_only")
        rows_ = db.execute(
            "SELECT seq, at_ms, stream_id, chunk_idx, event, detail FROM ledger ORDER BY seq"
        ).fetchall()
        previous = ledger.GENESIS
        for seq, at_ms, stream_id, idx, event, detail in rows_:
            text = detail.replace("no use", "by accident")
            digest = ledger.row_digest(previous, seq, at_ms, stream_id, idx, event, text)
            db.execute(
                "UPDATE ledger SET detail = ?, previous = ?, digest = ? WHERE seq = ?",
                (text, previous, digest, seq),
            )
            previous = digest
        db.execute(
            "CREATE TRIGGER ledger_is_append_only BEFORE UPDATE ON ledger BEGIN\n"
            "    SELECT RAISE(ABORT, 'the ledger is append-only');\nEND"
        )
        db.commit()
    assert {problem.kind for problem in named(spool.root)} == {"ledger_file"}
    assert used.stream_id


def test_a_waiting_chunk_that_is_damaged_is_parked_and_its_file_stays(spool: Spool, used: Stream) -> None:
    flip(shard(spool, used, 4), 20)
    content = shard(spool, used, 4).read_bytes()
    repaired = repair(spool.root)
    assert [problem.kind for problem in repaired.after.problems] == ["damaged"], "a person has to look"
    assert shard(spool, used, 4).read_bytes() == content
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        chunk = again.chunk(used.stream_id, 4)
        assert chunk is not None
        assert chunk.state is ChunkState.PARKED
        assert "damaged" in (chunk.parked_reason or "")


def test_a_waiting_chunk_whose_frames_are_whole_is_not_kept_from_delivery(spool: Spool, used: Stream) -> None:
    flip(shard(spool, used, 4), 900)
    repaired = repair(spool.root)
    assert "waits on" in " ".join(repaired.done)
    assert [problem.kind for problem in repaired.after.problems] == ["damaged"], "it is still named"
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        chunk = again.chunk(used.stream_id, 4)
        assert chunk is not None
        assert chunk.state is ChunkState.SPOOLED


def test_missing_shards_are_parked_or_noted_as_gone(spool: Spool, used: Stream) -> None:
    for idx in (1, 4):
        shard(spool, used, idx).unlink()
    assert [(problem.kind, problem.chunk_idx) for problem in named(spool.root)] == [("missing", 1), ("missing", 4)]
    repaired = repair(spool.root)
    assert [(problem.kind, problem.chunk_idx) for problem in repaired.after.problems] == [("missing", 4)]
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        assert [chunk.state for chunk in again.chunks(used.stream_id)][4] is ChunkState.PARKED
        gone = again.chunk(used.stream_id, 1)
        assert gone is not None
        assert (gone.state, gone.disk_bytes) == (ChunkState.ACKNOWLEDGED, 0)
        check_invariants(again)


def test_files_that_no_row_speaks_of_are_named(spool: Spool, used: Stream) -> None:
    shard(spool, used, 9).write_bytes(shard(spool, used, 4).read_bytes())
    shard(spool, used, 0).write_bytes(b"back again")
    (spool.root / "streams" / used.stream_id / "notes.txt").write_bytes(b"mine")
    (spool.root / "holiday.jpg").write_bytes(b"mine")
    assert sorted(Path(problem.where).name for problem in named(spool.root)) == [
        "c.0.0.0", "c.9.0.0", "holiday.jpg", "notes.txt",
    ]  # fmt: skip
    repaired = repair(spool.root)
    assert sorted(Path(problem.where).name for problem in repaired.after.problems) == ["holiday.jpg", "notes.txt"]


def test_nothing_is_set_aside_under_a_producer(spool: Spool, used: Stream) -> None:
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as working:
        working.push(used.stream_id, 6, some_frames(seed=6))
        flip(spool.root / "index.sqlite3", 70)
        wipe(spool.root / "index.sqlite3", 2)
        with pytest.raises(SpoolError, match="is using it"):
            repair(spool.root)
        assert list(spool.root.glob("*.aside")) == []


def test_without_index_and_ledger_only_what_became_of_the_chunks_is_lost(spool: Spool, used: Stream) -> None:
    for name in ("index.sqlite3", "ledger.jsonl"):
        (spool.root / name).unlink()
    repaired = repair(spool.root)
    assert "what became of the chunks is forgotten" in " ".join(repaired.done)
    assert repaired.after.problems == ()
    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        assert {chunk.chunk_idx for chunk in again.chunks(used.stream_id)} == {1, 2, 4, 5}
        assert {chunk.state for chunk in again.chunks(used.stream_id)} == {ChunkState.SPOOLED}


def test_no_spool_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="there is no spool"):
        verify(tmp_path)
