"""retry and discard: what a person decides about chunks that were not delivered."""

import pytest

from spool import ChunkState, Spool
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, park, record


def state(spool: Spool, idx: int) -> ChunkState:
    chunk = spool.chunk("data-1", idx)
    assert chunk is not None
    return chunk.state


def test_retry_lets_all_parked_chunks_or_the_named_ones_wait_again(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1, 2)
    for idx in range(3):
        park(spool, stream, idx)
    assert reader.run("retry", "data-1", "1", "--json").json() == {
        "stream_id": stream.stream_id,
        "retried": [1],
        "released": False,
        "worker_running": False,
        "dry_run": False,
    }
    said = reader.run("retry", "data-1")
    assert said.code == 0
    assert said.out.startswith("2 chunks wait for delivery again: 0, 2.\n")
    assert "framespool worker --endpoint https://example.invalid" in said.out
    assert [state(spool, idx) for idx in range(3)] == [ChunkState.SPOOLED] * 3


def test_retry_lets_a_held_stream_go_on(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0)
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.hold("why")
    assert "not held any more" in reader.run("retry", "data-1").out
    assert spool.stream("data-1").held is None


def test_retry_of_nothing_says_so(reader: Shell, spool: Spool) -> None:
    record(spool, 0)
    said = reader.run("retry", "data-1")
    assert said.code == 0
    assert "there is nothing to retry" in said.out


def test_discard_without_a_terminal_needs_a_reason_and_yes(reader: Shell, spool: Spool) -> None:
    record(spool, 0)
    for given in ((), ("--yes",), ("--why", "dark")):
        said = reader.run("discard", "data-1", "0", *given)
        assert said.code == 2
        assert "needs both --why TEXT and --yes" in said.err
    assert reader.run("discard", "data-1", "0", "--yes", "--why", "  ").code == 2
    assert state(spool, 0) is ChunkState.SPOOLED


def test_discard_shows_what_goes_and_says_what_was_freed(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1)
    park(spool, stream, 1)
    said = reader.run("discard", "data-1", "1", "1", "0", "--yes", "--why", "the shutter was closed")
    assert said.code == 0
    assert f"Of growth ({stream.stream_id}) will be deleted:" in said.out
    assert "chunk 1: 4 frames" in said.out
    assert "in all 2 chunks, 8 frames" in said.out
    assert "Discarded 2 chunks" in said.out
    last = list(spool.events("data-1"))[-1]
    assert (last.event, last.detail["why"]) == ("discarded", "the shutter was closed")


def test_discard_as_json(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0)
    freed = spool.stream("data-1").tally.disk_bytes
    assert reader.run("discard", "data-1", "0", "--yes", "--why", "dark", "--json").json() == {
        "stream_id": stream.stream_id,
        "discarded": [0],
        "bytes": freed,
        "why": "dark",
        "dry_run": False,
    }


@pytest.mark.parametrize("command", ["retry data-1 1 {}", "discard data-1 1 {} --why w --yes"])
@pytest.mark.parametrize(("idx", "words"), [(0, "chunk 0 is acknowledged"), (7, "chunk 7 was never pushed")])
def test_a_chunk_in_the_wrong_state_stops_the_whole_command(
    reader: Shell, spool: Spool, command: str, idx: int, words: str
) -> None:
    stream = record(spool, 0, 1)
    acknowledge(spool, stream, 0)
    park(spool, stream, 1)
    said = reader.run(*command.format(idx).split())
    assert said.code == 1
    assert words in said.err
    assert state(spool, 1) is ChunkState.PARKED


def test_dry_runs_change_nothing(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1, 2)
    acknowledge(spool, stream, 0)
    park(spool, stream, 1)
    before = list(spool.events())
    assert reader.run("retry", "data-1", "--dry-run").out == "Would wait for delivery again: 1.\n"
    assert reader.run("retry", "data-1", "--dry-run", "--json").json()["retried"] == [1]
    assert "chunk 2: 4 frames" in reader.run("discard", "data-1", "2", "--dry-run").out
    assert reader.run("discard", "data-1", "2", "--dry-run", "--json").json()["discarded"] == [2]
    assert reader.run("prune", "--dry-run").out.startswith("Would delete 1 acknowledged shard, ")
    assert reader.run("prune", "--dry-run", "--json").json()["shards"] == 1
    assert list(spool.events()) == before
