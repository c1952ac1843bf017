"""What is damaged or gone when the spool is opened, and the recovery killed at every step.

Whatever the damage, the outcome must be the one of a recovery that nobody disturbed.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from spool.testing import check_invariants, die
from tools.kills.dying import Say, play_in_child
from tools.kills.steps import Kill, Life, killed_while_opening, open_quietly
from tools.powerloss import promises
from tools.powerloss.promises import Promised

_JOURNAL_MAGIC = bytes.fromhex("d9d505f920a163d7")

Damage = Callable[[Path], None]


def _no_index(root: Path) -> None:
    for path in root.glob("index.sqlite3*"):
        path.unlink()


def _no_index_and_no_ledger(root: Path) -> None:
    _no_index(root)
    (root / "ledger.jsonl").unlink(missing_ok=True)


def _empty_index(root: Path) -> None:
    (root / "index.sqlite3").write_bytes(b"")


def _torn_ledger(root: Path) -> None:
    _no_index(root)
    path = root / "ledger.jsonl"
    if path.exists():
        path.write_bytes(path.read_bytes()[:-40] + b"\0" * 40)


def _no_zarr_documents(root: Path) -> None:
    for path in root.glob("streams/*/frames.zarr/**/zarr.json"):
        path.write_bytes(b"{")


def _no_descriptions(root: Path) -> None:
    for path in root.glob("streams/*/stream.json"):
        path.unlink()


def _no_index_and_no_descriptions(root: Path) -> None:
    _no_index(root)
    _no_descriptions(root)


def _hot_journal(root: Path) -> None:
    """A process died in the very middle of a commit; and the documents are damaged, for something to mend."""
    _half_a_commit(root)
    _no_zarr_documents(root)


def _hot_journal_alone(root: Path) -> None:
    """The same, and then the index is lost: what its journal would bring back belongs to no file."""
    _half_a_commit(root)
    (root / "index.sqlite3").unlink()


def _half_a_commit(root: Path) -> None:
    index = root / "index.sqlite3"
    before = index.read_bytes()

    def half_commit(_say: Say) -> None:
        db = sqlite3.connect(index, isolation_level=None)
        for pragma in ("journal_mode = PERSIST", "synchronous = EXTRA", "cache_size = 1"):
            db.execute(f"PRAGMA {pragma}").fetchall()
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE streams SET state = 'sealed', next_chunk_idx = 99")
        db.execute("UPDATE tally SET chunks = chunks + 1")
        # So much that pages are written to the database before there is a commit.
        db.execute("CREATE TABLE half AS SELECT zeroblob(200000)")
        die()

    play_in_child(half_commit)
    journal = root / "index.sqlite3-journal"
    assert index.read_bytes() != before, "nothing was written before the commit"
    assert journal.read_bytes().startswith(_JOURNAL_MAGIC), "the journal is not hot"


def _no_waiting_shards(root: Path) -> None:
    with closing(sqlite3.connect(root / "index.sqlite3")) as db:
        for stream_id, idx in db.execute(
            "SELECT stream_id, chunk_idx FROM chunks c JOIN streams USING (stream_key) WHERE c.state = 'spooled'"
        ):
            (root / "streams" / stream_id / f"frames.zarr/frames/c.{idx}.0.0").unlink()


def _short_shards_and_no_index(root: Path) -> None:
    _no_index_and_no_ledger(root)
    for path in sorted(root.glob("streams/*/frames.zarr/frames/c.*"))[::2]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _short_shards_and_no_rows(root: Path) -> None:
    """A torn file in each stream under the name of a chunk that was never accepted."""
    with closing(sqlite3.connect(root / "index.sqlite3")) as db:
        last = db.execute(
            "SELECT stream_id, max(chunk_idx) FROM chunks c JOIN streams USING (stream_key) GROUP BY stream_id"
        ).fetchall()
    for stream_id, idx in last:
        folder = root / "streams" / stream_id / "frames.zarr/frames"
        shards = [path for path in folder.glob("c.*") if path.stat().st_size]
        if shards:
            (folder / f"c.{idx + 7}.0.0").write_bytes(shards[0].read_bytes()[:-100])


DAMAGES: dict[str, Damage] = {
    damage.__name__.removeprefix("_"): damage
    for damage in (
        *(_no_index, _no_index_and_no_ledger, _empty_index, _torn_ledger),
        *(_no_zarr_documents, _no_descriptions, _no_index_and_no_descriptions),
        *(_hot_journal, _hot_journal_alone),
        *(_no_waiting_shards, _short_shards_and_no_index, _short_shards_and_no_rows),
    )
}
LOSES_NOTHING = (
    *("no_index", "empty_index", "no_zarr_documents", "no_descriptions"),
    *("hot_journal", "hot_journal_alone", "short_shards_and_no_rows"),
)
"""After these the spool is what it was."""


def kills_after(life: Life, folder: Path, call: int, name: str) -> Iterator[Kill]:
    """Kill a call before each of its steps, damage what that leaves, and kill the recovery in the same way."""
    for at in range(1, len(life.labels(call)) + 1):
        yield from kills(life, folder, call, name, at=at)


def kills(life: Life, folder: Path, call: int, name: str, *, at: int = 0) -> Iterator[Kill]:
    """Damage a spool, and kill the recovery before each of its steps.

    Args:
        life: already played.
        folder: to work in.
        call: the spool as it was before this call.
        name: of the damage.
        at: or as it was left when that call was killed before this step.
    """
    ruin = folder / f"{call}.{at}.{name}"
    undisturbed, scratch = ruin.with_name(f"{ruin.name}.undisturbed"), ruin.with_name(f"{ruin.name}.opened")
    # The ledger's file lags by a commit: what had just returned may be told as if it had not yet begun.
    allowed = life.promised[max(0, call - 1) : call + 1]
    try:
        if at:
            allowed += life.ruined(ruin, call, at)
        else:
            life.copy_to(call, ruin)
        DAMAGES[name](ruin)
        expected = _outcome(shutil.copytree(ruin, undisturbed))
        if name in LOSES_NOTHING and not _is_between(expected, allowed):
            yield Kill(call, at, 0, name, why=f"after {name} the spool is not what it was: {expected}")
        for number in range(1, 1000):
            shutil.copytree(ruin, scratch)
            was_killed, labels = killed_while_opening(scratch, number)
            if not was_killed:
                break
            yield Kill(call, at, number, f"{name}: {labels[-1]}", why=_differs(scratch, expected))
            shutil.rmtree(scratch)
    finally:
        for path in (ruin, undisturbed, scratch):
            shutil.rmtree(path, ignore_errors=True)


def _outcome(root: Path) -> Promised:
    with open_quietly(root) as spool:
        check_invariants(spool)
        return promises.observed(spool)


def _is_between(seen: Promised, allowed: list[Promised]) -> bool:
    """Whether each stream and each chunk is as in one of these states: the first, or what came of it."""
    names = [set(state) for state in allowed]
    return (
        names[0] <= seen.keys() <= names[-1]
        and all(
            stream[key] in [state[name][key] for state in allowed if name in state]
            for name, stream in seen.items()
            for key in stream
            if key != "chunks"
        )
        and all(
            allowed[0].get(name, {"chunks": {}})["chunks"].keys() <= stream["chunks"].keys()
            and all(
                _is_told(chunk, [state[name]["chunks"].get(idx) for state in allowed if name in state])
                for idx, chunk in stream["chunks"].items()
            )
            for name, stream in seen.items()
        )
    )


def _is_told(chunk: dict[str, Any], allowed: list[dict[str, Any] | None]) -> bool:
    if chunk["parked"] == promises.MISSING:
        # Its file went after a commit that the ledger's file does not tell.
        return any(state is not None and state["state"] == "discarded" for state in allowed)
    return chunk in allowed


def _differs(root: Path, expected: Promised) -> str:
    try:
        found = _outcome(root)
    except Exception as error:  # noqa: BLE001 - whatever keeps a person from the spool is a loss
        return f"{type(error).__name__}: {error}"
    return "" if found == expected else f"an undisturbed recovery finds {expected}, this one {found}"
