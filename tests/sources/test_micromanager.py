"""A camera of Micro-Manager is set up and watched as promised: with its real core and its demo camera."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mm_test_adapters
import numpy as np
import pytest

from tests.sources.cameras import grab_on, grabbed
from uploader.sources import Scaling, SourceError
from uploader.sources.installed import open_live
from uploader.sources.live import LiveSource, SourceLost, Wanted

CONFIGURATION = """
Property,Core,Initialize,0
Device,Camera,DemoCamera,DCam
Property,Core,Initialize,1
Property,Core,Camera,Camera
Property,Camera,Exposure,2
"""
SMALL = Wanted(region=(0, 0, 64, 48))


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MICROMANAGER_PATH", str(mm_test_adapters.device_adapter_path()))
    path = tmp_path / "lab.cfg"
    path.write_text(CONFIGURATION, "ascii")
    return path


@pytest.fixture
def start(configuration: Path) -> Iterator[Any]:
    opened = []

    def started(wanted: Wanted = SMALL) -> LiveSource:
        camera = open_live(f"micromanager:{configuration}", wanted)
        assert camera is not None
        opened.append(camera)
        camera.start()
        return camera

    yield started
    for one in opened:
        one.stop()


def test_the_camera_says_what_it_is(start: Any) -> None:
    camera = start(Wanted(region=(8, 16, 64, 48), fps=30.0, settings={"Gain": "2"}))
    assert isinstance(camera, LiveSource)
    assert (camera.shape, camera.frame_rate) == ((48, 64), 30.0)
    facts = camera.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert (facts["settings"], facts["region"], facts["exposure_us"]) == ({"Gain": "2"}, [8, 16, 64, 48], 2000.0)


def test_frames_come_in_order_with_their_numbers_and_times(start: Any) -> None:
    camera = start()
    frames = [grabbed(camera) for _ in range(20)]
    assert [one.number for one in frames] == list(range(20))
    times = [one.device_ns for one in frames]
    assert None not in times
    assert times == sorted(times, key=lambda one: one or 0)
    assert {(one.frame.dtype, one.frame.shape) for one in frames} == {(np.dtype(np.uint8), (48, 64))}
    assert len({one.frame.tobytes() for one in frames}) > 1
    assert camera.notices() == []


def test_binning_makes_frames_smaller(start: Any) -> None:
    assert start(Wanted(binning=2)).shape == (256, 256)


def test_deeper_pixels_need_a_scaling(start: Any) -> None:
    deep = {"PixelType": "16bit", "BitDepth": "12"}
    with pytest.raises(SourceError, match="frames are uint8"):
        start(Wanted(settings=deep))
    frame = grabbed(start(Wanted(settings=deep, scaling=Scaling.parse("shift4")))).frame
    assert (frame.dtype, frame.shape) == (np.dtype(np.uint8), (512, 512))


def test_colour_becomes_grey(start: Any) -> None:
    assert grabbed(start(Wanted(settings={"PixelType": "32bitRGB"}))).frame.shape == (512, 512)


@pytest.mark.parametrize(
    ("wanted", "says", "hint"),
    [
        (Wanted(settings={"gain": "1"}), "no setting gain", "Did you mean Gain"),
        (Wanted(settings={"Gain": "99"}), "Gain=99 is not taken", "-5 to 8"),
        (Wanted(settings={"Gain": "much"}), "it is a number", "point"),
        (Wanted(settings={"PixelType": "9bit"}), "PixelType=9bit is not taken", "8bit"),
        (Wanted(settings={"CameraID": "x"}), "cannot be set", "only told"),
        (Wanted(binning=3), "Binning=3 is not taken", "1, 2, 4"),
        (Wanted(region=(500, 0, 64, 48)), "not on the sensor", "512 wide"),
    ],
)
def test_what_the_camera_cannot_do_is_refused(start: Any, wanted: Wanted, says: str, hint: str) -> None:
    with pytest.raises(SourceError, match=says) as refusal:
        start(wanted)
    assert not isinstance(refusal.value, SourceLost)
    assert hint in refusal.value.hint


def test_a_ring_that_ran_over_is_a_loss_and_the_camera_is_started_again(start: Any) -> None:
    camera = start(Wanted())
    core = camera._core
    core.stopSequenceAcquisition()
    core.setCircularBufferMemoryFootprint(1)
    full = threading.Event()
    core.startSequenceAcquisition(10**6, 0, True)
    while not core.isBufferOverflowed():
        full.wait(0.01)
    assert [one.number for one in (grabbed(camera), grabbed(camera))] == [0, 1], "what lies in it is whole"
    with pytest.raises(SourceLost, match="ran over"):
        grab_on(camera)
    camera.stop()
    camera.start()
    assert grabbed(camera).number == 0


def test_a_camera_that_stopped_by_itself_is_lost(start: Any) -> None:
    camera = start()
    camera._core.stopSequenceAcquisition()
    with pytest.raises(SourceLost, match="stopped by itself"):
        grab_on(camera)


def test_what_is_not_there_is_said(configuration: Path, start: Any) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.cfg: no such configuration"):
        open_live("micromanager:nowhere.cfg", Wanted())
    configuration.write_text("Property,Core,Initialize,0\nProperty,Core,Initialize,1\n", "ascii")
    with pytest.raises(SourceError, match="names no camera"):
        start()
    configuration.write_text("Device,Camera,NoSuchAdapter,DCam\n", "ascii")
    with pytest.raises(SourceLost, match="NoSuchAdapter"):
        start()
