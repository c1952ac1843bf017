"""What the operating system was really asked, in which order, and what a kill inside of it leaves behind."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from spool import Limits, Spool
from spool.testing import check_invariants, some_frames, some_settings

SCRIPT = Path(__file__).with_name("push_script.py")
WATCHED = ("fsync", "fdatasync", "rename", "pwrite64", "write", "unlink", "ftruncate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    name: str
    rest: str
    nth: int  # of this name in the process, as strace counts


def traced_push(root: Path, *strace_options: str) -> tuple[str, list[Call]]:
    """Push in a child process under strace; what it printed, and the calls it made."""
    strace = shutil.which("strace")
    assert strace is not None, "this test needs strace (apt-get install strace): it reads what a push really does"
    log = root.parent / "strace.log"
    watch = [strace, "-y", "-s", "16", "-o", str(log), f"-etrace={','.join(WATCHED)}", *strace_options]
    done = subprocess.run(
        [*watch, sys.executable, str(SCRIPT), str(root)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    calls = []
    counts: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        if match := re.match(r"(\w+)\((.*)", line):
            counts[match[1]] += 1
            calls.append(Call(name=match[1], rest=match[2], nth=counts[match[1]]))
    return done.stdout, calls


def between_the_words(calls: list[Call]) -> list[Call]:
    words = [at for at, call in enumerate(calls) if call.name == "write" and call.rest.startswith("1<")]
    return calls[words[0] + 1 : words[1]]


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0)) as spool:
        spool.open_stream(some_settings(), data_id="data-1")
    return tmp_path / "spool"


def test_a_push_returns_only_after_shard_directory_and_index_were_fsynced_in_this_order(prepared: Path) -> None:
    said, calls = traced_push(prepared)
    assert said == "pushing\nreturned\n"
    steps = []
    for call in between_the_words(calls):
        path = match[1] if (match := re.search(r"<([^>]*)>", call.rest)) else ""
        if call.name in ("fsync", "fdatasync"):
            assert call.rest.rstrip().endswith("= 0")
            steps.append(f"sync {path.removeprefix(str(prepared) + '/')}")
        elif call.name == "rename" and "frames/c.0.0.0" in call.rest:
            steps.append("rename shard")
    steps = [re.sub(r"incoming/[0-9a-f]{32}/[0-9a-f]{32}$", "SHARD", step) for step in steps]
    steps = [re.sub(r"streams/[^/]+/frames.zarr/frames$", "ARRAY", step) for step in steps]
    start = steps.index("sync SHARD")
    assert steps[start : start + 3] == ["sync SHARD", "rename shard", "sync ARRAY"]
    index = steps[start + 3 :]
    # The old pages reach the disk before the index changes, and the journal is voided after: that is the commit.
    assert index[0] == "sync index.sqlite3-journal"
    assert "sync index.sqlite3" in index
    assert index[-1] == "sync index.sqlite3-journal"
    assert index.index("sync index.sqlite3") < len(index) - 1


def test_a_kill_at_any_system_call_of_a_push_leaves_a_spool_that_opens_and_takes_it_again(
    prepared: Path, tmp_path: Path
) -> None:
    def fresh(name: str) -> Path:
        (tmp_path / name).mkdir()
        return shutil.copytree(prepared, tmp_path / name / "spool")

    _, calls = traced_push(fresh("whole"))
    chosen = [call for call in between_the_words(calls) if call.name not in ("write", "unlink")]
    # The reserve's own steps are the same calls as the shard's; those of the index are what matters here.
    chosen = [call for call in chosen if "reserve" not in call.rest]
    assert len(chosen) > 10

    def killed(call: Call) -> None:
        root = fresh(f"{call.name}-{call.nth}")
        said, _ = traced_push(root, f"-einject={call.name}:signal=SIGKILL:when={call.nth}")
        assert said == "pushing\n", f"{call} did not kill the push"
        with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
            check_invariants(spool)
            spool.push("data-1", 0, some_frames())
            check_invariants(spool)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(killed, chosen))
