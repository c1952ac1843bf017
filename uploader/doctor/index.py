"""SQLite: whether it can do what the index asks of it, and whether the index that is here is whole."""

import sqlite3
import statistics
import time
from contextlib import closing
from pathlib import Path

from spool import Limits, Spool
from uploader.doctor.findings import Finding, Number, Subject, not_checked, ok, problem, warning
from uploader.doctor.folder import probe

OLDEST = (3, 37, 0)
"""The first SQLite with STRICT tables."""
QUICK_CHECK_S = 10.0
SLOW_S = 0.5
_COMMITS = 5
_EXTRA = 3
_STEPS = 10_000
"""So many steps of SQLite's machine between two looks at the time."""
_NEWER = "Install a newer Python, which brings a newer SQLite."


def sqlite(subject: Subject) -> Finding:
    """Its version, its modes, and what a durable commit takes."""
    numbers: dict[str, Number] = {"sqlite_version": sqlite3.sqlite_version}
    seen = f"SQLite {sqlite3.sqlite_version}"
    if sqlite3.sqlite_version_info < OLDEST:
        needed = ".".join(map(str, OLDEST))
        return problem(f"{seen}; the index needs {needed} or later", _NEWER, **numbers)
    if sqlite3.threadsafety == 0:
        return problem(f"{seen}, built without thread safety", _NEWER, **numbers)
    with probe(subject.root) as path:
        mode, synchronous = _modes(path / "modes.sqlite3")
        commit_s = _commit_s(path / "spool")
    numbers["commit_s"] = commit_s
    if (mode, synchronous) != ("persist", _EXTRA):
        advice = f"The index would not survive a power cut. {_NEWER}"
        return problem(f"{seen} gives the modes {mode!r} and {synchronous} instead", advice, **numbers)
    seen += f", rollback journal, synchronous=EXTRA; a durable commit takes {commit_s * 1e3:.3g} ms"
    if commit_s > SLOW_S:
        return warning(
            seen,
            "Every push() waits for such a commit: use larger chunks, or a faster disk for the spool.",
            **numbers,
        )
    return ok(seen, **numbers)


def index(subject: Subject) -> Finding:
    """A look through the whole index, as long as that takes no longer than it may. Nothing is written."""
    path = subject.root / "index.sqlite3"
    if not path.exists():
        return not_checked("there is no spool yet")
    deadline = time.monotonic() + QUICK_CHECK_S
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
        db.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            (first, *_) = db.execute("PRAGMA quick_check(1)").fetchone()
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                return not_checked(f"longer than {QUICK_CHECK_S:g} s; 'framespool verify' takes its time")
            first = str(error)
    size = f"{path.stat().st_size / 1e6:.3g} MB"
    if first != "ok":
        return problem(
            f"SQLite finds it damaged: {first}",
            "The shards hold every frame. 'framespool verify' names what is wrong, and with --repair tells the"
            " index again.",
        )
    return ok(f"{size}, whole as far as SQLite can tell; 'framespool verify' reads every byte of the spool")


def _modes(path: Path) -> tuple[str, int]:
    with closing(sqlite3.connect(path)) as db:
        (mode,) = db.execute("PRAGMA journal_mode = PERSIST").fetchone()
        db.execute("PRAGMA synchronous = EXTRA")
        (synchronous,) = db.execute("PRAGMA synchronous").fetchone()
    return mode, synchronous


def _commit_s(root: Path) -> float:
    """The median of a few commits in a spool of their own, in seconds."""
    times = []
    with Spool(root, limits=Limits(min_free_bytes=0)) as spool:
        for _ in range(_COMMITS):
            began = time.perf_counter()
            spool.record("doctor")
            times.append(time.perf_counter() - began)
    return statistics.median(times)
