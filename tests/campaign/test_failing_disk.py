"""A disk that refuses, lies or takes its time at any operation; see `tools.failing_disk`.

The long version is ``python tools/failing_disk/run.py``.
"""

import contextlib
import json
import logging
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import pytest

from spool import DiskFailed, Limits, ShardDamaged, Spool, Stream, audit, recovery
from spool.testing import check_invariants, some_frames, some_settings
from tools.failing_disk import run
from tools.failing_disk.faults import FOREVER, Fault
from tools.failing_disk.mounted import FailingDisk, failing_disk
from tools.failing_disk.run import Case, cases, tried
from tools.failing_disk.trying import Trial, Trials
from tools.kills.campaign import scratch
from tools.kills.steps import STEPS


@pytest.fixture(scope="module")
def mounted() -> Iterator[tuple[Trials, list[Trial]]]:
    logging.disable(logging.CRITICAL)
    with run.trials_on_a_mount() as made:
        yield made
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def mount() -> Iterator[FailingDisk]:
    with scratch() as folder, failing_disk(folder) as disk:
        yield disk


@pytest.fixture
def disk(mount: FailingDisk) -> Iterator[FailingDisk]:
    mount.arm(None)
    yield mount
    mount.arm(None)


@pytest.fixture
def spool(disk: FailingDisk, request: pytest.FixtureRequest) -> Iterator[Spool]:
    with Spool(disk.mount / request.node.name[:60], limits=Limits(min_free_bytes=0)) as opened:
        yield opened
        disk.arm(None)


@pytest.fixture
def stream(spool: Spool) -> Stream:
    return spool.open_stream(some_settings())


def a_call(do: str) -> Trial:
    return next(Trial("call", number) for number, step in enumerate(STEPS) if step.do == do)


def findings(made: Trials, trial: Trial, *ways: str, kind: str = "") -> Iterator[str]:
    """What is wrong when every operation of these kinds fails in these ways."""
    seen = made.operations(trial)
    for case in cases(trial, seen):
        if case.way in ways and (not kind or seen[case.at - 1].startswith(f"{kind} ")):
            why = tried(case, made)
            if why:
                yield f"{case}: {why}"


def test_whatever_operation_fails_nothing_is_lost_and_the_spool_goes_on(
    mounted: tuple[Trials, list[Trial]],
) -> None:
    made, todo = mounted

    figures = run.try_some(made, todo, every=800)

    assert figures.findings == []
    assert figures.faults > 25
    assert set(figures.kinds) == set(run.WAYS)


@pytest.mark.parametrize("do", ["push", "acknowledge", "prune"])
@pytest.mark.parametrize("kind", ["fsync", "fsync_dir", "write", "close", "rename", "unlink", "read"])
def test_eio_wherever_it_counts(mounted: tuple[Trials, list[Trial]], do: str, kind: str) -> None:
    made, _ = mounted

    assert list(findings(made, a_call(do), "EIO", kind=kind)) == []


def test_a_look_at_a_disk_that_flips_bits_never_hands_out_wrong_bytes(
    mounted: tuple[Trials, list[Trial]],
) -> None:
    made, todo = mounted

    assert list(findings(made, todo[-1], "flip")) == []


def test_a_disk_that_takes_its_time_is_waited_for(disk: FailingDisk, spool: Spool, stream: Stream) -> None:
    disk.arm(Fault(how="hang", kinds=frozenset({"fsync"})))

    spool.push(stream.stream_id, 0, some_frames())

    assert [line for line in disk.seen() if line.endswith(" failed")], "nothing took its time"
    check_invariants(spool)


def test_what_is_mounted_read_only_can_be_looked_at_and_says_so_when_it_is_written(
    disk: FailingDisk, spool: Spool, stream: Stream
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    disk.arm(run.WAYS["EROFS forever"])

    with pytest.raises(DiskFailed, match="Read-only") as raised:
        spool.push(stream.stream_id, 1, some_frames(seed=1))
    assert "mount it writable again" in raised.value.hint
    assert spool.stream(stream.stream_id).tally.spooled == 1

    disk.arm(None)
    spool.push(stream.stream_id, 1, some_frames(seed=1))
    check_invariants(spool)


def test_a_spool_that_was_read_only_from_the_start_can_be_audited(
    disk: FailingDisk, spool: Spool, stream: Stream
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.close()
    disk.arm(run.WAYS["EROFS forever"])

    with Spool(spool.root) as again:
        assert again.stream(stream.stream_id).tally.spooled == 1
        assert [entry.chunk.state for entry in audit(again, stream.stream_id).chunks] == ["spooled"]
        with pytest.raises(DiskFailed, match="Read-only"):
            again.push(stream.stream_id, 1, some_frames(seed=1))


# A file that another program holds: Windows refuses to rename or remove it meanwhile ----------------------


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr("spool.disk._SHARING_PATIENCE_S", 0.5)


HELD = {
    "a shard's name": Fault(how="EACCES", kinds=frozenset({"rename"}), name="frames/c.1", times=5),
    "a document": Fault(how="EACCES", kinds=frozenset({"rename"}), name="zarr.json", times=5),
}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("what", HELD)
def test_a_file_that_is_held_for_a_moment_is_waited_for(
    disk: FailingDisk, spool: Spool, stream: Stream, what: str
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    disk.arm(HELD[what])

    spool.push(stream.stream_id, 1, some_frames(seed=1))

    assert sum(line.endswith(" failed") for line in disk.seen()) == 5
    check_invariants(spool)


@pytest.mark.usefixtures("patient")
def test_a_shard_that_is_held_for_longer_makes_the_push_fail_and_the_next_one_succeeds(
    disk: FailingDisk, spool: Spool, stream: Stream
) -> None:
    disk.arm(Fault(how="EACCES", kinds=frozenset({"rename"}), name="frames/c.0", times=FOREVER))
    with pytest.raises(DiskFailed) as raised:
        spool.push(stream.stream_id, 0, some_frames())
    assert "Another program may hold the file" in raised.value.hint
    disk.arm(None)
    spool.push(stream.stream_id, 0, some_frames())
    check_invariants(spool)


@pytest.mark.usefixtures("patient")
def test_a_shard_that_cannot_be_removed_now_is_removed_at_the_next_opening(
    disk: FailingDisk, spool: Spool, stream: Stream
) -> None:
    spool.push(stream.stream_id, 0, some_frames())
    spool.push(stream.stream_id, 1, some_frames(seed=1))
    disk.arm(Fault(how="EACCES", kinds=frozenset({"unlink"}), name="frames/c.0", times=FOREVER))
    spool.discard(stream.stream_id, [0], why="no use")
    disk.arm(None)

    with Spool(spool.root, limits=Limits(min_free_bytes=0)) as again:
        check_invariants(again)
        assert again.stream(stream.stream_id).tally.discarded == 1


# The harness ------------------------------------------------------------------------------------------------


def test_the_command_tries_what_it_is_told_to(capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["--only", "call 2, EIO, 40", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["faults"], said["findings"]) == (1, [])


def test_a_case_is_named_so_that_it_can_be_repeated() -> None:
    case = Case(Trial("open", 9, "dead push 2"), "EIO forever", 17)
    assert Case.parse(str(case)) == case


# It bites ---------------------------------------------------------------------------------------------------


def test_a_write_that_fails_unnoticed_is_found(
    mounted: tuple[Trials, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(fd: int, parts: Sequence[bytes]) -> None:
        with contextlib.suppress(OSError):
            os.write(fd, b"".join(parts))

    monkeypatch.setattr("spool.disk._write_together", careless)
    assert any(findings(mounted[0], a_call("push"), "EIO", kind="write"))


def test_an_error_that_is_no_answer_is_found(
    mounted: tuple[Trials, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spool.intake.translated", lambda error, _what: error)
    assert any(findings(mounted[0], a_call("push"), "EIO", kind="write"))


def test_bytes_that_are_not_checked_are_found(
    mounted: tuple[Trials, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unchecked(path: Path, *, n: int, chunk_size: int, wire_bytes: int, sha256: str) -> bytes:
        del sha256
        shard, entries = path.read_bytes(), 16 * n
        body = shard[: wire_bytes - entries - 4]
        body += shard[-(16 * chunk_size + 4) :][:entries]
        if len(body) != wire_bytes - 4:
            raise ShardDamaged("cut short")
        return body + struct.pack("<I", google_crc32c.value(body[-entries:]))

    monkeypatch.setattr("spool.leased.shards.read_wire_form", unchecked)
    assert any(findings(mounted[0], mounted[1][-1], "flip"))


def test_an_opening_that_deletes_what_it_cannot_read_is_found(
    mounted: tuple[Trials, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = recovery._described

    def rash(path: Path, *given: Any, **named: Any) -> Any:
        try:
            return honest(path, *given, **named)
        except OSError as error:
            path.unlink()
            raise ShardDamaged("it cannot be read") from error

    monkeypatch.setattr(recovery, "_described", rash)
    trial = Trial("open", 32, "no_index_and_no_ledger")
    assert any(findings(mounted[0], trial, "EIO", kind="read"))


def test_a_call_that_says_yes_although_the_disk_said_no_is_found(
    mounted: tuple[Trials, list[Trial]], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = Spool.push

    def lying(self: Spool, *given: Any, **named: Any) -> Any:
        try:
            return honest(self, *given, **named)
        except DiskFailed:
            return None

    monkeypatch.setattr(Spool, "push", lying)
    assert any(findings(mounted[0], a_call("push"), "EIO", kind="fsync"))
