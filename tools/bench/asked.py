"""What was asked for: how much, on which disk, with which frames, and against whom."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.bench import frames as making
from tools.bench.frames import Frames
from tools.bench.machine import version_of_peer

OURS, PEER = "framespool", "atomscale"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """How the harness was asked to measure.

    Attributes:
        work: a folder on the disk that is measured.
        repeats: of each measurement, besides those that are dropped.
        quick: everything small, to see that it runs; the figures mean nothing.
        peer: the Python of the environment with the official client; ``None`` when there is none.
        images: a folder of real frames.
    """

    work: Path
    repeats: int = 5
    quick: bool = False
    peer: Path | None = None
    images: Path | None = None

    @property
    def clients(self) -> tuple[str, ...]:
        """Who can be asked."""
        return (OURS,) if self.peer is None else (OURS, PEER)

    @property
    def absent(self) -> tuple[str, ...]:
        """Who cannot, and what to do about it."""
        if self.peer is not None:
            return ()
        return (f"{PEER} (not installed; see run.py install-peer DIR and --peer)",)

    @property
    def warm_ups(self) -> int:
        """How many repeats are dropped."""
        return 0 if self.quick else 1

    def amount(self, full: int, quick: int) -> int:
        """As much as the occasion asks for."""
        return quick if self.quick else full

    def kinds(self) -> list[Frames]:
        """A chunk of each kind of frames that can be had."""
        n = self.amount(240, 4)
        made = [making.poisson(self.work, n)]
        if not self.quick:
            made += [making.white(self.work, n), making.simulated(self.work, n)]
        if self.images is not None:
            made.append(making.real(self.work, self.amount(64, 4), self.images))
        return made


@contextlib.contextmanager
def bench_in(work: Path | None, **asked: Any) -> Iterator[Bench]:  # noqa: ANN401 - the fields of `Bench`
    """A bench in that folder, or in one that is removed afterwards."""
    with contextlib.ExitStack() as stack:
        if work is None:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="framespool-bench-")))
        work.mkdir(parents=True, exist_ok=True)
        yield Bench(work=work, **asked)


def usable_peer(python: Path | None) -> Path | None:
    """That Python, if it has the peer."""
    return python if python is not None and version_of_peer(python) is not None else None
