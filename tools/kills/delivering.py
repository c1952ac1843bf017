"""Exhaustive, on the way to one folder or two: killed before every step of a delivery, and of the next worker's.

Both the spool's steps and the folders' are counted. After each kill what the index calls acknowledged must lie in
its folder, whole and readable, nothing may be claimed that is not there, and what one of two folders lacks must
lie in the spool; then new workers must bring everything to its end, each chunk once.
"""

from pathlib import Path
from typing import Final

from spool import Disk
from spool.testing import START_MS, FakeClock
from tools.kills.dying import ChildFailed, Say, play_in_child
from tools.kills.steps import Life
from tools.powerloss.arrival import check_shares, deliver, open_share
from tools.powerloss.judge import check_folder
from tools.powerloss.owed import each_of
from tools.powerloss.promises import Promised
from tools.powerloss.steps import DESTINATIONS, FOLDERS, Step, step_of

_WORDS: Final = """
    open mark stream.c push.c.0 push.c.1 deliver.c push.c.2 deliver.c prune
    push.c.3 garble.c close
    open push.c.4 push.c.5 deliver.c push.c.6 seal.c deliver.c prune close
"""
STEPS: Final = tuple(map(step_of, _WORDS.split()))
"""A dark chunk, a short one; a folder that once keeps other bytes than it is given; pruned, and gone on with."""

_TWO: Final = """
    open mark.f mark.f+ stream.f push.f.0 push.f.1 deliver.f prune push.f.2
    deliver.f+ deliver.f prune close
    open push.f.3 seal.f deliver.f+ deliver.f prune close
"""
TWO_STEPS: Final = tuple(map(step_of, _TWO.split()))
"""Each folder is the one that lags once; pruned while it does."""

_LATER_MS = START_MS + 3_600_000


class Delivery(Life):
    """A life on the way to a folder; see `Life`."""

    again_every = 13
    steps = STEPS
    streams: tuple[str, ...] = ("c",)
    """Each is one that some worker delivers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, self.steps)

    def play(self) -> None:
        """See `Life.play`. A worker has threads, and no process that has some is forked."""
        play_in_child(lambda _say: super(Delivery, self).play())

    def spool_in(self, root: Path) -> Path:
        """See `Life.spool_in`; the folder lies beside it."""
        root.mkdir(exist_ok=True)
        return root / "spool"

    def goes_on(self, root: Path, disk: Disk) -> None:
        """The next workers."""
        for url in (DESTINATIONS[stream] for stream in self.streams):
            share = open_share(root / FOLDERS[url], disk, url)
            deliver(self.spool_in(root), share, disk, FakeClock(_LATER_MS))

    def judged(self, root: Path, allowed: list[Promised], *, went_on: bool) -> str:
        """See `Life.judged`."""
        if went_on:
            allowed = each_of(allowed, [Step("deliver", stream) for stream in self.streams])

        def judge(_say: Say) -> None:
            check_folder(self.spool_in(root), allowed)
            check_shares(self.spool_in(root), FakeClock(_LATER_MS))

        try:
            play_in_child(judge)
        except ChildFailed as error:
            return str(error)
        return ""


class FanOut(Delivery):
    """The same with two folders, and a worker for each."""

    steps = TWO_STEPS
    streams = ("f", "f+")
