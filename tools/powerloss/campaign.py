"""Every cut of a recorded run, and for each the images that it may leave, judged by two processes."""

import logging
import multiprocessing
import random
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field

from tools.powerloss.judge import Verdict, judge, judge_rebuilt, without_index
from tools.powerloss.promises import Promised, allowed, digest
from tools.powerloss.volume import File, Image, NameChange, Op, Volume, sized, synced, torn, written

PROCESSES = 2
_MERGED_BYTES_MAX = 1 << 16

SYSTEMATIC = ("none", "all", "names", "names+sizes", "bytes")
"""What survives without fsync: nothing; everything; names without bytes; names and sizes; bytes without names."""

WITHOUT_INDEX = ("none, no index", "all, no index")
"""Two of them once more, with the index gone altogether: what was pushed is rebuilt from the shards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One image of one cut: after how many operations, which image, and what may be promised by then."""

    ops: int
    choice: str
    image: Image
    allowed: list[Promised]


@dataclass(slots=True, kw_only=True)
class Loss:
    """A broken promise, with what is needed to see it again.

    Attributes:
        ops: after so many operations.
        choice: which image of that cut.
        why: the promise.
        first: the cut before, when this one hit the recovery from it.
    """

    ops: int
    choice: str
    why: str
    first: str = ""


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
        return asdict(self)


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


def image_of(volume: Volume, choice: str, seed: str) -> Image:
    """The image of a choice: one of `SYSTEMATIC` or `WITHOUT_INDEX`, or ``random-N`` drawn from the seed."""
    if choice in WITHOUT_INDEX:
        return without_index(image_of(volume, choice.partition(",")[0], seed))
    if choice in SYSTEMATIC:
        how = {"none": synced, "all": written, "names": synced, "names+sizes": sized, "bytes": written}[choice]
        return volume.image(keep=lambda _: choice not in ("none", "bytes"), content=how)
    chance = random.Random(f"{seed}:{choice}")  # noqa: S311 - chosen to be repeatable
    likely = chance.choice((0.1, 0.5, 0.9))

    def keep(_: NameChange) -> bool:
        return chance.random() < likely

    def content(file: File) -> bytes:
        pick = chance.choice((synced, written, sized, None))
        return torn(file, chance) if pick is None else pick(file)

    return volume.image(keep=keep, content=content)


def cuts(
    ops: list[Op],
    *,
    seed: int,
    systematic: Sequence[str] = SYSTEMATIC,
    random_images: int = 0,
    start: int = 0,
    before: list[Promised] | None = None,
) -> Iterator[Cut]:
    """The images to judge.

    Args:
        ops: the recorded run.
        seed: of the random images.
        systematic: which of `SYSTEMATIC` and `WITHOUT_INDEX` to make at every cut.
        random_images: how many besides, spread over the cuts by chance.
        start: the first cut; before it is what the volume held at the start.
        before: what was promised at the start.
    """
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    extra = [0] * (len(ops) + 1)
    for _ in range(random_images):
        extra[chance.randint(start, len(ops))] += 1
    volume = Volume()
    for at in range(len(ops) + 1):
        if at:
            volume.apply(ops[at - 1])
        if at < start:
            continue
        promised = allowed(ops[start:at], before)
        for choice in (*systematic, *(f"random-{number}" for number in range(extra[at]))):
            image = image_of(volume, choice, f"{seed}:{at}")
            yield Cut(ops=at, choice=choice, image=image, allowed=promised)


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
            figures.losses.append(Loss(ops=cut.ops, choice=cut.choice, why=verdict.lost))
        figures.litter.update(verdict.litter)
        progress(figures)

    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(PROCESSES, context, initializer=_be_quiet) as judges:
        for cut in every:
            where.add(cut.ops)
            key = (cut.image.key(), "".join(map(digest, cut.allowed)))
            if key in tried:
                figures.repeats += 1
                continue
            tried.add(key)
            figures.images += 1
            figures.cuts = len(where)
            how = judge_rebuilt if cut.choice in WITHOUT_INDEX else judge
            open_verdicts.append((cut, judges.submit(how, cut.image, cut.allowed)))
            while len(open_verdicts) > 4 * PROCESSES:
                settle()
            if losses_max is not None and len(figures.losses) >= losses_max:
                break
        while open_verdicts:
            settle()
    figures.cuts = len(where)
    return figures


def _be_quiet() -> None:
    logging.disable(logging.CRITICAL)
