"""A camera's numbers, times and bytes are read for what they are."""

from __future__ import annotations

import pytest

from uploader.sources import Scaling, SourceError
from uploader.sources.drivers import Incomplete, Notices, queue_length, speaking_to
from uploader.sources.frame_numbers import FrameNumbers, nanoseconds
from uploader.sources.live import SourceLost
from uploader.sources.pixel_formats import KNOWN, pixel_format

BY_NAME = {one.name: one for one in KNOWN.values()}


def followed(*raw: int | None, may_turn: bool = True) -> list[int]:
    numbers = FrameNumbers(may_turn=may_turn)
    return [numbers.follow(one) for one in raw]


def test_sixteen_bits_turn_over_to_one_without_a_gap() -> None:
    assert followed(65534, 65535, 1, 2) == [65534, 65535, 65536, 65537]


def test_a_gap_across_the_turn_is_as_long_as_any_other() -> None:
    # 65534 and 65535 and 1 are missing.
    assert followed(65533, 2) == [65533, 65537]


def test_numbers_turn_over_again_and_again() -> None:
    numbers = FrameNumbers(may_turn=True)
    found = [numbers.follow((count % 65535) + 1) for count in range(3 * 65535)]
    assert found == list(range(1, 3 * 65535 + 1))


def test_64_bits_never_turn_over() -> None:
    assert followed(0, 1, 65535, 65536, 70000, may_turn=False) == [0, 1, 65535, 65536, 70000]
    assert followed(65535, 65536, 65537) == [65535, 65536, 65537]


@pytest.mark.parametrize(
    ("raw", "may_turn"),
    [
        ((500, 1), True),
        ((65535, 1), False),
        ((70000, 1), True),
        ((7, 7), True),
        ((9, 8), True),
        ((65535, 0), True),
    ],
)
def test_a_camera_that_counts_anew_is_lost(raw: tuple[int, int], may_turn: bool) -> None:
    with pytest.raises(SourceLost, match="counts its frames anew"):
        followed(*raw, may_turn=may_turn)


@pytest.mark.parametrize("says", [0, None])
def test_what_comes_of_a_camera_that_does_not_count_is_counted(says: int | None) -> None:
    assert followed(says, says, says) == [0, 1, 2]
    numbers = FrameNumbers(may_turn=False)
    found = [numbers.follow(says), numbers.follow(says)]
    numbers.skip()
    assert [*found, numbers.follow(says)] == [0, 1, 3], "a useless one is a gap all the same"
    assert not numbers.counts
    counting = FrameNumbers(may_turn=False)
    counting.follow(0)
    counting.skip()
    assert (counting.follow(2), counting.counts) == (2, True)


def test_ticks_become_nanoseconds_without_rounding_away() -> None:
    assert nanoseconds(125_000_001, 125_000_000) == 1_000_000_008
    year = 365 * 86400 * 125_000_000
    assert nanoseconds(year + 1, 125_000_000) == 365 * 86400 * 10**9 + 8
    assert nanoseconds(5, 10**9) == 5
    assert nanoseconds(0, 10**9) is None, "cameras without a clock say 0"


def test_padding_and_offset_are_left_out() -> None:
    buffer = bytes([9, 9, 1, 2, 3, 0, 4, 5, 6])  # two before, one behind each line but the last
    pixels = BY_NAME["Mono8"].pixels(buffer, (2, 3), padding=1, offset=2)
    assert pixels.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(SourceError, match="has 7 bytes, and 6 came"):
        BY_NAME["Mono8"].pixels(buffer[:8], (2, 3), padding=1, offset=2)


def test_deep_samples_have_their_low_byte_first() -> None:
    pixels = BY_NAME["Mono12"].pixels(bytes([0x34, 0x02, 0xFF, 0x0F]), (1, 2))
    assert pixels.tolist() == [[0x234, 0xFFF]]
    assert BY_NAME["Mono12"].frame(pixels, Scaling.parse("shift4"), "it").tolist() == [[0x23, 0xFF]]


def test_colours_are_told_apart() -> None:
    red = [bytes([255, 0, 0]), bytes([0, 0, 255])]
    for name, buffer in zip(("RGB8", "BGR8"), red, strict=True):
        assert BY_NAME[name].frame(BY_NAME[name].pixels(buffer, (1, 1)), None, "it").tolist() == [[76]]
    for name, buffer in zip(("RGBa8", "BGRa8"), red, strict=True):
        assert BY_NAME[name].frame(BY_NAME[name].pixels(buffer + b"\7", (1, 1)), None, "it").tolist() == [[76]]


def test_a_frame_never_shares_the_drivers_memory() -> None:
    buffer = bytearray(6)
    for name in ("Mono8", "RGB8"):
        one = BY_NAME[name]
        shape = (2, 3) if one.samples == 1 else (2, 1)
        frame = one.frame(one.pixels(memoryview(buffer), shape), None, "it")
        buffer[:] = b"\xff" * 6
        assert not frame.any()
        buffer[:] = bytes(6)


def test_an_unknown_format_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(SourceError, match="BayerRG8, which is not understood") as refusal:
        pixel_format(0x01080009, "BayerRG8", ["BayerRG8", "RGB8Packed", "Mono8"], "it")
    assert "RGB8Packed, Mono8" in refusal.value.hint
    with pytest.raises(SourceError) as refusal:
        pixel_format(0x01080009, "BayerRG8", ["BayerRG8"], "it")
    assert "None of the formats" in refusal.value.hint


def test_a_drivers_queue_is_long_enough_and_bounded() -> None:
    assert queue_length(100.0, 10**6) == 200
    assert queue_length(None, 10**6) == 16
    assert queue_length(1.0, 10**6) == 16
    assert queue_length(30.0, 2048 * 2048) == 60
    assert queue_length(120.0, 4096 * 4096) == 16, "a quarter of a gigabyte is enough"
    assert queue_length(5000.0, 64) == 512


def test_incomplete_frames_are_told_as_one() -> None:
    notices = Notices()
    incomplete = Incomplete(notices)
    incomplete.tell("it")
    assert notices.take() == []
    for number in (7, 8):
        incomplete.add(number, "a packet was lost.")
    incomplete.tell("it")
    incomplete.tell("it")
    (one,) = notices.take()
    assert one.words.startswith("2 frames of it came incomplete and cannot be recorded: a packet was lost. Check")
    assert (one.detail["first_number"], one.detail["last_number"]) == (7, 8)
    assert notices.take() == []


def test_what_a_driver_raises_becomes_ours_and_running_out_of_memory_does_not() -> None:
    with (
        pytest.raises(SourceLost, match="the camera does not do what it was told: a b"),
        speaking_to("the camera"),
    ):
        raise RuntimeError("a\n  b")
    with pytest.raises(SourceLost, match="told: KeyError"), speaking_to("the camera"):
        raise KeyError
    with pytest.raises(MemoryError), speaking_to("the camera"):
        raise MemoryError
    with pytest.raises(SourceError, match=r"^mine$"), speaking_to("the camera"):
        raise SourceError("mine")
