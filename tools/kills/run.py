"""Kill processes that use a spool, again and again: ``python tools/kills/run.py --exhaustive | --random N``.

Exhaustive: before every labelled step of every call, of every opening after that, and of openings after damage.
Random: two producers and a worker, each killed at some step or at some instant. After each kill the spool is
opened and held against everything it had promised. The exit code is 1 when a promise was broken, and each finding
names the ``--only`` that repeats it; one from a random instant may need a few tries. With ``--destination folder``
the streams go to a folder, with ``folders`` to two: the workers' steps there are steps to be killed at, and what
lies there is judged too.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.kills import campaign
from tools.kills.campaign import Figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a promise was broken."""
    asked = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing stays behind
    began = time.monotonic()
    figures = Figures()
    plans: list[tuple[list[str], float]] = []
    if asked.only:
        plans.append(([asked.only], float("inf")))
    if asked.exhaustive:
        every = (
            campaign.on_the_way(asked.destination)
            if asked.destination
            else campaign.exhaustive(campaign.all_calls())
        )
        plans.append((every, float("inf")))
    if asked.random:
        crowd = f"{asked.destination} crowd {asked.seed}".lstrip()
        plans.append(([f"{crowd}:{number}" for number in range(asked.random)], asked.random))
    for plan, kills_max in plans:
        part = campaign.run(
            plan, processes=asked.processes, kills_max=kills_max, told=_told(figures, quiet=asked.json)
        )
        figures.kills += part.kills
        figures.labels += part.labels
        figures.losses += part.losses
    seconds = round(time.monotonic() - began, 1)
    if asked.json:
        print(json.dumps({**figures.to_json(), "seconds": seconds}, indent=1))
    else:
        print(f"\n{figures.kills} kills before {len(figures.labels)} kinds of step, {len(figures.losses)} losses,"
              f" {seconds:.0f} s")  # fmt: skip
        for loss in figures.losses:
            print(f"lost: python tools/kills/run.py {loss}")
    return 1 if figures.losses else 0


def _told(before: Figures, *, quiet: bool) -> Callable[[Figures], None]:
    def told(figures: Figures) -> None:
        if not quiet and sys.stderr.isatty():
            words = f"{before.kills + figures.kills} kills, {len(before.losses) + len(figures.losses)} losses"
            print(f"\r{words}   ", end="", file=sys.stderr, flush=True)

    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--exhaustive", action="store_true", help="before every step")
    parser.add_argument(
        "--destination", choices=campaign.TO_FOLDERS, default="", help="where the streams go; by default nowhere"
    )
    parser.add_argument("--random", type=int, default=0, metavar="N", help="so many random kills besides")
    parser.add_argument("--seed", type=int, default=0, help="of the random kills")
    parser.add_argument(
        "--only", metavar="PART", help="[folder[s]] 'steps CALL.AT.AGAIN', 'damage CALL.AT NAME' or 'crowd SEED:N'"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
