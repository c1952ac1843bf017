"""One byte of a spool is another one, anywhere: ``verify`` names it, or nobody ever reads that byte.

Only the index has such bytes: pages of the database that hold no row, and what its journal keeps of an earlier
commit. There the rows must be the same, every one.
"""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from spool.errors import SpoolError
from spool.verify import verify
from tools.fuzz.finding import Finding
from tools.fuzz.spools import whole_spool
from tools.fuzz.strain import Hangs, strained

NAME = "flips"


def inputs(seed: int, count: int, folder: Path, *, only: int | None = None) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`."""
    root = whole_spool(folder / "spool", "Ångström =1+1")
    if problems := verify(root, settle_s=0).problems:
        raise AssertionError(f"the spool was not sound before: {problems[0]}")
    rows = _rows(root)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size)
    for number in range(count) if only is None else (only,):
        chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
        path = chance.choice(files)
        before = path.read_bytes()
        at, bits = chance.randrange(len(before)), chance.randrange(1, 256)
        path.write_bytes(before[:at] + bytes([before[at] ^ bits]) + before[at + 1 :])
        why = _tried(root, path, rows)
        path.write_bytes(before)
        what = f"byte {at} of {path.relative_to(root)} is {before[at] ^ bits} instead of {before[at]}"
        yield Finding(area=NAME, number=number, what=what, why=why) if why else None


def _tried(root: Path, path: Path, rows: list[str]) -> str | None:
    try:
        with strained() as strain:
            found = verify(root, settle_s=0)
    except SpoolError:
        return None
    except Hangs as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - any other is the finding
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    why = strain.why(bytes_max=300 << 20, cpu_s_max=20.0)
    name = path.relative_to(root).as_posix()
    if found.is_sound and not (path.name.startswith("index.sqlite3") and _rows(root) == rows):
        why = "was not noticed"
    elif found.problems and not any(problem.where in (name, "index.sqlite3") for problem in found.problems):
        why = f"was called {found.problems[0]}"
    return why


def _rows(root: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{root / 'index.sqlite3'}?mode=ro", uri=True)) as db:
        try:
            return list(db.iterdump())
        except sqlite3.DatabaseError as error:
            return [str(error)]
