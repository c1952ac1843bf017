"""Where a spool lies, how much room it has and how long that lasts: as people read it."""

import re
from collections.abc import Iterator

import pytest

from spool import Limits, Spool, filesystems
from spool.filesystems import FileSystem, Kind
from spool.testing import FakeClock, some_frames
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, record

SHARE = FileSystem(type_name="cifs", mount_point="/mnt/nas", kind=Kind.NETWORK)


def test_a_worker_begins_no_spool_on_a_share_unless_the_environment_takes_the_risk(
    reader: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "file_system_of", lambda _: SHARE)
    said = reader.run("worker", "--once")
    assert said.code == 1
    assert "/mnt/nas (cifs) is a network share" in said.err
    assert "FRAMESPOOL_UNSAFE_FILE_SYSTEM=1" in said.err
    assert not reader.spool.exists()
    reader.environment["FRAMESPOOL_UNSAFE_FILE_SYSTEM"] = "1"
    assert reader.run("worker", "--once").code == 0
    assert (reader.spool / "index.sqlite3").exists()


def room(reader: Shell) -> str:
    (line,) = [line for line in reader.run("status").out.splitlines() if line.startswith("Room ")]
    return line.removeprefix("Room").strip()


@pytest.fixture
def limited(reader: Shell, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spool]:
    """Ten minutes long, a chunk every two seconds; its readers have the same clock."""
    clock = FakeClock()
    monkeypatch.setattr("spool.spool.HostClock", lambda: clock)
    with Spool(reader.spool, limits=Limits(min_free_bytes=0, max_bytes=2_000_000)) as spool:
        stream = record(spool)
        for idx in range(10):
            spool.push(stream.stream_id, idx, some_frames(4, 64, 64, seed=idx))
            clock.advance_s(2)
        yield spool


def test_status_tells_the_room_and_how_long_it_lasts(reader: Shell, limited: Spool) -> None:
    # 12.3 kB every two seconds, one of ten before the time began: about 5.55 kB/s of 1.88 MB.
    assert re.fullmatch(r"1\.88 MB, full in 5 min (3[3-9]|4[0-3]) s at 5\.[56]\d? kB/s in", room(reader))
    acknowledge(limited, limited.streams()[0], *range(5))
    assert room(reader).startswith("1.94 MB, full in ")


def test_the_forecast_as_json(reader: Shell, limited: Spool) -> None:
    used = limited.status().used_bytes
    found = reader.status()["forecast"]
    assert list(found) == ["rate_in_bytes_per_s", "rate_out_bytes_per_s", "room_bytes", "full_in_s"]
    assert found["rate_in_bytes_per_s"] == pytest.approx(used * 0.9 / 20, rel=0.01)
    assert (found["rate_out_bytes_per_s"], found["room_bytes"]) == (0, 2_000_000 - used)
    assert found["full_in_s"] == pytest.approx(found["room_bytes"] / found["rate_in_bytes_per_s"], rel=0.01)
    assert reader.status()["max_bytes"] == 2_000_000
    limited.seal("data-1")
    found = reader.status()["forecast"]
    assert (found["rate_in_bytes_per_s"], found["full_in_s"]) == (0, None)
    assert room(reader) == "1.88 MB; nothing is coming in"


@pytest.mark.parametrize(
    ("spare", "text"),
    [(0, "none left: chunks are refused until something is delivered"), (3, "3 B; almost full")],
)
def test_a_spool_without_room_says_so(reader: Shell, spare: int, text: str) -> None:
    with Spool(reader.spool, limits=Limits(min_free_bytes=0)) as spool:
        record(spool, 0)
        used = spool.status().used_bytes
    with Spool(reader.spool, limits=Limits(min_free_bytes=0, max_bytes=used + spare)) as spool:
        record(spool, data_id="data-2")
    assert room(reader) == text
    told = reader.status()
    assert told["needs_person"]
    assert "the spool is " + ("almost full" if spare else "full: chunks are refused") in [
        one["words"] for one in told["concerns"]
    ]


def test_what_gets_out_as_fast_as_it_comes_in_does_not_fill(reader: Shell, limited: Spool) -> None:
    stream, clock = limited.streams()[0], limited._folder.clock
    assert isinstance(clock, FakeClock)
    for idx in range(10):
        acknowledge(limited, stream, idx)
        clock.advance_s(1)
    assert "MB, not filling: " in room(reader)
    assert room(reader).endswith("/s out")
