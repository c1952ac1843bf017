"""From a live source to chunks: every frame is in a chunk or counted as lost, in order."""

import random

import numpy as np
import pytest

from spool import Loss, LossCause, TakenFile
from tests.grabbing.scripted import SHAPE, Scripted, ScriptedFiles, Step, frame, numbered
from uploader.grabbing import Assembled, Assembler, Happened
from uploader.grabbing.device_clock import DeviceClock
from uploader.grabbing.ring import Ring
from uploader.sources.base import SourceError
from uploader.sources.live import Grabbed, Notice, SourceLost

FRAME_BYTES = SHAPE[0] * SHAPE[1]


def chunks(items: list[Assembled | Happened]) -> list[Assembled]:
    return [one for one in items if isinstance(one, Assembled)]


def events(items: list[Assembled | Happened]) -> list[str]:
    return [one.event if isinstance(one, Happened) else f"{len(one.frames)} frames" for one in items]


def test_chunks_are_cut_by_count_and_know_their_numbers() -> None:
    source = Scripted(numbered(7, 8, 9, 10, 11))
    items = list(Assembler(source, chunk_size=2))
    assert events(items) == ["2 frames", "2 frames", "1 frames", "source_stopped"]
    assert [(one.capture.first, one.capture.last) for one in chunks(items)] == [(7, 8), (9, 10), (11, 11)]
    assert [one.frames[:, 0, 0].tolist() for one in chunks(items)] == [[7, 8], [9, 10], [11]]
    assert (source.started, source.stopped) == (1, 1)


def test_a_folder_that_was_empty_at_first_has_the_shape_of_its_first_frame() -> None:
    source = Scripted(numbered(1, 2))
    source.shape = None  # type: ignore[assignment] # of cameras it is always known
    assert events(list(Assembler(source, chunk_size=2))) == ["2 frames", "source_stopped"]


def test_skipped_numbers_are_frames_lost_by_the_source() -> None:
    items = list(Assembler(Scripted(numbered(1, 2, 6, 7, 9)), chunk_size=3))
    first, second = (one.capture.losses for one in chunks(items))
    assert [(one.cause, one.frames, one.after) for one in first] == [(LossCause.SOURCE, 3, 2)]
    assert [(one.cause, one.frames, one.after) for one in second] == [(LossCause.SOURCE, 1, 7)]


def test_a_number_that_begins_anew_is_no_loss() -> None:
    items = list(Assembler(Scripted(numbered(900, 901, 1, 2)), chunk_size=10))
    assert [one.capture.losses for one in chunks(items)] == [()]


def test_what_finds_the_ring_full_is_counted_and_told_with_the_next_chunk() -> None:
    source = Scripted(numbered(*range(1, 101)), ends=False)
    assembler = Assembler(source, chunk_size=4, ring_bytes=5 * FRAME_BYTES, chunk_s=0.1)
    seen: list[Assembled] = []
    losses: list[Loss] = []
    for item in assembler:
        if isinstance(item, Assembled):
            if not seen:  # a disk that takes its time over the first chunk
                assert source.silent.wait(30)
                source.steps += numbered(101, 102)
            seen.append(item)
            losses += item.capture.losses
            if item.capture.last == 102:
                assembler.stop()
        elif item.event == "source_stopped":
            losses += [Loss(**one) for one in item.detail["losses"]]
    kept = sum(len(one.frames) for one in seen)
    lost = [one for one in losses if one.cause is LossCause.OVERFLOW]
    assert lost
    assert kept + sum(one.frames for one in lost) == 102
    assert assembler.figures.lost[LossCause.OVERFLOW] == sum(one.frames for one in lost)
    assert assembler.figures.taken == kept
    numbers = np.concatenate([one.frames[:, 0, 0] for one in seen]).tolist()
    assert numbers == sorted(set(numbers))
    assert lost[0].after in numbers


def test_a_source_of_files_is_made_to_wait_and_loses_nothing() -> None:
    file = TakenFile(name="a.bmp", size=1, modified_ns=1, sha256="0" * 64)
    steps: list[Step] = [Grabbed(frame=frame(k), captured_at_ms=float(k), file=file) for k in range(60)]
    items = list(Assembler(ScriptedFiles(steps), chunk_size=4, ring_bytes=3 * FRAME_BYTES))
    assert sum(len(one.frames) for one in chunks(items)) == 60
    assert all(not one.capture.losses and len(one.capture.files) == 4 for one in chunks(items))
    assert [one.capture_start_ms_utc for one in chunks(items)] == [float(k) for k in range(0, 60, 4)]


def test_a_camera_that_falls_silent_keeps_no_half_chunk_in_memory() -> None:
    source = Scripted(numbered(1, 2), ends=False)
    assembler = Assembler(source, chunk_size=100, chunk_s=0.2)
    seen = []
    for item in assembler:
        seen.append(item)
        assembler.stop()
    assert events(seen) == ["2 frames", "source_stopped"]


def test_a_source_that_comes_back_goes_on_behind_the_pause() -> None:
    steps: list[Step] = [*numbered(1, 2), SourceLost("unplugged"), *numbered(1, 2, 3)]
    source = Scripted(steps, starts=[None, SourceLost("still gone"), None])
    items = list(Assembler(source, chunk_size=10))
    assert events(items) == ["2 frames", "source_lost", "source_back", "3 frames", "source_stopped"]
    assert (source.started, source.stopped) == (3, 2)
    assert [one.capture.losses for one in chunks(items)] == [(), ()]  # its numbers began anew


@pytest.mark.parametrize("error", [SourceError("no such pixel"), ZeroDivisionError("a driver's")])
def test_whatever_breaks_a_source_what_came_is_kept_and_said(error: Exception) -> None:
    source = Scripted([*numbered(1, 2, 3), error])
    items = list(Assembler(source, chunk_size=2))
    assert events(items) == ["2 frames", "1 frames", "source_stopped"]
    last = items[-1]
    assert isinstance(last, Happened)
    assert str(error) in str(last.error)
    assert str(error) in last.detail["words"]
    assert source.stopped == 1


def test_a_frame_of_another_size_ends_it() -> None:
    steps: list[Step] = [*numbered(1), Grabbed(frame=np.zeros((3, 3), np.uint8), number=2)]
    items = list(Assembler(Scripted(steps), chunk_size=2))
    assert events(items) == ["1 frames", "source_stopped"]


def test_a_source_that_cannot_be_started_says_so() -> None:
    items = list(Assembler(Scripted([], starts=[SourceLost("not there")]), chunk_size=2))
    assert events(items) == ["source_stopped"]


def test_notices_are_told_in_their_place_and_cut_no_chunk() -> None:
    notice = Notice(what="file_changed", words="img_7.bmp was written again", detail={"name": "img_7.bmp"})
    items = list(Assembler(Scripted([*numbered(1), notice, *numbered(2)]), chunk_size=2))
    assert sorted(events(items)) == ["2 frames", "source_notice", "source_stopped"]


def test_what_was_lost_behind_the_last_chunk_is_told_at_the_end() -> None:
    source = Scripted(numbered(1, 2), ends=False)
    assembler = Assembler(source, chunk_size=2, ring_bytes=FRAME_BYTES, chunk_s=0.1)
    items = []
    for item in assembler:
        items.append(item)
        if len(items) == 1:
            source.silent.clear()
            source.steps += numbered(3, 4, 5)  # one has room, two have not
            assert source.silent.wait(30)
            assembler.stop()
    assert isinstance(items[-1], Happened)
    kept = sum(len(one.frames) for one in chunks(items))
    told = sum(one["frames"] for one in items[-1].detail["losses"])
    assert kept + told + sum(loss.frames for one in chunks(items) for loss in one.capture.losses) == 5
    assert told >= 1


@pytest.mark.parametrize("seed", range(3))
def test_every_number_is_in_a_chunk_or_counted_whatever_happens(seed: int) -> None:
    chance = random.Random(seed)
    numbers = [1]
    for _ in range(300):
        numbers.append(numbers[-1] + chance.choice((1, 1, 1, 1, 4)))
    steps: list[Step] = []
    for step in numbered(*numbers):
        steps += [step, None] if chance.random() < 0.05 else [step]
    assembler = Assembler(Scripted(steps), chunk_size=7, ring_bytes=9 * FRAME_BYTES)
    kept = lost = 0
    for item in assembler:
        if isinstance(item, Assembled):
            kept += len(item.frames)
            lost += sum(one.frames for one in item.capture.losses)
        elif item.event == "source_stopped":
            lost += sum(one["frames"] for one in item.detail["losses"])
    assert kept + lost == numbers[-1]
    assert kept + lost == assembler.figures.taken + sum(assembler.figures.lost.values())


def test_a_late_arrival_moves_no_time_stamp() -> None:
    clock, chance = DeviceClock(), random.Random(1)
    errors = []
    for k in range(2000):
        exposed_ns = k * 8_000_000
        late_ns = 1_000_000 if k % 50 == 0 else chance.randrange(1_000_000, 40_000_000)
        arrived_ns = 5 * 10**12 + exposed_ns + late_ns
        captured_ns = clock.captured_ns(exposed_ns, monotonic_ns=arrived_ns, utc_ns=10**18 + arrived_ns)
        errors.append(captured_ns - 10**18 - 5 * 10**12 - exposed_ns)
    assert set(errors) == {1_000_000}  # but for the shortest way, which nobody can know


def test_clocks_that_run_apart_are_followed() -> None:
    clock = DeviceClock(window_ns=10**9)
    for k in range(10_000):
        exposed_ns = k * 10_000_000
        arrived_ns = exposed_ns + exposed_ns // 10_000  # 100 millionths slower
        captured_ns = clock.captured_ns(exposed_ns, monotonic_ns=arrived_ns, utc_ns=arrived_ns)
        assert abs(captured_ns - arrived_ns) <= 10**9 // 10_000 + 2000


def test_the_ring_takes_one_item_of_any_size() -> None:
    ring: Ring[str] = Ring(10)
    assert ring.put("large", 100)
    assert not ring.put("small", 1)
    assert ring.put("a mark")
    assert (ring.get(0), ring.get(0), ring.get(0)) == ("large", "a mark", None)
    assert (ring.nbytes, ring.most_bytes) == (0, 100)
