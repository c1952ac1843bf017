"""Random lives of a watched folder: in whatever order things happen, each file comes exactly once."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.sources.watching import Rig, encoded, picture, write
from uploader.sources.images import natural_key
from uploader.sources.live import SourceLost
from uploader.sources.watch import telling

NUMBERS = st.integers(0, 30)
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def _everything_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "SINGLE_MAX", 1000)


class Lives(RuleBasedStateMachine):
    """A program writes files in any order, in pieces or at once; the reader dies, and the share goes away."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = tempfile.TemporaryDirectory()
        self.finished: dict[str, bytes] = {}
        self.begun: dict[str, bytes] = {}
        self.rewritten: set[str] = set()
        self.is_away = False

    @initialize()
    def begin(self) -> None:
        self.rig = Rig(Path(self._kept.name) / "frames", f"?patience={PATIENCE_S:g}s")
        self.rig.source.start()
        self.away = self.rig.folder.with_name("away")

    @property
    def place(self) -> Path:
        return self.away if self.is_away else self.rig.folder

    def new(self, number: int, suffix: str, frames: int) -> tuple[str, bytes] | None:
        name = f"f{number}{suffix}"
        if name in self.finished or name in self.begun:
            return None
        content = encoded(name, *(picture(1000 * number + index) for index in range(frames)))
        return name, content

    @rule(number=NUMBERS, suffix=st.sampled_from([".bmp", ".tif"]), frames=st.integers(1, 3))
    def write_at_once(self, number: int, suffix: str, frames: int) -> None:
        made = self.new(number, suffix, frames if suffix == ".tif" else 1)
        if made is not None:
            write(self.place / made[0], made[1])
            self.finished[made[0]] = made[1]

    @rule(number=NUMBERS)
    def begin_to_write(self, number: int) -> None:
        made = self.new(number, ".png", 1)
        if made is not None:
            write(self.place / made[0], made[1][: len(made[1]) // 2])
            self.begun[made[0]] = made[1]

    @precondition(lambda self: self.begun)
    @rule(chosen=st.data())
    def finish(self, chosen: st.DataObject) -> None:
        name = chosen.draw(st.sampled_from(sorted(self.begun)))
        self.finished[name] = self.begun.pop(name)
        write(self.place / name, self.finished[name])

    @precondition(lambda self: self.rig.files)
    @rule(chosen=st.data(), changed=st.booleans())
    def write_again(self, chosen: st.DataObject, changed: bool) -> None:
        """Only what was taken whole: whoever rewrites what was not taken has lost it by himself."""
        whole = sorted({one.name for one in self.rig.files if one.index == one.frames - 1} - self.rewritten)
        if not whole:
            return
        name = chosen.draw(st.sampled_from(whole))
        path = self.place / name
        write(path, encoded(name, picture(99_999)) if changed else self.finished[name])
        if changed:
            self.rewritten.add(name)

    @rule(seconds=st.sampled_from([0.1, 1.0, 8.0, 40.0]), most=st.sampled_from([1, 2, 100]))
    def take(self, seconds: float, most: int) -> None:
        try:
            for _ in range(most):
                if self.rig.grab(seconds) is None:
                    return
        except SourceLost:
            assert self.is_away
            self.rig.source.stop()
            self.come_back()

    @rule(kept=st.integers(0, 3))
    def die(self, kept: int) -> None:
        """The last chunk was not spooled: its frames are gone with the process."""
        count = len(self.rig.taken)
        unspooled = min(kept, count)
        names = {one.name for one in self.rig.files[count - unspooled :]}
        if not names & self.rewritten:
            del self.rig.taken[count - unspooled :]
        if not self.is_away:
            self.rig.restart()

    @precondition(lambda self: not self.is_away)
    @rule()
    def go_away(self) -> None:
        self.rig.folder.rename(self.away)
        self.is_away = True

    @precondition(lambda self: self.is_away)
    @rule()
    def come_back(self) -> None:
        self.away.rename(self.rig.folder)
        self.is_away = False
        self.rig.restart()

    @invariant()
    def nothing_comes_twice_and_everything_is_what_was_written(self) -> None:
        if not hasattr(self, "rig"):
            return
        seen = [(one.name, one.index) for one in self.rig.files]
        assert len(seen) == len(set(seen))
        for one in self.rig.files:
            assert one.sha256 == hashlib.sha256(self.finished[one.name]).hexdigest()

    def teardown(self) -> None:
        with self._kept:
            if hasattr(self, "rig"):
                self.come_to_the_end()

    def come_to_the_end(self) -> None:
        try:
            for name in list(self.begun):
                self.finished[name] = self.begun.pop(name)
                write(self.place / name, self.finished[name])
            if self.is_away:
                self.come_back()
            self.rig.run(45)
            self.everything_came_once()
        finally:
            self.rig.source.stop()

    def everything_came_once(self) -> None:
        frames = [(one.name, one.index, one.frames) for one in self.rig.files]
        expected = {name for name in self.finished if name not in self.rewritten}
        assert {name for name, _, _ in frames} >= expected
        for name in expected:
            own = [index for one, index, _ in frames if one == name]
            count = next(frames for one, _, frames in frames if one == name)
            assert own == list(range(count))
        told = {detail["file"] for detail in self.rig.told("file_changed")}
        assert told == self.rewritten
        # In order, but for those of which it was told.
        late = {detail["file"] for detail in self.rig.told("file_late")}
        in_turn = [name for name, index, _ in frames if index == 0 and name not in late]
        assert in_turn == sorted(in_turn, key=natural_key)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
