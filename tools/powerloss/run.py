"""Cut the power under a spool, again and again: ``python tools/powerloss/run.py --exhaustive | --random N``.

Programs use a real spool on a FUSE file system that logs each operation. From the log come the images that a
power cut could leave after every single operation; the spool is opened on each, and every promise is checked.
Where it delivers to folders (``--workload folder``, ``folders``, …), each of them and the spool may lie on a disk
of its own, which alone loses its power. The exit code is 1 when a promise was broken. Needs root, /dev/fuse,
Debian's ``fuse3`` and ``mfusepy``.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.powerloss import campaign, nested
from tools.powerloss.campaign import Figures
from tools.powerloss.images import APART, SYSTEMATIC, THREE_APART, WITHOUT_INDEX
from tools.powerloss.record import record
from tools.powerloss.steps import WORKLOADS
from tools.powerloss.volume import Op

RECOVERY = "recovery"
"""The workload that is another one's recovery: the power goes a second time."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a promise was broken."""
    asked = _parser().parse_args(arguments)
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    shown = _Progress()
    if asked.only:
        by_workload = {asked.only.partition("/")[0]: _only(asked, shown)}
    else:
        chosen = asked.workload or (*WORKLOADS, RECOVERY)
        by_workload = {name: _tried(name, asked, len(chosen), shown) for name in chosen}
    _print(by_workload, time.monotonic() - began, as_json=asked.json)
    return 1 if any(figures.losses for figures in by_workload.values()) else 0


def _tried(name: str, asked: argparse.Namespace, share: int, shown: "_Progress") -> Figures:
    """One workload, with its share of the random images."""
    shown.what = name
    images = -(-asked.random // share)
    if name == RECOVERY:
        return _recovery(asked, images, shown)
    ops = _recorded(name, asked.without)
    apart = () if not name.startswith("folder") else THREE_APART if name == "folders" else APART
    systematic = (*SYSTEMATIC, *WITHOUT_INDEX, *apart) if asked.exhaustive else ()
    where = range(asked.seed % asked.every, len(ops) + 1, asked.every)
    every = campaign.cuts(ops, seed=asked.seed, systematic=systematic, random_images=images, where=where)
    figures = campaign.run(every, operations=len(ops), progress=shown, losses_max=asked.losses_max)
    return _named(figures, name)


def _recovery(asked: argparse.Namespace, images: int, shown: "_Progress") -> Figures:
    figures = Figures()
    for number in range(asked.again):
        name = tuple(WORKLOADS)[number % len(WORKLOADS)]
        ops = _recorded(name, asked.without)
        first = nested.first_cut(ops, f"{asked.seed}.{number}")
        shown.what = f"recovery {number + 1} of {asked.again}"
        figures.add(
            _named(nested.again(ops, first=first, random_images=-(-images // asked.again), progress=shown), name)
        )
    return figures


def _only(asked: argparse.Namespace, shown: "_Progress") -> Figures:
    """The one image of a finding; a recording differs from the next in names only."""
    workload, *cuts = asked.only.split("/")
    ops = _recorded(workload, asked.without)
    if len(cuts) > 1:
        figures = nested.again(ops, first=cuts[0], random_images=0, only=cuts[1], progress=shown)
    else:
        figures = campaign.run(campaign.only(ops, cuts[0]), operations=len(ops), progress=shown)
    return _named(figures, workload)


def _recorded(name: str, without: str) -> list[Op]:
    return campaign.merged(record(name, without=without))


def _named(figures: Figures, workload: str) -> Figures:
    for loss in figures.losses:
        loss.workload = workload
    return figures


_TERMINAL_S, _FILE_S = 0.2, 15.0


class _Progress:
    """Says on stderr how far it is: one line kept up to date on a terminal, else one now and then."""

    def __init__(self) -> None:
        self.what = ""
        self._is_terminal = sys.stderr.isatty()
        self._began = self._told = time.monotonic()

    def __call__(self, figures: Figures) -> None:
        now = time.monotonic()
        if now - self._told < (_TERMINAL_S if self._is_terminal else _FILE_S):
            return
        self._told = now
        words = f"{self.what}: {figures.cuts} cuts, {figures.images} images, {len(figures.losses)} losses"
        start, end = ("\r", "   ") if self._is_terminal else ("", "\n")
        print(f"{start}{words}, {now - self._began:.0f} s", end=end, file=sys.stderr, flush=True)


def _print(by_workload: dict[str, Figures], seconds: float, *, as_json: bool) -> None:
    total = Figures()
    for figures in by_workload.values():
        total.add(figures)
    rate = total.images / seconds
    if as_json:
        each = {name: figures.summary() for name, figures in by_workload.items()}
        print(
            json.dumps(
                {
                    **total.summary(),
                    "workloads": each,
                    "seconds": round(seconds, 1),
                    "images_per_s": round(rate, 1),
                },
                indent=1,
            )
        )
        return
    for name, figures in (*by_workload.items(), ("all", total)):
        print(
            f"{name}: {figures.operations} operations, {figures.cuts} cuts, {figures.images} images tried"
            f" (and {figures.repeats} that equal one of them), {len(figures.losses)} losses"
        )
    print(f"{seconds:.0f} s, {rate:.0f} images a second")
    for loss in total.losses:
        print(f"lost: --only '{loss.name}': {loss.why}")
    for name, count in sorted(total.litter.items()):
        print(f"never removed, in {count} images: {name}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    names = (*WORKLOADS, RECOVERY)
    parser.add_argument("--workload", action="append", choices=names, help="only this one; may be repeated")
    parser.add_argument("--exhaustive", action="store_true", help="every cut, with each of the systematic images")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each N-th cut")
    parser.add_argument("--random", type=int, default=0, metavar="N", help="so many random images in all")
    parser.add_argument("--seed", type=int, default=0, help="of the random images")
    parser.add_argument("--again", type=int, default=12, metavar="N", help="so many recoveries that are cut")
    parser.add_argument("--only", default="", metavar="NAME", help="one image, as a finding names it")
    parser.add_argument("--without", default="", metavar="STEP", help="leave a durable step out, e.g. shard.fsync")
    parser.add_argument("--losses-max", type=int, metavar="N", help="stop a workload at so many")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
