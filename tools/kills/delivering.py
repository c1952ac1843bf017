"""Exhaustive, on the way to a folder: killed before every step of a delivery, and of the next worker's.

Both the spool's steps and the folder's are counted. After each kill what the index calls acknowledged must lie in
the folder, whole and readable, and nothing may be claimed that is not there; then a new worker must bring
everything to its end.
"""

from pathlib import Path
from typing import Final

from spool import Disk
from spool.testing import START_MS, FakeClock
from tools.kills.dying import ChildFailed, Say, play_in_child
from tools.kills.steps import Life
from tools.powerloss.arrival import check_shares, deliver, open_share
from tools.powerloss.judge import check_folder
from tools.powerloss.promises import Promised, digest, outcomes
from tools.powerloss.steps import SHARE, Step, step_of

_WORDS: Final = """
    open mark stream.c push.c.0 push.c.1 deliver.c push.c.2 deliver.c prune
    push.c.3 garble.c close
    open push.c.4 push.c.5 deliver.c push.c.6 seal.c deliver.c prune close
"""
STEPS: Final = tuple(map(step_of, _WORDS.split()))
"""A dark chunk, a short one; a folder that once keeps other bytes than it is given; pruned, and gone on with."""

_LATER_MS = START_MS + 3_600_000


class Delivery(Life):
    """A life on the way to a folder; see `Life`."""

    again_every = 13

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, STEPS)

    def play(self) -> None:
        """See `Life.play`. A worker has threads, and no process that has some is forked."""
        play_in_child(lambda _say: super(Delivery, self).play())

    def spool_in(self, root: Path) -> Path:
        """See `Life.spool_in`; the folder lies beside it."""
        root.mkdir(exist_ok=True)
        return root / "spool"

    def goes_on(self, root: Path, disk: Disk) -> None:
        """The next worker."""
        deliver(self.spool_in(root), open_share(root / SHARE, disk), disk, FakeClock(_LATER_MS))

    def judged(self, root: Path, allowed: list[Promised], *, went_on: bool) -> str:
        """See `Life.judged`."""
        if went_on:
            each = [one for state in allowed for one in outcomes(state, Step("deliver", "c"))]
            allowed = list({digest(one): one for one in each}.values())

        def judge(_say: Say) -> None:
            check_folder(self.spool_in(root), allowed)
            check_shares(self.spool_in(root), FakeClock(_LATER_MS))

        try:
            play_in_child(judge)
        except ChildFailed as error:
            return str(error)
        return ""
