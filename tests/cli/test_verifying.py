"""verify: whether the spool itself is sound."""

from pathlib import Path

from spool import Spool
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, record


def shard(spool: Spool, stream_id: str, idx: int) -> Path:
    return spool.zarr_path(stream_id) / "frames" / f"c.{idx}.0.0"


def test_a_sound_spool_says_what_was_read_and_its_ledger_head(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1)
    acknowledge(spool, stream, 0)
    said = reader.run("verify")
    assert said.code == 0, said
    assert said.out.startswith("Sound: 1 stream, 2 chunks, 2 shards of ")
    head = list(spool.events())[-1].digest.hex()
    assert f"Ledger head {head}" in said.out
    as_json = reader.run("verify", "--json").json()
    assert (as_json["sound"], as_json["problems"], as_json["ledger_head"]) == (True, [], head)


def test_what_is_wrong_is_named_with_what_can_be_done(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1)
    path = shard(spool, stream.stream_id, 1)
    path.with_name("zarr.json").unlink()
    path.write_bytes(path.read_bytes()[:-1])
    said = reader.run("verify")
    assert said.code == 1
    assert f"damaged     streams/{stream.stream_id}/frames.zarr/frames/c.1.0.0: it has " in said.out
    assert "--repair: it is written again" in said.out
    assert "NOT SOUND: 2 problems" in said.out
    problems = reader.run("verify", "--json").json()["problems"]
    assert [(one["kind"], one["chunk_idx"]) for one in problems] == [("derived", None), ("damaged", 1)]
    assert not path.with_name("zarr.json").exists(), "without --repair nothing is touched"


def test_repair_says_what_was_and_what_was_done(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1)
    shard(spool, stream.stream_id, 1).with_name("zarr.json").unlink()
    spool.close()
    said = reader.run("verify", "--repair")
    assert said.code == 0, said
    assert "was   streams/" in said.out
    assert "done  streams/" in said.out
    assert "Sound: 1 stream" in said.out
    assert reader.run("verify", "--repair").out.startswith("Sound: ")


def test_an_index_that_is_lost_comes_back(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1)
    acknowledge(spool, stream, 0)
    spool.close()
    before = reader.run("audit", "data-1", "--json").json()
    (spool.root / "index.sqlite3").write_bytes(b"\0" * 5000)
    said = reader.run("verify", "--repair")
    assert said.code == 0, said
    assert "the index is set aside as index.sqlite3." in said.out
    assert reader.run("audit", "data-1", "--json").json() == before


def test_no_spool_is_an_error(reader: Shell, tmp_path: Path) -> None:
    said = reader.run("verify", "--spool", str(tmp_path / "none"))
    assert said.code == 1
    assert "there is no spool" in said.err
