"""How much room the disk has for frames, and how fast it takes them."""

import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from spool import Disk, Limits, Spool, StreamSettings
from uploader.doctor.findings import Finding, Number, Subject, ok, problem, warning
from uploader.doctor.folder import nearest, probe

COMFORT = 5
"""So many times what stays free is little: an outage of a night may need more."""
FILES_MIN = 1_000
FILES_FEW = 100_000
_FRAMES, _SIDE, _FPS = 16, 1024, 30.0
CAMERA_BYTES_PER_S = _SIDE * _SIDE * _FPS
"""A camera of a million pixels at 30 frames a second, uncompressed: more than most RHEED set-ups make."""
_ROUNDS = 3


def space(subject: Subject) -> Finding:
    """Free bytes against what must stay free, and how many files can still be made."""
    place = nearest(subject.root)
    free, least = Disk().free_bytes(place), subject.min_free_bytes
    files = _free_files(place)
    numbers: dict[str, Number] = {"free_bytes": free, "min_free_bytes": least, "free_files": files}
    seen = f"{free / 1e9:.3g} GB free, of which {least / 1e9:.3g} GB stay free"
    if files is not None:
        seen += f"; {files:,} more files can be made"
    if free < least:
        advice = "push() refuses chunks until there is room: free disk space, or spool to another disk (--spool)."
        return problem(seen, advice, **numbers)
    if files is not None and files < FILES_MIN:
        advice = "Each chunk is a file: remove small files that nobody needs, or spool to another disk (--spool)."
        return problem(seen, advice, **numbers)
    if free < COMFORT * least or (files is not None and files < FILES_FEW):
        advice = "An outage of the network may need more than that: make room before a long growth."
        return warning(seen, advice, **numbers)
    return ok(seen, **numbers)


def speed(subject: Subject) -> Finding:
    """Push chunks into a spool of their own, of frames that do not compress: the worst that a camera can bring."""
    frames = np.random.default_rng(0).integers(0, 256, (_FRAMES, _SIDE, _SIDE), dtype=np.uint8)
    settings = StreamSettings(
        name="doctor", destination="http://doctor.invalid", fps=_FPS, rotations_per_min=0.0, chunk_size=_FRAMES
    )
    times = []
    with probe(subject.root) as path, Spool(path / "spool", limits=Limits(min_free_bytes=0)) as spool:
        stream = spool.open_stream(settings)
        for chunk_idx in range(_ROUNDS):
            began = time.perf_counter()
            spool.push(stream.stream_id, chunk_idx, frames)
            times.append(time.perf_counter() - began)
    return judged(statistics.median(times))


def judged(push_s: float) -> Finding:
    """What the time of one push comes to."""
    bytes_per_s = _FRAMES * _SIDE * _SIDE / push_s
    cameras = bytes_per_s / CAMERA_BYTES_PER_S
    numbers: dict[str, Number] = {
        "push_s": push_s,
        "bytes_per_s": round(bytes_per_s),
        "cameras": round(cameras, 2),
    }
    seen = (
        f"a chunk of {_FRAMES * _SIDE * _SIDE / 1e6:.1f} MB is spooled in {push_s:.2g} s:"
        f" {bytes_per_s / 1e6:.0f} MB/s, enough for {cameras:.1f} cameras"
        f" of {_SIDE} x {_SIDE} pixels at {_FPS:g} fps"
    )
    if cameras < 1:
        advice = "A camera such as that would outrun the disk: spool to a faster one, or record fewer pixels."
        return warning(seen, advice, **numbers)
    return ok(seen, **numbers)


def _free_files(place: Path) -> int | None:
    """How many files an ordinary user can still make; ``None`` where nobody counts."""
    if sys.platform == "win32":
        return None
    else:  # noqa: RET505 - so that type checkers follow either platform
        about = os.statvfs(place)
        return about.f_favail if about.f_files else None
