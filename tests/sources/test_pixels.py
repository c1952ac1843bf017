"""Pixels reach 8 bits unchanged, or by a choice that somebody made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uploader.sources import Scaling, ScalingKind, SourceError
from uploader.sources.pixels import luminance, to_grey

SIDES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)
GREY = hnp.arrays(np.uint8, SIDES)


@given(GREY, st.sampled_from([3, 4]))
def test_the_luminance_of_equal_channels_is_exactly_their_value(grey: np.ndarray, channels: int) -> None:
    colour = np.repeat(grey[:, :, np.newaxis], channels, axis=2)
    assert np.array_equal(luminance(colour), grey)


@given(hnp.arrays(np.uint8, SIDES.map(lambda sides: (*sides, 3))))
def test_luminance_is_the_weighted_mean_rounded_to_nearest(colour: np.ndarray) -> None:
    exact = colour.astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(luminance(colour) - exact).max() <= 0.5 + 1e-9


@given(GREY)
def test_eight_bit_grey_comes_back_as_it_was(grey: np.ndarray) -> None:
    assert np.array_equal(to_grey(grey, None, "x"), grey)


def test_alpha_does_not_change_the_luminance() -> None:
    colour = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    assert np.array_equal(to_grey(colour, None, "x"), luminance(colour[:, :, :3]))


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3)])
def test_the_result_is_contiguous_and_shares_no_memory_with_the_input(shape: tuple[int, ...]) -> None:
    pixels = np.zeros(shape[::-1], dtype=np.uint8).transpose()
    grey = to_grey(pixels, None, "x")
    assert grey.flags.c_contiguous
    assert grey.flags.writeable
    assert not np.shares_memory(grey, pixels)


@pytest.mark.parametrize("dtype", ["uint16", "int8", "int32", "float32", "bool"])
def test_any_other_type_is_refused_until_a_scaling_is_chosen(dtype: str) -> None:
    with pytest.raises(SourceError, match=dtype) as refusal:
        to_grey(np.ones((2, 3), dtype=dtype), None, "frame 7")
    assert "frame 7" in str(refusal.value)
    assert "minmax:LO:HI" in refusal.value.hint


def test_the_refusal_says_the_range_that_was_found() -> None:
    with pytest.raises(SourceError, match="from 3 to 4095"):
        to_grey(np.array([[3, 4095]], dtype=np.uint16), None, "x")


@given(hnp.arrays(np.uint16, SIDES))
def test_shift8_keeps_the_high_byte(wide: np.ndarray) -> None:
    assert np.array_equal(to_grey(wide, Scaling(kind=ScalingKind.SHIFT8), "x"), wide // 256)


@given(hnp.arrays(np.uint16, SIDES, elements=st.integers(0, 4095)))
def test_shift4_keeps_the_high_bits_of_twelve(wide: np.ndarray) -> None:
    assert np.array_equal(to_grey(wide, Scaling(kind=ScalingKind.SHIFT4), "x"), wide // 16)


def test_shift4_refuses_what_would_wrap() -> None:
    with pytest.raises(SourceError, match=r"0\.\.4095.*to 4096"):
        to_grey(np.array([[4096]], dtype=np.uint16), Scaling(kind=ScalingKind.SHIFT4), "x")


def test_shift8_refuses_negative_values() -> None:
    with pytest.raises(SourceError, match="from -1"):
        to_grey(np.array([[-1, 5]], dtype=np.int32), Scaling(kind=ScalingKind.SHIFT8), "x")


@pytest.mark.parametrize("dtype", ["uint8", "float64", "bool"])
def test_shifts_refuse_types_that_they_are_not_for(dtype: str) -> None:
    with pytest.raises(SourceError, match=dtype):
        to_grey(np.ones((2, 2), dtype=dtype), Scaling(kind=ScalingKind.SHIFT8), "x")


def test_minmax_maps_its_window_onto_all_grey_levels_and_clips_the_rest() -> None:
    values = np.array([[-5.0, 0.0, 0.5, 1.0, 9.0, np.inf]])
    grey = to_grey(values, Scaling.parse("minmax:0:1"), "x")
    assert grey.tolist() == [[0, 0, 128, 255, 255, 255]]


def test_minmax_over_0_to_255_leaves_eight_bits_unchanged() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(to_grey(levels, Scaling.parse("minmax:0:255"), "x"), levels)


def test_minmax_gives_booleans_black_and_white() -> None:
    assert to_grey(np.array([[False, True]]), Scaling.parse("minmax:0:1"), "x").tolist() == [[0, 255]]


def test_minmax_refuses_pixels_that_are_not_numbers() -> None:
    with pytest.raises(SourceError, match="1 pixels are not a number"):
        to_grey(np.array([[np.nan, 1.0]]), Scaling.parse("minmax:0:1"), "x")


def test_wide_colour_is_scaled_before_its_luminance_is_taken() -> None:
    wide = np.full((2, 2, 3), 0xABFF, dtype=np.uint16)
    assert to_grey(wide, Scaling.parse("shift8"), "x").tolist() == [[0xAB, 0xAB]] * 2


@pytest.mark.parametrize("shape", [(3,), (0, 4), (2, 2, 5), (1, 2, 2, 3)])
def test_what_is_not_an_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(SourceError, match="not an image"):
        to_grey(np.zeros(shape, dtype=np.uint8), None, "x")


def test_a_type_without_an_order_is_refused_with_the_options() -> None:
    pixels: Any = np.ones((2, 2), dtype=np.complex64)
    with pytest.raises(SourceError, match="complex64"):
        to_grey(pixels, None, "x")


@pytest.mark.parametrize("text", ["none", "shift8", "shift4", "minmax:-1.5:4095.0"])
def test_a_scaling_is_written_as_it_is_read(text: str) -> None:
    assert str(Scaling.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "shift",
        "shift8:2",
        "SHIFT8",
        "minmax",
        "minmax:1",
        "minmax:a:b",
        "minmax:5:5",
        "minmax:nan:1",
        "minmax:0:inf",
    ],
)
def test_a_scaling_that_is_not_understood_is_refused_with_a_way_out(text: str) -> None:
    with pytest.raises(SourceError) as refusal:
        Scaling.parse(text)
    assert "minmax:" in refusal.value.hint
