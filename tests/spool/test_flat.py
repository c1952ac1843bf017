"""What a call costs does not grow with the work that is done: counted in SQLite's own steps, never in seconds."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spool import Chunk, Limits, Receipt, Spool
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


def next_waiting(spool: Spool) -> Chunk:
    lease = spool.lease(stream_id_of(spool), "worker", ttl_s=60)
    assert lease is not None
    chunk = lease.next_waiting()
    assert chunk is not None
    return chunk


def push(spool: Spool) -> None:
    ref = stream_id_of(spool)
    spool.push(ref, spool.stream(ref).next_chunk_idx, some_frames())


def claim(spool: Spool) -> None:
    lease = spool.lease(stream_id_of(spool), "worker", ttl_s=60)
    assert lease is not None
    chunk = lease.next_waiting()
    assert chunk is not None
    lease.attempt_started(chunk)
    lease.stream()


def acknowledge(spool: Spool) -> None:
    lease = spool.lease(stream_id_of(spool), "worker", ttl_s=60)
    assert lease is not None
    chunk = lease.next_waiting()
    assert chunk is not None
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
