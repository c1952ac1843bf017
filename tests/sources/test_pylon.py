"""A Basler camera is set up, watched and lost as promised: with the real SDK and the camera that it emulates."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.sources.cameras import grab_on, grabbed, number_of
from uploader.sources import Scaling, SourceError
from uploader.sources.installed import open_live
from uploader.sources.live import LiveSource, SourceLost, Wanted
from uploader.sources.pylon import PylonCamera, look

SERIAL = "0815-0001"
QUICK = Wanted(fps=1000.0, region=(0, 0, 64, 48))


@pytest.fixture(autouse=True)
def two_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "2")


@pytest.fixture
def opened() -> Iterator[list[PylonCamera]]:
    cameras: list[PylonCamera] = []
    yield cameras
    for one in cameras:
        one.stop()


@pytest.fixture
def start(opened: list[PylonCamera]) -> Any:
    def started(wanted: Wanted = QUICK, wish: str = SERIAL) -> PylonCamera:
        camera = PylonCamera(wish, wanted)
        opened.append(camera)
        camera.start()
        return camera

    return started


def test_the_camera_says_what_it_is(start: Any) -> None:
    camera = open_live(f"pylon:{SERIAL}", Wanted())
    assert camera is not None
    assert camera.describe() == f"Basler camera {SERIAL}"
    with pytest.raises(SourceError, match="not started"):
        _ = camera.shape
    camera = start(Wanted(fps=50.0))
    assert isinstance(camera, LiveSource)
    assert (camera.name, camera.shape, camera.frame_rate) == (f"Emulation {SERIAL}", (1040, 1024), 50.0)
    assert camera.describe() == f"Basler camera Emulation {SERIAL}, 1040 x 1024 px, 50 frames/s"
    facts = camera.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["serial"] == SERIAL
    assert facts["firmware"]
    assert "pypylon" in facts["driver"]
    assert {"exposure_us", "gain", "pixel_format", "frame_rate", "model"} <= set(facts)


def test_every_camera_that_is_there_is_found() -> None:
    assert [(one.name, one.serial) for one in look()] == [
        ("pylon:0815-0000", "0815-0000"),
        (f"pylon:{SERIAL}", SERIAL),
    ]


def test_frames_come_in_order_and_belong_to_whoever_takes_them(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.sources.pylon.queue_length", lambda *_: 5)
    camera = start()
    frames = [grabbed(camera) for _ in range(6)]
    copies = [one.frame.copy() for one in frames]
    frames += [grabbed(camera) for _ in range(12)]  # into buffers that have been used before
    assert [one.number for one in frames] == list(range(18))
    assert all((one.frame == copy).all() for one, copy in zip(frames, copies, strict=False))
    assert len({one.tobytes() for one in copies}) > 1, "all frames are the same"
    assert {(one.frame.dtype, one.frame.shape, one.frame.flags.c_contiguous) for one in frames} == {
        (np.dtype(np.uint8), (48, 64), True)
    }


def test_other_threads_run_while_a_frame_is_waited_for(start: Any) -> None:
    camera = start(Wanted(fps=4.0, region=(0, 0, 64, 48)))
    grabbed(camera)
    turns, is_over = [0], threading.Event()

    def turn() -> None:
        while not is_over.is_set():
            turns[0] += 1

    other = threading.Thread(target=turn)
    other.start()
    before = turns[0]
    grabbed(camera)
    after = turns[0]
    is_over.set()
    other.join()
    assert after - before > 1000


def test_region_and_binning_are_set(start: Any) -> None:
    camera = start(Wanted(region=(8, 16, 200, 100), binning=2))
    assert camera.shape == (100, 200)
    assert grabbed(camera).frame.shape == (100, 200)
    facts = camera.facts()
    assert (facts["offset_x"], facts["offset_y"], facts["binning_vertical"]) == (8, 16, 2)


def test_deeper_pixels_are_scaled_as_chosen(start: Any) -> None:
    wanted = Wanted(settings={"PixelFormat": "Mono12"}, scaling=Scaling.parse("shift4"), region=(0, 0, 64, 48))
    levels = grabbed(start(wanted)).frame
    assert (levels.dtype, levels.shape) == (np.dtype(np.uint8), (48, 64))
    assert levels.max() > 0


def test_colour_becomes_grey(start: Any) -> None:
    frame = grabbed(start(Wanted(settings={"PixelFormat": "BGR8Packed"}, region=(0, 0, 64, 48)))).frame
    assert frame.shape == (48, 64)
    assert frame.max() > 0


def test_a_frame_that_came_incomplete_is_a_gap_in_the_numbers_and_is_told(start: Any) -> None:
    camera = start()
    first = number_of(camera)
    camera._camera.ForceFailedBufferCount.SetValue(3)
    camera._camera.ForceFailedBuffer.Execute()
    numbers = [first]
    while len(numbers) < 2 or numbers[-1] == numbers[-2] + 1:
        numbers.append(number_of(camera))
    assert numbers[-1] == numbers[-2] + 4
    (notice,) = camera.notices()
    assert notice.what == "frames_incomplete"
    assert notice.detail["frames"] == 3
    assert (notice.detail["first_number"], notice.detail["last_number"]) == (numbers[-1] - 3, numbers[-1] - 1)
    camera.stop()
    (losses,) = camera.notices()
    assert (losses.what, losses.detail["Statistic_Failed_Buffer_Count"]) == ("driver_losses", 3)


def test_a_camera_that_breaks_off_is_lost_and_can_be_started_again(start: Any) -> None:
    camera = start()
    grabbed(camera)
    camera._camera.GetStreamGrabberNodeMap().GetNode("ImposedError").SetValue("the cable broke")
    with pytest.raises(SourceLost, match="the cable broke"):
        grab_on(camera)
    camera.stop()
    camera.start()
    assert [grabbed(camera).number for _ in range(3)] == [0, 1, 2]


def test_a_camera_that_was_unplugged_is_lost_until_it_is_there_again(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = start()
    real = camera._camera

    class Unplugged:
        """The SDK's answer when the device is gone, which its emulated one never is."""

        def IsCameraDeviceRemoved(self) -> bool:  # noqa: N802 - the SDK's name
            return True

        def RetrieveResult(self, *_: object) -> Any:  # noqa: N802 - the SDK's name
            real.StopGrabbing()
            return real.RetrieveResult(0)

    camera._camera = Unplugged()
    with pytest.raises(SourceLost, match="was unplugged"):
        camera.grab(5.0)
    camera.stop()
    monkeypatch.setenv("PYLON_CAMEMU", "1")
    with pytest.raises(SourceLost, match=f"no Basler camera {SERIAL} is there") as lost:
        camera.start()
    assert "pylon:0815-0000" in lost.value.hint
    monkeypatch.setenv("PYLON_CAMEMU", "2")
    camera.start()
    assert grabbed(camera).number == 0


def test_a_camera_that_stopped_by_itself_is_not_asked_for_ever(start: Any) -> None:
    camera = start()
    camera._camera.StopGrabbing()
    with pytest.raises(SourceLost, match="stopped by itself"):
        grab_on(camera)


def test_stopping_is_always_possible_and_lets_go_of_the_camera(start: Any) -> None:
    PylonCamera(SERIAL, QUICK).stop()
    camera = start()
    real = camera._camera
    camera.stop()
    camera.stop()
    assert not real.IsPylonDeviceAttached()
    with pytest.raises(SourceLost, match="not started"):
        camera.grab(0.0)
    assert camera.shape == (48, 64), "what it was is still known"
    assert camera.notices() == []


def test_a_start_that_fails_lets_go_of_the_camera(opened: list[PylonCamera]) -> None:
    camera = PylonCamera(SERIAL, Wanted(fps=1e6))
    opened.append(camera)
    with pytest.raises(SourceError):
        camera.start()
    assert not camera._camera.IsPylonDeviceAttached()


def test_the_first_camera_will_do_when_none_is_named(start: Any) -> None:
    assert start(QUICK, "").name == "Emulation 0815-0000"


def test_without_any_camera_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLON_CAMEMU", "0")
    assert look() == []
    with pytest.raises(SourceLost, match="no Basler camera is there"):
        PylonCamera("", Wanted()).start()
