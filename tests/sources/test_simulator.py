"""The simulated camera is repeatable frame by frame, and behaves as its settings say."""

from __future__ import annotations

import dataclasses
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.sources import Simulator, SimulatorSettings, Source, SourceError, open_source, parse_simulator
from uploader.sources.diffraction import Screen

SMALL = SimulatorSettings(height=60, width=90, frames=40, seed=3)
SPECULAR = Screen(height=60, width=90)


def with_changes(**changes: object) -> Simulator:
    return Simulator(dataclasses.replace(SMALL, **changes))  # type: ignore[arg-type]


def specular_mean(source: Simulator, k: int) -> float:
    row, column = round(SPECULAR.specular_row), round(SPECULAR.centre_column)
    return float(source.frame(k)[row - 1 : row + 2, column - 1 : column + 2].mean())


def test_it_is_a_source() -> None:
    assert isinstance(Simulator(), Source)


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(6)))
def test_frame_k_is_the_same_however_it_is_reached(order: list[int]) -> None:
    in_order = list(islice(Simulator(SMALL).frames(), 6))
    other = with_changes(frames=None)
    assert all(np.array_equal(other.frame(k), in_order[k]) for k in order)


def test_frames_start_again_from_the_first() -> None:
    source = Simulator(SMALL)
    assert np.array_equal(list(source.frames()), list(source.frames()))


def test_another_seed_gives_other_frames() -> None:
    assert not np.array_equal(with_changes(seed=4).frame(0), Simulator(SMALL).frame(0))


def test_it_gives_as_many_frames_of_the_shape_as_it_says() -> None:
    frames = list(Simulator(SMALL).frames())
    assert len(frames) == 40
    assert {frame.shape for frame in frames} == {(60, 90)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}


def test_without_an_end_it_goes_on() -> None:
    source = with_changes(frames=None)
    assert source.length is None
    assert source.frame(10**9).shape == (60, 90)


@pytest.mark.parametrize("k", [-1, 40])
def test_a_frame_beyond_the_ends_is_an_error(k: int) -> None:
    with pytest.raises(IndexError):
        Simulator(SMALL).frame(k)


def test_dark_frames_are_zero_and_only_those_that_were_asked_for() -> None:
    source = with_changes(dark_every=10, dark_frames=(0, 3))
    assert [k for k, frame in enumerate(source.frames()) if not frame.any()] == [0, 3, 9, 19, 29, 39]


def test_dark_frames_leave_the_others_as_they_were() -> None:
    assert np.array_equal(with_changes(dark_every=2, dark_probability=0.1).frame(4), Simulator(SMALL).frame(4))


def test_dark_frames_come_about_as_often_as_their_probability() -> None:
    source = with_changes(dark_probability=0.25, frames=400)
    assert 60 < sum(not frame.any() for frame in source.frames()) < 140


def test_the_specular_spot_is_bright_again_after_each_grown_layer() -> None:
    source = with_changes(growth_period_s=1.0)
    fresh, half, grown = (specular_mean(source, k) for k in (0, 5, 10))
    assert half < 0.5 * fresh
    assert 1.5 * half < grown < fresh


def test_the_oscillations_fade() -> None:
    source = with_changes(growth_period_s=1.0, frames=None)
    swings = [specular_mean(source, k) - specular_mean(source, k + 5) for k in (0, 60, 300)]
    assert swings[0] > 2 * swings[1] > 0
    assert abs(swings[2]) < 0.1 * swings[0]


def test_without_growth_nothing_but_noise_changes() -> None:
    source = with_changes(growth_period_s=float("inf"), gain=0.0, offset=7.0)
    assert {int(level) for frame in source.frames() for level in np.unique(frame)} == {7}


def test_a_turn_of_the_sample_moves_the_pattern_and_a_full_turn_brings_it_back() -> None:
    source = with_changes(
        rotations_per_min=60.0, growth_period_s=float("inf"), brightness_electrons=1e6, gain=2e-4
    )
    start, turned, back = (source.frame(k).astype(int) for k in (0, 1, 10))
    assert np.abs(turned - start).max() > 30
    assert np.abs(back - start).max() <= 2


def test_noise_is_that_of_counted_electrons() -> None:
    source = with_changes(growth_period_s=float("inf"), gain=1.0, brightness_electrons=1500.0, frames=400)
    frames = np.array(list(source.frames()), dtype=np.float64)
    mean, variance = frames.mean(axis=0) - source.settings.offset, frames.var(axis=0)
    lit = (mean > 20) & (frames.max(axis=0) < 255)
    assert np.median(variance[lit] / mean[lit]) == pytest.approx(1, abs=0.05)


def test_too_much_light_saturates_and_does_not_wrap() -> None:
    assert with_changes(gain=50.0).frame(0)[round(SPECULAR.specular_row), round(SPECULAR.centre_column)] == 255


def test_it_is_darker_above_the_shadow_edge() -> None:
    frame, edge = Simulator(SimulatorSettings(seed=1)).frame(0), round(0.14 * 300)
    assert frame[: edge - 8, 150:350].mean() < 0.6 * frame[edge + 8 : edge + 40, 150:350].mean()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 200), (200, 33)])
def test_small_and_narrow_frames_can_be_simulated(height: int, width: int) -> None:
    assert with_changes(height=height, width=width, rotations_per_min=100.0).frame(7).shape == (height, width)


def test_the_text_sets_what_it_names() -> None:
    text = "frames=7,height=64,width=96,fps=12.5,seed=1,rpm=15,dark_every=50,dark_frames=1+4,kikuchi=off"
    assert parse_simulator(text) == SimulatorSettings(
        frames=7,
        height=64,
        width=96,
        fps=12.5,
        seed=1,
        rotations_per_min=15.0,
        dark_every=50,
        dark_frames=(1, 4),
        kikuchi=False,
    )


def test_empty_text_gives_the_defaults() -> None:
    assert parse_simulator("") == SimulatorSettings()


def test_frames_none_never_ends() -> None:
    assert open_source("sim:frames=none").length is None


@pytest.mark.parametrize("text", ["frame=3", "frames:3", "=", "frames=3,", "FPS=3"])
def test_an_unknown_setting_is_refused_with_the_known_ones(text: str) -> None:
    with pytest.raises(SourceError, match="unknown setting") as refusal:
        parse_simulator(text)
    assert "dark_every" in refusal.value.hint


@pytest.mark.parametrize("text", ["frames", "frames=", "frames=2.5", "fps=fast", "kikuchi=yes", "dark_frames=1;2"])
def test_a_value_of_the_wrong_kind_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="must be"):
        parse_simulator(text)


def test_a_setting_given_twice_is_refused() -> None:
    with pytest.raises(SourceError, match="seed is given twice"):
        parse_simulator("seed=1,seed=2")


@pytest.mark.parametrize(
    "text",
    [
        "frames=0",
        "height=31",
        "width=9000",
        "fps=0",
        "fps=nan",
        "fps=inf",
        "seed=-1",
        "rpm=inf",
        "growth_period=0",
        "gain=-1",
        "offset=nan",
        "brightness=-1",
        "dark_every=0",
        "dark_frames=-1",
        "dark_probability=1.5",
    ],
)
def test_a_value_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="must be"):
        open_source(f"sim:{text}")
