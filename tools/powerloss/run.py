"""Cut the power under a spool, again and again: ``python tools/powerloss/run.py --exhaustive | --random N``.

A program uses a real spool on a FUSE file system that logs each operation. From the log come the images that a
power cut could leave after every single operation; the spool is opened on each, and every promise is checked.
The exit code is 1 when one was broken. Needs root, /dev/fuse, Debian's ``fuse3`` and ``mfusepy``.
"""

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.powerloss import campaign
from tools.powerloss.campaign import SYSTEMATIC, WITHOUT_INDEX, Cut, Figures
from tools.powerloss.promises import allowed
from tools.powerloss.record import base_of, record
from tools.powerloss.volume import Op, Volume


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a promise was broken."""
    asked = _parser().parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    ops = campaign.merged(record("steps", without=asked.without))
    shown = _Progress(quiet=asked.json)
    systematic = (*SYSTEMATIC, *WITHOUT_INDEX) if asked.exhaustive else ()
    every = campaign.cuts(ops, seed=asked.seed, systematic=systematic, random_images=asked.random)
    figures = campaign.run(every, operations=len(ops), progress=shown, losses_max=asked.losses_max)
    for number in range(asked.again):
        shown.what = f"opening {number + 1} of {asked.again}"
        figures.add(again(ops, seed=f"{asked.seed}:{number}", random_images=asked.random // 10, progress=shown))
    seconds = time.monotonic() - began
    _print(figures, ops, seconds, as_json=asked.json)
    return 1 if figures.losses else 0


def again(
    ops: list[Op], *, seed: str, random_images: int, progress: Callable[[Figures], None] = lambda _: None
) -> Figures:
    """Cut the power once, and once more while the next opening repairs what the first cut has left."""
    chance = random.Random(seed)  # noqa: S311 - chosen to be repeatable
    at = chance.randint(1, len(ops))
    volume = Volume()
    for op in ops[:at]:
        volume.apply(op)
    choice = chance.choice((*SYSTEMATIC, "random-0", "random-1", "random-2"))
    image = campaign.image_of(volume, choice, seed)
    base = base_of(image)
    nested = campaign.merged(record("reopen", base=base))
    start = len(campaign.merged(base))
    every: Iterator[Cut] = campaign.cuts(
        nested, seed=at, random_images=random_images, start=start, before=allowed(ops[:at])
    )
    figures = campaign.run(every, operations=len(nested) - start, progress=progress)
    for loss in figures.losses:
        loss.first = f"{at} {choice} {seed}"
    return figures


class _Progress:
    """One line on a terminal, kept up to date."""

    def __init__(self, *, quiet: bool) -> None:
        self.what = "first cut"
        self._quiet = quiet or not sys.stderr.isatty()

    def __call__(self, figures: Figures) -> None:
        if not self._quiet:
            words = f"{self.what}: {figures.cuts} cuts, {figures.images} images, {len(figures.losses)} losses"
            print(f"\r{words}   ", end="", file=sys.stderr, flush=True)


def _print(figures: Figures, ops: list[Op], seconds: float, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({**figures.summary(), "seconds": round(seconds, 1)}, indent=1))
        return
    print(
        f"\n{figures.operations} operations, {figures.cuts} cuts, {figures.images} images tried"
        f" (and {figures.repeats} that equal one of them), {len(figures.losses)} losses, {seconds:.0f} s"
    )
    for loss in figures.losses:
        first = f" (after a first cut at {loss.first})" if loss.first else f" ({ops[loss.ops - 1].kind})"
        print(f"lost after operation {loss.ops}{first}, image {loss.choice}: {loss.why}")
    for name, count in sorted(figures.litter.items()):
        print(f"never removed, in {count} images: {name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--exhaustive", action="store_true", help="every cut, with each of the systematic images")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="so many random images besides")
    parser.add_argument("--seed", type=int, default=0, help="of the random images")
    parser.add_argument("--again", type=int, default=0, metavar="N", help="so many second cuts, during recovery")
    parser.add_argument("--without", default="", metavar="STEP", help="leave a durable step out, e.g. shard.fsync")
    parser.add_argument("--losses-max", type=int, metavar="N", help="stop at so many")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
