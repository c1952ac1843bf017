"""The program that runs on the mount: ``python -m tools.powerloss.workload steps|reopen SPOOL NOTES``.

It uses the spool's public names only. A note goes out before each step and after it has returned. The durable
step that the environment names is left out, to see that its absence is found:
``<label>.fsync`` and ``<label>.fsync_dir`` as `spool.disk` labels them, or ``sqlite=OFF`` for SQLite's own.
"""

import json
import os
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spool import Disk, LeasedStream, Limits, Receipt, Spool
from spool.testing import FakeClock, some_settings
from tools.powerloss import promises
from tools.powerloss.promises import STEPS, Step
from tools.powerloss.record import WITHOUT


class ForgetfulDisk(Disk):
    """The real disk with one durable step left out."""

    def __init__(self, without: str) -> None:
        super().__init__()
        self._without = without

    def write_new(self, path: Path, pieces: Iterable[bytes], *, label: str) -> None:
        """See `Disk.write_new`."""
        if f"{label}.fsync" != self._without:
            super().write_new(path, pieces, label=label)
            return
        with path.open("xb") as file:
            file.writelines(pieces)

    def sync_dir(self, path: Path, *, label: str) -> None:
        """See `Disk.sync_dir`."""
        if f"{label}.fsync_dir" != self._without:
            super().sync_dir(path, label=label)


class ForgetfulConnection(sqlite3.Connection):
    """SQLite with another ``synchronous`` than the spool asks for."""

    synchronous = "OFF"

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:  # noqa: ANN401 - as in sqlite3
        """See `sqlite3.Connection.execute`."""
        if sql == "PRAGMA synchronous = EXTRA":
            sql = f"PRAGMA synchronous = {self.synchronous}"
        return super().execute(sql, *parameters)


class Workload:
    """Takes the steps, one after the other."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._root = root
        self._disk = disk
        self._clock = FakeClock()
        self._spool: Spool | None = None
        self._ids: dict[str, str] = {}
        self._leases: dict[str, LeasedStream] = {}

    @property
    def spool(self) -> Spool:
        """The spool, open."""
        assert self._spool is not None
        return self._spool

    def open(self) -> None:
        """Open the spool."""
        self._spool = Spool(self._root, limits=Limits(min_free_bytes=0), clock=self._clock, disk=self._disk)

    def take(self, step: Step) -> None:
        """Take one step."""
        self._clock.advance_s(1)
        match step.do:
            case "open":
                self.open()
            case "close":
                self.spool.close()
            case "prune":
                self.spool.prune()
            case "stream":
                settings = some_settings(name=step.stream)
                stream = self.spool.open_stream(settings, data_id=promises.DATA_IDS[step.stream])
                self._ids[step.stream] = stream.stream_id
            case _:
                self._change(step, self._ids[step.stream])

    def _change(self, step: Step, stream_id: str) -> None:
        match step.do:
            case "push":
                frames = promises.frames_of(step.stream, step.idx)
                self.spool.push(stream_id, step.idx, frames, promises.capture_start(step.idx))
            case "clock":
                offset_ms, uncertainty_ms = promises.CLOCK
                self.spool.note_clock(stream_id, offset_ms=offset_ms, uncertainty_ms=uncertainty_ms)
            case "retry":
                self.spool.retry(stream_id, None if step.idx < 0 else [step.idx])
            case "discard":
                self.spool.discard(stream_id, [step.idx], why="no use")
            case "seal":
                self.spool.seal(stream_id)
            case _:
                self._deliver(step, stream_id)

    def _deliver(self, step: Step, stream_id: str) -> None:
        leased = self.spool.lease(stream_id, "worker", ttl_s=60)
        assert leased is not None
        if step.do == "finalize":
            leased.finalize({"words": "accepted"})
        elif step.do == "hold":
            leased.hold("a reason")
        else:
            chunk = self.spool.chunk(stream_id, step.idx)
            assert chunk is not None
            if step.do == "attempt":
                leased.attempt_started(chunk)
            elif step.do == "failed":
                leased.attempt_failed(chunk, {"words": "no answer"})
            elif step.do == "park":
                leased.park(chunk, f"refused {step.idx}")
            else:
                assert step.do == "acknowledge"
                etag = promises.etag_of(step.stream, step.idx)
                leased.acknowledge(chunk, Receipt(status=200, etag=etag, confirmed=True, at_ms=1))
        leased.release()


def main(program: str, root: Path, notes: Path) -> None:
    """Run the whole workload, or only open a spool and look at it."""
    fd = os.open(notes, os.O_WRONLY)

    def note(**words: object) -> None:
        os.pwrite(fd, json.dumps(words).encode(), 0)

    without = os.environ.get(WITHOUT, "")
    if without.startswith("sqlite="):
        ForgetfulConnection.synchronous = without.removeprefix("sqlite=")
        connect = sqlite3.connect
        sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=ForgetfulConnection, **kwargs)  # type: ignore[assignment]
    workload = Workload(root, ForgetfulDisk(without))
    if program == "reopen":
        workload.open()
        note(seen=promises.digest(promises.observed(workload.spool)))
        workload.spool.close()
        return
    for position, step in enumerate(STEPS):
        note(begun=position)
        workload.take(step)
        note(returned=position)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
