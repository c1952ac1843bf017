"""Any GenICam camera is watched and lost as promised: through a whole GenTL producer with three small cameras."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.sources.cameras import GENTL, VIKY, grab_on, grabbed, needs_viky
from uploader.sources import SourceError
from uploader.sources.genicam import PATHS, GenICamCamera, look, open_genicam
from uploader.sources.installed import open_live
from uploader.sources.live import LiveSource, SourceLost, Wanted

pytestmark = needs_viky
QUICK = Wanted(fps=200.0, region=(0, 0, 160, 120))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    # Its buffers have ten megabytes each, whatever the picture has.
    monkeypatch.setattr("uploader.sources.genicam.queue_length", lambda *_: 5)
    opened = []

    def started(wanted: Wanted = QUICK, wish: str = "1") -> LiveSource:
        camera = open_live(f"genicam:{VIKY}:{wish}", wanted)
        assert camera is not None
        opened.append(camera)
        camera.start()
        return camera

    yield started
    for one in opened:
        one.stop()


def test_the_camera_says_what_it_is(start: Any) -> None:
    camera = start()
    assert isinstance(camera, LiveSource)
    assert (camera.name, camera.shape, camera.frame_rate) == ("Viky 1", (120, 160), 200.0)
    assert camera.describe() == "GenICam camera Viky 1, 120 x 160 px, 200 frames/s"
    facts = camera.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["model"], facts["serial"], facts["producer"]) == ("Viky", "1", [str(VIKY)])
    assert "harvesters" in facts["driver"]


def test_producers_are_found_where_their_installers_say(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(PATHS, raising=False)
    with pytest.raises(SourceError, match="no GenTL producer is known") as refusal:
        look()
    assert "genicam:/path/to/producer.cti" in refusal.value.hint
    with pytest.raises(SourceError, match="no GenTL producer is known"):
        open_genicam("1", QUICK)
    shutil.copy(VIKY, tmp_path)
    monkeypatch.setenv(PATHS, os.pathsep.join([str(tmp_path / "nowhere"), str(tmp_path)]))
    assert [(one.name, one.model) for one in look()] == [(f"genicam:{serial}", "Viky") for serial in "012"]
    camera = open_genicam("VikyTL_DEV_blue", QUICK)
    camera.start()
    assert camera.name == "Viky 2"
    camera.stop()


def test_frames_come_in_order_and_belong_to_whoever_takes_them(start: Any) -> None:
    camera = start()
    frames = [grabbed(camera) for _ in range(6)]
    copies = [one.frame.copy() for one in frames]
    frames += [grabbed(camera) for _ in range(12)]  # into buffers that have been used before
    assert [one.number for one in frames] == list(range(1, 19))
    assert all((one.frame == copy).all() for one, copy in zip(frames, copies, strict=False))
    assert len({one.tobytes() for one in copies}) > 1, "all frames are the same"
    assert {(one.frame.dtype, one.frame.shape, one.frame.flags.c_contiguous) for one in frames} == {
        (np.dtype(np.uint8), (120, 160), True)
    }


def test_frames_for_which_there_was_no_buffer_are_a_gap_in_the_numbers(start: Any) -> None:
    camera = start()
    held = [camera._acquirer.try_fetch(timeout=5.0, is_raw=True) for _ in range(5)]  # all that there are
    last = held[-1].frame_id
    # Nothing can come now, however long it is waited for, and the camera goes on.
    assert camera.grab(0.1) is None
    for buffer in held:
        buffer.parent.queue_buffer(buffer)
    assert grabbed(camera).number > last + 1


def test_a_frame_that_came_incomplete_is_told(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = start()
    with monkeypatch.context() as patch:
        patch.setattr(GENTL.Buffer, "is_complete", lambda _: False)
        assert [camera.grab(5.0) for _ in range(3)] == [None, None, None]
    assert grabbed(camera).number == 4
    (notice,) = camera.notices()
    assert (notice.what, notice.detail["frames"]) == ("frames_incomplete", 3)


def test_a_camera_that_is_gone_is_lost_and_can_be_started_again(start: Any) -> None:
    camera = start()
    grabbed(camera)
    camera._acquirer.device.module.close()
    with pytest.raises(SourceLost, match="Viky 1"):
        grab_on(camera)
    camera.stop()
    assert camera.notices()[-1].what == "driver_error"
    camera.start()
    assert grabbed(camera).number == 1


def test_a_producer_that_never_says_that_the_camera_is_gone_is_found_out(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.sources.genicam._PROBE_S", 0.0)
    camera = start()
    real = camera._acquirer

    class Silent:
        """Of many producers, all that is seen of a camera without a cable: nothing comes."""

        remote_device = real.remote_device

        def try_fetch(self, **_: object) -> None:
            return None

    camera._acquirer = Silent()
    assert camera.grab(0.01) is None, "it is silent, but there"
    real.device.module.close()
    with pytest.raises(SourceLost, match="does not answer any more"):
        camera.grab(0.01)
    camera._acquirer = real


def test_ctrl_c_stays_with_who_had_it(start: Any) -> None:
    before = signal.getsignal(signal.SIGINT)
    start().stop()
    assert signal.getsignal(signal.SIGINT) is before


def test_stopping_is_always_possible_and_lets_go_of_the_camera(start: Any) -> None:
    GenICamCamera([VIKY], "1", QUICK).stop()
    camera = start()
    camera.stop()
    camera.stop()
    assert start().name == "Viky 1", "a camera is opened by one only"
    with pytest.raises(SourceLost, match="not started"):
        camera.grab(0.0)
    assert camera.notices() == []


def test_why_a_producer_cannot_be_opened_is_said(start: Any) -> None:
    start()  # a producer is opened once by a process
    with pytest.raises(SourceLost, match="no GenICam camera 1 is there") as lost:
        start()
    assert "already in use" in lost.value.hint


@pytest.mark.parametrize(
    ("rest", "error", "says"),
    [
        (f"{VIKY}:99", SourceLost, "no GenICam camera 99 is there"),
        (str(VIKY.with_name("nowhere.cti")), SourceError, "no such GenTL producer"),
        (r"C:\maker\nowhere.cti:7", SourceError, r"nowhere\.cti: no such"),
    ],
)
def test_what_is_not_there_is_said(rest: str, error: type[SourceError], says: str) -> None:
    def opened() -> None:
        open_genicam(rest, QUICK).start()

    with pytest.raises(error, match=says):
        opened()


def test_the_first_camera_will_do_when_none_is_named() -> None:
    camera = open_genicam(str(VIKY), QUICK)
    camera.start()
    assert camera.name == "Viky 0"
    camera.stop()
