"""The harness measures what it says, and its result is complete; how fast anything is, is no claim of a test."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tools.bench import run
from tools.bench.asked import OURS, PEER
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.page import write
from tools.bench.rows import ROWS


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_its_figures_without_the_peer(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = tmp_path / "result.json"
    nobody = str(tmp_path / "no-such-python")
    asked = [name, "--quick", "--repeats", "1", "--work", str(tmp_path / "work"), "--json", str(stored)]
    asked += ["--peer", nobody]
    assert run.main(asked) == 0, capsys.readouterr().out
    told = json.loads(stored.read_text("utf-8"))
    assert told["failures"] == []
    assert told["versions"]["atomscale"] is None
    found = [Comparison.from_json(one) for one in told["rows"]]
    assert found
    for one in found:
        assert one.row == name
        assert one.contender(OURS) is not None
        for contender in one.contenders:
            assert contender.low <= contender.median <= contender.high
            assert contender.low > 0 or one.row == "memory"
        if one.target is None:
            assert (one.ratio, one.met) == (None, None)
            continue
        here = all(one.contender(name) is not None for name in one.target.to)
        assert (one.ratio is not None) == (one.met is not None) == here
        # What is not there is named, and nothing stands in its place.
        assert here or all(any(name in said for said in one.absent) for name in one.target.to)
        assert one.contender(PEER) is None
    assert any(one.target is not None for one in found)
    assert str(found[0]) in capsys.readouterr().out
    assert list((tmp_path / "work").glob("session-*")) == []


def test_a_row_that_cannot_be_measured_is_told_and_the_others_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "no-images"
    empty.mkdir()
    stored = tmp_path / "result.json"
    asked = ["limit", "index", "--quick", "--repeats", "1", "--frames", str(empty), "--json", str(stored)]
    assert run.main(asked) == 1
    told = json.loads(stored.read_text("utf-8"))
    assert [one["row"] for one in told["failures"]] == ["limit"]
    assert {one["row"] for one in told["rows"]} == {"index"}
    assert "NOT MEASURED" in capsys.readouterr().out


def _result(*comparisons: Comparison) -> dict[str, Any]:
    return {
        "format": 1,
        "at": "2026-11-24T12:00:00Z",
        "repeats": 5,
        "quick": False,
        "asked": ["all"],
        "real_frames": True,
        "machine": {
            "cpu": "<fast> & cheap",
            "cores": 2,
            "memory_gib": 8.0,
            "system": "Linux",
            "file_system": "ext4",
            "load": 0.1,
        },
        "versions": {"python": "3.11.0", "framespool": "1.0", "commit": "abc", "atomscale": None},
        "rows": [one.to_json() for one in comparisons],
        "failures": [{"row": "cpu", "why": "OSError: it rained"}],
    }


def test_the_page_shows_what_was_stored_and_its_pictures_suit_light_and_dark(tmp_path: Path) -> None:
    peer = Target(of=OURS, to=(PEER,), at_least=2.0)
    limit = Target(of=OURS, to=("a second",), at_most=1.0)
    result = _result(
        compare("push", "white", "MB/s", {OURS: [100.0, 300.0, 200.0]}, target=peer, absent=[f"{PEER} (no)"]),
        compare("opening", "status", "s", {OURS: [0.5], "a second": [1.0]}, target=limit),
        compare("opening", "audit", "s", {OURS: [2.5], "a second": [1.0]}, target=limit),
    )
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "performance-gone.svg").write_text("", "utf-8")
    write([result], tmp_path)
    page = (tmp_path / "performance.md").read_text("utf-8")
    for said in (
        "Of 2 targets 1 are met.",
        "| white | framespool 200 (100 … 300) MB/s |  | ≥ 2 | not compared |",
        "| status | framespool 0.5, a second 1 s | 0.50 | ≤ 1 | met |",
        "| audit | framespool 2.5, a second 1 s | 2.50 | ≤ 1 | **missed** |",
        "* `cpu`: OSError: it rained",
        f"* {PEER} (no)",
        "run.py all --repeats 5 --frames FOLDER --json result-1.json",
        "While uploading, camera, worker and server share",
    ):
        assert said in page
    pictures = sorted((tmp_path / "pictures").iterdir())
    assert [one.name for one in pictures] == [
        f"performance-{name}.svg" for name in ("opening", "overview", "push")
    ]
    for picture in pictures:
        assert f"](pictures/{picture.name})" in page
        text = picture.read_text("utf-8")
        assert ET.fromstring(text).tag.endswith("svg")
        assert "prefers-color-scheme:dark" in text
        assert "#010203" not in text  # the stand-ins are gone
        assert "<text" in text
        assert all("fill:" in text for text in re.findall("<text[^>]*>", text))
    before = [one.read_bytes() for one in pictures]
    write([result], tmp_path)
    assert [one.read_bytes() for one in pictures] == before


def test_rows_that_were_measured_again_take_the_places_of_the_first_ones(tmp_path: Path) -> None:
    target = Target(of=OURS, to=("a second",), at_most=1.0)

    def push_and_opening(push: float) -> list[Comparison]:
        return [
            compare("push", "white", "s", {OURS: [push], "a second": [1.0]}, target=target),
            compare("opening", "status", "s", {OURS: [0.25], "a second": [1.0]}, target=target),
        ]

    first = _result(*push_and_opening(2.0)) | {"failures": []}
    again = _result(*push_and_opening(0.75)[:1]) | {"asked": ["push"], "repeats": 9, "failures": []}
    write([first, again], tmp_path)
    page = (tmp_path / "performance.md").read_text("utf-8")
    assert "| white | framespool 0.75, a second 1 s |" in page
    assert "| status | framespool 0.25, a second 1 s |" in page
    assert "Of 2 targets 2 are met." in page
    assert "5 or 9 times" in page
    assert "run.py push --repeats 9 --frames FOLDER --json result-2.json" in page
    assert "run.py page result-1.json result-2.json" in page
    write([first, {**again, "versions": {**again["versions"], "commit": "def"}}], tmp_path)
    assert "| push | commit `def` |" in (tmp_path / "performance.md").read_text("utf-8")
    other = {**again, "versions": {**again["versions"], "python": "3.14.0"}}
    with pytest.raises(ValueError, match="no page together"):
        write([first, other], tmp_path)


def test_contenders_take_turns_and_the_first_repeats_are_dropped() -> None:
    seen: list[str] = []

    def play(name: str) -> int:
        seen.append(name)
        return len(seen)

    found = in_turns({"a": lambda: play("a"), "b": lambda: play("b")}, repeats=2, warm_ups=1)
    assert seen == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [4, 5], "b": [3, 6]}


def test_a_ratio_is_that_of_medians_and_of_several_limits_the_stricter_counts() -> None:
    figures = {"ours": [9.0, 10.0, 90.0], "one": [20.0], "other": [8.0]}
    more = compare("r", "c", "MB/s", figures, target=Target(of="ours", to=("one", "other"), at_least=1.25))
    assert (more.ratio, more.met) == (1.25, True)
    less = compare("r", "c", "s", figures, target=Target(of="ours", to=("one", "other"), at_most=0.4))
    assert (less.ratio, less.met) == (0.5, False)
    assert Comparison.from_json(json.loads(json.dumps(less.to_json()))) == less
    assert "MISSED" in str(less)


def test_a_contender_without_figures_is_a_fault_and_no_result() -> None:
    with pytest.raises(ValueError, match="no figures of ours"):
        compare("r", "c", "s", {"ours": []})
