"""Encoding a chunk while it is being written: never whole in memory, and every core at work.

::

    frames ──runs──▶ compressed, a run on each core ──in order──▶ the file
                                                          └─────▶ SHA-256, in a thread of its own

zstd and SHA-256 release the interpreter lock, and so does writing. Only a few runs are ahead of the file at any
moment: what was compressed is written while it is still in the processor's cache, and its memory is used again.
"""

import hashlib
import json
import os
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import replace
from itertools import islice
from queue import Queue
from typing import Self

import numpy as np
from numpy.typing import NDArray

from spool.capture import Capture
from spool.frame_codec import compress, compressed_bytes_max
from spool.shards import DESCRIPTION_BYTES_MAX, Description, index_bytes, index_of, local_tail

RUN_BYTES = 1 << 20
"""Frames are compressed in runs of about so many bytes: short enough that all cores finish together."""
RUNS_AHEAD = 3
"""For each thread: the one at work, and those that wait for it or for the file."""


def file_bytes_max(array: NDArray[np.uint8], chunk_size: int, capture: Capture | None = None) -> int:
    """What the file of a chunk cannot exceed, however badly its frames compress."""
    n, height, width = map(int, array.shape)
    told = 0 if capture is None else len(json.dumps(capture.facts()))
    return n * compressed_bytes_max(height * width) + index_bytes(chunk_size) + DESCRIPTION_BYTES_MAX + told


def thread_count() -> int:
    """How many runs are compressed side by side: one on each core that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    else:  # noqa: RET505 - so that type checkers follow either platform
        return os.cpu_count() or 1


class Encoding:
    """One chunk on its way into its file; used by one thread.

    Args:
        frames: uint8 ``(n, height, width)``, any strides, only read.
        threads: where to compress.
        ahead: how many runs may be compressed before they are asked for.
    """

    def __init__(self, frames: NDArray[np.uint8], threads: Executor, *, ahead: int) -> None:
        self._frames = frames
        self._threads = threads
        self._ahead = ahead
        self._digest = hashlib.sha256()
        self._lengths: list[int] = []
        _, height, width = frames.shape
        self._run_frames = max(1, RUN_BYTES // (height * width))

    def pieces(self, draft: Description) -> Generator[Sequence[bytes]]:
        """The spool's file, a run at a time; once. Closing it early leaves nothing at work for it.

        Args:
            draft: the description, without what is only known at the end; see `completed`.
        """
        yield from self.runs()
        yield [self.tail(self.completed(draft))]

    def runs(self) -> Generator[Sequence[bytes]]:
        """The compressed frames, in order and a run at a time; once."""
        with _Hashing(self._digest, in_thread=len(self._frames) > self._run_frames) as hashing:
            for run in self._compressed():
                hashing.add(run)
                self._lengths += map(len, run)
                yield run

    def completed(self, draft: Description) -> Description:
        """The description with digest and length of the wire form, known once all frames were given out."""
        digest = self._digest.copy()
        digest.update(index := index_of(self._lengths, entries=len(self._lengths)))
        return replace(draft, sha256=digest.hexdigest(), wire_bytes=sum(self._lengths) + len(index))

    def tail(self, description: Description) -> bytes:
        """What follows the frames in the spool's file."""
        return local_tail(self._lengths, description)

    def _compressed(self) -> Iterator[list[bytes]]:
        n, step = len(self._frames), self._run_frames
        runs = (self._frames[start : start + step] for start in range(0, n, step))
        pending: deque[Future[list[bytes]]] = deque()
        try:
            pending.extend(self._begun(run) for run in islice(runs, self._ahead))
            while pending:
                done = pending.popleft().result()
                pending.extend(self._begun(run) for run in islice(runs, 1))
                yield done
        finally:
            # The frames are the caller's, who may give their memory away as soon as we are gone.
            wait([future for future in pending if not future.cancel()])

    def _begun(self, run: NDArray[np.uint8]) -> Future[list[bytes]]:
        future: Future[list[bytes]] = Future()
        try:
            self._threads.submit(_compress_into, future, run)
        except RuntimeError:
            # Python closes its pools when the main thread ends; a camera's thread, or an exit function, goes on.
            # Where only a thread could not be started the run is queued all the same: it must not begin later.
            if future.cancel():
                future = Future()
                _compress_into(future, run)
        return future


def _compress_into(future: Future[list[bytes]], run: NDArray[np.uint8]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(compress(run))
    except BaseException as error:  # noqa: BLE001 - raised where the result is wanted
        future.set_exception(error)


class _Hashing:
    """A digest that is computed in a thread of its own, in the order in which its bytes were added."""

    def __init__(self, digest: "hashlib._Hash", *, in_thread: bool) -> None:
        self._digest = digest
        # A run that waits to be hashed takes memory: the file waits for the digest rather than outrun it far.
        self._runs: Queue[list[bytes] | None] = Queue(maxsize=16)
        self._thread = threading.Thread(target=self._work, name="framespool-hash", daemon=True)
        self._in_thread = in_thread
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        if self._in_thread:
            try:
                self._thread.start()
            except RuntimeError:  # there are too many, or Python is ending
                self._in_thread = False
        return self

    def __exit__(self, *_: object) -> None:
        if self._in_thread:
            self._runs.put(None)
            self._thread.join()
        if self._error is not None:  # a digest that lacks some bytes must never be recorded
            raise self._error

    def add(self, run: list[bytes]) -> None:
        """Hash these next."""
        if self._in_thread:
            self._runs.put(run)
        else:
            self._hash(run)

    def _work(self) -> None:
        while (run := self._runs.get()) is not None:  # to the end, so that nobody waits for room in vain
            try:
                self._hash(run)
            except BaseException as error:  # noqa: BLE001 - raised where the digest is wanted
                self._error = error

    def _hash(self, run: list[bytes]) -> None:
        for one in run:
            self._digest.update(one)
