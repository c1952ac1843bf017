"""What the doctor says about this machine: Python, folder, disk, SQLite, and the spool itself."""

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spool import Disk, ProcessLock, Spool
from tests.uploader.rig import NO_LIMITS, Bench, wait_until
from uploader.doctor import (
    CHECKS,
    Check,
    Examination,
    Finding,
    Subject,
    Verdict,
    disk,
    durability,
    folder,
    index,
    keys,
    machine,
    state,
)
from uploader.doctor.findings import ok, problem

HERE = "http://127.0.0.1:9"


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    """A machine with a spool, which is as it was when all is over."""
    with Spool(tmp_path / "spool", limits=NO_LIMITS):
        pass
    before = sorted((tmp_path / "spool").rglob("*"))
    yield Subject(root=tmp_path / "spool", endpoint=HERE, min_free_bytes=0)
    assert sorted((tmp_path / "spool").rglob("*")) == before, "what was tried must be removed"


def at(root: Path, *, min_free_bytes: int = 0) -> Subject:
    return Subject(root=root, endpoint=HERE, min_free_bytes=min_free_bytes)


def mounted(tmp_path: Path, options: str) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "framespool-test", place], check=True)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path, "size=8m")


@pytest.fixture
def disk_of_few_files(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path, "size=64m,nr_inodes=500")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path, "size=8m,ro")


# Python and clocks ------------------------------------------------------------------------------------------


def test_python_names_the_versions_that_a_report_of_trouble_needs(subject: Subject) -> None:
    found = machine.python(subject)
    assert found.verdict == "ok"
    for word in ("64-bit", "framespool ", "zarr ", "numpy "):
        assert word in found.seen


def test_32_bits_are_too_few_for_large_chunks(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    found = machine.python(subject)
    assert found.verdict == "warning"
    assert "32-bit" in found.seen


def test_a_clock_in_the_past_is_a_problem(tmp_path: Path) -> None:
    dead_battery = Subject(root=tmp_path, endpoint=HERE, began_wall_s=0.0)
    found = machine.clock(dead_battery)
    assert found.verdict == "problem"
    assert "1970-01-01" in found.seen
    assert "NTP" in (found.advice or "")
    assert machine.clock(at(tmp_path)).verdict == "ok"


# The folder -------------------------------------------------------------------------------------------------


def test_a_private_folder_is_well(subject: Subject) -> None:
    found = folder.folder(subject)
    assert found.verdict == "ok", found
    assert "0700" in found.seen


def test_a_folder_that_can_be_made_is_well_and_is_not_made(tmp_path: Path) -> None:
    found = folder.folder(at(tmp_path / "not" / "yet"))
    assert found.verdict == "ok"
    assert "can be made" in found.seen
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_others_can_read_is_told_with_the_command(subject: Subject) -> None:
    subject.root.chmod(0o755)
    found = folder.folder(subject)
    assert found.verdict == "warning"
    assert "0755" in found.seen
    assert f"chmod 700 '{subject.root}'" in (found.advice or "")


def test_a_folder_of_another_user_is_told(subject: Subject) -> None:
    os.chown(subject.root, 12345, -1)
    found = folder.folder(subject)
    assert found.verdict == "warning"
    assert "12345" in found.seen


def test_a_folder_that_cannot_be_made_is_a_problem() -> None:
    found = folder.folder(at(Path("/proc/spool")))
    assert found.verdict == "problem"
    assert "cannot be made" in found.seen
    assert "--spool" in (found.advice or "")


def test_a_file_in_the_place_of_the_folder_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert folder.folder(at(tmp_path / "file")).verdict == "problem"
    assert folder.folder(at(tmp_path / "file" / "spool")).verdict == "problem"


def test_a_read_only_disk_is_a_problem_that_names_its_usual_reason(read_only_disk: Path) -> None:
    found = folder.folder(at(read_only_disk))
    assert found.verdict == "problem"
    assert "after an error of the disk" in (found.advice or "")


def test_what_a_killed_doctor_leaves_is_swept_by_the_next_opening(subject: Subject) -> None:
    script = (
        "import os, sys; from pathlib import Path; from uploader.doctor.folder import probe\n"
        "with probe(Path(sys.argv[1])) as path:\n"
        "    (path / 'half').touch(); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script, subject.root], check=False)
    assert len(list((subject.root / "incoming").glob("doctor-*"))) == 2
    with Spool(subject.root, limits=NO_LIMITS):
        pass


def test_a_spool_that_is_opened_meanwhile_leaves_the_trial_alone(subject: Subject) -> None:
    with folder.probe(subject.root) as path:
        (path / "half").touch()
        with Spool(subject.root, limits=NO_LIMITS):
            pass
        assert (path / "half").exists()


# Room -------------------------------------------------------------------------------------------------------


def test_room_is_told_in_bytes_and_files(subject: Subject) -> None:
    found = disk.space(subject)
    assert found.verdict == "ok", found
    assert found.numbers["free_bytes"] == pytest.approx(Disk().free_bytes(subject.root), rel=0.1)


@pytest.mark.parametrize(("share", "verdict"), [(2.0, "problem"), (0.5, "warning"), (0.01, "ok")])
def test_room_is_judged_by_what_must_stay_free(tmp_path: Path, share: float, verdict: str) -> None:
    least = int(Disk().free_bytes(tmp_path) * share)
    assert disk.space(at(tmp_path, min_free_bytes=least)).verdict == verdict


def test_a_small_disk_holds_no_recording(small_disk: Path) -> None:
    found = disk.space(Subject(root=small_disk / "spool", endpoint=HERE))
    assert found.verdict == "problem"
    assert "0.00839 GB free" in found.seen


def test_a_disk_without_room_for_files_is_a_problem_however_many_bytes_are_free(disk_of_few_files: Path) -> None:
    found = disk.space(at(disk_of_few_files))
    assert found.verdict == "problem"
    assert "more files can be made" in found.seen


def test_a_chunk_that_does_not_fit_is_told_in_the_spools_own_words(small_disk: Path) -> None:
    found = Examination(at(small_disk)).look(Check(name="speed", look=disk.speed))
    assert found.verdict == "problem"
    assert "no room" in found.seen or "full" in found.seen
    assert list(small_disk.iterdir()) == []


def test_speed_is_that_of_real_pushes(subject: Subject) -> None:
    found = disk.speed(subject)
    bytes_per_s = found.numbers["bytes_per_s"]
    assert isinstance(bytes_per_s, int)
    assert bytes_per_s > 1e6
    assert "cameras" in found.seen


def test_a_disk_that_a_camera_outruns_is_told() -> None:
    assert disk.judged(push_s=0.1).verdict == "ok"
    slow = disk.judged(push_s=2.0)
    assert slow.verdict == "warning"
    assert slow.numbers["cameras"] == pytest.approx(0.27)


# Durability -------------------------------------------------------------------------------------------------


def test_a_disk_that_answers_in_a_disks_time_is_well() -> None:
    assert durability.judged("so", fsync_s=0.004, whole_s=0.009).verdict == "ok"


def test_memory_that_is_taken_for_a_disk_is_told() -> None:
    found = durability.durability(at(Path("/dev/shm/framespool-none")))
    assert found.verdict == "warning"
    assert "faster than a disk can" in found.seen
    assert "tmpfs" in (found.advice or "")


def test_a_disk_that_takes_its_time_is_told(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    class SlowDisk(Disk):
        def sync_dir(self, path: Path, *, label: str) -> None:
            time.sleep(0.02)
            super().sync_dir(path, label=label)

    monkeypatch.setattr(durability, "Disk", SlowDisk)
    monkeypatch.setattr(durability, "SLOW_S", 0.01)
    found = durability.durability(subject)
    assert found.verdict == "warning", found
    assert "that is slow" in found.seen


def test_files_are_replaced_under_a_reader(subject: Subject) -> None:
    assert durability.renames(subject).verdict == "ok"


def test_a_file_system_that_shows_a_reader_the_new_bytes_is_a_problem(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InPlace(Disk):
        def write_derived(self, path: Path, content: bytes, *, label: str, via: Path | None = None) -> None:  # noqa: ARG002
            path.write_bytes(content)

    monkeypatch.setattr(durability, "Disk", InPlace)
    assert durability.renames(subject).verdict == "problem"


def test_locks_are_kept_from_another_process(subject: Subject) -> None:
    assert durability.locks(subject).verdict == "ok"


def test_locks_that_hold_nobody_off_are_a_problem(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deaf(ProcessLock):
        def acquire(self, *, patience_s: float = 1.0) -> bool:  # noqa: ARG002
            return True

    monkeypatch.setattr(durability, "ProcessLock", Deaf)
    assert durability.locks(subject).verdict == "problem"


def test_a_python_that_cannot_be_started_is_told(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(subject.root / "no-python"))
    found = durability.locks(subject)
    assert found.verdict == "warning"
    assert "no-python" in found.seen


# SQLite and the spool ---------------------------------------------------------------------------------------


def test_sqlite_is_tried_with_the_commits_of_a_real_spool(subject: Subject) -> None:
    found = index.sqlite(subject)
    assert found.verdict == "ok", found
    assert sqlite3.sqlite_version in found.seen
    assert found.numbers["commit_s"]


def test_a_sqlite_without_strict_tables_is_a_problem(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 0))
    found = index.sqlite(subject)
    assert found.verdict == "problem"
    assert "needs 3.37.0" in found.seen


def test_an_index_is_whole_or_its_damage_is_told(bench: Bench) -> None:
    bench.open_stream(3)
    bench.spool.close()
    assert index.index(at(bench.root)).verdict == "ok"
    path = bench.root / "index.sqlite3"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + bytes(8192) + whole[16384:])
    found = Examination(at(bench.root)).look(Check(name="index", look=index.index))
    assert found.verdict == "problem"
    assert "--repair" in (found.advice or "")
    path.write_bytes(whole)


def test_an_index_that_takes_too_long_is_left_to_verify(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.open_stream(3)
    monkeypatch.setattr(index, "QUICK_CHECK_S", 0.0)
    monkeypatch.setattr(index, "_STEPS", 1)
    found = index.index(at(bench.root))
    assert found.verdict == "not checked"
    assert "framespool verify" in found.seen


def test_a_spool_that_nobody_drains_points_to_status(bench: Bench) -> None:
    bench.open_stream(3)
    bench.spool.close()
    found = state.spool(at(bench.root))
    assert found.verdict == "warning"
    assert "chunks waiting: 3; no worker delivers" in found.seen
    assert "'framespool status'" in (found.advice or "")


def test_a_spool_at_work_is_well(bench: Bench) -> None:
    data_id = bench.open_stream(3)
    assert state.spool(at(bench.root)).verdict == "ok", "the producer lives, and starts a worker by itself"
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 3)
        assert state.spool(at(bench.root)).verdict == "ok"
    bench.spool.hold(data_id, "ended on the monitoring page", who="a test")
    assert "streams held: 1" in state.spool(at(bench.root)).seen


def test_where_there_is_no_spool_nothing_is_said_of_it(tmp_path: Path) -> None:
    for look in (state.spool, index.index):
        assert look(at(tmp_path / "none")).verdict == "not checked"
    assert list(tmp_path.iterdir()) == []


# The key ----------------------------------------------------------------------------------------------------


def test_the_variable_that_counts_is_named_and_the_key_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOMSCALE_API_KEY", "older-secret")
    assert keys.key(at(Path())).seen == "from ATOMSCALE_API_KEY"
    monkeypatch.setenv("AS_API_KEY", "older-secret")
    twice = keys.key(at(Path()))
    assert (twice.verdict, twice.seen) == ("ok", "from AS_API_KEY"), "the same key twice is no contradiction"
    monkeypatch.setenv("AS_API_KEY", "newer-secret")
    found = keys.key(at(Path()))
    assert found.verdict == "warning"
    assert found.seen.startswith("from AS_API_KEY")
    assert "secret" not in repr(found)


@pytest.mark.parametrize(("held", "says"), [(None, "no API key"), ("ke\ny\x07", "cannot be sent")])
def test_a_key_that_cannot_be_used_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, held: str | None, says: str
) -> None:
    if held is not None:
        monkeypatch.setenv("AS_API_KEY", held)
    found = Examination(at(Path())).look(Check(name="key", look=keys.key))
    assert found.verdict == "problem"
    assert says in found.seen


# One round of checks ----------------------------------------------------------------------------------------


def refuses(_subject: Subject) -> Finding:
    return problem("broken", "mend it")


def is_well(_subject: Subject) -> Finding:
    return ok("well")


def test_what_rests_on_a_failed_check_names_the_one_at_the_root(tmp_path: Path) -> None:
    examination = Examination(at(tmp_path))
    first, second, third, other = (
        Check(name="first", look=refuses),
        Check(name="second", look=is_well, needs=("first",)),
        Check(name="third", look=is_well, needs=("other", "second")),
        Check(name="other", look=is_well),
    )
    found = [examination.look(one) for one in (first, second, other, third)]
    assert [one.verdict for one in found] == ["problem", "not checked", "ok", "not checked"]
    assert found[1].seen == found[3].seen == "first failed"


def test_every_check_comes_after_those_that_it_needs() -> None:
    names = [check.name for check in CHECKS]
    assert len(set(names)) == len(names)
    for number, check in enumerate(CHECKS):
        assert set(check.needs) <= set(names[:number])


def test_what_does_not_end_is_a_problem_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uploader.doctor.findings.DISK_LIMIT_S", 0.05)
    read, write = os.pipe()

    def hangs(_subject: Subject) -> Finding:
        os.read(read, 1)
        return ok("late")

    examination = Examination(at(tmp_path))
    found = examination.look(Check(name="hangs", look=hangs))
    os.close(write)
    assert found.verdict == "problem"
    assert "no end after 0.05 s" in found.seen
    assert examination.look(Check(name="next", look=is_well)).verdict is Verdict.OK


def test_what_the_system_refuses_is_a_problem_and_a_bug_is_no_finding(tmp_path: Path) -> None:
    def is_refused(_subject: Subject) -> Finding:
        raise PermissionError(13, "Permission denied")

    def has_a_bug(_subject: Subject) -> Finding:
        raise KeyError("bug")

    found = Examination(at(tmp_path)).look(Check(name="one", look=is_refused))
    assert found.verdict == "problem"
    assert "Permission denied" in found.seen
    with pytest.raises(KeyError, match="bug"):
        Examination(at(tmp_path)).look(Check(name="two", look=has_a_bug))
