"""The worker as a process of its own: started by a streamer when none drains the spool, outliving it.

The API key reaches it through its environment, never through its arguments. It is detached: closing the
producer's terminal or killing the producer does not end it. What it says goes to ``worker.log`` in the spool,
which it rotates itself; what Python says before that, or of a crash, goes to ``worker.stderr.log``.
"""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from spool import Limits, Spool
from uploader import config
from uploader.config import CONFIG_VARIABLE, ENDPOINT_VARIABLE, KEY_FILE_VARIABLE, KEY_VARIABLES
from uploader.delivery import OnClosed
from uploader.keys import Keys
from uploader.log_file import open_private, stderr_beside
from uploader.way_out import for_another_folder

LOG_NAME = "worker.log"
_STDERR_BYTES_MAX = 1 << 20
_PAUSE_BETWEEN_STARTS_S = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a worker is told that delivers to one destination.

    Attributes:
        endpoint: where it delivers.
        keys: of a server, ``None`` for a store; the one in use goes into the environment of a worker process,
            which finds a newer one by itself.
        limits: what it keeps the spool within.
        on_closed: what becomes of waiting chunks when the server has ended their stream.
        max_rate: the most that it may send, as `uploader.rate` reads it.
        layout: where streams lie in a store, as `uploader.layout` reads it.
    """

    endpoint: str
    keys: Keys | None
    limits: Limits
    on_closed: OnClosed
    max_rate: str
    layout: str


class WorkerProcess:
    """Sees to it that some worker drains the spool; cheap to ask often.

    Args:
        spool: the producer's opening of the spool.
        orders: for the worker.
    """

    def __init__(self, spool: Spool, orders: Orders) -> None:
        self._spool = spool
        self._orders = orders
        self._lock = spool.worker_lock(orders.endpoint)
        self._process: _Detached | None = None
        self._started_at_s = float("-inf")

    def ensure(self) -> None:
        """Start a worker unless one is draining this spool for this endpoint, whoever started it."""
        if self._process is not None and self._process.poll() is None:
            return
        if time.monotonic() - self._started_at_s < _PAUSE_BETWEEN_STARTS_S or self._lock.is_held_elsewhere():
            return
        if self._process is not None and self._process.returncode:
            _log.error(
                "the worker ended with code %d; see %s and %s. Recording goes on; another worker is started.",
                self._process.returncode,
                self._spool.root / LOG_NAME,
                stderr_beside(self._spool.root / LOG_NAME).name,
            )
        self._started_at_s = time.monotonic()
        self._process = self._start()

    def _start(self) -> "_Detached":
        environment = {
            name: value
            for name, value in for_another_folder(os.environ).items()
            if name not in (*KEY_VARIABLES, ENDPOINT_VARIABLE)
        }
        if self._orders.keys is not None:
            environment[KEY_VARIABLES[0]] = self._orders.keys.current().reveal()
        path, is_named = config.key_file()
        if is_named:
            environment[KEY_FILE_VARIABLE] = str(path)  # whole: the worker runs in another folder
        # The same code as ours, also when it runs from a checkout that is not installed.
        ours = str(Path(__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
        if environment.get(CONFIG_VARIABLE):  # it would count from the worker's own folder
            environment[CONFIG_VARIABLE] = str(Path(environment[CONFIG_VARIABLE]).expanduser().absolute())
        with _open_bounded(stderr_beside(self._spool.root / LOG_NAME)) as log:
            return _Detached(
                self._command(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._spool.root,
                **_detached(),
            )

    def _command(self) -> Sequence[str]:
        limits = self._orders.limits
        command = [sys.executable, "-P", "-m", "uploader", "worker", "--until", "abandoned"]
        command += ["--spool", str(self._spool.root), "--endpoint", self._orders.endpoint]
        command += ["--log-file", str(self._spool.root / LOG_NAME), "--on-closed", self._orders.on_closed.value]
        command += ["--min-free-bytes", str(limits.min_free_bytes)]
        if limits.max_bytes is not None:
            command += ["--max-bytes", str(limits.max_bytes)]
        command += ["--retention-s", "never" if limits.retention_s is None else str(limits.retention_s)]
        command += ["--max-rate", self._orders.max_rate, "--layout", self._orders.layout]
        return command


class _Detached(subprocess.Popen[bytes]):
    """A process that outlives us on purpose."""

    def __del__(self) -> None:
        """Say nothing: `Popen` would warn that the process still runs."""


def _detached() -> dict[str, Any]:
    """How a process is started that outlives its parent and its terminal."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        # A parent that runs inside a job (many schedulers and IDEs) would take its children with it.
        return {"creationflags": flags | subprocess.CREATE_BREAKAWAY_FROM_JOB}
    else:  # noqa: RET505 - so that type checkers follow either platform
        return {"start_new_session": True}


def _open_bounded(path: Path) -> IO[bytes]:
    """The file opened for appending; emptied when it has grown, which only a worker that crashes often does."""
    file = os.fdopen(open_private(path), "ab")
    if file.tell() > _STDERR_BYTES_MAX:
        with suppress(OSError):
            file.truncate(0)
    return file
