"""Settings of a camera are typed, bounded and read back by what it says of itself.

Held against two real node maps: that of the camera which Basler's SDK emulates, and that of the camera in the
GenTL producer which comes with the package genicam.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sources.cameras import GENAPI, HARVESTERS, SDK, VIKY, needs_viky
from uploader.sources import Scaling, SourceError
from uploader.sources.camera_settings import set_up, tick_frequency_hz
from uploader.sources.live import SourceLost, Wanted
from uploader.sources.node_map import NodeMap


@pytest.fixture(scope="module")
def info() -> Iterator[Any]:
    """Looking takes a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYLON_CAMEMU", "1")
        (found,) = SDK.TlFactory.GetInstance().EnumerateDevices()
        yield found


@pytest.fixture
def basler(info: Any) -> Iterator[NodeMap]:
    camera = SDK.InstantCamera(SDK.TlFactory.GetInstance().CreateDevice(info))
    camera.Open()
    yield NodeMap.of_pypylon(camera.GetNodeMap())
    camera.Close()
    camera.DestroyDevice()


@pytest.fixture
def viky() -> Iterator[NodeMap]:
    harvester = HARVESTERS.Harvester()
    harvester.add_file(str(VIKY))
    harvester.update()
    yield NodeMap.of_genicam(harvester.create(0).remote_device.node_map)
    harvester.reset()


def test_settings_are_taken_by_name_and_read_back(basler: NodeMap) -> None:
    given = {"ExposureTime": "8000", "GainRaw": "0xD0", "ReverseX": "yes", "TestImageSelector": "Testimage1"}
    facts = set_up(basler, Wanted(settings=given), "it").facts
    assert facts["settings"] == {
        "ExposureTime": 8000.0,
        "GainRaw": 208,
        "ReverseX": True,
        "TestImageSelector": "Testimage1",
    }
    assert facts["exposure_us"] == 8000.0
    assert basler.read("TestImageSelector") == "Testimage1"


@pytest.mark.parametrize(
    ("name", "text", "says", "hint"),
    [
        ("exposuretime", "8000", "no setting exposuretime", "Did you mean ExposureTime"),
        ("Xyzzy", "1", "no setting Xyzzy", "manual"),
        ("ExposureTime", "1e12", r"ExposureTime=1e\+12 is not taken", "1 to 10000000 us"),
        ("ExposureTime", "nan", "is not taken", "1 to 10000000 us"),
        ("ExposureTime", "long", "it is a number", "1 to 10000000 us"),
        ("GainRaw", "1.5", "a whole number", "192"),
        ("ReverseX", "maybe", "on or off", "true or false"),
        ("PixelFormat", "Mono9", "Mono9 is not taken", "Did you mean Mono8? It takes Mono8, Mono10"),
        ("PixelFormat", "BayerGR8", "BayerGR8, which is not understood", "--set PixelFormat=Mono8"),
        ("DeviceModelName", "mine", "cannot be set", "only told"),
        ("TestEventGenerate", "1", "a command", "settings"),
    ],
)
def test_a_setting_that_is_not_taken_is_refused_with_what_would_be(
    basler: NodeMap, name: str, text: str, says: str, hint: str
) -> None:
    with pytest.raises(SourceError, match=says) as refusal:
        set_up(basler, Wanted(settings={name: text}), "it")
    assert not isinstance(refusal.value, SourceLost), "trying again cannot help"
    assert hint in refusal.value.hint


def test_a_setting_that_another_one_undoes_is_told(basler: NodeMap) -> None:
    with pytest.raises(SourceError, match="Width was set to 100, and is 64"):
        set_up(basler, Wanted(settings={"Width": "100"}, region=(0, 0, 64, 48)), "it")


def test_only_what_people_can_set_is_suggested(basler: NodeMap) -> None:
    names = basler.names()
    assert {"ExposureTime", "Gain", "PixelFormat", "Width"} <= set(names)
    assert not {"Width_Reg", "EnumEntry_PixelFormat_Mono8", "AcquisitionStart", "DeviceModelName"} & set(names)


def test_a_region_is_set_whatever_was_set_before(basler: NodeMap) -> None:
    for region in ((1000, 1000, 64, 48), (0, 0, 4096, 4096), (4032, 4048, 64, 48)):
        assert set_up(basler, Wanted(region=region), "it").shape == region[:1:-1]


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        (Wanted(region=(0, 0, 5000, 48)), "nearest that it takes is 0,0,4096,48"),
        (Wanted(region=(4090, 0, 64, 48)), "nearest that it takes is 4032,0,64,48"),
        (Wanted(region=(0, 0, 0, 48)), "nearest that it takes is 0,0,1,48"),
        (Wanted(binning=9), "1 to 4"),
        (Wanted(fps=1e6), "0.01 to 5000 Hz"),
    ],
)
def test_what_the_camera_cannot_do_is_refused_with_the_nearest(basler: NodeMap, wanted: Wanted, hint: str) -> None:
    with pytest.raises(SourceError) as refusal:
        set_up(basler, wanted, "it")
    assert hint in refusal.value.hint


def test_a_rate_that_something_else_limits_is_refused_with_the_one_that_it_gives(
    basler: NodeMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The emulated camera reaches any rate; of a real one, the exposure time does not let it.
    monkeypatch.setattr("uploader.sources.camera_settings._RESULTING", ("ExposureTimeBaseAbs",))
    with pytest.raises(SourceError, match="cannot give 50 frames/s as it is set up, but 1"):
        set_up(basler, Wanted(fps=50.0), "it")


def test_a_camera_that_waits_for_a_trigger_has_no_rate(basler: NodeMap) -> None:
    triggered = {"TriggerMode": "On"}
    assert set_up(basler, Wanted(settings=triggered), "it").frame_rate is None
    assert set_up(basler, Wanted(settings=triggered, fps=7.0), "it").frame_rate == 7.0, "as somebody says it"
    assert basler.read("AcquisitionFrameRate") == 100.0, "that is not the camera's own rate"


def test_pixels_are_8_bits_deep_whatever_another_program_has_left(basler: NodeMap) -> None:
    basler.must("PixelFormat").set("Mono12")
    assert set_up(basler, Wanted(), "it").format.name == "Mono8"


def test_frames_come_without_end_whatever_another_program_has_left(basler: NodeMap) -> None:
    basler.must("AcquisitionMode").set("SingleFrame")
    set_up(basler, Wanted(), "it")
    assert basler.read("AcquisitionMode") == "Continuous"


@pytest.mark.parametrize(
    ("format_", "hint"), [("Mono12", "shift4"), ("Mono16", "shift8"), ("Mono10", "minmax:0:1023")]
)
def test_deeper_pixels_need_a_scaling(basler: NodeMap, format_: str, hint: str) -> None:
    with pytest.raises(SourceError, match="how to scale them must be chosen") as refusal:
        set_up(basler, Wanted(settings={"PixelFormat": format_}), "it")
    assert hint in refusal.value.hint
    assert set_up(basler, Wanted(scaling=Scaling.parse(hint)), "it").format.name == format_, "it was left so"


def test_a_scaling_that_the_pixels_cannot_take_is_refused_before_the_first_frame(basler: NodeMap) -> None:
    with pytest.raises(SourceError, match="shift4 is for integers wider"):
        set_up(basler, Wanted(scaling=Scaling.parse("shift4")), "it")


@needs_viky
def test_the_other_package_is_read_alike(viky: NodeMap) -> None:
    done = set_up(viky, Wanted(fps=50.0, region=(0, 0, 320, 240), settings={"BouncingBallSize": "30"}), "it")
    assert (done.shape, done.frame_rate, done.format.name) == ((240, 320), 50.0, "Mono8")
    assert done.facts["settings"] == {"BouncingBallSize": 30}
    assert tick_frequency_hz(viky) == 10**9


@needs_viky
@pytest.mark.parametrize(
    ("wanted", "says", "hint"),
    [
        (
            Wanted(settings={"PixelFormat": "Mono12"}),
            "Mono12 is not taken",
            "Did you mean Mono8? It takes RGBa8, Mono8",
        ),
        (Wanted(settings={"width": "9"}), "no setting width", "Did you mean Width"),
        (Wanted(settings={"AcquisitionStart": "1"}), "a command", "settings"),
        (Wanted(fps=0.5), "AcquisitionFrameRate=0.5 is not taken", "1 to 200 Hz in steps of 1"),
        (Wanted(region=(10, 0, 90, 900)), "region 10,0,90,900", "takes is 0,0,100,800 (x, y, width, height)"),
        (Wanted(binning=2), "cannot bin", "region"),
    ],
)
def test_the_other_package_refuses_alike(viky: NodeMap, wanted: Wanted, says: str, hint: str) -> None:
    with pytest.raises(SourceError, match=says) as refusal:
        set_up(viky, wanted, "it")
    assert hint in refusal.value.hint


# The steps of a real camera, which neither of the two has.
STEPS = """
<RegisterDescription ModelName="m" VendorName="v" StandardNameSpace="None" SchemaMajorVersion="1"
    SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1" MinorVersion="0" SubMinorVersion="0"
    ToolTip="" ProductGuid="1F3C6A72-7842-4EDD-9130-E2E90A2058BA"
    VersionGuid="2D29B1EA-8B9B-4B42-83C5-F5A9DBBDB1A4" xmlns="http://www.genicam.org/GenApi/Version_1_1"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
  <Category Name="Root"><pFeature>All</pFeature></Category>
  <Category Name="All">{features}</Category>
  {nodes}
</RegisterDescription>
"""


def stepping(**steps: tuple[int, int, int, int]) -> NodeMap:
    """A node map with whole numbers of these values, bounds and steps."""
    nodes = GENAPI.NodeMap()
    integer = '<Integer Name="{}"><Value>{}</Value><Min>{}</Min><Max>{}</Max><Inc>{}</Inc></Integer>'
    nodes.load_xml_from_string(
        STEPS.format(
            features="".join(f"<pFeature>{name}</pFeature>" for name in steps),
            nodes="".join(integer.format(name, *numbers) for name, numbers in steps.items()),
        )
    )
    return NodeMap.of_genicam(nodes)


def test_the_steps_of_a_region_are_respected() -> None:
    nodes = stepping(
        Width=(640, 16, 656, 16), Height=(480, 2, 494, 2), OffsetX=(0, 0, 16, 8), OffsetY=(0, 0, 14, 2)
    )
    with pytest.raises(SourceError, match="region 9,3,100,101") as refusal:
        set_up(nodes, Wanted(region=(9, 3, 100, 101)), "it")
    assert "takes is 8,2,96,100 (x, y, width, height)" in refusal.value.hint
    assert "Width 16 to 656 in steps of 16" in refusal.value.hint
    with pytest.raises(SourceError, match="pixels are"):  # the region was taken; there is no more to this camera
        set_up(nodes, Wanted(region=(8, 2, 96, 100)), "it")
    assert [nodes.read(name) for name in ("OffsetX", "OffsetY", "Width", "Height")] == [8, 2, 96, 100]


def test_a_number_between_two_steps_is_refused_with_both() -> None:
    nodes = stepping(Gain=(3, 3, 24, 5))
    with pytest.raises(SourceError, match="Gain=9 is not taken") as refusal:
        nodes.must("Gain").parse("9")
    assert "The nearest are 8 and 13. It takes 3 to 24 in steps of 5." in refusal.value.hint
    assert nodes.must("Gain").nearest(24) == (23,)
    assert nodes.must("Gain").nearest(99) == (23,)


def test_the_clock_of_a_gige_camera_counts_in_its_own_ticks() -> None:
    assert tick_frequency_hz(stepping(GevTimestampTickFrequency=(125_000_000, 0, 2**40, 1))) == 125_000_000
