"""What a call costs does not grow with the work that is done: counted in SQLite's own steps, never in seconds."""

import shutil
import sqlite3
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from spool import Chunk, LeasedStream, Limits, Receipt, Spool, audit, totals_of, verify
from spool import index as index_module
from spool.testing import some_frames
from tools.bench.large_spools import make_large_spool

SMALL, LARGE = 400, 3000  # a forecast looks at up to 300 chunks of either
WAITING = 3
RECEIPT = Receipt(status=200, etag="e", confirmed=True, at_ms=1)


class Steps:
    """Counts the steps of SQLite's virtual machine, and keeps the statements."""

    def __init__(self) -> None:
        self.count = 0
        self.statements: set[str] = set()

    def watch(self, db: sqlite3.Connection) -> None:
        db.set_progress_handler(self._step, 1)
        db.set_trace_callback(self.statements.add)

    def _step(self) -> int:
        self.count += 1
        return 0


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    made = {count: tmp_path_factory.mktemp("flat") / "spool" for count in (SMALL, LARGE)}
    for count, root in made.items():
        make_large_spool(root, acknowledged=count, waiting=WAITING)
    return made


@contextmanager
def watched(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Spool, Steps]]:
    """An open spool, watched from its opening on."""
    steps = Steps()

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = sqlite3.connect(*args, **kwargs)
        steps.watch(db)
        return db

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return connect if name == "connect" else getattr(sqlite3, name)

    monkeypatch.setattr(index_module, "sqlite3", Watched())
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        monkeypatch.undo()
        yield spool, steps


def stream_id_of(spool: Spool) -> str:
    return spool.streams()[0].stream_id


def next_waiting(spool: Spool) -> tuple[LeasedStream, Chunk]:
    lease = spool.lease(stream_id_of(spool), "worker", ttl_s=60)
    assert lease is not None
    chunk = lease.next_waiting()
    assert chunk is not None
    return lease, chunk


def push(spool: Spool) -> None:
    ref = stream_id_of(spool)
    spool.push(ref, spool.stream(ref).next_chunk_idx, some_frames())


def claim(spool: Spool) -> None:
    lease, chunk = next_waiting(spool)
    lease.attempt_started(chunk)
    lease.stream()


def acknowledge(spool: Spool) -> None:
    lease, chunk = next_waiting(spool)
    lease.acknowledge(chunk, RECEIPT)


def prune(spool: Spool) -> None:
    acknowledge(spool)
    assert spool.prune(dry_run=True)[0] == 1
    assert spool.prune()[0] == 1


def opened(spool: Spool) -> None:
    """Nothing more than what the opening itself has done."""


def status(spool: Spool) -> None:
    spool.status()
    spool.forecast()
    spool.find("large")
    spool.keep_within_limits()
    spool.last_sign_of_life_ms(stream_id_of(spool))


def story(spool: Spool) -> None:
    """What a person asks about one chunk."""
    assert spool.chunk(stream_id_of(spool), 7) is not None


@pytest.mark.parametrize(
    "call", [opened, push, claim, acknowledge, prune, status, story], ids=lambda c: c.__name__
)
def test_a_call_takes_as_many_steps_with_many_delivered_chunks_as_with_few(
    call: Callable[[Spool], None], roots: dict[int, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken = {}
    for count, root in roots.items():
        shutil.copytree(root, tmp_path / str(count))
        with watched(tmp_path / str(count), monkeypatch) as (spool, steps):
            call(spool)
            taken[count] = steps.count
    assert taken[LARGE] - taken[SMALL] < 60, taken


def verified(root: Path) -> None:
    assert verify(root, settle_s=0).is_sound


def opened_and_closed(root: Path) -> None:
    Spool(root).close()


def added_up(root: Path) -> None:
    with Spool(root) as spool:
        assert totals_of(spool, "large-1").chunks > LARGE


READERS = [verified, opened_and_closed, added_up]


@pytest.mark.parametrize("read", READERS, ids=[read.__name__ for read in READERS])
def test_memory_does_not_grow_with_the_chunks(
    read: Callable[[Path], None], roots: dict[int, Path], tmp_path: Path
) -> None:
    twice = tmp_path / "twice"
    make_large_spool(twice, acknowledged=LARGE, waiting=LARGE)
    peaks = []
    for root in (roots[LARGE], twice):
        read(root)  # what is kept for good is kept from the first time on
        tracemalloc.start()
        try:
            read(root)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 64 * LARGE, peaks  # a number for each file: no row, no name


def test_a_long_stream_is_told_along_indexes_and_nothing_is_sorted(
    roots: dict[int, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(roots[SMALL], tmp_path / "spool")
    with watched(tmp_path / "spool", monkeypatch) as (spool, steps):
        for call in (push, claim, acknowledge, status):
            call(spool)
        ref = stream_id_of(spool)
        assert len(list(spool.events(ref))) > SMALL
        audit(spool, ref)
        spool.prune()
        asked = [one for one in steps.statements if one.startswith("SELECT")]
    with closing(sqlite3.connect(tmp_path / "spool" / "index.sqlite3")) as db:
        for statement in asked:
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert not any("TEMP B-TREE" in step for step in plan), (statement, plan)
            # The ledger's two ends are at hand; but chunks are never gone through from the first to the last.
            assert not any(step.startswith(("SCAN c", "SCAN chunks")) for step in plan), (statement, plan)
