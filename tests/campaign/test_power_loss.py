"""The power is cut after every operation of a real run on a real mount; see `tools.powerloss`.

The long version is ``python tools/powerloss/run.py --exhaustive --random 10000 --again 20``.
"""

import pytest

from tools.powerloss import campaign, run
from tools.powerloss.campaign import WITHOUT_INDEX, Figures
from tools.powerloss.judge import judge
from tools.powerloss.promises import STEPS, allowed
from tools.powerloss.record import FuseUnavailable, record
from tools.powerloss.volume import Op, Volume

SEED = 20260101

# Files that a cut may leave and that no opening removes. They take room and lose nothing; no other kind may join.
LITTER: set[str] = set()
"""What openings may leave behind for good: nothing."""


@pytest.fixture(scope="module")
def ops() -> list[Op]:
    return _recorded()


def _recorded(*, without: str = "") -> list[Op]:
    try:
        return campaign.merged(record("steps", without=without))
    except FuseUnavailable as error:
        pytest.fail(f"the power-loss harness needs root, /dev/fuse, Debian's fuse3 and mfusepy: {error}")


def _assert_nothing_is_lost(figures: Figures) -> None:
    assert figures.losses == [], "\n".join(map(str, figures.losses))
    assert set(figures.litter) <= LITTER


def test_the_recording_holds_the_whole_run(ops: list[Op]) -> None:
    assert sum(op.kind == "note" for op in ops) == 2 * len(STEPS)
    assert {op.kind for op in ops} >= {"create", "mkdir", "remove", "rename", "write", "fsync", "fsync_dir"}
    assert len(ops) > 800


def test_no_cut_loses_anything_when_all_or_nothing_of_the_unsynced_survives(ops: list[Op]) -> None:
    cuts = campaign.cuts(ops, seed=SEED, systematic=("none", "all"))
    figures = campaign.run(cuts, operations=len(ops))
    _assert_nothing_is_lost(figures)
    assert figures.cuts == len(ops) + 1


def test_no_cut_loses_anything_when_a_random_part_of_the_unsynced_survives(ops: list[Op]) -> None:
    cuts = campaign.cuts(ops, seed=SEED, systematic=(), random_images=300)
    _assert_nothing_is_lost(campaign.run(cuts, operations=len(ops)))


def test_a_second_cut_while_the_first_is_repaired_loses_nothing(ops: list[Op]) -> None:
    _assert_nothing_is_lost(run.again(ops, seed=f"{SEED}:0", random_images=20))


@pytest.mark.parametrize("crash_at", [60, 1500, 2500])
def test_a_program_killed_on_the_mount_leaves_what_the_replay_says(crash_at: int) -> None:
    ops = record("steps", crash_at=crash_at)
    assert len(ops) == crash_at, "the program was killed at its operation"
    volume = Volume()
    for op in ops:
        volume.apply(op)
    for choice in campaign.SYSTEMATIC:
        assert judge(campaign.image_of(volume, choice, ""), allowed(ops)).lost is None


@pytest.mark.parametrize(
    "step", ["shard.fsync", "shard.fsync_dir", "stream.fsync_dir", "folder.fsync_dir", "sqlite=OFF"]
)
def test_leaving_out_one_durable_step_is_found(step: str) -> None:
    ops = _recorded(without=step)
    figures = campaign.run(campaign.cuts(ops, seed=SEED), operations=len(ops), losses_max=1)
    assert figures.losses, f"nothing was lost although {step} was left out"


@pytest.mark.parametrize("step", ["stream_json.fsync", "stream_json.fsync_dir"])
def test_leaving_out_what_the_index_is_rebuilt_from_is_found(step: str) -> None:
    ops = _recorded(without=step)
    cuts = campaign.cuts(ops, seed=SEED, systematic=WITHOUT_INDEX)
    figures = campaign.run(cuts, operations=len(ops), losses_max=1)
    assert figures.losses, f"nothing was lost although {step} was left out"


def test_every_pushed_chunk_is_found_again_when_the_cut_takes_the_index_too(ops: list[Op]) -> None:
    cuts = campaign.cuts(ops, seed=SEED, systematic=WITHOUT_INDEX)
    _assert_nothing_is_lost(campaign.run(cuts, operations=len(ops)))
