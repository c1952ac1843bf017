"""The power is cut after every operation of a real run on a real mount; see `tools.powerloss`.

The long version is ``python tools/powerloss/run.py --exhaustive --random 4000 --again 24``.
"""

import json
import re
from functools import cache
from pathlib import Path

import pytest

import spool
from tools.powerloss import campaign, nested
from tools.powerloss.campaign import Figures
from tools.powerloss.images import APART, SYSTEMATIC, THREE_APART, WITHOUT_INDEX, image_of
from tools.powerloss.judge import judge
from tools.powerloss.owed import owed_after
from tools.powerloss.record import FuseUnavailable, record
from tools.powerloss.steps import WORKLOADS
from tools.powerloss.volume import Op, Volume
from uploader.destinations.stores import folder

SEED = 20260101

# Files that a cut may leave and that no opening removes. They take room and lose nothing; no other kind may join.
LITTER: set[str] = set()
"""What openings may leave behind for good: nothing."""

BITES = {
    "shard.fsync": ("crash", SYSTEMATIC),
    "shard.fsync_dir": ("crash", SYSTEMATIC),
    "stream.fsync_dir": ("crash", SYSTEMATIC),
    "folder.fsync_dir": ("crash", SYSTEMATIC),
    "stream_json.fsync": ("crash", WITHOUT_INDEX),
    "stream_json.fsync_dir": ("crash", WITHOUT_INDEX),
    "reserve.fsync": ("crash", SYSTEMATIC),
    "recover_chunk.fsync_dir": ("crash", SYSTEMATIC),
    "sqlite=OFF": ("crash", SYSTEMATIC),
    "copy.fsync_dir": ("copies", SYSTEMATIC),
    # What a folder acknowledges: on the spool's disk, or on one of its own that alone loses its power.
    "object.fsync": ("folder", ("spool all, share none", "spool all, share names")),
    "object.fsync_dir": ("folder", ("spool all, share none",)),
    "destination.fsync_dir": ("folder", ("spool all, share none",)),
    "mark.fsync": ("folder", SYSTEMATIC),
    "mark.fsync_dir": ("folder", SYSTEMATIC),
    # The note of a place, and the further folder of two, whose names come by the same step as any object's.
    "object.fsync_dir@.framespool-places": ("folder_places", ("none",)),
    "object.fsync_dir@other": ("folders", ("spool all, other none",)),
}
"""The durable steps without which a promise is broken: seen in which workload, in which images."""

BITES_WITH_ANOTHER_SQLITE = ("index.fsync_dir", "reserve.fsync_dir")
"""SQLite fsyncs the same directory with every commit, unless it was built with SQLITE_DISABLE_DIRSYNC.

Which SQLite is there is not ours to choose, so both stay: without either of them something is lost there.
"""

LOSES_NOTHING = {
    "recover_aside.fsync_dir": "a file that has its old name again is set aside again, at the next opening",
    "ledger_file.fsync": "the ledger's copy is no promise: it shortens what is told again when the index is lost",
    "ledger_file.fsync_dir": "the same; it comes with `Disk.rename`, by which a strange copy is set aside",
}
"""The durable steps that no promise rests on, and why they stay. What the harness shows of each: no loss."""

OUTSIDE_THE_WORKLOADS = {
    "push_aside.fsync_dir": "what is set aside was never accepted: its push never returned",
    "push_undo.fsync_dir": "the same: it gets its old name again, and the next opening takes it up if it can",
    "repair.fsync_dir": "what is set aside is told again by what stays; with its old name it is named again",
    "pack.fsync": "the spool keeps what it packs, until its receipts come home",
    "pack.fsync_dir": "the same",
    "take_in.fsync": "the pack stays as it is: unpacked again, it brings in what is missing",
    "take_in.fsync_dir": "the same",
}
"""Steps that only follow upon damage or a person's moving, and that no accepted chunk rests on alone."""

CANNOT_BE_CUT_HERE = {
    "F_FULLFSYNC": "macOS only: there a plain fsync leaves the bytes in the drive's own memory",
    "fullfsync = ON": "the same, in SQLite",
    "MOVEFILE_WRITE_THROUGH": "Windows only: there no directory can be fsynced",
}
"""What stands in `spool` for other systems than the one that is cut."""


@pytest.fixture(scope="module")
def ops() -> list[Op]:
    return _recorded("life")


@cache
def _recorded(workload: str, *, without: str = "") -> list[Op]:
    try:
        return campaign.merged(record(workload, without=without))
    except FuseUnavailable as error:
        pytest.fail(f"the power-loss harness needs root, /dev/fuse, Debian's fuse3 and mfusepy: {error}")


def _assert_nothing_is_lost(figures: Figures) -> None:
    assert figures.losses == [], "\n".join(map(str, figures.losses))
    assert set(figures.litter) <= LITTER


def _losses(ops: list[Op], images: tuple[str, ...], where: set[int]) -> Figures:
    cuts = campaign.cuts(ops, seed=SEED, systematic=images, where=where)
    return campaign.run(cuts, operations=len(ops), losses_max=1)


def test_the_recording_holds_the_whole_run(ops: list[Op]) -> None:
    assert sum(op.kind == "note" for op in ops) == 2 * len(WORKLOADS["life"])
    assert {op.kind for op in ops} >= {"create", "mkdir", "remove", "rename", "write", "fsync", "fsync_dir"}
    assert len(ops) > 800


def test_no_cut_loses_anything_when_all_or_nothing_of_the_unsynced_survives(ops: list[Op]) -> None:
    where = {*range(SEED % 11, len(ops) + 1, 11), len(ops)}
    figures = campaign.run(
        campaign.cuts(ops, seed=SEED, systematic=("none", "all"), where=where), operations=len(ops)
    )
    _assert_nothing_is_lost(figures)
    assert figures.cuts == len(where)


RANDOM_IMAGES = {**dict.fromkeys(WORKLOADS, 30), "life": 60, "copies": 20, "folders": 10, "folder_places": 10}
"""How many for each workload; where two folders are to be judged, each takes its time."""


@pytest.mark.parametrize(("workload", "images"), RANDOM_IMAGES.items())
def test_no_cut_loses_anything_when_a_random_part_of_the_unsynced_survives(workload: str, images: int) -> None:
    ops = _recorded(workload)
    cuts = campaign.cuts(ops, seed=SEED, systematic=(), random_images=images)
    _assert_nothing_is_lost(campaign.run(cuts, operations=len(ops)))


def test_a_folder_keeps_what_it_acknowledged_when_only_its_disk_or_only_the_spools_loses_power() -> None:
    """A NAS reboots while the PC runs on, or the other way round."""
    ops = _recorded("folder")
    where = {*range(SEED % 97, len(ops) + 1, 97), len(ops)}
    figures = campaign.run(campaign.cuts(ops, seed=SEED, systematic=APART, where=where), operations=len(ops))
    _assert_nothing_is_lost(figures)
    assert figures.cuts == len(where)


def test_two_folders_keep_what_they_acknowledged_when_one_disk_alone_loses_power() -> None:
    ops = _recorded("folders")
    where = set(sorted(campaign.after_returns(ops))[5::4])
    alone = ("spool none, share all", "spool all, share none", "spool all, other none")
    figures = campaign.run(campaign.cuts(ops, seed=SEED, systematic=alone, where=where), operations=len(ops))
    _assert_nothing_is_lost(figures)
    assert set(alone) < set(THREE_APART)
    assert figures.cuts == len(where) > 3


def test_a_second_cut_while_the_next_worker_delivers_loses_nothing() -> None:
    ops = _recorded("folder")
    _assert_nothing_is_lost(
        nested.again(ops, first=f"{SEED}:{len(ops) // 2}:none", random_images=12, systematic=())
    )


def test_workers_of_the_workloads_die_before_an_object_a_document_and_the_proof_are_durable() -> None:
    assert [word.partition("@")[2] for word in _died("folder") + _died("folder_again")] == [
        "destination.fsync_dir:1",
        "object.fsync_dir:1",
        "object.rename:3",
        "object.fsync_dir:5",
        "destination.fsync_dir",
    ]


def test_producers_and_workers_of_several_destinations_die_before_what_counts_there() -> None:
    assert _died("copies") == [word for word in WORKLOADS["copies"] if word.startswith("die")]
    assert {word.partition("@")[0] for word in _died("folders")} == {"deliver.f", "deliver.f+"}
    # The note is the first object of its stream: before it has its name, and before that is durable.
    assert _died("folder_places")[:2] == ["deliver.g@object.rename", "elsewhere.g@object.fsync_dir"]


def _died(workload: str) -> list[str]:
    notes = (json.loads(op.data) for op in _recorded(workload) if op.kind == "note" and b"raised" in op.data)
    return [note["raised"] for note in notes]


def test_the_faults_of_the_workload_happen() -> None:
    ops = _recorded("fault")
    assert {b"raised" in op.data for op in ops if op.kind == "note"} == {True, False}
    assert any(op.kind == "fsync_failed" for op in ops)


def test_a_second_cut_while_the_first_is_repaired_loses_nothing(ops: list[Op]) -> None:
    first = nested.first_cut(ops, str(SEED))
    _assert_nothing_is_lost(nested.again(ops, first=first, random_images=20, systematic=("none", "all")))


@pytest.mark.parametrize("crash_at", [60, 1500, 2000])
def test_a_program_killed_on_the_mount_leaves_what_the_replay_says(crash_at: int) -> None:
    ops = record("life", crash_at=crash_at)
    assert len(ops) == crash_at, "the program was killed at its operation"
    volume = Volume()
    for op in ops:
        volume.apply(op)
    for choice in SYSTEMATIC:
        assert judge(image_of(volume, choice, ""), owed_after(ops)).lost is None


# Every single durable step -----------------------------------------------------------------------------------


def test_every_durable_step_of_the_spool_and_of_a_folder_is_accounted_for() -> None:
    found, other = set(), set()
    for path in (*Path(spool.__file__).parent.glob("*.py"), Path(folder.__file__)):
        text = path.read_text("utf-8")
        for call, label in re.findall(
            r'(write_new|rename|make_dir|sync_dir|sync_file)\([^"]*?label="(\w+)"', text
        ):
            found |= {f"{label}.fsync"} if call in ("write_new", "sync_file") else {f"{label}.fsync_dir"}
        # Whatever else makes anything durable must be known here too.
        durable = (
            r"os\.fsync|os\.fdatasync|os\.sync|F_FULLFSYNC|fullfsync = ON|MOVEFILE_WRITE_THROUGH|synchronous = \w+"
        )
        other |= set(re.findall(durable, text))
    known = {*BITES, *BITES_WITH_ANOTHER_SQLITE, *LOSES_NOTHING, *OUTSIDE_THE_WORKLOADS}
    assert found == {step.partition("@")[0] for step in known - {"sqlite=OFF"}}
    assert other == {*CANNOT_BE_CUT_HERE, "os.fsync", "synchronous = EXTRA"}


@pytest.mark.parametrize("step", BITES)
def test_leaving_out_one_durable_step_is_found(step: str) -> None:
    workload, images = BITES[step]
    ops = _recorded(workload, without=step)
    figures = _losses(ops, images, campaign.after_returns(ops) | campaign.before_journal_syncs(ops))
    assert figures.losses, f"nothing was lost although {step} was left out"


@pytest.mark.parametrize("step", ["", *BITES_WITH_ANOTHER_SQLITE])
def test_leaving_out_what_this_sqlite_would_make_good_is_found_with_another(step: str) -> None:
    ops = campaign.without_sqlite_dirsync(_recorded("crash", without=step))
    figures = _losses(ops, ("none",), campaign.after_returns(ops))
    assert bool(figures.losses) == bool(step), figures.losses


@pytest.mark.parametrize("step", [*BITES_WITH_ANOTHER_SQLITE, *LOSES_NOTHING])
def test_leaving_out_what_no_promise_rests_on_loses_nothing(step: str) -> None:
    ops = _recorded("crash", without=step)
    assert _losses(ops, ("none", "all"), campaign.after_returns(ops)).losses == []


def test_a_journal_that_is_synced_once_only_can_be_torn_unnoticed() -> None:
    """``synchronous = NORMAL`` can destroy the index; what the spool asks for cannot."""
    for synchronous, is_lost in (("sqlite=NORMAL", True), ("", False)):
        ops = _recorded("crash", without=synchronous)
        torn = _losses(ops, ("unnoticed-0", "unnoticed-1"), campaign.before_journal_syncs(ops))
        assert bool(torn.losses) == is_lost, torn.losses


def test_full_does_the_same_as_extra_while_the_journal_is_kept() -> None:
    """EXTRA adds the directory's fsync after a journal was deleted, and PERSIST deletes none. It costs nothing."""
    full, extra = (_recorded("crash", without=synchronous) for synchronous in ("sqlite=FULL", ""))
    assert [op.kind for op in full] == [op.kind for op in extra]


def test_everything_is_found_again_when_the_cut_takes_the_index_too(ops: list[Op]) -> None:
    """A sealed stream stays sealed although the ledger's copy lags behind (found with ``--workload life``)."""
    assert _without_index(ops).losses == []


def test_what_one_destination_has_and_another_waits_for_is_found_again_without_the_index() -> None:
    """Where its ledger's copy is gone too, only the other one's files tell of it (``names, no index``)."""
    assert _without_index(_recorded("copies"), ("names, no index",)).losses == []


def _without_index(ops: list[Op], images: tuple[str, ...] = WITHOUT_INDEX) -> Figures:
    where = set(sorted(campaign.after_returns(ops))[1::2])
    cuts = campaign.cuts(ops, seed=SEED, systematic=images, where=where)
    return campaign.run(cuts, operations=len(ops))
