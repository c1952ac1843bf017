"""What follows ``watch:`` is a folder with options, or is refused with what would be understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from uploader.sources import SourceError
from uploader.sources.installed import open_live
from uploader.sources.live import Wanted
from uploader.sources.watch.options import WatchOptions, parse_options


def test_a_folder_alone_has_the_defaults(tmp_path: Path) -> None:
    assert parse_options(str(tmp_path), {}) == WatchOptions(folder=tmp_path)


def test_every_option_can_be_given(tmp_path: Path) -> None:
    text = f"{tmp_path}?pattern=img?_*.bmp&settle=0.2s&growing=10s&patience=2min&until=DONE.txt&time=recorded"
    assert parse_options(text, {}) == WatchOptions(
        folder=tmp_path,
        pattern="img?_*.bmp",
        settle_s=0.2,
        growing_s=10,
        patience_s=120,
        until="DONE.txt",
        time="recorded",
    )


def test_an_ampersand_in_a_value_is_written_as_in_an_address(tmp_path: Path) -> None:
    assert parse_options(f"{tmp_path}?pattern=a%26b*&settle=1s", {}).pattern == "a&b*"


@pytest.mark.parametrize(
    "folder", [r"C:\frames\day 1", r"\\nas\frames", r"\\?\C:\frames", "/data/what?", "/data/a&b=c", "/data/100%"]
)
def test_a_folder_may_have_any_name(folder: str) -> None:
    assert parse_options(f"{folder}?settle=1s", {}) == WatchOptions(folder=Path(folder).absolute(), settle_s=1)
    assert parse_options(folder, {}).folder == Path(folder).absolute()


def test_settings_are_options_too_and_win(tmp_path: Path) -> None:
    assert parse_options(f"{tmp_path}?settle=1s&growing=9s", {"settle": "2s"}) == WatchOptions(
        folder=tmp_path, settle_s=2, growing_s=9
    )


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("?speed=3", "no option 'speed'"),
        ("?settle=1", "not a length of time"),
        ("?settle=", "not a length of time"),
        ("?settle=0s", "no time at all"),
        ("?settle=1s&settle=2s", "stands there twice"),
        ("?settle=1s&growing", "has no value"),
        ("?until=../DONE", "no name of a file"),
        ("?until=", "no name of a file"),
        ("?time=exif", "time is modified or recorded"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, options: str, found: str) -> None:
    with pytest.raises(SourceError, match=found) as refusal:
        parse_options(f"{tmp_path}{options}", {})
    assert "pattern=*.bmp" in refusal.value.hint


@pytest.mark.parametrize("text", ["", "?settle=1s", "a\0b"])
def test_no_folder_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="needs a folder"):
        parse_options(text, {})


@pytest.mark.parametrize("wanted", [Wanted(binning=2), Wanted(region=(0, 0, 4, 4))])
def test_what_only_a_camera_can_do_is_refused(tmp_path: Path, wanted: Wanted) -> None:
    with pytest.raises(SourceError, match="neither a region"):
        open_live(f"watch:{tmp_path}", wanted)
