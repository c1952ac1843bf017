"""Each file of a watched folder becomes frames exactly once, in order, and what does not is told."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from spool import TakenFile
from tests.sources.watching import SHAPE, Rig, encoded, picture
from uploader.sources import Scaling, SourceError
from uploader.sources.installed import open_live
from uploader.sources.live import LiveSource, Remembering, SourceLost, Wanted
from uploader.sources.watch import WatchedFolder


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "frames")
    made.source.start()
    return made


def test_it_keeps_the_protocol_of_live_sources(tmp_path: Path) -> None:
    source = open_live(f"watch:{tmp_path}", Wanted(fps=12.5))
    assert isinstance(source, WatchedFolder)
    assert isinstance(source, LiveSource)
    assert isinstance(source, Remembering)
    assert (source.name, source.shape, source.frame_rate) == (tmp_path.name, None, 12.5)
    assert source.facts()["folder"] == str(tmp_path)
    source.stop()
    source.stop()


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".tif", ".TIFF"])
def test_a_file_becomes_one_frame_with_its_digest_and_time(rig: Rig, suffix: str) -> None:
    path = rig.write(f"a{suffix}", picture(1))
    taken = rig.grab()
    assert taken is not None
    assert taken.file is not None
    assert np.array_equal(taken.frame, picture(1))
    assert taken.file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (taken.file.size, taken.file.modified_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert taken.captured_at_ms == pytest.approx(path.stat().st_mtime_ns / 1e6)
    assert rig.source.shape == SHAPE


def test_files_that_were_there_before_come_in_natural_order(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "frames")
    for number in (10, 2, 1):
        rig.write(f"frame{number}.bmp")
    rig.source.start()
    assert rig.run() == ["frame1.bmp", "frame2.bmp", "frame10.bmp"]


def test_a_new_process_takes_only_what_is_new(rig: Rig) -> None:
    rig.write("a1.bmp")
    rig.run()
    rig.restart()
    rig.write("a2.bmp")
    assert rig.run() == ["a1.bmp", "a2.bmp"]


def test_what_was_grabbed_and_not_spooled_comes_again_in_a_new_process(rig: Rig) -> None:
    rig.write("a1.bmp")
    rig.write("a2.bmp")
    rig.run()
    del rig.taken[-1]  # the process was killed before its chunk was spooled
    rig.restart()
    assert rig.run() == ["a1.bmp", "a2.bmp"]


def test_within_a_process_stopping_and_starting_takes_nothing_twice(rig: Rig) -> None:
    rig.write("a1.bmp")
    rig.run()
    rig.source.stop()
    rig.source.start()
    rig.write("a2.bmp")
    assert rig.run() == ["a1.bmp", "a2.bmp"]


def test_deleting_a_file_after_it_was_taken_is_no_news(rig: Rig) -> None:
    path = rig.write("a1.bmp")
    rig.run()
    path.unlink()
    assert rig.run() == ["a1.bmp"]
    assert rig.notices == []


# Files that are being written.


def test_a_file_that_still_grows_is_waited_for(rig: Rig) -> None:
    whole = encoded("a.bmp", picture(1))
    for end in range(100, len(whole), 300):
        rig.put("a.bmp", whole[:end])
        assert rig.grab(0.4) is None
    rig.put("a.bmp", whole)
    assert rig.run() == ["a.bmp"]
    assert np.array_equal(rig.taken[0].frame, picture(1))
    assert rig.notices == []


def test_a_file_whose_writer_pauses_in_the_middle_is_waited_for(rig: Rig) -> None:
    whole = encoded("a.png", picture(1))
    rig.put("a.png", whole[: len(whole) // 2])
    assert rig.grab(10) is None
    rig.put("a.png", whole)
    assert rig.run() == ["a.png"]
    assert rig.notices == []


def test_an_empty_file_is_waited_for(rig: Rig) -> None:
    rig.put("a.png", b"")
    assert rig.grab(10) is None
    rig.write("a.png")
    assert rig.run() == ["a.png"]


def test_later_files_do_not_overtake_one_that_is_still_written(rig: Rig) -> None:
    rig.put("a1.png", b"the begin")
    rig.write("a2.png")
    assert rig.grab(20) is None
    rig.write("a1.png")
    assert rig.run() == ["a1.png", "a2.png"]


def test_after_the_patience_they_do_and_it_follows_when_it_is_finished(rig: Rig) -> None:
    whole = encoded("a1.png", picture(1))
    rig.write("a2.png")
    for end in range(40):
        rig.put("a1.png", whole[: end + 1])
        rig.grab(1)
    assert rig.names == ["a2.png"]
    assert [one["file"] for one in rig.told("file_overtaken")] == ["a1.png"]
    rig.put("a1.png", whole)
    assert rig.run() == ["a2.png", "a1.png"]
    assert [(one["file"], one["after"]) for one in rig.told("file_late")] == [("a1.png", "a2.png")]


def test_a_file_that_never_becomes_readable_is_told_of_and_does_not_stop_the_rest(rig: Rig) -> None:
    rig.put("a1.png", b"no picture")
    rig.write("a2.png")
    assert rig.run(60) == ["a2.png"]
    (refused,) = rig.told("file_refused")
    assert (refused["file"], refused["refused"]) == ("a1.png", 1)
    assert "cannot be read" in refused["reason"]


def test_many_unreadable_files_cost_one_patience_together(rig: Rig) -> None:
    for number in range(50):
        rig.put(f"a{number}.png", b"no picture")
    rig.write("b.png")
    began = rig.clock.now
    assert rig.grab(1000) is not None
    assert rig.clock.now - began < 40
    rig.run(100)
    assert len(rig.told("file_refused")) == 11
    assert rig.told("file_refused")[-1] == {"files": 40, "first": "a10.png", "last": "a49.png"}


def test_a_refused_file_is_taken_once_it_is_mended(rig: Rig) -> None:
    rig.put("a1.png", b"no picture")
    rig.run(60)
    rig.write("a1.png")
    assert rig.run() == ["a1.png"]


def test_a_file_that_is_renamed_into_place_is_taken_soon(rig: Rig) -> None:
    rig.write("a1.tmp.png").rename(rig.folder / "a1.png")
    began = rig.clock.now
    assert rig.grab() is not None
    assert rig.clock.now - began < 1


@pytest.mark.parametrize(
    "name", ["a.bmp.tmp", ".a.bmp", "~a.bmp", "a.bmp~", "a.part", "a.bmp.part", "notes.txt", "bmp", "#a.bmp"]
)
def test_what_has_the_name_of_something_unfinished_is_left_alone(rig: Rig, name: str) -> None:
    rig.put(name, encoded("a.bmp", picture(1)))
    assert rig.run(60) == []
    assert rig.notices == []


def test_a_file_that_vanishes_before_it_was_finished_is_told_of(rig: Rig) -> None:
    rig.put("a.bmp", b"BM")
    rig.grab(2)
    (rig.folder / "a.bmp").unlink()
    assert rig.run() == []
    assert [one["file"] for one in rig.told("file_gone")] == ["a.bmp"]


# Files that are written anew.


def test_a_file_that_is_rewritten_is_told_of_once_with_both_digests_and_not_taken(rig: Rig) -> None:
    first = hashlib.sha256(rig.write("a.bmp", picture(1)).read_bytes()).hexdigest()
    rig.run()
    second = hashlib.sha256(rig.write("a.bmp", picture(2)).read_bytes()).hexdigest()
    assert rig.run(60) == ["a.bmp"]
    (told,) = rig.told("file_changed")
    assert (told["taken_sha256"], told["found_sha256"]) == (first, second)
    rig.touch("a.bmp")
    rig.run(60)
    assert len(rig.told("file_changed")) == 2  # what it holds is still not what was taken


def test_a_file_that_was_rewritten_while_nobody_looked_is_told_of_after_a_restart(rig: Rig) -> None:
    rig.write("a.bmp", picture(1))
    rig.run()
    rig.source.stop()
    rig.write("a.bmp", picture(2))
    rig.touch("a.bmp")
    rig.restart()
    assert rig.run(60) == ["a.bmp"]
    assert len(rig.told("file_changed")) == 1


def test_a_file_that_is_only_touched_or_written_the_same_is_no_news(rig: Rig) -> None:
    rig.write("a.bmp", picture(1))
    rig.run()
    rig.touch("a.bmp")
    rig.run(60)
    rig.write("a.bmp", picture(1))
    assert rig.run(60) == ["a.bmp"]
    assert rig.notices == []


def test_a_file_that_becomes_a_folder_is_told_of(rig: Rig) -> None:
    path = rig.write("a.bmp")
    rig.run()
    path.unlink()
    path.mkdir()
    rig.run(60)
    assert [one["found_sha256"] for one in rig.told("file_changed")] == [None]


# What is refused.


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right there, and pipes are not in folders")
def test_links_pipes_and_names_that_are_no_text_are_refused_and_never_opened(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "secret.bmp").write_bytes(encoded("a.bmp", picture(1)))
    (rig.folder / "a1.bmp").symlink_to(tmp_path / "secret.bmp")
    (rig.folder / "a2.bmp").symlink_to(tmp_path / "nowhere.bmp")
    os.mkfifo(rig.folder / "a3.bmp")
    Path(os.fsdecode(os.fsencode(rig.folder) + b"/a4\xff.bmp")).write_bytes(encoded("a.bmp", picture(1)))
    (rig.folder / "folder.bmp").mkdir()
    rig.write("b.bmp")
    assert rig.run(60) == ["b.bmp"]
    assert [one["file"] for one in rig.told("file_refused")] == ["a1.bmp", "a2.bmp", "a3.bmp", "a4?.bmp"]


def test_a_file_of_absurd_size_is_refused_without_reading_it(rig: Rig) -> None:
    with (rig.folder / "a.bmp").open("wb") as file:
        file.truncate(2**40)
    rig.write("b.bmp")
    assert rig.run(60) == ["b.bmp"]
    assert "more than" in rig.told("file_refused")[0]["reason"]


def test_a_frame_of_another_size_is_refused_and_the_rest_goes_on(rig: Rig) -> None:
    rig.write("a1.bmp", picture(1))
    rig.write("a2.bmp", picture(2, (4, 9)))
    rig.write("a3.bmp", picture(3))
    assert rig.run() == ["a1.bmp", "a3.bmp"]
    assert "4 x 9" in rig.told("file_refused")[0]["reason"]


def test_deeper_pixels_are_an_error_at_once_until_a_scaling_is_chosen(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "frames")
    rig.write("a.tif", picture(1).astype(np.uint16) * 256)
    rig.source.start()
    with pytest.raises(SourceError, match="how to scale them must be chosen"):
        rig.grab()
    chosen = Rig(rig.folder, scaling=Scaling.parse("shift8"))
    chosen.source.start()
    assert chosen.run() == ["a.tif"]
    assert np.array_equal(chosen.taken[0].frame, picture(1))


@pytest.mark.parametrize("name", ["../secret.bmp", "/etc/passwd", "a/../../b.bmp"])
def test_a_remembered_name_is_never_taken_for_a_path(rig: Rig, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.bmp").write_bytes(b"x")
    rig.write("a.bmp")
    rig.run()
    rig.taken[0] = type(rig.taken[0])(
        frame=rig.taken[0].frame, file=type(rig.files[0])(name=name, size=1, modified_ns=1, sha256="00" * 32)
    )
    rig.restart()
    rig.run(60)
    assert rig.told("file_changed") == []


@pytest.mark.parametrize("told", [{"size": -1}, {"sha256": "no digest"}, {"index": -5}, {"modified_ns": 2**70}])
def test_what_a_spool_tells_that_cannot_be_is_an_error(rig: Rig, told: dict[str, Any]) -> None:
    file = TakenFile(**{"name": "a.bmp", "size": 1, "modified_ns": 1, "sha256": "00" * 32, **told})
    with pytest.raises(SourceError, match=r"'a\.bmp' cannot be"):
        rig.source.remember([file])


# Stacks and videos.


def test_a_stack_is_taken_when_it_no_longer_grows_and_then_whole(rig: Rig) -> None:
    pictures = [picture(number) for number in range(6)]
    for count in (1, 2, 4, 6):
        rig.put("a.tif", encoded("a.tif", *pictures[:count]))
        assert rig.grab(4) is None
    assert rig.run() == [f"a.tif#{number}" for number in range(6)]
    assert np.array_equal([one.frame for one in rig.taken], pictures)
    assert {one.frames for one in rig.files} == {6}


def test_a_stack_is_gone_on_with_in_the_middle_by_a_new_process(rig: Rig) -> None:
    rig.write("b.tif", *(picture(number) for number in range(5)))
    for _ in range(3):
        rig.grab()
    rig.restart()
    rig.write("a.tif")  # nothing comes between the frames of a file
    assert rig.run() == ["b.tif#0", "b.tif#1", "b.tif#2", "b.tif#3", "b.tif#4", "a.tif"]
    assert np.array_equal([one.frame for one in rig.taken[:5]], [picture(number) for number in range(5)])


def test_a_stack_that_was_rewritten_in_the_middle_is_told_of_and_not_gone_on_with(rig: Rig) -> None:
    rig.write("b.tif", *(picture(number) for number in range(5)))
    rig.grab()
    rig.source.stop()
    rig.write("b.tif", *(picture(9 + number) for number in range(5)))
    rig.restart()
    assert rig.run(60) == ["b.tif#0"]
    assert [one["taken_frames"] for one in rig.told("file_changed")] == [1]


def test_a_stack_that_is_gone_in_the_middle_is_told_of_with_what_is_missing(rig: Rig) -> None:
    path = rig.write("b.tif", *(picture(number) for number in range(5)))
    rig.grab()
    rig.source.stop()
    path.unlink()
    rig.restart()
    rig.run()
    assert [one["frames_missing"] for one in rig.told("file_gone")] == [4]


def test_a_torn_stack_gives_none_of_its_frames(rig: Rig) -> None:
    whole = encoded("a.tif", *(picture(number) for number in range(5)))
    rig.put("a.tif", whole[:-200])
    assert rig.run(60) == []
    assert len(rig.told("file_refused")) == 1


def test_a_stack_too_large_for_the_memory_is_read_from_the_disk(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploader.sources.watch.reading._MEMORY_BYTES_MAX", 10)
    path = rig.write("a.tif", *(picture(number) for number in range(3)))
    rig.grab()
    path.write_bytes(b"something else")
    assert rig.run(60) == ["a.tif#0"]
    assert len(rig.told("file_changed")) == 1


def test_the_frames_of_a_stack_have_the_times_that_it_tells(rig: Rig) -> None:
    planes = {"DeltaT": [0.0, 0.1, 0.3], "DeltaTUnit": ["s"] * 3}
    path = rig.folder / "a.tif"
    stack = np.stack([picture(number) for number in range(3)])
    tifffile.imwrite(path, stack, ome=True, metadata={"axes": "TYX", "Plane": planes})
    rig.run()
    written_ms = path.stat().st_mtime_ns / 1e6
    times = [one.captured_at_ms for one in rig.taken]
    assert times == pytest.approx([written_ms - 300, written_ms - 200, written_ms], abs=0.01)


def test_a_video_is_taken_whole_with_its_times(rig: Rig) -> None:
    flat = np.repeat(np.arange(0, 250, 25, dtype=np.uint8), 32 * 48 * 3).reshape(-1, 32, 48, 3)
    iio.imwrite(rig.folder / "a.mp4", flat, plugin="FFMPEG", fps=25, macro_block_size=1)
    rig.run()
    assert rig.names == [f"a.mp4#{number}" for number in range(10)]
    times = np.array([one.captured_at_ms for one in rig.taken])
    assert np.diff(times) == pytest.approx(40, abs=1)


# Times that are noted in the file.


def test_the_time_that_a_camera_noted_is_used_when_asked_for(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "frames", "?time=recorded")
    rig.source.start()
    exif = Image.Exif()
    inner = exif.get_ifd(0x8769)
    inner[0x9003], inner[0x9291], inner[0x9011] = "2026:02:03 04:05:06", "25", "+01:00"
    Image.fromarray(picture(1)).save(rig.folder / "a1.jpg", exif=exif)
    tifffile.imwrite(rig.folder / "a2.tif", picture(2), datetime="2026:02:03 04:05:06")
    rig.write("a3.bmp", picture(3))
    rig.run()
    noted = [one.captured_at_ms for one in rig.taken]
    assert noted[0] == 1770087906250
    assert noted[1] is not None
    assert noted[1] % 1000 == 0
    assert noted[2] == pytest.approx((rig.folder / "a3.bmp").stat().st_mtime_ns / 1e6)
    assert [one["file"] for one in rig.told("file_untimed")] == ["a3.bmp"]


# The folder itself.


def test_a_folder_that_is_not_there_may_come(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "frames")
    rig.folder.rmdir()
    with pytest.raises(SourceLost, match="cannot be reached"):
        rig.source.start()
    rig.folder.mkdir()
    rig.source.start()
    rig.write("a.bmp")
    assert rig.run() == ["a.bmp"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").touch()
    source = open_live(f"watch:{tmp_path / 'a.bmp'}", Wanted())
    assert source is not None
    with pytest.raises(SourceError, match="is no folder") as refusal:
        source.start()
    assert not isinstance(refusal.value, SourceLost)


@pytest.mark.parametrize("stands_in", [True, False])
def test_a_share_that_goes_away_and_comes_back_gives_each_file_once(rig: Rig, stands_in: bool) -> None:
    rig.write("a1.bmp")
    rig.write("a2.bmp")
    rig.write("b.tif", *(picture(number) for number in range(4)))
    while len(rig.taken) < 4:
        rig.grab()
    away = rig.folder.rename(rig.folder.with_name("away"))
    if stands_in:  # the empty mount point
        rig.folder.mkdir()
    with pytest.raises(SourceLost):
        rig.run()
    rig.source.stop()
    if stands_in:
        rig.folder.rmdir()
    away.rename(rig.folder)
    rig.write("c.bmp")
    rig.source.start()
    assert rig.run() == ["a1.bmp", "a2.bmp", "b.tif#0", "b.tif#1", "b.tif#2", "b.tif#3", "c.bmp"]
    assert rig.notices == []


def test_it_is_over_when_the_last_file_is_there_and_everything_is_taken(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "frames", "?until=DONE.txt")
    rig.source.start()
    rig.write("a1.bmp")
    rig.put("a2.bmp", b"BM")
    rig.put("DONE.txt", b"")
    rig.grab()
    assert not rig.is_over()
    rig.write("a2.bmp")
    assert rig.run(100) == ["a1.bmp", "a2.bmp"]
    assert rig.is_over()
    began = rig.clock.now
    assert rig.grab(100) is None
    assert rig.clock.now == began


def test_without_such_a_file_it_is_never_over(rig: Rig) -> None:
    rig.write("a1.bmp")
    rig.run()
    assert not rig.is_over()


def test_only_names_that_fit_the_pattern_are_taken(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "frames", "?pattern=Img?_*.bmp")
    rig.source.start()
    for name in ("img1_0.bmp", "IMG2_0.BMP", "img1_0.png", "img10_0.bmp"):
        rig.write(name)
    assert rig.run() == ["img1_0.bmp", "IMG2_0.BMP"]


def test_an_idle_folder_is_not_listed_again_and_again(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.write("a1.bmp")
    rig.run()
    listed: list[object] = []
    scandir = os.scandir

    def counted(path: str) -> object:
        listed.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    rig.run(60)
    assert len(listed) <= 7  # every ten seconds, in case that the folder's own time cannot be trusted
