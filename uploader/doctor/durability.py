"""Whether the file system keeps what it says it has: the steps of `push()`, tried and timed for real."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from spool import Disk, ProcessLock
from uploader.doctor.findings import Finding, Subject, ok, problem, warning
from uploader.doctor.folder import probe

IMPLAUSIBLE_FSYNC_S = 50e-6
"""No disk has its bytes on stable storage so soon, unless it has a memory that outlives the power."""
SLOW_S = 0.5
_ROUNDS = 7
_BYTES = 4096
_LOCK_PATIENCE_S = 30.0

# Which lock the other process asks for is ours to say, and so is whose code it runs.
_ASK_FOR_LOCK = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from spool import ProcessLock
print("free" if ProcessLock(Path(sys.argv[2])).acquire(patience_s=0) else "held")
"""


def durability(subject: Subject) -> Finding:
    """Write, fsync, rename and fsync the directory, as for each chunk; and how long that takes."""
    with probe(subject.root) as path:
        rounds = [_make_durable(path, number) for number in range(_ROUNDS)]
    fsync_s, whole_s = (statistics.median(times) for times in zip(*rounds, strict=True))
    seen = (
        f"a file of {_BYTES // 1024} KiB is durable with its name after {_span(whole_s)},"
        f" of which its fsync takes {_span(fsync_s)} (medians of {_ROUNDS})"
    )
    return judged(seen, fsync_s=fsync_s, whole_s=whole_s)


def judged(seen: str, *, fsync_s: float, whole_s: float) -> Finding:
    """What the times come to."""
    numbers = {"fsync_s": fsync_s, "durable_s": whole_s}
    if fsync_s < IMPLAUSIBLE_FSYNC_S:
        return warning(
            f"{seen}: this answers faster than a disk can",
            "A cache may lie about it (a virtual machine, RAID without battery, tmpfs), and a power cut may then"
            " take chunks with it. Spool to a real disk, unless this one has power-loss protection.",
            **numbers,
        )
    if whole_s > SLOW_S:
        return warning(
            f"{seen}: that is slow",
            "push() takes at least as long: use larger chunks, or a faster disk for the spool.",
            **numbers,
        )
    return ok(seen, **numbers)


def renames(subject: Subject) -> Finding:
    """A file is replaced while somebody reads it: the reader keeps the old bytes, others see the new ones.

    Windows does not let an open file be replaced, and the spool waits there; so the reader has to close it first.
    """
    lets_replace_open = sys.platform != "win32"
    with probe(subject.root) as path:
        target = path / "read.json"
        Disk().write_derived(target, b"old", label="doctor")
        with target.open("rb") as reader:
            if not lets_replace_open:
                reader.close()
            Disk().write_derived(target, b"new", label="doctor")
            kept = reader.read() if lets_replace_open else b"old"
        is_right = (kept, target.read_bytes(), list(path.iterdir())) == (b"old", b"new", [target])
    if not is_right:
        return problem(
            "a file that was replaced shows other bytes than it should, or leaves something behind",
            "Put the spool on a local file system: NTFS, APFS, ext4, XFS or the like.",
        )
    return ok(f"files are replaced as a whole{', also while somebody reads them' if lets_replace_open else ''}")


def locks(subject: Subject) -> Finding:
    """A lock that we hold is refused to another process, and can be had again after we let it go."""
    with probe(subject.root) as path:
        lock = ProcessLock(path / "lock")
        is_ours = lock.acquire()
        try:
            elsewhere = _asked_elsewhere(lock.path)
        finally:
            lock.release()
        is_ours_again = lock.acquire()
        lock.release()
    if elsewhere not in ("held", "free"):
        return warning(
            f"another process could not be asked for a lock: {elsewhere or 'it said nothing'}",
            "A worker is such a process: see that this Python can be started, and framespool be imported.",
        )
    if not is_ours or elsewhere != "held" or not is_ours_again:
        return problem(
            "a lock that one process holds is not kept from another",
            "Two workers could deliver side by side. Put the spool on a local file system, not on a share.",
        )
    return ok("a lock that one process holds is kept from another, until it is let go")


def _asked_elsewhere(path: Path) -> str:
    """Whether another process finds the lock ``held`` or ``free``; or its last words."""
    ours = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-P", "-c", _ASK_FOR_LOCK, ours, str(path)]
    try:
        said = subprocess.run(  # noqa: S603 - our own words, to the Python that runs us
            command, capture_output=True, text=True, timeout=_LOCK_PATIENCE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (said.stdout or said.stderr).strip().splitlines()
    return lines[-1] if lines else ""


def _make_durable(folder: Path, number: int) -> tuple[float, float]:
    """How long the fsync of a small file took, and all of it, in seconds."""
    marks: dict[str, float] = {}

    def mark(label: str, _path: Path) -> None:
        marks[label] = time.perf_counter()

    disk = Disk(before=mark)
    part, path = folder / f"{number}.part", folder / str(number)
    disk.write_new(part, [bytes([number]) * _BYTES], label="doctor")
    disk.rename(part, path, label="doctor")
    end = time.perf_counter()
    return marks["doctor.rename"] - marks["doctor.fsync"], end - marks["doctor.create"]


def _span(seconds: float) -> str:
    return f"{seconds * 1e6:.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:.3g} ms"  # noqa: PLR2004 - the unit
