"""The worker that a streamer has started: detached, in nobody's process group, known by the ledger."""

import os
import signal
import time
from contextlib import suppress

from spool import Spool

_GONE_S = 10.0


def kill_detached_worker(spool: Spool, endpoint: str) -> bool:
    """``kill -9`` the worker that drains this spool, if there is one; whether there was."""
    lock = spool.worker_lock(endpoint)
    if not lock.is_held_elsewhere():
        return False
    started = [event.detail for event in spool.events() if event.event == "worker_started"]
    pids = [int(detail["pid"]) for detail in started if detail["destination"] == endpoint]
    if not pids:
        return False
    with suppress(ProcessLookupError):
        os.kill(pids[-1], getattr(signal, "SIGKILL", signal.SIGTERM))
    ends = time.monotonic() + _GONE_S
    while lock.is_held_elsewhere() and time.monotonic() < ends:
        time.sleep(0.02)
    return True
