"""streams, status and audit: what they print and how they exit, on spools without any server."""

import csv
import io
import json
from pathlib import Path

import pytest

from spool import Limits, Receipt, Spool, Stream
from spool.testing import FakeClock, some_frames, some_settings
from tests.cli.shell import Said, Shell

RECEIPT = Receipt(status=200, etag="0123456789abcdef", confirmed=True, at_ms=7)
UNCONFIRMED = Receipt(status=200, etag='odd,"one"', confirmed=False, at_ms=7)
CHUNK_KEYS = [
    "chunk_idx", "state", "n", "height", "width", "bytes", "sha256", "capture_start_ms_utc", "spooled_at",
    "attempts", "acknowledged_at", "receipt", "mismatch", "parked_reason", "pruned_at", "capture",
    "attempt_history",
]  # fmt: skip


def record(spool: Spool, *idxs: int, name: str = "growth", data_id: str = "data-1") -> Stream:
    stream = spool.open_stream(some_settings(name=name), data_id=data_id)
    for idx in idxs:
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    return stream


def acknowledge(spool: Spool, stream: Stream, *idxs: int, receipt: Receipt = RECEIPT) -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(stream.stream_id, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.acknowledge(chunk, receipt)


def trouble(spool: Spool, stream: Stream, words: str) -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble(words, event="trouble_began", detail={"words": words})


def park(spool: Spool, stream: Stream, idx: int, why: str = "413: too big") -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    chunk = spool.chunk(stream.stream_id, idx)
    assert lease is not None
    assert chunk is not None
    lease.park(chunk, why)


def fits(said: Said) -> bool:
    # But for the folder's own name, which is as long as it is.
    return all(len(line) <= 80 or "/pytest-" in line for line in said.out.splitlines())


# What goes wrong in the same way everywhere -----------------------------------------------------------------


@pytest.mark.parametrize("command", ["streams", "status", "audit x", "finalize x", "retry x", "prune"])
def test_a_missing_spool_is_said_and_not_made(reader: Shell, command: str) -> None:
    said = reader.run(*command.split())
    assert said.code == 1
    assert "there is no spool in" in said.err
    assert not reader.spool.exists()


@pytest.mark.parametrize("command", ["status x", "audit x", "finalize x", "retry x", "discard x 0 --why w --yes"])
def test_an_unknown_stream_is_said(reader: Shell, spool: Spool, command: str) -> None:
    record(spool, 0)
    said = reader.run(*command.split())
    assert (said.code, said.out) == (1, "")
    assert "this spool has no stream 'x'" in said.err
    assert "framespool streams" in said.err


def test_a_prefix_that_fits_two_streams_is_refused_and_a_longer_one_is_not(reader: Shell, spool: Spool) -> None:
    record(spool, 0, data_id="data-1")
    acknowledge(spool, record(spool, 0, data_id="data-2"), 0)
    said = reader.run("audit", "data")
    assert said.code == 1
    assert "fits 2 streams" in said.err
    assert reader.run("audit", "data-2").code == 0


@pytest.mark.parametrize(
    "command", ["audit", "audit x --json --csv", "discard x", "prune --older-than -1", "retry x one", "stream"]
)
def test_wrong_usage_exits_with_2(reader: Shell, spool: Spool, command: str) -> None:
    record(spool)
    said = reader.run(*command.split())
    assert said.code == 2
    assert "Usage:" in said.err


def test_a_damaged_index_is_said_without_a_traceback(reader: Shell) -> None:
    reader.spool.mkdir()
    (reader.spool / "index.sqlite3").write_bytes(b"this is not a database, " * 500)
    said = reader.run("status")
    assert said.code == 1
    assert said.err.startswith("framespool: ")


# streams ----------------------------------------------------------------------------------------------------


def test_streams_has_one_line_a_stream_and_their_trouble_below(reader: Shell, spool: Spool) -> None:
    first = record(spool, 0, 1, name="GaAs \x9b31m growth of a very long night")
    second = record(spool, 0, data_id="data-2")
    acknowledge(spool, first, 0)
    trouble(spool, second, "no connection to h: [Errno 111] (nobody listens at the address)")
    said = reader.run("streams")
    assert (said.code, fits(said)) == (0, True)
    head, one, two, why = said.out.splitlines()
    assert head.split() == ["STREAM", "NAME", "DATA_ID", "STATE", "ACK/WAIT/PARK"]
    assert one.split()[0] == first.stream_id
    assert one.endswith("open      1/1/0")
    assert two.startswith(second.stream_id)
    assert why.strip().startswith("no connection to h")


def test_streams_as_json(reader: Shell, spool: Spool, clock: FakeClock) -> None:
    stream = record(spool, 0, 1)
    acknowledge(spool, stream, 0)
    waiting = spool.stream("data-1").tally.waiting_bytes
    assert reader.run("streams", "--json").json() == {
        "streams": [
            {
                "stream_id": stream.stream_id,
                "data_id": "data-1",
                "name": "growth",
                "destination": "https://example.invalid",
                "state": "open",
                "producer": "live",
                "producer_seen_at_ms": None,
                "held": None,
                "trouble": None,
                "chunks_pushed": 2,
                "chunks_acknowledged": 1,
                "chunks_waiting": 1,
                "chunks_parked": 0,
                "chunks_discarded": 0,
                "waiting_bytes": waiting,
                "watermark": 0,
                "created_at_ms": clock.now_ms(),
                "sealed_at_ms": None,
                "finalized_at_ms": None,
            }
        ]
    }


def test_an_empty_spool_has_no_streams(reader: Shell, spool: Spool) -> None:
    assert spool.streams() == []
    said = reader.run("streams")
    assert (said.code, said.out) == (0, "This spool holds no streams yet.\n")


# status -----------------------------------------------------------------------------------------------------


def test_status_of_a_delivered_spool_is_good_news(reader: Shell, spool: Spool) -> None:
    acknowledge(spool, record(spool, 0), 0)
    said = reader.run("status")
    assert (said.code, fits(said)) == (0, True)
    assert "Backlog    empty: everything is delivered" in said.out
    assert said.out.endswith("All is well.\n")


def test_status_tells_the_backlog_in_chunks_bytes_and_time(reader: Shell, spool: Spool) -> None:
    record(spool, 0, 1)
    found = reader.status()
    assert found["backlog"] == {"chunks": 2, "bytes": spool.stream("data-1").tally.waiting_bytes, "minutes": 0.01}
    assert found["workers"] == [{"destination": "https://example.invalid", "running": False}]
    assert found["recording"] is True
    assert "about 0.8 s of recording" in reader.run("status").out


def test_while_a_worker_runs_status_says_so(reader: Shell, spool: Spool) -> None:
    record(spool, 0)
    lock = spool.worker_lock("https://example.invalid")
    assert lock.acquire()
    said = reader.run("status")
    lock.release()
    assert said.code == 0
    assert "running for https://example.invalid" in said.out
    assert "delivering" in said.out


def test_work_that_nobody_does_needs_a_person(reader: Shell, spool: Spool) -> None:
    record(spool, 0)
    spool.close()  # the producer has gone, and no worker runs
    said = reader.run("status")
    assert said.code == 1
    assert "nobody delivers to https://example.invalid" in said.out
    assert "framespool worker --endpoint https://example.invalid" in said.out


@pytest.mark.parametrize("what", ["parked", "held", "key"])
def test_what_needs_a_person_exits_with_1_and_says_what_to_do(reader: Shell, spool: Spool, what: str) -> None:
    stream = record(spool, 0)
    if what == "parked":
        park(spool, stream, 0)
    elif what == "held":
        lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
        assert lease is not None
        lease.hold("the server says the stream is success")
    else:
        trouble(spool, stream, "example.invalid answered 401 Unauthorized (the API key is not accepted)")
    said = reader.run("status")
    assert (said.code, fits(said)) == (1, True)
    assert {"parked": "1 chunk parked", "held": "held: the server", "key": "answered 401"}[what] in said.out
    assert {"parked": "framespool audit", "held": "framespool retry", "key": "AS_API_KEY"}[what] in said.out
    assert "1 thing needs a person." in said.out
    found = reader.run("status", stream.stream_id, "--json")
    assert found.code == 1
    assert found.json()["needs_person"] is True
    (concern,) = found.json()["concerns"]
    assert (concern["stream_id"], concern["needs_person"]) == (stream.stream_id, True)


def test_a_worker_that_pauses_for_a_key_is_not_taken_for_none(reader: Shell, tmp_path: Path) -> None:
    """It has let its lock go, so that another can take over, but not the stream."""
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0)) as spool:
        stream = record(spool, 0)
        trouble(spool, stream, "example.invalid answered 401 Unauthorized (the API key is not accepted)")
    said = reader.run("status")
    assert "1 thing needs a person." in said.out
    assert "framespool login --endpoint https://example.invalid" in said.out
    assert "running for https://example.invalid" in said.out
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0)) as spool:
        lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
        assert lease is not None
        lease.release()
    assert "nobody delivers" in reader.run("status").out


def test_an_outage_is_told_but_needs_nobody(reader: Shell, spool: Spool) -> None:
    trouble(spool, record(spool, 0), "no connection to h: [Errno 111] (nobody listens at the address)")
    said = reader.run("status")
    assert said.code == 0
    assert "no connection to h" in said.out
    assert "everything stays in the spool" in " ".join(said.out.split())


def test_the_json_of_status_has_exactly_these_names(reader: Shell, spool: Spool) -> None:
    record(spool, 0)
    assert list(reader.status()) == [
        "spool", "used_bytes", "free_bytes", "max_bytes", "min_free_bytes", "forecast", "recording", "workers",
        "backlog", "needs_person", "concerns", "streams",
    ]  # fmt: skip


# audit ------------------------------------------------------------------------------------------------------


def test_audit_shows_every_state_with_its_mark(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1, 2, 5, 6, name="night shift")
    acknowledge(spool, stream, 0)
    acknowledge(spool, stream, 1, receipt=UNCONFIRMED)
    park(spool, stream, 5)
    spool.discard(stream.stream_id, [6], why="dark")
    said = reader.run("audit", "night shift")
    assert (said.code, fits(said)) == (1, True)
    lines = said.out.splitlines()
    assert [line[0] for line in lines[1:6]] == ["=", "~", "+", "-", "!"]
    assert lines[4].split() == ["-", "3-4", "never", "pushed"]
    assert "because 413: too big" in lines[6]
    assert "[=~+--!x]" in lines
    assert "Watermark  1: everything up to this chunk is acknowledged" in lines
    assert "Gaps       2 chunks never pushed: 3-4" in lines
    assert "NOT COMPLETE: 1 waiting, 1 parked, 2 never pushed, 1 discarded." in lines


def test_audit_of_a_complete_stream_exits_with_0(reader: Shell, spool: Spool) -> None:
    acknowledge(spool, record(spool, 0, 1), 0, 1)
    for form in ((), ("--json",), ("--csv",), ("--attempts",), ("--all",)):
        assert reader.run("audit", "data-1", *form).code == 0
    said = reader.run("audit", "data-1")
    assert "COMPLETE: all 2 chunks acknowledged and confirmed by checksum; the stream is" in said.out


def test_audit_of_an_empty_stream_is_not_complete(reader: Shell, spool: Spool) -> None:
    record(spool)
    said = reader.run("audit", "data-1")
    assert said.code == 1
    assert "NOT COMPLETE: nothing has been recorded yet." in said.out


def test_audit_json_is_one_object_with_the_documented_names(reader: Shell, spool: Spool) -> None:
    acknowledge(spool, record(spool, 0, 2), 0)
    said = reader.run("audit", "data-1", "--json")
    assert said.code == 1
    found = said.json()
    assert {"stream_id", "data_id", "name", "state", "watermark", "complete", "chunks", "gaps"} <= set(found)
    assert (found["watermark"], found["complete"], found["gaps"]) == (0, False, [1])
    assert [list(chunk) for chunk in found["chunks"]] == [CHUNK_KEYS, CHUNK_KEYS]
    assert found["chunks"][0]["attempt_history"][0]["result"] == "acknowledged"


def test_audit_csv_has_one_row_a_chunk_and_quotes_what_needs_it(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0, 1, 2)
    acknowledge(spool, stream, 0, receipt=UNCONFIRMED)
    park(spool, stream, 1, 'a reason, with "quotes"\nand two lines, Ångström')
    rows = list(csv.DictReader(io.StringIO(reader.run("audit", "data-1", "--csv").out)))
    assert [row["chunk_idx"] for row in rows] == ["0", "1", "2"]
    assert rows[0]["receipt_etag"] == UNCONFIRMED.etag
    assert rows[1]["parked_reason"] == 'a reason, with "quotes"\nand two lines, Ångström'
    assert rows[2]["acknowledged_at"] == ""
    assert {row["stream_id"] for row in rows} == {stream.stream_id}


def test_a_cell_that_a_spreadsheet_would_run_is_text(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0)
    park(spool, stream, 0, '=HYPERLINK("http://elsewhere")')
    (row,) = csv.DictReader(io.StringIO(reader.run("audit", "data-1", "--csv").out))
    assert row["parked_reason"] == """'=HYPERLINK("http://elsewhere")"""


def test_audit_attempts_tells_each_one(reader: Shell, spool: Spool) -> None:
    stream = record(spool, 0)
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    chunk = spool.chunk(stream.stream_id, 0)
    assert lease is not None
    assert chunk is not None
    lease.attempt_started(chunk)
    lease.attempt_failed(chunk, {"words": "h answered 503\x1b[2J"})
    acknowledge(spool, stream, 0)
    text = " ".join(reader.run("audit", "data-1", "--attempts").out.split())
    assert "1. 22:13:20.000 failed after 0.0 s: h answered 503?[2J" in text
    assert "2. 22:13:20.000 acknowledged after 0.0 s: answered 200" in text


def test_a_long_stream_is_audited_whole_and_its_strip_fits_one_line(reader: Shell, spool: Spool) -> None:
    stream = record(spool, *range(300), 10**9)
    acknowledge(spool, stream, *range(300))
    said = reader.run("audit", "data-1")
    assert (said.code, fits(said)) == (1, True)
    assert sum(line.startswith("= ") and " 200 " in line for line in said.out.splitlines()) == 300
    (strip,) = [line for line in said.out.splitlines() if line.startswith("[")]
    assert strip.endswith("=--]")
    assert "999,999,700 chunks never pushed: 300-999999999" in said.out


def test_prune_says_what_it_deleted_and_changes_no_audit(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = record(spool, 0, 1, 2)
    acknowledge(spool, stream, 0, 1)
    before = spool.stream("data-1").tally
    assert json.loads(reader.run("prune", "--json", "--older-than", "1e11").out) == {
        "shards": 0,
        "bytes": 0,
        "dry_run": False,
    }
    assert reader.run("prune").out.startswith("Deleted 2 acknowledged shards, ")
    after = spool.stream("data-1").tally
    assert (after.acknowledged, after.spooled, after.waiting_bytes) == (2, 1, before.waiting_bytes)
    assert after.disk_bytes < before.disk_bytes
    assert tmp_path in reader.spool.parents
