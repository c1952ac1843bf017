"""A short soak with a fixed seed keeps every promise, and its judge is not blind."""

import json
from pathlib import Path

import numpy as np
import pytest

from tools.soak import judge
from tools.soak.campaign import Plan, run_soak
from tools.soak.chaos import Chaos
from tools.soak.figures import Figures
from tools.soak.obligations import Record, everything_promised


def test_nothing_is_lost_wrong_or_out_of_order_while_everything_fails(tmp_path: Path) -> None:
    plan = Plan(seed=20, seconds=30, impatient=True)
    figures = run_soak(plan, tmp_path, lambda _line: None)
    assert figures.violations == [], figures.table()
    assert figures.obligations > 50
    assert figures.delivered >= figures.obligations
    assert figures.faults.total() >= 4
    assert figures.kills.total() >= 2


def test_the_same_seed_draws_the_same_faults() -> None:
    one, other = Chaos(5, longest_s=3), Chaos(5, longest_s=3)
    assert [one.next() for _ in range(80)] == [other.next() for _ in range(80)]


def test_a_chunk_is_an_obligation_only_once_push_has_returned(tmp_path: Path) -> None:
    path = tmp_path / "one.obligations.jsonl"
    record = Record(path)
    frames = np.zeros((2, 3, 4), np.uint8)
    record.write("opened", stream="s", ordinal=0, chunk_size=2)
    record.chunk("meant", "s", 0, frames)
    record.chunk("accepted", "s", 0, frames)
    record.chunk("meant", "s", 1, frames)
    with path.open("ab") as file:
        file.write(b'{"event": "accepted", "stream": "s", "chu')  # killed while writing
    Record(path)
    (stream,) = everything_promised(tmp_path)
    assert {idx: one.accepted for idx, one in stream.chunks.items()} == {0: True, 1: False}


def test_an_audit_that_hides_a_gap_is_a_violation() -> None:
    told = {"data_id": "s", "state": "finalized", "gaps": [], "gap_count": 0, "watermark": 2, "complete": True}
    honest, caught = Figures(seed=1), Figures(seed=1)
    judge._judge_summary("s", told, True, [0, 1, 2], honest)
    assert honest.to_json()["good"] is True
    judge._judge_summary("s", told, True, [0, 2], caught)
    assert caught.audit_differs == 5
    assert json.loads(json.dumps(caught.to_json()))["good"] is False


@pytest.mark.parametrize("seconds", [1.0, 3.0])
def test_the_slowest_recovery_is_kept(seconds: float) -> None:
    figures = Figures(seed=1)
    for took in (seconds, 2.0):
        figures.recovered("reset", took)
    assert figures.recovery_s == {"reset": max(seconds, 2.0)}
