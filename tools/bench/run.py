"""How fast is it: ``python tools/bench/run.py ROW...|all [--peer PYTHON] [--frames FOLDER] [--json FILE]``.

It prints each ratio with its target and whether that is met. A target that is missed is no error, for machines
differ and other work goes on; the exit code is 1 only when something could not be measured.

* ``run.py install-peer DIR`` makes an environment with the official client, for ``--peer DIR/bin/python``.
* ``run.py page FILE...`` writes docs/performance.md and its pictures from what ``--json FILE`` has stored; rows
  that a later file has measured again, more often, take the places of the first one's.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.bench import machine
from tools.bench.asked import Bench, bench_in, usable_peer
from tools.bench.rows import ROWS

PEER_VERSION = "0.21.10"
_FORMAT = 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; 1 when something could not be measured."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["install-peer"]:
        return _install_peer(given[1:])
    if given[:1] == ["page"]:
        return _write_page(given[1:])
    asked = _parser().parse_args(given)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing stays behind
    names = list(ROWS) if "all" in asked.rows else list(dict.fromkeys(asked.rows))
    peer = usable_peer(asked.peer)
    with bench_in(asked.work, repeats=asked.repeats, quick=asked.quick, peer=peer, images=asked.frames) as bench:
        told = _result(bench, names)
        for name in names:
            _measure(bench, name, told)
            if asked.json:  # after each row, so that one who loses patience keeps what is there
                asked.json.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 1 if told["failures"] else 0


def _measure(bench: Bench, name: str, told: dict[str, Any]) -> None:
    """Measure a row, say what was found, and add it to the result."""
    began = time.monotonic()
    try:
        found = ROWS[name].measure(bench)
    except Exception as error:  # noqa: BLE001 - the other rows are measured all the same, and this one is told
        told["failures"].append({"row": name, "why": f"{type(error).__name__}: {error}"})
        print(f"{name}: NOT MEASURED: {type(error).__name__}: {error}", flush=True)
        return
    for one in found:
        print(one, flush=True)
    print(f"({name}: {time.monotonic() - began:.0f} s)", file=sys.stderr, flush=True)
    told["rows"] += [one.to_json() for one in found]


def _result(bench: Bench, names: Sequence[str]) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "repeats": bench.repeats,
        "quick": bench.quick,
        "asked": list(names),
        "real_frames": bench.images is not None,
        "machine": machine.describe(bench.work),
        "versions": {
            **machine.versions(),
            "atomscale": bench.peer and machine.version_of_peer(bench.peer),
        },
        "rows": [],
        "failures": [],
    }


def _install_peer(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="run.py install-peer", description="Make the peer's environment.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args(arguments).folder
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = subprocess.run([python, "-m", "pip", "install", "-q", f"atomscale=={PEER_VERSION}"], check=False)
    if done.returncode == 0:
        print(f"--peer {python}")
    return min(done.returncode, 1)


def _write_page(arguments: Sequence[str]) -> int:
    from tools.bench.page import write  # noqa: PLC0415 - it draws, which nothing else here needs

    parser = argparse.ArgumentParser(prog="run.py page", description="Write docs/performance.md.")
    parser.add_argument("results", type=Path, nargs="+", metavar="FILE", help="what --json has stored")
    parser.add_argument("--docs", type=Path, default=Path(__file__).resolve().parents[2] / "docs")
    asked = parser.parse_args(arguments)
    write([json.loads(one.read_text("utf-8")) for one in asked.results], asked.docs)
    return 0


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {row.name:12} {row.says}" for row in ROWS.values())
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"rows:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="+", choices=[*ROWS, "all"], metavar="ROW", help="which rows, or 'all'")
    parser.add_argument("--json", type=Path, metavar="FILE", help="store the result here")
    parser.add_argument("--peer", type=Path, metavar="PYTHON", help="of an environment with the official client")
    parser.add_argument("--frames", type=Path, metavar="FOLDER", help="of images: real frames")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="of each measurement (5)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="on the disk to be measured (a temporary one)")
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs; figures mean nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
