"""What a hostile reader has found in the opening, continuing and ending of parts; each failed once."""

import logging
import threading
from pathlib import Path

import pytest

from spool import LeasedStream, SpoolError, pack, unpack
from spool.testing import check_invariants
from tests.uploader.rig import CHUNK_SIZE, ENDS, FPS, Bench, some_frames, status_rule, wait_until
from tests.uploader.test_parts import LINK, OPEN, named, offline, pushed, streamer, streamer_of
from uploader import RHEEDStreamer, parts
from uploader.worker import Until

__all__ = ["streamer"]  # the fixture


@pytest.mark.usefixtures("impatient")
def test_a_name_that_another_took_while_the_server_turned_us_away_is_not_ours(
    bench: Bench, streamer: RHEEDStreamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "SETTLES_S", 0.2)
    other = Bench(bench.server, tmp_path / "another PC")
    ref = offline(bench, streamer, "growth A").stream_id
    bench.server.faults([status_rule(OPEN, 503)])
    with bench.delivering():
        wait_until(lambda: bench.stream(ref).asked_part is not None and bench.stream(ref).trouble)
    bench.server.clear_faults()
    theirs = other.open_stream(1, name="growth A")
    with other.delivering():
        wait_until(lambda: other.acknowledged(theirs) == 1)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(ref) == 1)
    other.spool.close()
    assert streamer.data_id(ref) != theirs
    assert bench.receptions(theirs) == [0]
    check_invariants(bench.spool)


@pytest.fixture
def asked(bench: Bench, streamer: RHEEDStreamer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A stream whose opening the server never answered, without a chunk."""
    monkeypatch.setattr(parts, "SETTLES_S", 0.2)
    bench.server.faults([{"match": OPEN, "action": "lost_answer"}])
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth B")
    bench.server.clear_faults()
    assert bench.stream(ref).asked_part is not None
    return ref


def test_a_stream_without_a_chunk_whose_opening_was_not_answered_is_opened_all_the_same(
    bench: Bench, asked: str
) -> None:
    with bench.delivering(until=Until.DRY):
        wait_until(lambda: not any(thread.name == "test-worker" for thread in threading.enumerate()))
    assert bench.stream(asked).part is not None
    assert list(named(bench).values()) == ["growth B"]


def test_what_was_asked_for_and_is_ended_without_a_chunk_is_ended_at_the_server(
    bench: Bench, streamer: RHEEDStreamer, asked: str
) -> None:
    streamer.push(asked, 0, some_frames(1))
    bench.spool.discard(asked, [0], why="a test")
    with bench.delivering():
        assert streamer.finalize(asked, 20).finalized
    assert bench.requests(ENDS) == 1
    check_invariants(bench.spool)


@pytest.mark.usefixtures("impatient")
def test_a_stream_that_is_held_between_two_tries_is_not_sent_any_more(
    bench: Bench, streamer: RHEEDStreamer
) -> None:
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth E")
    other = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth E 2")
    pushed(bench, streamer, ref, 0)
    bench.server.set_status(ref, "stream_paused")
    with bench.delivering():
        wait_until(lambda: bench.stream(ref).trouble)
        bench.spool.hold(ref, "a person wants it so", who="a person")
        wait_until(lambda: bench.spool.lease(ref, "another", ttl_s=60) is not None, within_s=40)
        bench.server.set_status(ref, "stream_active")
        pushed(bench, streamer, other, 0)
        wait_until(lambda: bench.acknowledged(other) == 1)
    assert bench.receptions(ref) == []


def test_a_link_that_is_owed_is_tried_again_before_the_end(bench: Bench, streamer: RHEEDStreamer) -> None:
    bench.server.faults([status_rule(LINK, 503, times=2)])
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, physical_sample="GaAs")
    with bench.delivering():
        pushed(bench, streamer, ref, 0)
        assert streamer.finalize(ref, 20).finalized
    assert bench.stream(ref).unlinked is None


def test_a_link_that_fails_after_the_recording_has_begun_ends_nothing(bench: Bench) -> None:
    bench.server.faults(
        [
            {"match": OPEN, "action": "delay", "seconds": 0.6},
            {"match": LINK, "action": "delay", "seconds": 0.8},
            status_rule(LINK, 422, {"detail": "no"}),
        ]
    )
    with streamer_of(bench, open_timeout_s=1.1) as late:
        ref = late.initialize(FPS, 0.0, CHUNK_SIZE, "growth G", physical_sample="GaAs")
        late.push(ref, 0, some_frames(1))
        wait_until(lambda: not any(thread.name == "framespool-open" for thread in threading.enumerate()))
        bench.server.clear_faults()
        with bench.delivering():
            wait_until(lambda: bench.acknowledged(ref) == 1)
    assert bench.requests(ENDS) == 0
    assert bench.stream(ref).held is None


def test_an_opening_that_fails_several_times_is_no_error_of_ours(
    bench: Bench, streamer: RHEEDStreamer, caplog: pytest.LogCaptureFixture
) -> None:
    ref = offline(bench, streamer, "growth H").stream_id
    bench.server.faults([status_rule(OPEN, 503, times=3)])
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(ref) == 1)
    assert [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.mark.usefixtures("impatient")
def test_a_key_that_is_refused_after_an_outage_is_said_loudly_too(
    bench: Bench, streamer: RHEEDStreamer, caplog: pytest.LogCaptureFixture
) -> None:
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE)
    bench.server.outage(True)
    pushed(bench, streamer, ref, 0)
    with bench.delivering():
        wait_until(lambda: bench.stream(ref).trouble)
        bench.server.faults([status_rule({"method": "POST", "path": "upload_urls"}, 403)])
        bench.server.outage(False)
        wait_until(
            lambda: any(one.levelno == logging.ERROR and "API key" in one.getMessage() for one in caplog.records)
        )


@pytest.mark.usefixtures("impatient")
def test_a_data_id_that_the_disk_does_not_take_at_once_is_not_thrown_away(
    bench: Bench, streamer: RHEEDStreamer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Bench(bench.server, tmp_path / "another PC")
    other.open_stream(0, name="growth HH")
    ref = offline(bench, streamer, "growth HH").stream_id
    real, calls = LeasedStream.part_opened, []

    def refuses(self: LeasedStream, data_id: str, *, unlinked: str | None) -> None:
        calls.append(data_id)
        if len(calls) <= 3:
            raise SpoolError("the disk refuses")
        real(self, data_id, unlinked=unlinked)

    monkeypatch.setattr(LeasedStream, "part_opened", refuses)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(ref) == 1)
    other.spool.close()
    assert len(named(bench)) == 2
    assert len(set(calls)) == 1


def test_a_server_clock_that_does_not_answer_keeps_no_frame(bench: Bench) -> None:
    bench.server.faults([{"match": {"path": "^/gateway/time"}, "action": "delay", "seconds": 20}])
    refs = [bench.open_stream(3, name=f"growth {k}") for k in range(2)]
    with bench.delivering():
        wait_until(lambda: all(bench.acknowledged(ref) == 3 for ref in refs), within_s=15)


def test_a_link_that_is_owed_elsewhere_is_owed_here_when_the_stream_comes_home(
    bench: Bench, streamer: RHEEDStreamer, tmp_path: Path
) -> None:
    bench.server.outage(True)
    ref = streamer.initialize(FPS, 0.0, CHUNK_SIZE, "growth R", physical_sample="GaAs")
    streamer.push(ref, 0, some_frames(3))
    bench.server.outage(False)
    pack(bench.spool, ref, tmp_path / "out", made_by="a test", who="a person")
    away = Bench(bench.server, tmp_path / "away")
    unpack(away.spool, tmp_path / "out", who="a person")
    bench.server.faults([status_rule(LINK, 422, {"detail": "no"})])
    with away.delivering():
        wait_until(lambda: away.acknowledged(ref) == 1)
    pack(away.spool, ref, tmp_path / "back", made_by="a test", who="a person")
    unpack(bench.spool, tmp_path / "back", who="a person")
    assert bench.stream(ref).data_id == away.stream(ref).data_id
    assert bench.stream(ref).unlinked == away.stream(ref).unlinked is not None
    away.spool.close()
    check_invariants(bench.spool)
