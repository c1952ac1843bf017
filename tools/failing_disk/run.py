"""Let the disk fail at every operation of every call: ``python tools/failing_disk/run.py [--every N]``.

Each call of a spool's life, each opening (after a kill and after damage too) and each look at it is tried with a
fault at each operation that it asks of the disk: EIO once and from then on, no space, no quota, read-only, no
permission, a flipped bit. The exit code is 1 when a promise was broken, and each finding names the ``--only`` that
repeats it.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.failing_disk.faults import CHANGES, FOREVER, GROWTH, Fault
from tools.failing_disk.mounted import failing_disk
from tools.failing_disk.trying import OPENINGS, Trial, Trials
from tools.kills.campaign import scratch
from tools.kills.steps import Life
from tools.powerloss.forgetful import small_reserve

_PLACES = (9, 32)
"""The pushes of the life before which, or in the middle of which, it is opened and looked at."""

_READS = frozenset({"read"})

WAYS: dict[str, Fault] = {
    "EIO": Fault(how="EIO"),
    "EIO forever": Fault(how="EIO", times=FOREVER),
    "ENOSPC": Fault(how="ENOSPC", kinds=GROWTH),
    "ENOSPC forever": Fault(how="ENOSPC", kinds=GROWTH, times=FOREVER),
    "EDQUOT": Fault(how="EDQUOT", kinds=GROWTH),
    "EROFS forever": Fault(how="EROFS", kinds=CHANGES, times=FOREVER),
    "EACCES": Fault(how="EACCES", kinds=CHANGES | {"open"}),
    "flip": Fault(how="flip", kinds=_READS),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One trial with one fault."""

    trial: Trial
    way: str
    at: int

    def __str__(self) -> str:
        return f"{self.trial}, {self.way}, {self.at}"

    @classmethod
    def parse(cls, text: str) -> "Case":
        """From its own words, as a finding prints them."""
        trial, way, at = (part.strip() for part in text.split(","))
        what, call, after = (*trial.split(" ", 2), "")[:3]
        return cls(Trial(what, int(call), after), way, int(at))


@dataclass(slots=True)
class Figures:
    """What was done."""

    faults: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, part: "Figures") -> None:
        """What another one did."""
        self.faults += part.faults
        self.kinds += part.kinds
        self.findings += part.findings

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {"faults": self.faults, "kinds": dict(sorted(self.kinds.items())), "findings": self.findings}


def trials(life: Life) -> list[Trial]:
    """Every one there is."""
    calls = [Trial("call", call) for call in life.calls]
    openings = [Trial("open", place, after) for place in _PLACES for after in OPENINGS]
    return calls + openings + [Trial("look", place) for place in _PLACES]


def cases(trial: Trial, seen: list[str]) -> Iterator[Case]:
    """Every fault worth trying, from what a trial asks of the disk when nothing fails."""
    for way, fault in WAYS.items():
        known = set()
        if way == "flip" and trial.what == "call":
            continue  # nothing can help against an index that is read wrongly while it is written
        for number, operation in enumerate(seen, start=1):
            kind, path, *_ = operation.split(" ")
            if way == "flip" and trial.what == "open" and "index" in path:
                continue
            # Looking up a name is asked for again and again.
            if fault.concerns(kind, path) and (kind != "getattr" or path not in known):
                known.add(path)
                yield Case(trial, way, number)


def tried(case: Case, made: Trials) -> str:
    """Try one case; what was wrong, if anything."""
    return made.tried(case.trial, replace(WAYS[case.way], at=case.at))


@contextmanager
def trials_on_a_mount() -> Iterator[tuple[Trials, list[Trial]]]:
    """A mount to try things on, and all there is to try."""
    with ExitStack() as stack:
        stack.enter_context(small_reserve())
        life = Life(stack.enter_context(scratch()))
        life.play()
        disk = stack.enter_context(failing_disk(stack.enter_context(scratch())))
        yield Trials(disk, life, stack.enter_context(scratch())), trials(life)


def try_some(made: Trials, todo: Sequence[Trial], *, every: int) -> Figures:
    """Try every ``every``-th case of these trials, counted for each way by itself: none is left out."""
    figures = Figures()
    number: Counter[str] = Counter()
    for trial in todo:
        for case in cases(trial, made.operations(trial)):
            number[case.way] += 1
            if number[case.way] % every != 1 % every:
                continue
            figures.faults += 1
            figures.kinds[case.way] += 1
            if why := tried(case, made):
                figures.findings.append(f"{case}: {why}")
    return figures


def part_of(share: int, shares: int, every: int) -> Figures:
    """Try one share of the trials, on a mount of one's own."""
    logging.disable(logging.CRITICAL)
    with trials_on_a_mount() as (made, todo):
        return try_some(made, todo[share::shares], every=every)


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what was asked for; 1 when a promise was broken."""
    asked = _parser().parse_args(arguments)
    began = time.monotonic()
    figures = Figures()
    if asked.only:
        logging.disable(logging.CRITICAL)
        with trials_on_a_mount() as (made, _):
            figures.faults = 1
            if why := tried(Case.parse(asked.only), made):
                figures.findings.append(f"{asked.only}: {why}")
    else:
        # More shares than processes: each is a while of silence, and then a word.
        shares = 1 if asked.every > 1 else 8 * asked.processes
        # Not of `multiprocessing`: its processes may have no children, and each of ours has a mount.
        with ProcessPoolExecutor(asked.processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            jobs = [pool.submit(part_of, share, shares, asked.every) for share in range(shares)]
            for job in as_completed(jobs):
                figures.add(job.result())
                if not asked.json:
                    words = f"{figures.faults} faults, {len(figures.findings)} findings"
                    print(words, file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - began, 1)
    if asked.json:
        print(json.dumps({**figures.to_json(), "seconds": seconds}, indent=1))
    else:
        print(f"{figures.faults} faults, {len(figures.findings)} findings, {seconds:.0f} s")
        for finding in figures.findings:
            case, _, why = finding.partition(": ")
            print(f"found: python tools/failing_disk/run.py --only '{case}': {why}")
    return 1 if figures.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th fault")
    parser.add_argument("--only", metavar="CASE", help="'call CALL, WAY, OPERATION', as a finding names it")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
