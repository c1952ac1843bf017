"""The audit: what it says of chunks, attempts, gaps and outages, and when it calls a stream complete."""

import json

import pytest

import spool as package
from spool import Chunk, LeasedStream, Receipt, Spool, Stream, UnknownStream, audit
from spool.testing import START_MS, FakeClock, some_frames, some_settings

START = "2023-11-14T22:13:20.000Z"
RECEIPT = Receipt(
    status=200,
    etag="abc",
    confirmed=True,
    at_ms=START_MS + 1,
    server_date="today",
    request_ids={"x-amz-request-id": "r"},
    url_path="/b/0",
)


def push(spool: Spool, stream: Stream, *idxs: int) -> list[Chunk]:
    return [spool.push(stream.stream_id, idx, some_frames(seed=idx % 100), START_MS) for idx in idxs]


def leased(spool: Spool, stream: Stream) -> LeasedStream:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    return lease


def test_the_public_names_are_exported() -> None:
    assert {"AuditedChunk", "StreamAudit", "audit"} <= set(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


def test_an_audit_of_an_unknown_stream_is_refused(spool: Spool) -> None:
    with pytest.raises(UnknownStream):
        audit(spool, "nobody")


def test_a_chunk_that_the_server_has_otherwise_is_a_mismatch_until_it_is_right(
    spool: Spool, stream: Stream
) -> None:
    (chunk,) = push(spool, stream, 0)
    lease = leased(spool, stream)
    lease.attempt_started(chunk)
    lease.attempt_failed(chunk, {"words": "other bytes", "mismatch": True})
    (found,) = audit(spool, "data-1").chunks
    assert found.mismatch
    assert not audit(spool, "data-1").complete
    lease.attempt_started(chunk)
    assert audit(spool, "data-1").chunks[0].mismatch, "the next attempt has not ended yet"
    lease.acknowledge(chunk, RECEIPT)
    assert not audit(spool, "data-1").chunks[0].mismatch


def test_the_json_is_exactly_the_documented_object(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    (chunk,) = push(spool, stream, 0)
    lease = leased(spool, stream)
    clock.advance_s(1.25)
    lease.attempt_started(chunk)
    lease.acknowledge(chunk, RECEIPT)
    found = audit(spool, "data-1").to_json()
    assert json.loads(json.dumps(found)) == {
        "stream_id": stream.stream_id,
        "data_id": "data-1",
        "name": "growth",
        "state": "open",
        "watermark": 0,
        "complete": True,
        "parts": [
            {
                "number": 1,
                "data_id": "data-1",
                "name": "growth",
                "opened_at": START,
                "closed_at": None,
                "closed_why": None,
                "chunks": 0,
                "chunk_spans": [],
            }
        ],
        "unlinked": None,
        "destination": "https://example.invalid",
        "created_at": START,
        "sealed_at": None,
        "finalized_at": None,
        "held": None,
        "trouble": None,
        "gaps": [],
        "gap_spans": [],
        "gap_count": 0,
        "source": None,
        "outages": [],
        "chunks": [
            {
                "chunk_idx": 0,
                "state": "acknowledged",
                "n": 4,
                "height": 12,
                "width": 16,
                "bytes": chunk.wire_bytes,
                "sha256": chunk.sha256,
                "capture_start_ms_utc": START_MS,
                "spooled_at": START,
                "attempts": 1,
                "acknowledged_at": "2023-11-14T22:13:21.250Z",
                "receipt": {
                    "status": 200,
                    "etag": "abc",
                    "checksums": {},
                    "confirmed": True,
                    "at": "2023-11-14T22:13:20.001Z",
                    "server_date": "today",
                    "request_ids": {"x-amz-request-id": "r"},
                    "url_path": "/b/0",
                    "data_id": None,
                },
                "mismatch": False,
                "parked_reason": None,
                "pruned_at": None,
                "capture": None,
                "attempt_history": [
                    {
                        "started_at": "2023-11-14T22:13:21.250Z",
                        "ended_at": "2023-11-14T22:13:21.250Z",
                        "result": "acknowledged",
                        "words": "answered 200",
                        "mismatch": False,
                    }
                ],
            }
        ],
    }


def test_every_attempt_is_told_with_its_end(spool: Spool, stream: Stream) -> None:
    (chunk,) = push(spool, stream, 0)
    lease = leased(spool, stream)
    lease.attempt_started(chunk)
    lease.attempt_failed(chunk, {"words": "no answer", "outage": True})
    lease.attempt_started(chunk)  # its worker dies here
    lease.attempt_started(chunk)
    lease.park(chunk, "413")
    spool.retry(stream.stream_id)
    lease.park(chunk, "its file is damaged")
    spool.retry(stream.stream_id)
    lease.attempt_started(chunk)
    (one,) = audit(spool, stream.stream_id).chunks
    told = [(a.result, a.words, a.started_at_ms is None, a.ended_at_ms is None) for a in one.attempt_history]
    assert told == [
        ("failed", "no answer", False, False),
        ("unanswered", None, False, True),
        ("parked", "413", False, False),
        ("parked", "its file is damaged", True, False),
        ("started", None, False, True),
    ]
    assert one.to_json()["attempts"] == 4


@pytest.mark.parametrize(
    ("idxs", "gaps", "gap_spans"),
    [
        ([], [], []),
        ([0, 1, 2], [], []),
        ([2], [0, 1], [[0, 1]]),
        ([0, 3, 4, 6], [1, 2, 5], [[1, 2], [5, 5]]),
    ],
)
def test_gaps_are_the_indices_never_pushed_below_the_highest(
    spool: Spool, stream: Stream, idxs: list[int], gaps: list[int], gap_spans: list[list[int]]
) -> None:
    push(spool, stream, *idxs)
    found = audit(spool, stream.stream_id).to_json()
    assert (found["gaps"], found["gap_spans"], found["gap_count"]) == (gaps, gap_spans, len(gaps))


def test_a_gap_of_a_billion_is_told_without_listing_it(spool: Spool, stream: Stream) -> None:
    push(spool, stream, 2, 10**9)
    found = audit(spool, stream.stream_id).to_json()
    assert found["gaps"] == [0, 1, *range(3, 10_001)]
    assert found["gap_spans"] == [[0, 1], [3, 10**9 - 1]]
    assert found["gap_count"] == 10**9 - 1


def test_a_stream_is_complete_only_when_every_chunk_is_acknowledged_and_none_is_missing(
    spool: Spool, stream: Stream
) -> None:
    lease = leased(spool, stream)

    def verdict() -> tuple[bool, int]:
        found = audit(spool, stream.stream_id)
        assert found.watermark == spool.stream(stream.stream_id).watermark
        return found.complete, found.watermark

    first, third = push(spool, stream, 0, 2)
    assert verdict() == (False, -1)
    lease.acknowledge(first, RECEIPT)
    lease.acknowledge(third, RECEIPT)
    assert verdict() == (False, 0)
    (second,) = push(spool, stream, 1)
    assert verdict() == (False, 0)
    lease.acknowledge(second, RECEIPT)
    assert verdict() == (True, 2)
    (fourth,) = push(spool, stream, 3)
    lease.park(fourth, "no")
    assert verdict() == (False, 2)
    spool.discard(stream.stream_id, [3], why="empty")
    assert verdict() == (False, 2)


def test_a_stream_without_chunks_is_complete_only_once_it_is_finalized(spool: Spool, stream: Stream) -> None:
    assert not audit(spool, stream.stream_id).complete
    spool.seal(stream.stream_id)
    assert not audit(spool, stream.stream_id).complete
    leased(spool, stream).finalize({})
    assert audit(spool, stream.stream_id).complete


def test_outages_are_spans_and_the_last_may_still_go_on(spool: Spool, stream: Stream, clock: FakeClock) -> None:
    lease = leased(spool, stream)
    lease.note_trouble("no route", event="trouble_began", detail={"words": "no route"})
    lease.note_trouble("no DNS")
    clock.advance_s(60)
    lease.note_trouble(None, event="trouble_ended", detail={"lasted_s": 60.0, "tries": 7})
    lease.note_trouble("key refused", event="trouble_began", detail={"words": "key refused"})
    assert audit(spool, stream.stream_id).to_json()["outages"] == [
        {"began_at": START, "ended_at": "2023-11-14T22:14:20.000Z", "words": "no route", "tries": 7},
        {"began_at": "2023-11-14T22:14:20.000Z", "ended_at": None, "words": "key refused", "tries": None},
    ]


def test_pruning_and_discarding_leave_the_chunk_in_the_audit(spool: Spool, stream: Stream) -> None:
    first, _ = push(spool, stream, 0, 1)
    leased(spool, stream).acknowledge(first, RECEIPT)
    spool.prune()
    spool.discard(stream.stream_id, [1], why="shutter closed")
    pruned, discarded = audit(spool, stream.stream_id).to_json()["chunks"]
    assert (pruned["state"], pruned["pruned_at"], pruned["sha256"]) == ("acknowledged", START, first.sha256)
    assert (discarded["state"], discarded["receipt"]) == ("discarded", None)


def test_another_streams_events_do_not_mix_in(spool: Spool, stream: Stream) -> None:
    other = spool.open_stream(some_settings(name="other"))
    (mine,), (theirs,) = push(spool, stream, 0), push(spool, other, 0)
    leased(spool, stream).attempt_started(mine)
    lease = leased(spool, other)
    lease.attempt_started(theirs)
    lease.note_trouble("x", event="trouble_began", detail={"words": "x"})
    found = audit(spool, stream.stream_id)
    assert [len(one.attempt_history) for one in found.chunks] == [1]
    assert found.outages == ()
