"""Row `start`: how long a command takes to be there, each time in a fresh process."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from spool import Spool
from spool.testing import some_frames, some_settings
from tools.bench.asked import Bench
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.producers import NotMeasured, environment

OURS, _LIBRARIES = "framespool", "import numpy, zarr, httpx"


def start(bench: Bench) -> list[Comparison]:
    """``import uploader``, ``framespool --help`` and ``framespool status``, against the imports they rest on."""
    spool = bench.work / "small-spool"
    if not spool.exists():
        with Spool(spool) as opened:
            stream = opened.open_stream(some_settings())
            for chunk_idx in range(3):
                opened.push(stream.stream_id, chunk_idx, some_frames(seed=chunk_idx))
    ours = {
        "import uploader": ["-c", "import uploader"],
        # What a lab's script pays, however late `uploader` imports what it needs.
        "from uploader import RHEEDStreamer": ["-c", "from uploader import RHEEDStreamer"],
        "framespool --help": ["-m", "uploader", "--help"],
        "framespool status": ["-m", "uploader", "status", "--spool", str(spool)],
    }
    # An installed package is compiled, a checkout may never be: each side has its modules compiled in one place.
    compiled = {"PYTHONPYCACHEPREFIX": str(bench.work / "compiled"), "PYTHONDONTWRITEBYTECODE": ""}
    plays = {
        name: _started(arguments, compiled) for name, arguments in {**ours, _LIBRARIES: ["-c", _LIBRARIES]}.items()
    }
    figures = in_turns(plays, repeats=bench.amount(3 * bench.repeats, bench.repeats), warm_ups=1)
    target = Target(of=OURS, to=(_LIBRARIES,), at_most=1.0)
    return [
        compare("start", name, "ms", {OURS: figures[name], _LIBRARIES: figures[_LIBRARIES]}, target=target)
        for name in ours
    ]


def _started(arguments: list[str], compiled: dict[str, str]) -> Callable[[], float]:
    def play() -> float:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-P", *arguments],
            env=environment(compiled),
            cwd=Path(sys.prefix),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
        )
        took_ms = 1000 * (time.perf_counter() - began)
        if done.returncode not in (0, 1):  # 1 is an answer too: the little spool's is bad news
            raise NotMeasured(f"{' '.join(arguments)}: {done.stderr.decode('utf-8', 'replace')}")
        return took_ms

    return play
