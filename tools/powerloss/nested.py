"""The power goes once more, while the next opening repairs what the first cut has left."""

import random
from collections.abc import Callable, Iterator

from tools.powerloss import campaign
from tools.powerloss.campaign import Cut, Figures
from tools.powerloss.images import SYSTEMATIC, image_of
from tools.powerloss.owed import owed_after
from tools.powerloss.record import base_of, record
from tools.powerloss.volume import Op, Volume


def first_cut(ops: list[Op], seed: str) -> str:
    """A cut by chance: ``SEED:OPERATIONS:IMAGE``."""
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    at = chance.randint(1, len(ops))
    choice = chance.choice((*SYSTEMATIC, "random-0", "random-1", "random-2"))
    return f"{seed}:{at}:{choice}"


def again(
    ops: list[Op],
    *,
    first: str,
    random_images: int,
    systematic: tuple[str, ...] = SYSTEMATIC,
    only: str = "",
    progress: Callable[[Figures], None] = lambda _: None,
) -> Figures:
    """Cut the power once, and once more while the next opening repairs what the first cut has left.

    Args:
        ops: a recording.
        first: from `first_cut`.
        random_images: of the second cuts, besides the systematic ones.
        systematic: see `campaign.cuts`.
        only: one second cut alone.
        progress: see `campaign.run`.
    """
    seed, at, choice = first.split(":")
    volume = Volume()
    for op in ops[: int(at)]:
        volume.apply(op)
    base = base_of(image_of(volume, choice, seed))
    nested = campaign.merged(record("reopen", base=base))
    start, before = len(campaign.merged(base)), owed_after(ops[: int(at)])
    every: Iterator[Cut]
    if only:
        every = campaign.only(nested, only, start=start, before=before)
    else:
        every = campaign.cuts(
            nested,
            seed=int(at),
            systematic=systematic,
            random_images=random_images,
            start=start,
            before=before,
        )
    figures = campaign.run(every, operations=len(nested) - start, progress=progress)
    for loss in figures.losses:
        loss.first = first
    return figures
