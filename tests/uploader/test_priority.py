"""A worker process stands back behind whoever records; a worker in a thread cannot."""

import os
import sys

import pytest

from tests.cli.shell import Shell
from tests.uploader.rig import Bench, wait_until
from uploader.priority import NICE


@pytest.mark.skipif(sys.platform == "win32", reason="there it is a class, not a number")
def test_a_worker_process_gets_a_lower_priority_than_its_parent(bench: Bench) -> None:
    shell = Shell(bench.root, bench.server.url)
    shell.environment["AS_API_KEY"] = bench.server.api_key
    with shell.running("worker") as process:
        wait_until(lambda: any(one.event == "worker_started" for one in bench.spool.events()))
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(19, ours + NICE)
        assert os.getpriority(os.PRIO_PROCESS, 0) == ours
