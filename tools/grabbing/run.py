"""Every frame accounted for, from a camera or a folder to the server, through outages and kills.

* ``run.py camera SOURCE`` records from a camera, such as ``pylon:`` (with ``PYLON_CAMEMU=1`` an emulated one), or
  ``stamped:height=300,width=500,frames=72000``: frames of any size and rate that carry their number.
* ``run.py watch`` records a folder that another process fills; the recording is killed at random.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.grabbing.camera import Found, camera
from tools.grabbing.watch import watch


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; 1 when something is not as it must be."""
    asked = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="framespool-grabbing-", dir=asked.work) as work:
        found = _camera(asked, Path(work)) if asked.what == "camera" else _watch(asked, Path(work))
    for line in found.lines:
        print(line)
    for problem in found.problems:
        print(f"PROBLEM: {problem}")
    print("every frame is accounted for" if not found.problems else f"{len(found.problems)} problems")
    return 1 if found.problems else 0


def _camera(asked: argparse.Namespace, work: Path) -> Found:
    emulated = {name: worth for name, worth in os.environ.items() if name.startswith("PYLON_")}
    options = [part for one in asked.settings for part in ("--set", one)]
    options += [] if asked.fps is None else ["--fps", str(asked.fps)]
    return camera(
        work,
        asked.source,
        seconds=asked.seconds,
        options=options,
        seed=asked.seed,
        more=emulated,
        calm=asked.calm,
    )


def _watch(asked: argparse.Namespace, work: Path) -> Found:
    return watch(work, files=asked.files, rate=asked.rate, seed=asked.seed, kills=not asked.calm)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, metavar="DIR", help="where the spool lies (a temporary one)")
    parser.add_argument("--seed", type=int, default=0, help="of what happens (0)")
    parser.add_argument("--calm", action="store_true", help="no outages and no kills")
    kinds = parser.add_subparsers(dest="what", required=True)
    cameras = kinds.add_parser("camera", help="record from a camera")
    cameras.add_argument("source", metavar="SOURCE")
    cameras.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    cameras.add_argument("--fps", type=float, help="frames per second (as the camera is set)")
    cameras.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="of it")
    folders = kinds.add_parser("watch", help="record a folder that fills")
    folders.add_argument("--files", type=int, default=6000, help="how many (6000)")
    folders.add_argument("--rate", type=float, default=50.0, help="so many a second (50)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
