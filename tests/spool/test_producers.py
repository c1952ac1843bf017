"""Who records a stream, who goes on with it, and when it ends without either."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from spool import Disk, DiskFailed, Limits, Spool, SpoolError, Stream, StreamInUse, StreamSealed, UnknownStream
from spool.producers import LOCK_NAME
from spool.testing import FakeClock, check_invariants, some_frames, some_settings

HOUR_S = 3600.0

PRODUCER = """
import sys
from spool import Limits, Spool
from spool.testing import some_frames, some_settings

how = sys.argv[2]
with Spool(sys.argv[1], limits=Limits(min_free_bytes=0)) as spool:
    if how == "open":
        ref = spool.open_stream(some_settings(), data_id="data-1").stream_id
        first = 0
    elif how == "resume":
        ref, first = "data-1", spool.resume("data-1").next_chunk_idx
    else:
        ref, first = "data-1", int(how)
    for idx in (first, first + 1, first + 2):
        spool.push(ref, idx, some_frames(seed=idx))
    print(first, flush=True)
    for line in sys.stdin:
        spool.push(ref, int(line), some_frames(seed=int(line)))
        print(int(line), flush=True)
"""

WITH_A_CHILD = """
import os, sys, time
from spool import Limits, Spool
from spool.testing import some_frames, some_settings
spool = Spool(sys.argv[1], limits=Limits(min_free_bytes=0))
spool.open_stream(some_settings(), data_id="data-1")
child = os.fork()
if child == 0:
    time.sleep(600)  # until it is killed
print(child, flush=True)
time.sleep(600)
"""


@contextmanager
def producing(root: Path, how: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has pushed three chunks and lives on, and the first of them; killed at the end."""
    with subprocess.Popen(
        [sys.executable, "-c", PRODUCER, str(root), how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def push_there(process: subprocess.Popen[str], idx: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(f"{idx}\n")
    process.stdin.flush()
    assert int(process.stdout.readline()) == idx


@pytest.fixture
def other(root: Path, spool: Spool, clock: FakeClock) -> Iterator[Spool]:
    """A second opening of the same spool."""
    assert spool.root == root
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock) as opened:
        yield opened


def rows_of(spool: Spool, event: str) -> list[dict[str, object]]:
    return [row.detail for row in spool.events() if row.event == event]


# Who has it -------------------------------------------------------------------------------------------------


def test_whoever_opened_a_stream_has_it_until_the_spool_is_closed(
    spool: Spool, stream: Stream, other: Spool
) -> None:
    assert spool.has_live_producer("data-1")
    assert other.has_live_producer("data-1")
    assert not other.claim_producer("data-1")
    spool.close()
    assert not other.has_live_producer(stream.stream_id)
    assert other.claim_producer("data-1")


def test_a_sealed_stream_has_no_producer(spool: Spool, stream: Stream, other: Spool) -> None:
    spool.seal(stream.stream_id)
    assert not other.has_live_producer("data-1")


def test_reading_and_delivering_make_nobody_a_producer(spool: Spool, stream: Stream, other: Spool) -> None:
    spool.push("data-1", 0, some_frames())
    spool.close()
    assert other.lease("data-1", "worker", ttl_s=60) is not None
    other.frames(next(other.chunks("data-1")))
    assert not other.has_live_producer(stream.stream_id)


def test_a_stream_that_could_not_be_opened_leaves_nothing_behind(root: Path, spool: Spool, stream: Stream) -> None:
    with pytest.raises(SpoolError, match="already in this spool"):
        spool.open_stream(some_settings(), data_id="data-1")
    assert os.listdir(root / "streams") == [stream.stream_id]


# Resume -----------------------------------------------------------------------------------------------------


def test_a_killed_producers_stream_is_resumed_in_another_process_after_its_last_chunk(
    root: Path, spool: Spool
) -> None:
    with producing(root, "open") as (process, _):
        with pytest.raises(StreamInUse) as raised:
            spool.resume("data-1")
        assert raised.value.began_by is not None
        assert raised.value.began_by.endswith(f":{process.pid}")
        assert raised.value.began_by in str(raised.value)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not spool.has_live_producer("data-1")
        with producing(root, "resume") as (other, first):
            assert first == 3
            with pytest.raises(StreamInUse, match=f":{other.pid} opened or resumed it last"):
                spool.resume("data-1")
    assert spool.resume("data-1").next_chunk_idx == 6
    for chunk in spool.chunks("data-1"):
        np.testing.assert_array_equal(spool.frames(chunk), some_frames(seed=chunk.chunk_idx))
    assert [row["next_chunk_idx"] for row in rows_of(spool, "resumed")] == [3, 6]
    check_invariants(spool)


def test_a_second_live_producer_may_push_and_has_the_stream_once_the_first_is_gone(
    root: Path, spool: Spool
) -> None:
    with producing(root, "open") as (first, _), producing(root, "3") as (second, _):
        push_there(first, 6)
        push_there(second, 7)
        first.kill()
        first.wait()
        push_there(second, 8)
        with pytest.raises(StreamInUse):
            spool.resume("data-1")
    assert spool.stream("data-1").tally.spooled == 9
    check_invariants(spool)


def test_resuming_what_is_ours_already_changes_nothing(spool: Spool, stream: Stream, other: Spool) -> None:
    spool.push("data-1", 4, some_frames())
    assert spool.resume(stream.stream_id).next_chunk_idx == 5
    assert rows_of(spool, "resumed") == []
    spool.close()
    assert other.resume("data-1").next_chunk_idx == other.resume("data-1").next_chunk_idx == 5
    assert len(rows_of(other, "resumed")) == 1


def test_what_cannot_be_resumed_is_said_and_stays_free(spool: Spool, stream: Stream, other: Spool) -> None:
    with pytest.raises(UnknownStream):
        other.resume("data-2")
    spool.close()
    other.seal(stream.stream_id)
    with pytest.raises(StreamSealed):
        other.resume("data-1")
    assert not other.has_live_producer("data-1")


def test_a_resume_that_cannot_be_recorded_leaves_the_stream_to_others(
    root: Path, spool: Spool, stream: Stream, other: Spool
) -> None:
    other.close()
    spool.close()
    with Spool(root, limits=Limits(min_free_bytes=0)) as third:
        failing = Disk(_refuse)
        with Spool(root, disk=failing) as broken:
            with pytest.raises((OSError, SpoolError)):
                broken.resume("data-1")
            assert not third.has_live_producer(stream.stream_id)
            assert third.resume("data-1").next_chunk_idx == 0


def _refuse(label: str, path: Path) -> None:
    if label == "resume.commit":
        raise OSError(5, "Input/output error", str(path))


def test_a_forked_child_holds_nothing_of_its_parents(root: Path, spool: Spool) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WITH_A_CHILD, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            assert spool.has_live_producer("data-1")
            parent.kill()
            parent.wait()
            os.kill(child, 0)
            # The child lets go in its first moments, for which it may have to wait.
            deadline = time.monotonic() + 20
            while spool.has_live_producer("data-1"):
                assert time.monotonic() < deadline
            assert spool.resume("data-1").next_chunk_idx == 0
        finally:
            os.kill(child, signal.SIGKILL)


# Where no claim can be made ---------------------------------------------------------------------------------


def test_recording_goes_on_where_no_claim_can_be_made(
    spool: Spool, stream: Stream, other: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    spool.close()
    home = other.root / "streams" / stream.stream_id
    (home / LOCK_NAME).unlink()
    (home / LOCK_NAME).mkdir()
    with caplog.at_level(logging.WARNING, "spool"):
        other.push("data-1", 0, some_frames())
        other.push("data-1", 1, some_frames(seed=1))
    assert [record.getMessage() for record in caplog.records if "cannot be told to others" in record.getMessage()]
    assert len(caplog.records) == 1
    assert not other.has_live_producer("data-1")
    with pytest.raises(DiskFailed, match="cannot be claimed"):
        other.resume("data-1")
    assert other.stream("data-1").tally.spooled == 2


# The end of an orphan ---------------------------------------------------------------------------------------


def test_an_orphan_is_sealed_after_its_time_and_the_ledger_says_who_and_why(
    spool: Spool, stream: Stream, other: Spool, clock: FakeClock
) -> None:
    clock.advance_s(100)
    spool.push("data-1", 0, some_frames())
    spool.close()
    assert other.last_sign_of_life_ms("data-1") == clock.now_ms()
    clock.advance_s(HOUR_S - 1)
    assert not other.seal_orphan("data-1", silent_for_s=HOUR_S, who="a worker")
    clock.advance_s(1)
    assert other.seal_orphan("data-1", silent_for_s=HOUR_S, who="a worker")
    assert other.stream("data-1").state == "sealed"
    (row,) = rows_of(other, "sealed")
    assert row["who"] == "a worker"
    assert "3600 s" in str(row["why"])
    with pytest.raises(StreamSealed):
        other.resume(stream.stream_id)
    assert not other.has_live_producer("data-1")
    check_invariants(other)


def test_a_stream_whose_producer_lives_is_never_sealed_however_long_it_is_silent(
    root: Path, spool: Spool, clock: FakeClock
) -> None:
    with producing(root, "open"):
        clock.set_ms(2**42)  # the year 2109
        assert not spool.seal_orphan("data-1", silent_for_s=1, who="a worker")
    assert spool.seal_orphan("data-1", silent_for_s=1, who="a worker")


def test_ones_own_stream_is_no_orphan(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    clock.advance_s(HOUR_S)
    assert not spool.seal_orphan(stream.stream_id, silent_for_s=1, who="a worker")
    assert spool.has_live_producer(stream.stream_id)


def test_resuming_a_stream_is_a_sign_of_life(
    root: Path, spool: Spool, stream: Stream, other: Spool, clock: FakeClock
) -> None:
    spool.close()
    clock.advance_s(HOUR_S)
    with Spool(root, clock=clock) as third:
        third.resume("data-1")
    assert not other.seal_orphan(stream.stream_id, silent_for_s=HOUR_S, who="a worker")
    clock.advance_s(HOUR_S)
    assert other.seal_orphan(stream.stream_id, silent_for_s=HOUR_S, who="a worker")


def test_a_resume_in_the_moment_of_sealing_finds_the_stream_sealed(
    root: Path, spool: Spool, stream: Stream, other: Spool, clock: FakeClock
) -> None:
    """Of the two, one happens: the one that comes second sees what the first has done."""
    spool.close()
    clock.advance_s(HOUR_S)
    raised: list[BaseException] = []

    def resume() -> None:
        try:
            other.resume("data-1")
        except SpoolError as error:
            raised.append(error)

    resuming = threading.Thread(target=resume)

    def watch(label: str, _path: Path) -> None:
        if label == "seal.commit":
            resuming.start()

    with Spool(root, clock=clock, disk=Disk(watch)) as sealer:
        assert sealer.seal_orphan(stream.stream_id, silent_for_s=HOUR_S, who="a worker")
    resuming.join(20)
    assert [type(error) for error in raised] == [StreamSealed]
    assert rows_of(other, "resumed") == []


def test_an_index_that_is_lost_is_told_again_with_the_orphans_end(
    root: Path, spool: Spool, stream: Stream, other: Spool, clock: FakeClock
) -> None:
    spool.push("data-1", 0, some_frames())
    spool.close()
    clock.advance_s(HOUR_S)
    assert other.seal_orphan("data-1", silent_for_s=HOUR_S, who="a worker")
    other.close()
    for path in root.glob("index.sqlite3*"):
        path.unlink()
    with Spool(root, limits=Limits(min_free_bytes=0)) as again:
        assert again.stream(stream.stream_id).state == "sealed"
        check_invariants(again)
