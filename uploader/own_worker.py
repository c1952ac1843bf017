"""The worker that a streamer sees to, for one destination: a process, a thread, or one that somebody else runs."""

import contextlib
import logging
import threading
from typing import Literal

from spool import Spool
from uploader import config
from uploader.destinations.making import make_destination
from uploader.doorbell import bell_path, ring
from uploader.rate import Meter, parse_schedule
from uploader.worker import STREAMS_AT_ONCE, UploadWorker
from uploader.worker_process import Orders, WorkerProcess

WorkerKind = Literal["process", "thread", "external"]

_THREAD_PATIENCE_S = 10.0

_log = logging.getLogger(__name__)


class OwnWorker:
    """Sees to it that somebody delivers to a destination; cheap to ask often, from any thread.

    Args:
        spool: the producer's opening of the spool.
        orders: for the worker.
        kind: who delivers.
    """

    def __init__(self, spool: Spool, orders: Orders, kind: WorkerKind) -> None:
        self._spool = spool
        self._orders = orders
        self._kind = kind
        self._bell = bell_path(spool, orders.endpoint)
        self.process = WorkerProcess(spool, orders)
        self.thread: tuple[UploadWorker, threading.Thread] | None = None
        self._starting = threading.Lock()

    def ensure(self) -> None:
        """See to it that somebody delivers, and now. What is recorded is safe without: a failure is told."""
        if not self._starting.acquire(blocking=False):
            ring(self._bell)
            return  # another thread is about the worker
        try:
            if self._kind == "process":
                self.process.ensure()
            elif self._kind == "thread" and (self.thread is None or not self.thread[1].is_alive()):
                self.thread = self._start_thread()
        except Exception as error:  # noqa: BLE001 - whatever keeps a worker from starting keeps no frame out
            _log.error("no worker could be started (%s); recording goes on, the next push tries again", error)
        finally:
            self._starting.release()
        ring(self._bell)

    def close(self) -> None:
        """End the thread, if there is one; a process outlives us."""
        if self.thread is not None:
            worker, thread = self.thread
            worker.stop()
            thread.join(_THREAD_PATIENCE_S)
            self.thread = None

    def _start_thread(self) -> tuple[UploadWorker, threading.Thread]:
        orders = self._orders
        spool = Spool(self._spool.root, limits=orders.limits)
        meter = Meter(parse_schedule(orders.max_rate), uploads_max=STREAMS_AT_ONCE)
        destination = make_destination(orders.endpoint, orders.keys, meter, layout=orders.layout)
        worker = UploadWorker(
            spool, destination, on_closed=orders.on_closed, reads_clock=not config.skips_clock(), meter=meter
        )

        def deliver() -> None:
            with spool, contextlib.closing(destination):
                worker.run()

        thread = threading.Thread(target=deliver, name="framespool-worker", daemon=True)
        thread.start()
        return worker, thread
