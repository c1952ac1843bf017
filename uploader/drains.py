"""Several spools drained by one process: a worker in a thread for each, one stop for all.

A spool that cannot be opened (its disk is not there yet, its index is damaged) is told once and tried again; the
others do not wait for it. Whoever called `Drains.run` sleeps until it is woken: by `Drains.stop`, by the end of
the work, or by `Drains.look` so that a signal's function runs. It leaves within `STOP_WITHIN_S` of `Drains.stop`,
whatever a disk or a lock does: what was not acknowledged by then is sent again by the next worker, with the same
bytes.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from spool import Spool, SpoolError
from uploader.destinations.base import Destination
from uploader.resolving import SpoolSettings
from uploader.worker import UploadWorker

OPEN_AGAIN_S = 5.0
STOP_WITHIN_S = 7.0
"""A little more than a worker's own patience with the uploads under way."""

_log = logging.getLogger(__name__)


class End(Enum):
    """How the work on one spool ended."""

    STOPPED = auto()
    """It was asked to, or had nothing left to do."""
    ELSEWHERE = auto()
    """Another worker drains it already."""
    LEFT = auto()
    """Nothing more can be done now, and something still waits."""
    FAILED = auto()
    """It could not be opened, or not be worked on."""


@dataclass(slots=True)
class Drain:
    """The work on one spool.

    Attributes:
        end: how it ended.
        error: why it failed.
    """

    spool: SpoolSettings
    end: End = End.STOPPED
    error: Exception | None = None
    worker: UploadWorker | None = field(default=None, repr=False)


class Drains:
    """Drains spools side by side.

    Args:
        spools: which, and where each of them goes.
        destination: makes the destination of a spool.
        worker: makes the worker of a spool.
        is_once: each worker ends as soon as nothing is left to do.
        unsafe_file_system: see `spool.Spool`.
    """

    def __init__(
        self,
        spools: Sequence[SpoolSettings],
        destination: Callable[[SpoolSettings], Destination],
        worker: Callable[[Spool, Destination], UploadWorker],
        *,
        is_once: bool,
        unsafe_file_system: bool = False,
    ) -> None:
        self._drains = [Drain(one) for one in spools]
        self._destination = destination
        self._worker = worker
        self._is_once = is_once
        self._unsafe_file_system = unsafe_file_system
        self._stop_asked = False
        # Unlike an event or a condition it may be put to by a signal's function that interrupts its own reader.
        # What is put says whether a spool's work has ended.
        self._news = queue.SimpleQueue[bool]()
        self._stopped = threading.Event()
        # Somebody who has just typed one folder is told at once that it cannot be opened, and nothing else waits.
        self._is_patient = not is_once and (len(spools) > 1 or any(one.is_configured for one in spools))

    def stop(self) -> None:
        """Ask all of them to end soon; takes no lock, so that a signal's function may call it at any moment."""
        self._stop_asked = True
        self._news.put(False)

    def look(self) -> None:
        """End the wait of whoever called `run`, so that a signal's function runs there; from any thread."""
        self._news.put(False)

    def run(self) -> Sequence[Drain]:
        """Drain until stopped, or until each worker has ended by itself; what became of each spool."""
        for one in self._drains:
            name = f"framespool-{one.spool.name}"
            threading.Thread(target=self._work_and_tell, args=(one,), name=name, daemon=True).start()
        working, leaves_at_s = len(self._drains), math.inf
        while working:
            if self._stop_asked and leaves_at_s == math.inf:
                leaves_at_s = time.monotonic() + STOP_WITHIN_S
                _log.info("stopping")
                self._stop_all()
            left_s = leaves_at_s - time.monotonic()
            if left_s <= 0:
                _log.warning("something does not end in time; it is left, and nothing is lost by that")
                break
            with contextlib.suppress(queue.Empty):
                working -= self._news.get(timeout=None if left_s == math.inf else left_s)
        return self._drains

    def _stop_all(self) -> None:
        self._stopped.set()
        for drain in self._drains:
            if drain.worker is not None:
                drain.worker.stop()

    def _work_and_tell(self, drain: Drain) -> None:
        try:
            self._work(drain)
        finally:
            self._news.put(True)

    def _work(self, drain: Drain) -> None:
        told = ""
        while not self._stopped.is_set():
            try:
                drain.end = self._drained(drain)
            except Exception as error:  # noqa: BLE001 - whatever it is, the other spools go on
                drain.error = error
                if not self._is_patient:
                    drain.end = End.FAILED
                    return
                if str(error) != told:
                    _say(drain.spool, error)
                told = str(error)
                self._stopped.wait(OPEN_AGAIN_S)
            else:
                return

    def _drained(self, drain: Drain) -> End:
        settings = drain.spool
        # A configured folder that is missing may be a disk that is not mounted yet: nothing is made in its place.
        with (
            Spool(
                settings.root,
                limits=settings.limits,
                create=not settings.is_configured,
                unsafe_file_system=self._unsafe_file_system,
            ) as spool,
            contextlib.closing(self._destination(settings)) as destination,
        ):
            drain.error = None
            drain.worker = worker = self._worker(spool, destination)
            if self._stopped.is_set():
                worker.stop()  # it was asked for before there was a worker to ask
            if not worker.run() and not self._stopped.is_set():
                return End.ELSEWHERE
            is_left = self._is_once and _anything_left(spool, settings.endpoint)
            return End.LEFT if is_left else End.STOPPED


def _anything_left(spool: Spool, url: str) -> bool:
    unfinished = spool.streams(unfinished_only=True)
    ours = [one for one in unfinished if one.settings.destination == url]
    return any(one.tally.spooled or one.tally.parked or not one.parts for one in ours)


def _say(settings: SpoolSettings, error: Exception) -> None:
    if isinstance(error, SpoolError | OSError):
        hint = error.hint if isinstance(error, SpoolError) else ""
        _log.error(
            "spool %s: %s. %s It is tried again every %.0f s; the others go on.",
            settings.name,
            error,
            hint,
            OPEN_AGAIN_S,
        )
    else:
        _log.error("spool %s: an unexpected error; it is tried again", settings.name, exc_info=error)
