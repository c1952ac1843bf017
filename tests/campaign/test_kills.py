"""Processes die at every step of a short life, and a few at random; see `tools.kills`.

The long version is ``python tools/kills/run.py --exhaustive --random 10000``.
"""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from spool import Chunk, Disk, LeasedStream, Receipt, copying, decisions, pruning, recovery
from spool.folder import SpoolFolder
from spool.intake import Intake
from tools.kills import campaign, crowd, damage, delivering, owed, run
from tools.kills.delivering import Delivery, FanOut
from tools.kills.dying import ChildFailed
from tools.kills.steps import STEPS, Kill, Life
from tools.powerloss.forgetful import small_reserve
from tools.powerloss.steps import Step
from uploader.destinations.base import Delivered, Refused, Ticket, TryLater
from uploader.destinations.stores.base import Pieces, StoreTrouble
from uploader.destinations.stores.folder import FolderStore, _digest
from uploader.destinations.zarr_store import ZarrDestination

SEED = "20261124"


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    with small_reserve():
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def life() -> Iterator[Life]:
    with campaign.scratch() as made:
        lived = Life(made)
        lived.play()
        yield lived


@pytest.fixture(scope="module")
def delivery() -> Iterator[Delivery]:
    with campaign.scratch() as made:
        lived = Delivery(made)
        lived.play()
        yield lived


@pytest.fixture(scope="module")
def fan_out() -> Iterator[FanOut]:
    with campaign.scratch() as made:
        lived = FanOut(made)
        lived.play()
        yield lived


@pytest.fixture
def folder() -> Iterator[Path]:
    with campaign.scratch() as made:
        yield made


def calls(do: str, steps: Sequence[Step] = STEPS) -> list[int]:
    """Where in the life something is done."""
    return [number for number, step in enumerate(steps) if step.do == do]


FIRST, SECOND, _, LAST = calls("deliver", delivering.STEPS)
GARBLED = calls("garble", delivering.STEPS)[0]
"""Deliveries on the way to a folder: the first one, another chunk's, the one with the end; and a garbled one."""


_, BEHIND, _, _, END = calls("deliver", delivering.TWO_STEPS)
"""Deliveries to two folders: to the one that lags behind, and the last one with the end."""


def losses(kills: Iterator[Kill]) -> list[str]:
    return [f"{kill.name} {kill.label}: {kill.why}" for kill in kills if kill.why]


@pytest.mark.parametrize(
    "do", ["stream", "push", "acknowledge", "park", "retry", "discard", "seal", "finalize", "prune", "hold"]
)
def test_every_step_of_a_call_and_of_the_opening_after_it(life: Life, do: str) -> None:
    kills = list(life.kills(calls(do)[0]))

    assert losses(iter(kills)) == []
    assert len(kills) >= 3, "nothing was killed"


@pytest.mark.parametrize("name", damage.DAMAGES)
def test_a_recovery_killed_at_any_step_ends_as_one_that_nobody_disturbed(
    life: Life, folder: Path, name: str
) -> None:
    kills = list(damage.kills(life, folder, 30, name))

    assert losses(iter(kills)) == []
    # Without its description a stream goes on: nothing is mended, and so nobody dies.
    assert kills or name == "no_descriptions", "nothing was killed"


def test_an_index_that_is_lost_with_a_killed_process_is_told_again(life: Life, folder: Path) -> None:
    kills = list(damage.kills_after(life, folder, calls("acknowledge")[0], "no_index"))

    assert losses(iter(kills)) == []
    assert len(kills) > 10


def test_two_producers_and_a_worker_killed_at_random_lose_nothing(folder: Path) -> None:
    kills = [kill for number in range(4) for kill in crowd.lives(folder, f"{SEED}-{number}")]

    assert losses(iter(kills)) == []
    assert len(kills) > 10


def test_what_a_folder_has_acknowledged_is_there_whenever_its_worker_dies(delivery: Delivery) -> None:
    steps = range(1, len(delivery.labels(LAST)) + 1, 2)
    kills = [kill for at in steps for kill in delivery.kills(LAST, at=at, again=0)]

    assert losses(iter(kills)) == []
    assert {kill.label for kill in kills} >= {"object.write", "object.rename", "object.fsync_dir"}


def test_the_next_worker_may_die_too(delivery: Delivery) -> None:
    kills = list(delivery.kills(FIRST, at=30))

    assert losses(iter(kills)) == []
    assert len(kills) > 5


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_worker_may_die_while_its_folder_keeps_other_bytes(delivery: Delivery, number: int) -> None:
    at = [at for at, label in enumerate(delivery.labels(GARBLED), start=1) if label == "object.rename"][number]

    assert losses(delivery.kills(GARBLED, at=at, again=0)) == []


def test_producers_and_a_worker_that_delivers_to_a_folder_are_killed_at_random(folder: Path) -> None:
    kills = [kill for number in range(3) for kill in crowd.lives(folder, f"{SEED}-{number}", shares=1)]

    assert losses(iter(kills)) == []
    assert len(kills) > 10


@pytest.mark.parametrize("call", [BEHIND, END])
def test_two_folders_have_each_chunk_once_whichever_worker_dies(fan_out: FanOut, call: int) -> None:
    steps = range(1 + call % 9, len(fan_out.labels(call)) + 1, 12)
    kills = [kill for at in steps for kill in fan_out.kills(call, at=at, again=0)]

    assert losses(iter(kills)) == []
    assert len(kills) > 4


@pytest.mark.parametrize("do", ["push", "prune", "seal"])
def test_a_chunk_stays_until_both_folders_have_it_whoever_else_dies(fan_out: FanOut, do: str) -> None:
    call = calls(do, delivering.TWO_STEPS)[0]
    kills = [
        kill for at in range(1, len(fan_out.labels(call)) + 1, 3) for kill in fan_out.kills(call, at=at, again=0)
    ]

    assert losses(iter(kills)) == []
    assert len(kills) > 2


def test_producers_and_the_workers_of_two_folders_are_killed_at_random(folder: Path) -> None:
    kills = [kill for number in range(2) for kill in crowd.lives(folder, f"{SEED}-{number}", shares=2)]

    assert losses(iter(kills)) == []
    assert len(kills) > 10


def test_the_command_kills_on_the_way_to_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "folder steps 1", "--processes", "1", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["labels"]["mark.fsync"] == 1
    assert said["losses"] == []


def test_the_command_kills_what_it_is_told_to_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", f"steps {calls('prune')[0]}", "--processes", "1", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["kills"] >= 2
    assert said["labels"]["prune.commit"] >= 1
    assert said["losses"] == []


def test_a_child_that_raises_is_a_loss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_folder: SpoolFolder) -> None:
        raise RuntimeError("no recovery today")

    monkeypatch.setattr("spool.spool.recover", refuse)
    with pytest.raises(RuntimeError):
        Life(folder).play()
    assert "no recovery today" in campaign.part_of("crowd 1", folder)[1][0].why


# It bites ---------------------------------------------------------------------------------------------------


def is_found(kills: Iterator[Kill]) -> bool:
    """Whether a promise was seen broken, or a child tripped over what is wrong; the first time is enough."""
    try:
        return any(kill.why for kill in kills)
    except ChildFailed:
        return True


def test_a_prune_that_deletes_before_its_commit_is_found(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = pruning._release

    def hasty(folder: SpoolFolder, *rest: object) -> list[Chunk]:
        batch = honest(folder, *rest)  # type: ignore[arg-type]
        for chunk in batch:
            folder.shard_path(chunk.stream_id, chunk.chunk_idx).unlink()
        return batch

    monkeypatch.setattr(pruning, "_release", hasty)
    assert is_found(life.kills(calls("prune")[0]))


def test_a_discard_that_deletes_before_its_commit_is_found(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = decisions._move

    def hasty(
        db: sqlite3.Connection, folder: SpoolFolder, ref: str, idxs: list[int], *rest: object, **more: object
    ) -> None:
        honest(db, folder, ref, idxs, *rest, **more)  # type: ignore[arg-type]
        for idx in idxs:
            folder.shard_path(ref, idx).unlink(missing_ok=True)

    monkeypatch.setattr(decisions, "_move", hasty)
    assert is_found(life.kills(calls("discard")[0]))


def _nothing(*_: object, **__: object) -> None:
    return None


@pytest.mark.parametrize(
    ("left_out", "do"), [("_adopt_chunk", "push"), ("_remove", "prune"), ("_refresh", "push")]
)
def test_a_part_of_recovery_that_is_left_out_is_found(
    life: Life, monkeypatch: pytest.MonkeyPatch, left_out: str, do: str
) -> None:
    monkeypatch.setattr(recovery, left_out, _nothing)
    assert is_found(life.kills(calls(do)[0]))


def test_an_index_that_is_not_told_again_by_the_ledgers_file_is_found(
    life: Life, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "restore_index", _nothing)
    assert is_found(damage.kills(life, folder, 30, "no_index"))


def test_an_acknowledgement_that_is_committed_later_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Callable[[], object]] = []
    honest, release = LeasedStream.acknowledge, LeasedStream.release

    def acknowledge(self: LeasedStream, chunk: Chunk, receipt: Receipt) -> None:
        late.append(lambda: honest(self, chunk, receipt))

    def released(self: LeasedStream) -> None:
        for commit in late:
            commit()
        late.clear()
        release(self)

    monkeypatch.setattr(LeasedStream, "acknowledge", acknowledge)
    monkeypatch.setattr(LeasedStream, "release", released)
    assert any(is_found(crowd.lives(folder, f"{SEED}-{number}")) for number in range(8))


def test_a_receipt_that_is_recorded_before_the_bytes_are_sent_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(self: LeasedStream, chunk: Chunk) -> None:
        name = f"{self.stream().settings.name}.{chunk.chunk_idx}"
        self.acknowledge(chunk, Receipt(status=200, etag=owed.etag_of(name), confirmed=True, at_ms=1))

    monkeypatch.setattr(LeasedStream, "attempt_started", hasty)
    assert any(is_found(crowd.lives(folder, f"{SEED}-{number}")) for number in range(8))


def test_a_row_that_is_committed_before_its_shard_has_its_name_is_found(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    late: list[Callable[[], None]] = []
    rename, place = Disk.rename, Intake._place

    def later(self: Disk, source: Path, target: Path, *, label: str) -> None:
        late.append(partial(rename, self, source, target, label=label))
        if label != "shard":
            late.pop()()

    def placed(self: Intake, *rest: object) -> Chunk:
        chunk = place(self, *rest)  # type: ignore[arg-type]
        while late:
            late.pop()()
        return chunk

    monkeypatch.setattr(Disk, "rename", later)
    monkeypatch.setattr(Intake, "_place", placed)
    assert is_found(life.kills(calls("push")[0]))


def test_a_prune_that_takes_the_other_folders_bytes_too_is_found(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = pruning._release

    def greedy(folder: SpoolFolder, *rest: object) -> list[Chunk]:
        batch = honest(folder, *rest)  # type: ignore[arg-type]
        for chunk in batch:
            for path in (folder.root / "streams").glob(f"*/frames.zarr/frames/c.{chunk.chunk_idx}.0.0"):
                path.unlink()
        return batch

    monkeypatch.setattr(pruning, "_release", greedy)
    assert is_found(fan_out.kills(calls("prune", delivering.TWO_STEPS)[0]))


def test_a_chunk_that_enters_its_copy_later_than_its_stream_is_found(
    fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "enter", _nothing)
    assert is_found(fan_out.kills(calls("push", delivering.TWO_STEPS)[0]))


def kills_before(delivery: Delivery, call: int, label: str) -> Iterator[Kill]:
    """Kill a delivery before each step of a kind."""
    for at, found in enumerate(delivery.labels(call), start=1):
        if found == label:
            yield from delivery.kills(call, at=at, again=0)


_Outcome = Delivered | TryLater | Refused


def test_documents_that_are_written_before_the_object_are_found(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ZarrDestination.deliver

    def hasty(self: ZarrDestination, chunk: Chunk, ticket: Ticket, body: bytes | memoryview) -> _Outcome:
        stream, place = ticket.stream, ticket.place  # type: ignore[attr-defined]
        self._describe(stream, ticket.data_id, place, 4 * chunk.chunk_idx + chunk.n)
        return honest(self, chunk, ticket, body)

    monkeypatch.setattr(ZarrDestination, "deliver", hasty)
    assert is_found(kills_before(delivery, SECOND, "object.rename"))


def test_a_chunk_that_is_acknowledged_before_it_lies_in_the_folder_is_found(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = LeasedStream.attempt_started

    def hasty(self: LeasedStream, chunk: Chunk, *rest: object) -> None:
        honest(self, chunk, *rest)  # type: ignore[arg-type]
        key = f"{self.stream().data_id}/frames/c.{chunk.chunk_idx}.0.0"
        self.acknowledge(chunk, Receipt(status=201, etag=None, confirmed=True, at_ms=1, url_path=key))

    monkeypatch.setattr(LeasedStream, "attempt_started", hasty)
    assert is_found(kills_before(delivery, SECOND, "object.rename"))


def test_an_object_that_has_its_name_before_it_is_read_back_is_found(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hasty(self: FolderStore, target: Path, pieces: Pieces, *, sha256: str) -> None:
        new = self._incoming / "new"
        self._disk.write_new(new, map(bytes, pieces), label="object")
        self._disk.rename(new, target, label="object")
        if _digest(target) != sha256:
            raise StoreTrouble("other bytes", outage=False)

    monkeypatch.setattr(FolderStore, "_write", hasty)
    assert is_found(kills_before(delivery, GARBLED, "object.fsync_dir"))


def test_what_a_dead_worker_left_and_nobody_sweeps_is_found(
    delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderStore, "_sweep", _nothing)
    assert is_found(kills_before(delivery, SECOND, "object.fsync"))
