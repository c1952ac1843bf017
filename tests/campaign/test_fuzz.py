"""Bad input of every kind, a little of each; see `tools.fuzz`.

The long version is ``python tools/fuzz/run.py --count 100000``.
"""

import json
import multiprocessing
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import numpy as np
import pytest

from spool import frames
from tools.fuzz import run
from tools.fuzz.areas import arrays, damage
from tools.fuzz.finding import Finding

SEED = 20261124
COUNTS = {
    "answers": 150,
    "arguments": 300,
    "arrays": 150,
    "commands": 60,
    "damage": 40,
    "files": 100,
    "flips": 150,
}


def test_every_area_has_its_share() -> None:
    assert run.area_names() == sorted(COUNTS)


@pytest.mark.parametrize("area", COUNTS)
def test_bad_input_gets_a_clear_error_or_a_repair(area: str) -> None:
    jobs: list[run.Job] = [(area, SEED, COUNTS[area], None)]

    found = [finding for _, finding in run.run(jobs, processes=1)]

    assert len(found) == COUNTS[area]
    assert [finding for finding in found if finding is not None] == []


# It bites ---------------------------------------------------------------------------------------------------


def findings(inputs: Iterator[Finding | None]) -> list[Finding]:
    return [finding for finding in inputs if finding is not None]


def test_a_push_that_casts_silently_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = frames.accept_frames
    monkeypatch.setattr(
        "spool.intake.checks.accept_frames",
        lambda given, stream: honest(np.asarray(given).astype("uint8"), stream),
    )
    assert findings(arrays.inputs(SEED, 80, tmp_path))


def test_bytes_that_are_sent_unchecked_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unchecked(path: Path, *, n: int, chunk_size: int, wire_bytes: int, **_: object) -> bytes:
        shard, entry_bytes, crc_bytes = path.read_bytes(), 16, 4
        entries = shard[-(entry_bytes * chunk_size + crc_bytes) :][: entry_bytes * n]
        frames = shard[: wire_bytes - entry_bytes * n - crc_bytes]
        return frames + entries + struct.pack("<I", google_crc32c.value(entries))

    monkeypatch.setattr("spool.leased.shards.read_wire_form", unchecked)
    assert findings(damage.inputs(SEED, 40, tmp_path))


def test_an_input_that_hangs_or_dies_is_a_finding_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(job: run.Job, pipe: object) -> None:
        del pipe
        if job[1]:
            time.sleep(600)
        raise SystemExit(3)

    monkeypatch.setattr(run, "_work", work)
    forking = multiprocessing.get_context("fork")  # it takes the patched work along
    monkeypatch.setattr(multiprocessing, "get_context", lambda _how: forking)

    found = [finding for _, finding in run.run([("a", 0, 1, None), ("b", 1, 1, None)], processes=2, hang_s=0.5)]

    assert sorted(finding.why for finding in found if finding) == ["ended with 3", "no answer within 0 s"]


def test_the_command_says_what_it_has_tried(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--area", "arguments", "--count", "20", "--seed", "4", "--json"]) == 0

    said = json.loads(capsys.readouterr().out)
    assert (said["inputs"], said["findings"]) == (20, [])
