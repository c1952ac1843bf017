"""A layout is a template for places, and no template, name or host leads to a place that is none."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spool import Stream
from spool.model import new_stream
from spool.testing import some_settings
from uploader import ConfigurationError, config
from uploader.known_settings import BY_NAME
from uploader.layout import DEFAULT_LAYOUT, PART_CHARS_MAX, PLACE_CHARS_MAX, checked_layout, is_place, place_of

STREAM_ID = "20261126t020419-71d318fab127"
CREATED_MS = 1_795_658_659_145  # 2026-11-26 02:04 UTC
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{k}" for port in ("com", "lpt") for k in range(10))}


def a_stream(name: str = "GaAs / 7", created_at_ms: int = CREATED_MS, **more: str | None) -> Stream:
    given_ = replace(some_settings(name=name), **more)  # type: ignore[arg-type]
    return new_stream(STREAM_ID, settings=given_, created_at_ms=created_at_ms)


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        (DEFAULT_LAYOUT, f"GaAs-7-{STREAM_ID}"),
        ("garching/mbe-3/{date}/{stream}", f"garching/mbe-3/2026-11-26/GaAs-7-{STREAM_ID}"),
        ("{year}/{month}/{host}/{stream}", f"2026/11/lab-pc-3-local/GaAs-7-{STREAM_ID}"),
        ("{project}/{sample}/{stream}", f"no-project/wafer-7/GaAs-7-{STREAM_ID}"),
        ("day={date}/{sample}_{stream}.v1", f"day=2026-11-26/wafer-7_GaAs-7-{STREAM_ID}.v1"),
    ],
)
def test_a_template_is_filled_in(layout: str, place: str) -> None:
    stream = a_stream(physical_sample="wafer #7")
    assert place_of(stream, checked_layout(layout), host="lab-pc-3.local") == place


@pytest.mark.parametrize(
    ("sample", "part"),
    [
        (None, "no-sample"),
        ("", "sample"),
        ("..", "sample"),
        ("../../etc", "etc"),
        ("C:\\temp", "C-temp"),
        ("CON", "_CON"),
        ("lpt1", "_lpt1"),
        ("проба", "sample"),
        ("x" * 400, "x" * 40),
        ("a" * 39 + "/b", "a" * 39),
    ],
)
def test_what_people_call_a_sample_is_made_plain(sample: str | None, part: str) -> None:
    place = place_of(a_stream(physical_sample=sample), "{sample}/{stream}", host="pc")
    assert place == f"{part}/GaAs-7-{STREAM_ID}"


def test_the_day_is_that_of_utc_and_any_clock_has_one() -> None:
    assert place_of(a_stream(created_at_ms=1_795_737_599_999), "{date}/{stream}", host="").startswith(
        "2026-11-26/"
    )
    assert place_of(a_stream(created_at_ms=1_795_737_600_000), "{date}/{stream}", host="").startswith(
        "2026-11-27/"
    )
    assert place_of(a_stream(created_at_ms=10**18), "{year}/{stream}", host="").startswith("1970/")


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ("", "without {stream} in its last part"),
        ("growths", "without {stream} in its last part"),
        ("{stream}/growths", "without {stream} in its last part"),
        ("{stream}/", "without {stream} in its last part"),
        ("/growths/{stream}", "no name that a folder can have"),
        ("a//{stream}", "no name that a folder can have"),
        ("../{stream}", "no name that a folder can have"),
        ("a/./{stream}", "no name that a folder can have"),
        (".hidden/{stream}", "no name that a folder can have"),
        ("{sample}./{stream}", "no name that a folder can have"),
        ("-x/{stream}", "no name that a folder can have"),
        ("a\\{stream}", "it may hold letters"),
        ("C:/{stream}", "it may hold letters"),
        ("a b/{stream}", "it may hold letters"),
        ("ü/{stream}", "it may hold letters"),
        ("a\n/{stream}", "it may hold letters"),
        ("{{stream}}/{stream}", "it may hold letters"),
        ("nul/{stream}", "Windows keeps the name 'nul'"),
        ("Com3.x/{stream}", "Windows keeps the name 'Com3.x'"),
        ("{when}/{stream}", "{when} is none of {date}, "),
        ("{}/{stream}", "{} is none of"),
        ("{0}/{stream}", "{0} is none of"),
        ("{stream.settings}", "is none of"),
        ("{stream!r}", "is none of"),
        ("{date:>900}/{stream}", "is none of"),
        ("{stream", "expected '}'"),
        ("stream}", "Single '}'"),
        ("x" * 181 + "/{stream}", f"longer than {PART_CHARS_MAX} characters"),
        ("/".join(["{sample}"] * 4) + "/{stream}", f"longer than {PLACE_CHARS_MAX} characters"),
        (7, "is of type int, not text"),
    ],
)
def test_what_is_no_layout_is_refused_and_said(layout: object, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        checked_layout(layout)
    if layout:
        with pytest.raises(ConfigurationError, match=r"^layout is ") as refused:
            config.spool({"layout": layout}, {})
        assert "FRAMESPOOL_LAYOUT, --layout or layout in the configuration file" in refused.value.hint


@settings(max_examples=300, deadline=None)
@given(
    layout=st.lists(
        st.lists(
            st.sampled_from(
                ["{date}", "{sample}", "{host}", "{project}", "{year}", "a", "CON", ".", "-", "_", "="]
            ),
            max_size=3,
        ).map("".join),
        max_size=3,
    ).map(lambda parts: "/".join([*parts, "{stream}"])),
    words=st.lists(st.one_of(st.text(max_size=80), st.sampled_from(sorted(RESERVED))), min_size=4, max_size=4),
    created_at_ms=st.integers(-(10**15), 10**15),
)
def test_no_place_leaves_the_destination_or_is_refused_by_any_file_system(
    layout: str, words: list[str], created_at_ms: int
) -> None:
    try:
        checked_layout(layout)
    except ValueError:
        return
    name, sample, project, host = words
    stream = a_stream(name, created_at_ms, physical_sample=sample, project_id=project)
    place = place_of(stream, layout, host=host)
    assert len(place) <= PLACE_CHARS_MAX + len(layout.split("/"))
    assert is_place(place, place.rpartition("/")[2])
    *_, last = parts = place.split("/")
    assert last.endswith(STREAM_ID)
    for part in parts:
        assert re.fullmatch(r"[0-9A-Za-z_][0-9A-Za-z._=-]*", part)
        assert not part.endswith(".")
        assert part.partition(".")[0].lower() not in RESERVED


def test_each_spool_may_have_its_own(tmp_path: Path) -> None:
    assert BY_NAME["layout"].of_spool
    file = tmp_path / "config.toml"
    file.write_text(
        "layout = 'lab/{stream}'\n[[spool]]\nname = 'mbe'\ndir = 'mbe'\nlayout = 'lab/mbe/{date}/{stream}'\n"
        "[[spool]]\nname = 'pld'\ndir = 'pld'\n"
    )
    environment = {"FRAMESPOOL_CONFIG": str(file)}
    assert config.spool({"spool_dir": "mbe"}, environment).layout == "lab/mbe/{date}/{stream}"
    assert config.spool({"spool_dir": "pld"}, environment).layout == "lab/{stream}"
    environment["FRAMESPOOL_LAYOUT"] = "x/{stream}"
    assert config.spool({"spool_dir": "mbe"}, environment).layout == "x/{stream}"
    assert config.spool({"spool_dir": "mbe", "layout": "y/{stream}"}, environment).layout == "y/{stream}"
