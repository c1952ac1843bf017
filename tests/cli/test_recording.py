"""Frames are stamped by the source's own times where it has them, and evenly where somebody says how fast."""

from collections.abc import Iterator

import numpy as np
import pytest

from uploader.cli.recording import Recording
from uploader.sources import Frame, SourceError

TIMES_MS = [0.0, 50.0, 400.0, 410.0, 2000.0]


class Timed:
    name = "timed"
    frame_rate: float | None = 20.0
    length: int | None = len(TIMES_MS)
    shape = (2, 3)
    has_times = True
    broken_after = len(TIMES_MS)

    def describe(self) -> str:
        return self.name

    def frames(self) -> Iterator[Frame]:
        return (frame for frame, _ in self.timed_frames())

    def timed_frames(self) -> Iterator[tuple[Frame, float]]:
        for number, time_ms in enumerate(TIMES_MS[: self.broken_after]):
            yield np.full(self.shape, number, np.uint8), time_ms
        if self.broken_after < len(TIMES_MS):
            raise SourceError("torn")


def starts(recording: Recording) -> list[float]:
    found = [start for _, start in recording.chunks()]
    return [start - found[0] for start in found]


def test_chunks_begin_when_their_first_frame_was_captured() -> None:
    recording = Recording(Timed(), fps=20, chunk_size=2, paced=False, own_times=True)
    assert starts(recording) == pytest.approx([0, 400, 2000], abs=0.01)
    assert recording.frames == 5


def test_who_says_how_fast_means_it() -> None:
    recording = Recording(Timed(), fps=20, chunk_size=2, paced=False, own_times=False)
    assert starts(recording) == pytest.approx([0, 100, 200], abs=0.01)


def test_a_source_that_does_not_know_after_all_is_stamped_evenly() -> None:
    source = Timed()
    source.has_times = False
    assert starts(Recording(source, fps=20, chunk_size=2, paced=False, own_times=True)) == pytest.approx(
        [0, 100, 200], abs=0.01
    )


def test_frames_before_a_break_keep_their_times() -> None:
    source = Timed()
    source.broken_after = 3
    recording = Recording(source, fps=20, chunk_size=2, paced=False, own_times=True)
    assert starts(recording) == pytest.approx([0, 400], abs=0.01)
    assert str(recording.error) == "torn"
