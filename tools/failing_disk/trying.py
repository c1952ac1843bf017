"""One call, one opening or one look at a spool, with one fault, and what must hold after it.

The life that is lived is the one of `tools.kills.steps`: a copy of the spool before each call, and what each call
promises once it has returned. A call that raises has happened or has not; on a disk that is well again the same
`Spool` goes on, makes the call again if it has not happened, and a clean opening then finds what it promises.
"""

import copy
import json
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from spool import Disk, LeasedStream, ShardDamaged, Spool, SpoolError, audit
from tools.failing_disk.faults import Fault
from tools.failing_disk.mounted import FailingDisk
from tools.kills.damage import DAMAGES, LOSES_NOTHING
from tools.kills.steps import STEPS, Life, Resumed, judged, open_quietly
from tools.powerloss.frames import are_pushed
from tools.powerloss.promises import Promised, observed

_HANG_S = 60

OPENINGS = ("nothing", *(f"dead push {at}" for at in (2, 4, 6)), *LOSES_NOTHING, "no_index_and_no_ledger")
"""What has happened to the spool before it is opened."""


_WITHOUT_INDEX = ("no_index", "no_index_and_no_ledger", "empty_index", "hot_journal_alone")


class Wrong(AssertionError):
    """What was done is not what is promised; the message says how."""


class Hangs(BaseException):
    """Nothing came back in time."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What is done while the disk fails.

    Attributes:
        what: ``call``, ``open`` or ``look``.
        call: the number of the call in the life, or of the one before which the spool is opened or looked at.
        after: for ``open``: one of `OPENINGS`.
    """

    what: str
    call: int
    after: str = ""

    def __str__(self) -> str:
        return " ".join(map(str, filter(None, (self.what, str(self.call), self.after))))


class Trials:
    """Makes trials on a mount, one after the other.

    Args:
        disk: nothing else uses it.
        life: already played.
        folder: for copies, on a file system that does not fail.
    """

    def __init__(self, disk: FailingDisk, life: Life, folder: Path) -> None:
        self._disk = disk
        self._life = life
        self._folder = folder
        self._seen: list[str] = []
        self._workload: Resumed | None = None

    def operations(self, trial: Trial) -> list[str]:
        """What a trial asks of the disk when nothing fails.

        Raises:
            Wrong: something is wrong even so.
        """
        if why := self.tried(trial, None):
            raise Wrong(f"{trial} without a fault: {why}")
        return self._seen

    def tried(self, trial: Trial, fault: Fault | None) -> str:
        """Make a trial; what was wrong, or nothing.

        Args:
            trial: what to do.
            fault: what fails meanwhile.
        """
        self._seen = []
        spool = self._disk.behind / "spool"
        try:
            with _within_time():
                match trial.what:
                    case "call":
                        self._try_call(trial.call, fault)
                    case "open":
                        self._try_opening(trial, fault)
                    case _:
                        self._try_looking(trial.call, fault)
        except Wrong as error:
            return str(error)
        except Hangs:
            return f"nothing came back within {_HANG_S} s"
        except Exception as error:  # noqa: BLE001 - only a SpoolError is an answer, and those are caught
            return f"{type(error).__name__}: {error}"
        finally:
            self._disk.arm(None)
            if self._workload is not None:
                self._workload.give_up()
            shutil.rmtree(spool, ignore_errors=True)
        return ""

    @contextmanager
    def _failing(self, fault: Fault | None) -> Iterator[None]:
        self._disk.arm(fault)
        try:
            yield
        finally:
            self._seen = self._disk.seen()
            self._disk.arm(None)

    def _resumed(self, call: int) -> Resumed:
        self._workload = Resumed(self._disk.mount / "spool", Disk(), calls_before=call)
        return self._workload

    def _judge(self, promised: Promised) -> None:
        if why := judged(self._disk.behind / "spool", [promised]):
            raise Wrong(why)

    # A call ---------------------------------------------------------------------------------------------

    def _try_call(self, call: int, fault: Fault | None) -> None:
        step, before, done = STEPS[call], self._life.promised[call], self._life.promised[call + 1]
        self._life.copy_to(call, self._disk.behind / "spool")
        workload = self._resumed(call)
        workload.open()
        spool = workload.spool
        with self._failing(fault):
            raised = _error_of(lambda: workload.take(step))
        if step.do == "close":
            # Closed is closed, whatever the disk says; what it could not write is told at the next opening.
            spool.close()
        else:
            seen = observed(spool)
            before, done = _pruned_like(seen, before), _pruned_like(seen, done)
            if not raised and seen != done:
                raise Wrong(f"returned, and yet has not happened: {seen}")
            if seen != done:
                if seen != before:
                    raise Wrong(f"raised, and is neither done nor undone: {seen}")
                workload.take(step)
                done = _pruned_like(observed(spool), done)
            spool.close()
        self._judge(done)

    # An opening -----------------------------------------------------------------------------------------

    def _try_opening(self, trial: Trial, fault: Fault | None) -> None:
        promised = self._ruined(trial)
        workload = self._resumed(trial.call)
        with self._failing(fault):
            raised = _error_of(workload.open)
        if not raised:
            # What could not be read is left for the next opening.
            workload.spool.close()
        workload.open()
        seen = observed(workload.spool)
        if seen != promised and not (fault and trial.after in _WITHOUT_INDEX and _is_found_again(seen, promised)):
            raise Wrong(f"opened, and is not what it was: {seen}")
        self._check_what_is_aside(trial, seen, promised)
        workload.spool.close()
        self._judge(seen)

    def _check_what_is_aside(self, trial: Trial, seen: Promised, promised: Promised) -> None:
        """A chunk that is no longer told of must lie aside, with every byte it had."""
        for name, stream in promised.items():
            for idx in stream["chunks"].keys() - seen[name]["chunks"].keys():
                for shard in self._kept(trial).glob(f"streams/*/frames.zarr/frames/c.{idx}.0.0"):
                    place = self._disk.behind / "spool" / shard.parent.relative_to(self._kept(trial))
                    there = [place / shard.name, *place.glob(f".{shard.name}.*.aside")]
                    if not any(path.exists() and path.read_bytes() == shard.read_bytes() for path in there):
                        raise Wrong(f"the bytes of chunk {idx} of {name} are gone")

    def _kept(self, trial: Trial) -> Path:
        return self._folder / f"{trial.call}.{trial.after}"

    def _ruined(self, trial: Trial) -> Promised:
        """Prepare what is opened; what an opening on a disk that is well makes of it."""
        kept = self._kept(trial)
        if not kept.exists():
            if trial.after.startswith("dead push"):
                self._life.ruined(kept, trial.call, int(trial.after.rpartition(" ")[2]))
            else:
                self._life.copy_to(trial.call, kept)
                DAMAGES.get(trial.after, _nothing)(kept)
            well = shutil.copytree(kept, self._folder / "well")
            with open_quietly(well) as spool:
                kept.with_name(f"{kept.name}.json").write_text(json.dumps(observed(spool)))
            shutil.rmtree(well)
        shutil.copytree(kept, self._disk.behind / "spool")
        found: Promised = json.loads(kept.with_name(f"{kept.name}.json").read_text())
        for stream in found.values():
            stream["chunks"] = {int(idx): chunk for idx, chunk in stream["chunks"].items()}
        return found

    # A look ---------------------------------------------------------------------------------------------

    def _try_looking(self, call: int, fault: Fault | None) -> None:
        promised = self._life.promised[call]
        self._life.copy_to(call, self._disk.behind / "spool")
        workload = self._resumed(call)
        workload.open()
        spool = workload.spool
        leases = [spool.lease(stream.stream_id, "a look", ttl_s=60) for stream in spool.streams()]
        with self._failing(fault):
            for lease in leases:
                assert lease is not None
                _look(spool, lease)
        for lease in leases:
            assert lease is not None
            for chunk in spool.chunks(lease.stream_id):
                if chunk.state == "spooled" and not are_pushed(lease.read(chunk), lease.stream(), chunk):
                    raise Wrong(f"chunk {chunk.chunk_idx} is another one now")
            lease.release()
        if (seen := observed(spool)) != promised:
            raise Wrong(f"a look has changed it: {seen}")
        spool.close()
        self._judge(promised)


def _look(spool: Spool, lease: LeasedStream) -> None:
    """All that reads, each on its own."""
    for read in (
        spool.status,
        lambda: [stream.tally for stream in spool.streams()],
        lambda: list(spool.events(lease.stream_id)),
        lambda: audit(spool, lease.stream_id).to_json(),
    ):
        _error_of(read)
    after = -1
    while True:
        try:
            chunk = lease.next_waiting(after_idx=after)
            if chunk is None:
                return
            after = chunk.chunk_idx
            body = lease.read(chunk)
        except (SpoolError, OSError):  # the two that it may raise
            after += 1
            if after > 100:  # noqa: PLR2004 - more than there are
                return
            continue
        try:
            is_right = are_pushed(body, lease.stream(), chunk)
        except ShardDamaged:
            is_right = False
        except SpoolError:  # of its stream nothing can be read
            continue
        if not is_right:
            raise Wrong(f"chunk {chunk.chunk_idx} would be sent with other bytes")


def _pruned_like(seen: Promised, promised: Promised) -> Promised:
    """The same, with what was acknowledged pruned where it was: that makes room."""
    promised = copy.deepcopy(promised)
    for name, stream in promised.items():
        for idx, chunk in stream["chunks"].items():
            if chunk["state"] == "acknowledged" and name in seen and idx in seen[name]["chunks"]:
                chunk["pruned"] |= seen[name]["chunks"][idx]["pruned"]
    return promised


def _is_found_again(seen: Promised, promised: Promised) -> bool:
    """Whether all is there, if not all of what had become of it: without the index, the ledger's copy told it.

    A flipped bit ends what that copy can tell. Then the shards tell, and what was acknowledged waits again. One
    that is read wrongly then is set aside, and holds its stream until a person has looked.
    """
    return seen.keys() == promised.keys() and all(
        chunk["pruned"]
        or chunk["state"] == "discarded"
        or seen[name]["chunks"].get(idx, {}).get("state") in (chunk["state"], "spooled", "parked")
        or (idx not in seen[name]["chunks"] and seen[name]["held"])
        for name, stream in promised.items()
        for idx, chunk in stream["chunks"].items()
    )


def _nothing(_root: Path) -> None:
    """Nothing has happened."""


def _error_of(call: Callable[[], object]) -> SpoolError | None:
    try:
        call()
    except SpoolError as error:
        if not str(error).strip() or not error.hint:
            raise Wrong(f"{type(error).__name__} says {str(error)!r} and advises {error.hint!r}") from error
        return error
    return None


@contextmanager
def _within_time() -> Iterator[None]:
    def late(_number: int, _frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(_HANG_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
