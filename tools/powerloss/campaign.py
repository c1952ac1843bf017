"""Every cut of a recorded run, and for each the images that it may leave, judged by two processes."""

import logging
import multiprocessing
import random
from collections import Counter, deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cache

from tools.powerloss.images import SYSTEMATIC, WITHOUT_INDEX, image_of
from tools.powerloss.judge import Verdict, judge, judge_rebuilt
from tools.powerloss.owed import Account, Owed
from tools.powerloss.volume import Image, Op, Volume

PROCESSES = 2
_MERGED_BYTES_MAX = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One image of one cut: after how many operations, which image, and what is owed by then."""

    seed: int
    ops: int
    choice: str
    image: Image
    owed: Owed


@dataclass(slots=True, kw_only=True)
class Loss:
    """A broken promise, with what is needed to see it again.

    Attributes:
        seed: of the random images.
        ops: after so many operations.
        choice: which image of that cut.
        why: the promise.
        first: the cut before, when this one hit the recovery from it.
        workload: whose recording.
    """

    seed: int
    ops: int
    choice: str
    why: str
    first: str = ""
    workload: str = ""

    @property
    def name(self) -> str:
        """For ``--only``."""
        return f"{self.workload}/{self.first}{'/' if self.first else ''}{self.seed}:{self.ops}:{self.choice}"


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a campaign has tried and found."""

    operations: int = 0
    cuts: int = 0
    images: int = 0
    repeats: int = 0
    losses: list[Loss] = field(default_factory=list)
    litter: Counter[str] = field(default_factory=Counter)

    def add(self, other: "Figures") -> None:
        """Count another campaign's figures in."""
        self.operations += other.operations
        self.cuts += other.cuts
        self.images += other.images
        self.repeats += other.repeats
        self.losses += other.losses
        self.litter += other.litter

    def summary(self) -> dict[str, object]:
        """For ``--json``."""
        return {**asdict(self), "losses": [{**asdict(loss), "name": loss.name} for loss in self.losses]}


def merged(ops: Sequence[Op]) -> list[Op]:
    """The same operations with writes that go on where the last one ended made one, up to 64 KiB.

    A cut between two of them is an image of the longer write, torn at that sector.
    """
    done: list[Op] = []
    for op in ops:
        last = done[-1] if done else None
        if (
            last is not None
            and op.kind == last.kind == "write"
            and op.ino == last.ino
            and op.offset == last.offset + len(last.data)
            and len(last.data) + len(op.data) <= _MERGED_BYTES_MAX
        ):
            done[-1] = Op(kind="write", ino=op.ino, offset=last.offset, data=last.data + op.data)
        else:
            done.append(op)
    return done


def cuts(
    ops: list[Op],
    *,
    seed: int,
    systematic: Sequence[str] = SYSTEMATIC,
    random_images: int = 0,
    start: int = 0,
    before: Owed | None = None,
    where: Container[int] | None = None,
) -> Iterator[Cut]:
    """The images to judge.

    Args:
        ops: the recorded run.
        seed: of the random images.
        systematic: which of `SYSTEMATIC` and `WITHOUT_INDEX` to make at every cut.
        random_images: how many besides, spread over the cuts by chance.
        start: the first cut; before it is what the volume held at the start.
        before: what was owed at the start.
        where: only cuts after so many operations; ``None`` for everywhere.
    """
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    places = [at for at in range(start, len(ops) + 1) if where is None or at in where]
    extra = Counter(chance.choices(places, k=random_images))
    volume, account = Volume(), Account(before)
    for at in range(len(ops) + 1):
        if at:
            volume.apply(ops[at - 1])
        if at > start:
            account.take(ops[at - 1])
        if at < start or (where is not None and at not in where):
            continue
        for choice in (*systematic, *(f"random-{number}" for number in range(extra[at]))):
            image = image_of(volume, choice, f"{seed}:{at}")
            yield Cut(seed=seed, ops=at, choice=choice, image=image, owed=account.owed)


def only(ops: list[Op], name: str, *, start: int = 0, before: Owed | None = None) -> Iterator[Cut]:
    """The one image of a finding: ``SEED:OPERATIONS:IMAGE``."""
    seed, at, choice = name.split(":")
    volume, account = Volume(), Account(before)
    for number, op in enumerate(ops[: int(at)]):
        volume.apply(op)
        if number >= start:
            account.take(op)
    image = image_of(volume, choice, f"{seed}:{at}")
    yield Cut(seed=int(seed), ops=int(at), choice=choice, image=image, owed=account.owed)


def before_journal_syncs(ops: Sequence[Op]) -> set[int]:
    """The cuts right before SQLite's journal becomes durable: where it may be torn."""
    journals = {op.ino for op in ops if op.kind == "create" and op.name.endswith("-journal")}
    return {at for at, op in enumerate(ops) if op.kind == "fsync" and op.ino in journals}


def without_sqlite_dirsync(ops: Sequence[Op]) -> list[Op]:
    """The recording of an SQLite that was built not to fsync the directory after its journal's first fsync."""
    # Its last one, at the end of a commit, follows zeros over the journal's header.
    first = {at + 1 for at in before_journal_syncs(ops) if any(ops[at - 1].data)}
    return [op for at, op in enumerate(ops) if not (op.kind == "fsync_dir" and at in first)]


def after_returns(ops: Sequence[Op]) -> set[int]:
    """The cuts right after a step has returned: where what is owed has just become more."""
    return {at for at, op in enumerate(ops, start=1) if op.kind == "note" and b"returned" in op.data}


def run(
    every: Iterator[Cut],
    *,
    operations: int,
    progress: Callable[[Figures], None] = lambda _: None,
    losses_max: int | None = None,
) -> Figures:
    """Judge the images; those that were judged already for the same promises are only counted.

    Args:
        every: from `cuts`.
        operations: how many were recorded, for the figures.
        progress: is told after each verdict.
        losses_max: stop at so many losses; ``None`` to go on to the end.
    """
    figures = Figures(operations=operations)
    tried: set[tuple[int, str]] = set()
    where: set[int] = set()
    open_verdicts: deque[tuple[Cut, Future[Verdict]]] = deque()

    def settle() -> None:
        cut, future = open_verdicts.popleft()
        verdict = future.result()
        if verdict.lost is not None:
            figures.losses.append(Loss(seed=cut.seed, ops=cut.ops, choice=cut.choice, why=verdict.lost))
        figures.litter.update(verdict.litter)
        progress(figures)

    for cut in every:
        where.add(cut.ops)
        key = (cut.image.key(), cut.owed.key())
        if key in tried:
            figures.repeats += 1
            continue
        tried.add(key)
        figures.images += 1
        figures.cuts = len(where)
        how = judge_rebuilt if cut.choice in WITHOUT_INDEX else judge
        open_verdicts.append((cut, _judges().submit(how, cut.image, cut.owed)))
        while len(open_verdicts) > 4 * PROCESSES:
            settle()
        if losses_max is not None and len(figures.losses) >= losses_max:
            break
    while open_verdicts:
        settle()
    figures.cuts = len(where)
    return figures


@cache
def _judges() -> ProcessPoolExecutor:
    """Started once, because starting takes longer than a hundred verdicts; they end with this process."""
    return ProcessPoolExecutor(PROCESSES, multiprocessing.get_context("spawn"), initializer=_be_quiet)


def _be_quiet() -> None:
    logging.disable(logging.CRITICAL)
