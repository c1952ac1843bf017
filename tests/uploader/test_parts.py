"""A stream begins without the server, goes on when the server has ended it, and never becomes two for one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spool import Spool, SpoolError, Stream, audit
from spool.testing import check_invariants
from tests.uploader.rig import (
    CATALOGUE,
    CHUNK_SIZE,
    ENDS,
    FPS,
    NO_LIMITS,
    PUTS,
    Bench,
    status_rule,
    wait_until,
)
from uploader import RequestRefused, RHEEDStreamer, delivery, parts
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Closed

OPEN = {"method": "POST", "path": "^/rheed/stream/$"}
LINK = {"method": "POST", "path": "^/data_entries/physical_sample$"}
NOBODY = "99999999-2222-3333-4444-555555555555"
CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def streamer(bench: Bench) -> Iterator[RHEEDStreamer]:
    with streamer_of(bench) as made:
        yield made


def streamer_of(bench: Bench, **changes: Any) -> RHEEDStreamer:
    given: dict[str, Any] = {
        "api_key": bench.server.api_key,
        "endpoint": bench.server.url,
        "spool_dir": bench.root,
        "spool_min_free_bytes": 0,
        "worker": "external",
    }
    return RHEEDStreamer(**{**given, **changes})


def pushed(bench: Bench, streamer: RHEEDStreamer, ref: str, *idxs: int) -> None:
    for idx in idxs:
        streamer.push(ref, idx, bench.frames("0abcde", idx))


def received(bench: Bench, *data_ids: str | None) -> list[int]:
    return [idx for data_id in data_ids if data_id is not None for idx in bench.receptions(data_id)]


def named(bench: Bench) -> dict[str, str]:
    """The server's streams: name by data_id."""
    return {data_id: told["name"] for data_id, told in bench.server.state()["streams"].items()}


# Without the server -----------------------------------------------------------------------------------------


def test_recording_begins_without_the_server_and_everything_arrives_later(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    bench.server.kill()
    began = time.monotonic()
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth 1", physical_sample="GaAs", tags=["night"])
    assert time.monotonic() - began < 5.5
    assert ref == bench.stream(ref).stream_id
    assert streamer.data_id(ref) is None
    pushed(bench, streamer, ref, 0, 1)
    bench.server.start()
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(ref) == 2)
        pushed(bench, streamer, ref, 2)
        assert streamer.finalize(ref, 20).finalized
    data_id = streamer.data_id(ref)
    assert data_id is not None
    assert named(bench) == {data_id: "growth 1"}
    assert streamer.data_id(data_id) == data_id, "either id is as good"
    told = bench.server.state()
    assert told["streams"][data_id]["physical_sample_id"] == told["samples"][0]["id"]
    assert told["streams"][data_id]["tag_ids"] == [told["tags"][0]["id"]]
    assert bench.receptions(data_id) == [0, 1, 2]
    check_invariants(bench.spool)


@pytest.mark.parametrize(
    "rule",
    [
        {"match": {"path": ".*"}, "action": "html200"},
        status_rule({"path": ".*"}, 503),
        status_rule({"path": ".*"}, 429),
        status_rule(OPEN, 502),
        {"match": OPEN, "action": "lost_answer"},
    ],
    ids=["portal", "503", "429", "502 at the opening", "lost answer"],
)
def test_no_outage_keeps_a_recording_from_beginning(
    bench: Bench, streamer: RHEEDStreamer, rule: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SETTLES_S", 0.5)
    bench.server.faults([rule])
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth 2")
    assert streamer.data_id(ref) is None
    pushed(bench, streamer, ref, 0)
    bench.server.clear_faults()
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(ref) == 1)
    assert len(named(bench)) == 1
    check_invariants(bench.spool)


def test_a_server_that_does_not_answer_is_waited_for_as_long_as_was_said(bench: Bench) -> None:
    bench.server.faults([{"match": {"path": ".*"}, "action": "delay", "seconds": 30}])
    began = time.monotonic()
    with streamer_of(bench, open_timeout_s=0.5) as streamer:
        ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    assert 0.5 <= time.monotonic() - began < 4
    assert bench.stream(ref).parts == ()


def test_no_time_for_the_server_means_that_it_is_not_asked(bench: Bench) -> None:
    with streamer_of(bench, open_timeout_s=0) as streamer:
        streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    assert bench.server.state()["requests"] == {}


def test_a_sample_that_turns_out_not_to_exist_holds_back_the_link_and_not_the_frames(
    bench: Bench, streamer: RHEEDStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LINK_AGAIN_S", 0.0)
    with pytest.raises(RequestRefused):
        streamer.initialize(FPS, 0.0, CHUNK_SIZE, physical_sample=NOBODY)
    assert bench.spool.streams() == []
    bench.server.outage(True)
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, physical_sample=NOBODY)
    pushed(bench, streamer, ref, 0, 1)
    bench.server.outage(False)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(ref) == 2)
        assert f"no sample with the id {NOBODY}" in (bench.stream(ref).unlinked or "")
        assert streamer.finalize(ref, 20).finalized
    assert ("link_failed", None) in bench.ledger(ref)
    check_invariants(bench.spool)


def test_a_link_that_does_not_work_for_a_while_is_made_later(
    bench: Bench, streamer: RHEEDStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "LINK_SOON_S", 0.0)
    bench.server.faults([status_rule(LINK, 500, times=2)])
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, physical_sample="GaAs")
    assert streamer.data_id(ref) == ref, "the stream is open on the server"
    assert bench.stream(ref).unlinked is not None
    with bench.delivering():
        pushed(bench, streamer, ref, 0)
        wait_until(lambda: bench.acknowledged(ref) == 1)
        assert streamer.finalize(ref, 20).finalized
    assert bench.stream(ref).unlinked is None
    told = bench.server.state()
    assert told["streams"][ref]["physical_sample_id"] == told["samples"][0]["id"]


def test_a_stream_that_the_server_refuses_to_open_is_held_and_keeps_its_frames(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    bench.server.outage(True)
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    pushed(bench, streamer, ref, 0)
    bench.server.outage(False)
    bench.server.faults([status_rule(OPEN, 422, {"detail": "no such project"})])
    with bench.delivering():
        wait_until(lambda: bench.stream(ref).held)
        assert "no such project" in (bench.stream(ref).held or "")
        bench.server.clear_faults()
        bench.spool.retry(ref)
        wait_until(lambda: bench.acknowledged(ref) == 1)
    check_invariants(bench.spool)


# Never two for one ------------------------------------------------------------------------------------------


def offline(bench: Bench, streamer: RHEEDStreamer, name: str = "growth 3") -> Stream:
    bench.server.outage(True)
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, name)
    pushed(bench, streamer, ref, 0)
    bench.server.outage(False)
    return bench.stream(ref)


@pytest.mark.usefixtures("impatient")
def test_an_opening_whose_answer_was_lost_is_found_again_by_its_name(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    stream = offline(bench, streamer)
    bench.server.faults([{"match": OPEN, "action": "lost_answer", "times": 1}])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(stream.stream_id) == 1)
    assert list(named(bench).values()) == ["growth 3"]
    assert bench.receptions(streamer.data_id(stream.stream_id) or "") == [0]


@pytest.mark.usefixtures("impatient")
def test_a_stream_of_the_same_name_that_is_anothers_is_not_taken_for_ours(
    bench: Bench, streamer: RHEEDStreamer, tmp_path: Path
) -> None:
    """Twenty PCs of a site may call their streams the same: then an empty one too many is the lesser evil."""
    elsewhere = Bench(bench.server, tmp_path / "another PC")
    theirs = elsewhere.open_stream(0, name="growth 3")
    stream = offline(bench, streamer)
    bench.server.faults([{"match": OPEN, "action": "lost_answer", "times": 1}])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(stream.stream_id) == 1)
    elsewhere.spool.close()
    assert streamer.data_id(stream.stream_id) != theirs
    assert bench.receptions(theirs) == []
    assert list(named(bench).values()) == ["growth 3"] * 3


@pytest.mark.usefixtures("impatient")
def test_a_catalogue_that_cannot_be_listed_does_not_keep_a_stream_from_opening(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    stream = offline(bench, streamer)
    bench.server.faults([status_rule(CATALOGUE, 503)])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(stream.stream_id) == 1)


DIES_BEFORE_THE_RECORD = """
import os, sys
from spool import Limits, Spool
from spool.testing import FaultyDisk
from uploader.config import ApiKey
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.worker import Until, UploadWorker

disk = FaultyDisk()
disk.kill("part.commit", at=2)  # the first says that the server is about to be asked
spool = Spool(sys.argv[1], limits=Limits(min_free_bytes=0), disk=disk)
destination = AtomscaleDestination(sys.argv[2], ApiKey(os.environ["AS_API_KEY"]))
UploadWorker(spool, destination, until=Until.DRY).run()
"""


def test_a_worker_killed_between_the_opening_and_its_record_does_not_open_two(
    bench: Bench, streamer: RHEEDStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SETTLES_S", 0.5)
    stream = offline(bench, streamer)
    done = subprocess.run(
        [sys.executable, "-c", DIES_BEFORE_THE_RECORD, str(bench.root), bench.server.url],
        env={**os.environ, "AS_API_KEY": bench.server.api_key, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(named(bench)) == 1
    assert bench.stream(stream.stream_id).asked_part is not None
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(stream.stream_id) == 1)
    assert len(named(bench)) == 1
    check_invariants(bench.spool)


# Ended by the server ----------------------------------------------------------------------------------------


def test_a_stream_that_the_server_ended_for_its_silence_goes_on_in_another(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth 4", physical_sample="GaAs")
    with bench.delivering():
        pushed(bench, streamer, first, 0, 1)
        wait_until(lambda: bench.acknowledged(first) == 2)
        bench.server.set_status(first, "stream_error")
        pushed(bench, streamer, first, 2, 3)
        report = streamer.finalize(first, 20)
    assert (report.chunks_uploaded, report.finalized) == (4, True)
    second = streamer.data_id(first)
    assert second is not None
    assert named(bench) == {first: "growth 4", second: "growth 4 (continued 2)"}
    assert received(bench, first, second) == [0, 1, 2, 3]
    told = bench.server.state()["streams"]
    assert told[first]["physical_sample_id"] == told[second]["physical_sample_id"] is not None
    found = audit(bench.spool, first).to_json()
    assert found["complete"]
    assert [(part["data_id"], part["chunk_spans"]) for part in found["parts"]] == [
        (first, [[0, 1]]), (second, [[2, 3]]),
    ]  # fmt: skip
    assert "stream_error" in found["parts"][0]["closed_why"]
    check_invariants(bench.spool)


def test_a_stream_is_looked_at_after_a_long_silence_before_anything_is_sent(
    bench: Bench, streamer: RHEEDStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SILENCE_HINT_S", 0.0)
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    bench.server.set_status(first, "stream_error")
    pushed(bench, streamer, first, 0)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(first) == 1)
    assert bench.requests(PUTS) == 1
    assert bench.receptions(first) == []


def test_a_lab_that_wishes_it_so_holds_what_waits(bench: Bench, streamer: RHEEDStreamer) -> None:
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth 5")
    with pytest.raises(SpoolError, match="is not held"):
        bench.spool.retry(first, in_new_part=True)
    bench.server.set_status(first, "stream_error")
    pushed(bench, streamer, first, 0)
    with bench.delivering(on_closed=delivery.OnClosed.HOLD):
        wait_until(lambda: bench.stream(first).held)
        assert "stream_error" in (bench.stream(first).held or "")
        bench.spool.retry(first, in_new_part=True)
        wait_until(lambda: bench.acknowledged(first) == 1)
    assert sorted(named(bench).values()) == ["growth 5", "growth 5 (continued 2)"]
    check_invariants(bench.spool)


def test_what_a_person_has_ended_waits_for_a_person(bench: Bench, streamer: RHEEDStreamer) -> None:
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    bench.server.set_status(first, "stream_finalized")
    pushed(bench, streamer, first, 0)
    with bench.delivering():
        wait_until(lambda: bench.stream(first).held)
    assert len(named(bench)) == 1


def test_a_server_that_ends_every_stream_at_once_does_not_get_streams_without_end(
    bench: Bench, streamer: RHEEDStreamer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AtomscaleDestination, "prepare", lambda *_: Closed(words="stream_error", by_person=False))
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    pushed(bench, streamer, first, 0)
    with bench.delivering():
        wait_until(lambda: bench.stream(first).held)
    assert "before it takes a chunk" in (bench.stream(first).held or "")
    assert len(named(bench)) == 1 + delivery.EMPTY_PARTS_MAX


def test_an_end_that_comes_after_the_server_ended_the_stream_by_itself_is_the_end(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    with bench.delivering():
        pushed(bench, streamer, first, 0)
        wait_until(lambda: bench.acknowledged(first) == 1)
        bench.server.set_status(first, "stream_error")
        assert streamer.finalize(first, 20).finalized
    assert len(named(bench)) == 1
    assert bench.requests(ENDS) == 1
    (words,) = [event.detail["words"] for event in bench.spool.events(first) if event.event == "finalized"]
    assert "stream_error" in words


def test_the_parts_are_told_again_when_the_index_is_lost(bench: Bench, streamer: RHEEDStreamer) -> None:
    first = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    with bench.delivering():
        pushed(bench, streamer, first, 0)
        wait_until(lambda: bench.acknowledged(first) == 1)
        bench.server.set_status(first, "stream_error")
        pushed(bench, streamer, first, 1)
        wait_until(lambda: bench.acknowledged(first) == 2)
    before, before_id = bench.stream(first).parts, bench.stream(first).stream_id
    streamer.close()
    bench.spool.close()
    told = json.loads((bench.root / "streams" / before_id / "stream.json").read_text())
    assert [part["data_id"] for part in told["parts"]] == [part.data_id for part in before]
    for name in ("index.sqlite3", "index.sqlite3-journal", "ledger.jsonl"):
        (bench.root / name).unlink()
    with Spool(bench.root, limits=NO_LIMITS) as rebuilt:
        assert rebuilt.stream(first).parts == before
        assert rebuilt.stream(str(before[1].data_id)).stream_id == rebuilt.stream(first).stream_id
        check_invariants(rebuilt)
