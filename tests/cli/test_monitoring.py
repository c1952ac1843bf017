"""The files for a monitoring system: written where asked, and whole."""

import json
import re
from pathlib import Path

import uploader.monitoring
from tests.cli.shell import Reader
from uploader.metrics.names import METRICS

ROOT = Path(__file__).parents[2]


def test_rules_and_dashboard_are_written_to_a_folder(reader: Reader, tmp_path: Path) -> None:
    said = reader.run("monitoring", str(tmp_path / "new" / "folder"), "--json")
    assert said.code == 0
    for path, file in zip(said.json()["files"], uploader.monitoring.FILES, strict=True):
        assert Path(path).read_bytes() == file.read_bytes()
    again = reader.run("monitoring", str(tmp_path / "new" / "folder"))
    assert again.code == 0
    assert "rule_files" in again.out


def test_a_folder_that_is_a_file_is_refused(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert reader.run("monitoring", str(tmp_path / "file")).code == 2


def test_the_dashboard_has_a_query_and_a_place_for_each_panel() -> None:
    board = json.loads(uploader.monitoring.FILES[1].read_text("utf-8"))
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert all(target["expr"] for target in panel["targets"])
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not places & cells, f"{panel['title']} lies over another"
        places |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_page_has_the_row_of_every_metric_and_every_alert() -> None:
    page = (ROOT / "docs" / "how-to" / "monitoring.md").read_text("utf-8")
    rows = re.findall(r"^\| `(framespool_\w+)` \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE)
    assert rows == [(one.name, ", ".join(one.labels), one.says) for one in METRICS]
    alerts = re.findall(r"- alert: (\w+)", uploader.monitoring.FILES[0].read_text("utf-8"))
    assert re.findall(r"^\| `(Framespool\w+)`", page, re.MULTILINE) == alerts
