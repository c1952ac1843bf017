"""The program that runs on the mount: ``python -m tools.powerloss.workload NAME SPOOL NOTES``.

NAME is a workload of `tools.powerloss.steps`, or ``reopen`` to open a spool and look at it, and to deliver what
goes to a folder. It uses the spool's public names, and a worker for the folder, which lies beside the spool.
A note goes out before each step and after it has returned or raised. The durable step that the environment names
is left out, to see that its absence is found: ``<label>.fsync`` and ``<label>.fsync_dir`` as `spool.disk` labels
them, or ``sqlite=OFF`` (``NORMAL``, ``FULL``) for SQLite's own.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from spool import Disk, DiskFailed, LeasedStream, Limits, Spool, SpoolError, SpoolFull
from spool.testing import FakeClock, die, some_reading, some_settings
from tools.powerloss import promises
from tools.powerloss.arrival import GarblingDisk, deliver, open_share
from tools.powerloss.forgetful import ForgetfulDisk, forget_in_sqlite, small_reserve
from tools.powerloss.record import WITHOUT
from tools.powerloss.steps import (
    COPY,
    DATA_IDS,
    DELIVERIES,
    DESTINATIONS,
    FOLDERS,
    LAYOUTS,
    SHARE,
    WORKLOADS,
    Step,
    step_of,
)
from uploader.destinations.stores.folder import mark
from uploader.layout import DEFAULT_LAYOUT


def _unnoted(**_words: object) -> None:
    """Nobody records."""


class Workload:
    """Takes the steps, one after the other.

    Args:
        root: the spool's folder.
        disk: the spool's. Steps in the middle of others need a `ForgetfulDisk`.
        note: says what has happened, in the recording.
    """

    def __init__(self, root: Path, disk: Disk, note: Callable[..., None] = _unnoted) -> None:
        self._root = root
        self._note = note
        self._disk = disk
        self._clock = FakeClock()
        self._spool: Spool | None = None
        self._second: Spool | None = None
        self._is_second = False
        self._ids: dict[str, str] = {}
        self._has_failed = False

    @property
    def spool(self) -> Spool:
        """The spool of the producer whose turn it is."""
        spool = self._second if self._is_second else self._spool
        assert spool is not None
        return spool

    def run(self, word: str) -> None:
        """Take one step, and say so."""
        step = step_of(word)
        if step.do == "fault":
            self._break(step)
            return
        self._note(begun=word)
        try:
            self.take(step)
        except SpoolError as error:
            # Once the disk has failed, a step may be refused because an earlier one did not happen.
            if not self._has_failed:
                raise
            refused = not isinstance(error, (SpoolFull, DiskFailed))
            self._note(raised=word, refused=refused, head=self._head())
        else:
            if step.dies:
                self._note(raised=word, refused=False)
            else:
                self._note(returned=word, head=self._head())

    def reopen(self) -> None:
        """Open the spool and look at it."""
        self.open()
        self._note(seen=promises.digest(promises.observed(self.spool)), head=self._head())
        # The last one of each folder: those before it have ended.
        to_folder = {
            one.settings.destination: promises.name_of(one)
            for one in sorted(self.spool.streams(), key=promises.name_of)
            if one.settings.destination in FOLDERS
        }
        self._close()
        for name in to_folder.values():
            self.run(f"deliver.{name}")

    def open(self) -> None:
        """Open the spool."""
        self._spool = self._opened(self._disk)

    def _opened(self, disk: Disk) -> Spool:
        return Spool(self._root, limits=Limits(min_free_bytes=0), clock=self._clock, disk=disk)

    def _head(self) -> tuple[int, str] | None:
        """The last row of the ledger."""
        if self._spool is None:
            return None
        events = list(self._spool.events())
        return (events[-1].seq, events[-1].digest.hex()) if events else None

    def _break(self, step: Step) -> None:
        self._has_failed = True
        kind, name, error, skip, times, *_ = (*step.at.split(":"), "", "", "", "")
        fault = {"kind": kind, "name": name, "error": int(error or 0), "skip": int(skip or 0)}
        self._note(fault={**fault, "times": int(times or 1)} if kind else None)

    def take(self, step: Step) -> None:
        """Take one step."""
        self._clock.advance_s(1)
        if step.inner is not None:
            self._hooked(self._disk).at(step.at, lambda: self._let_in(step.inner))
        match step.do:
            case "open":
                self.open()
            case "second":
                self._second = self._opened(ForgetfulDisk(self._hooked(self._disk).without))
            case "close":
                self._close()
            case _ if step.dies:
                self._die(step)
            case "vanish":
                self._vanish(step)
            case "spoil":
                # A file under a chunk's name that is none.
                Disk().write_new(self._shard(step), [b"no shard"], label="spoil")
            case "prune":
                self.spool.prune()
            case "stream":
                settings = some_settings(name=step.stream, destination=DESTINATIONS[step.stream])
                copy = step.stream + COPY
                also = [DESTINATIONS[copy]] if copy in DESTINATIONS else []
                stream = self.spool.open_stream(settings, also=also, data_id=DATA_IDS[step.stream])
                self._ids[step.stream] = stream.stream_id
                self._ids |= dict(zip([copy], stream.settings.copies, strict=False))
            case _:
                self._change(step, self._ids.get(step.stream, ""))

    @staticmethod
    def _hooked(disk: Disk) -> ForgetfulDisk:
        assert isinstance(disk, ForgetfulDisk)
        return disk

    def _let_in(self, step: Step | None) -> None:
        """The other producer, in the middle of this one's step."""
        assert step is not None
        self._is_second = True
        word = f"{step.do}.{step.stream}.{step.idx}" if step.stream else step.do
        try:
            self.run(word.removesuffix(".-1"))
        finally:
            self._is_second = False

    def _close(self) -> None:
        for spool in (self._spool, self._second):
            if spool is not None:
                spool.close()
        self._spool = self._second = None

    def _die(self, step: Step) -> None:
        """A program pushes or delivers, and is killed at a labelled step; the power stays on."""
        pid = os.fork()
        if pid == 0:
            self._hooked(self._disk).at(step.at, die)
            if step.do in DELIVERIES:
                self._go_to_folder(step)
            else:
                self.open()
                self._push(step, self._ids[step.stream])
            os._exit(1)  # it was to die before
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), f"{step} did not die"

    def _go_to_folder(self, step: Step) -> None:
        # What is written first is the times of a chunk, then the chunk.
        disk = GarblingDisk(self._disk.before, 2) if step.do == "garble" else self._disk
        url, layouts = DESTINATIONS[step.stream], LAYOUTS.get(step.stream, (DEFAULT_LAYOUT,))
        share = open_share(self._folder_of(step), disk, url, layout=layouts[step.do == "elsewhere"])
        deliver(self._root, share, self._disk, self._clock)

    def _folder_of(self, step: Step) -> Path:
        return self._root.with_name(FOLDERS[DESTINATIONS[step.stream]] if step.stream else SHARE)

    def _vanish(self, step: Step) -> None:
        """A shard is deleted behind the spool's back, durably."""
        path = self._shard(step)
        path.unlink()
        Disk().sync_dir(path.parent, label="vanish")

    def _shard(self, step: Step) -> Path:
        return self._root / "streams" / self._ids[step.stream] / f"frames.zarr/frames/c.{step.idx}.0.0"

    def _push(self, step: Step, stream_id: str) -> None:
        frames = promises.frames_of(step.stream, step.idx)
        self.spool.push(stream_id, step.idx, frames, promises.capture_start(step.idx))

    def _change(self, step: Step, stream_id: str) -> None:
        match step.do:
            case "push":
                self._push(step, stream_id)
            case "clock":
                offset_ms, uncertainty_ms = promises.CLOCK
                self.spool.note_clock(stream_id, some_reading(offset_ms, uncertainty_ms))
            case "retry":
                self.spool.retry(stream_id, None if step.idx < 0 else [step.idx])
            case "discard":
                self.spool.discard(stream_id, [step.idx], why="no use")
            case "seal":
                self.spool.seal(stream_id)
            case "mark":
                assert mark(self._folder_of(step), self._disk)
            case _ if step.do in DELIVERIES:
                self._go_to_folder(step)
            case _:
                leased = self.spool.lease(stream_id, "worker", ttl_s=60)
                assert leased is not None
                self._deliver(step, leased)
                leased.release()

    def _deliver(self, step: Step, leased: LeasedStream) -> None:
        if step.do == "finalize":
            leased.finalize({"words": "accepted"})
        elif step.do == "hold":
            leased.hold("a reason")
        else:
            chunk = self.spool.chunk(leased.stream_id, step.idx)
            assert chunk is not None
            if step.do == "attempt":
                leased.attempt_started(chunk)
            elif step.do == "failed":
                leased.attempt_failed(chunk, {"words": "no answer"})
            elif step.do == "park":
                leased.park(chunk, f"refused {step.idx}")
            else:
                assert step.do == "acknowledge"
                leased.acknowledge(chunk, promises.receipt_of(step.stream, step.idx))


def main(program: str, root: Path, notes: Path) -> None:
    """Run the whole workload, or only open a spool and look at it."""
    fd = os.open(notes, os.O_WRONLY)

    def note(**words: object) -> None:
        os.pwrite(fd, json.dumps(words).encode(), 0)

    without = os.environ.get(WITHOUT, "")
    if without.startswith("sqlite="):
        forget_in_sqlite(without.removeprefix("sqlite="))
    workload = Workload(root, ForgetfulDisk(without), note)
    with small_reserve():
        if program == "reopen":
            workload.reopen()
            return
        for word in WORKLOADS[program]:
            workload.run(word)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
