"""Give framespool bad input of every kind: ``python tools/fuzz/run.py --count 100000 --seed 1 [--area answers]``.

Each area is a module of `tools.fuzz.areas` and gets its share. An input that is answered wrongly, or not in time,
is printed with what repeats it; the exit code is then 1.
"""

import argparse
import importlib
import json
import logging
import multiprocessing
import os
import pkgutil
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as ready_of
from multiprocessing.context import SpawnProcess
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.fuzz import areas
from tools.fuzz.finding import Finding

BATCH = 250
HANG_S = 180.0
"""An input that has said nothing for so long hangs: its process is killed, and the next batch begins."""

Job = tuple[str, int, int, int | None]


def area_names() -> list[str]:
    """Every area there is."""
    return sorted(module.name for module in pkgutil.iter_modules(areas.__path__))


def jobs(names: Sequence[str], *, seed: int, count: int) -> list[Job]:
    """Batches of inputs, each with a seed of its own, shared out between the areas."""
    batches = max(1, count // BATCH // len(names))
    size = min(BATCH, max(1, count // len(names)))
    return [(name, 1000 * seed + batch, size, None) for batch in range(batches) for name in names]


def run(todo: list[Job], *, processes: int, hang_s: float = HANG_S) -> Iterator[tuple[str, Finding | None]]:
    """Try every input of every job; yields the area and what was found, once for each input."""
    waiting = deque(todo)
    busy: dict[Connection, tuple[SpawnProcess, Job, float, int]] = {}
    context = multiprocessing.get_context("spawn")
    while waiting or busy:
        while waiting and len(busy) < processes:
            job = waiting.popleft()
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(job, theirs), daemon=True)
            process.start()
            theirs.close()
            busy[ours] = process, job, time.monotonic(), 0
        for ready in ready_of(list(busy), timeout=1.0):
            assert isinstance(ready, Connection)
            process, job, _, done = busy[ready]
            try:
                finding = ready.recv()
            except EOFError:
                process.join()
                del busy[ready]
                if process.exitcode:
                    yield job[0], Finding(area=job[0], number=done, what="?", why=f"ended with {process.exitcode}")
                continue
            busy[ready] = process, job, time.monotonic(), done + 1
            yield job[0], finding
        for ours, (process, job, heard_s, done) in list(busy.items()):
            if time.monotonic() - heard_s > hang_s:
                process.kill()
                del busy[ours]
                yield job[0], Finding(area=job[0], number=done, what="?", why=f"no answer within {hang_s:.0f} s")


def _work(job: Job, pipe: Connection) -> None:
    name, seed, count, only = job
    logging.disable(logging.CRITICAL)
    module = importlib.import_module(f"tools.fuzz.areas.{name}")
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        for finding in module.inputs(seed, count, Path(folder), only=only):
            pipe.send(None if finding is None else Finding(**{**asdict(finding), "area": f"{name} --seed {seed}"}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Try what was asked for; 1 when an input was answered wrongly."""
    asked = _parser().parse_args(arguments)
    began = time.monotonic()
    names = asked.area or area_names()
    todo = jobs(names, seed=asked.seed, count=asked.count)
    if asked.only is not None:
        todo = [(names[0], asked.seed, asked.only + 1, asked.only)]
    tried: Counter[str] = Counter()
    found: list[Finding] = []
    for area, finding in run(todo, processes=asked.processes):
        tried[area] += 1
        if finding is not None:
            found.append(finding)
            print(
                f"{finding.area} --only {finding.number}: {finding.what[:300]}: {finding.why[:600]}",
                file=sys.stderr,
            )
        if sys.stderr.isatty() and not asked.json and tried.total() % 100 == 0:
            print(f"\r{tried.total()} inputs, {len(found)} findings   ", end="", file=sys.stderr, flush=True)
    seconds = round(time.monotonic() - began, 1)
    if asked.json:
        said = {"inputs": tried.total(), "areas": dict(tried), "findings": [asdict(one) for one in found]}
        print(json.dumps({**said, "seconds": seconds}, indent=1))
    else:
        shares = ", ".join(f"{name} {number}" for name, number in sorted(tried.items()))
        print(f"\n{tried.total()} inputs ({shares}), {len(found)} findings, {seconds:.0f} s")
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="how many inputs, over all areas")
    parser.add_argument("--seed", type=int, default=0, help="of the inputs; a finding names its own")
    parser.add_argument("--area", action="append", choices=area_names(), help="only this one; may be repeated")
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="one input of an area, with the seed it was found by"
    )
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="how many at once")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
