import hashlib
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import zarr

from tests.loopback.rig import CHUNK_SIZE, HEIGHT, WIDTH, Rig, encode, make_frames, put_head, with_crc


def test_an_upload_is_answered_with_the_md5_as_its_etag(rig: Rig) -> None:
    body = encode(make_frames())
    answer = rig.put(rig.url(rig.open_stream()), body)
    assert answer.status_code == 200
    assert answer.headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert answer.headers["Date"]
    assert answer.headers["x-amz-request-id"]


def test_the_object_is_exactly_the_body(rig: Rig) -> None:
    data_id = rig.open_stream()
    body = encode(make_frames(), between=b"a note that no index entry points to")
    rig.put(rig.url(data_id, 3), body)
    assert rig.server.objects(data_id) == {3: body}


def test_plain_zarr_reads_what_was_sent(rig: Rig) -> None:
    data_id = rig.open_stream()
    first, second = make_frames(seed=1), make_frames(seed=2)
    rig.send(data_id, 0, first)
    rig.send(data_id, 1, second)
    group = zarr.open(rig.server.root / "received" / data_id / "frames.zarr", mode="r")
    assert isinstance(group, zarr.Group)
    frames = group["frames"]
    assert isinstance(frames, zarr.Array)
    assert frames.shards == (CHUNK_SIZE, HEIGHT, WIDTH)
    assert frames.chunks == (1, HEIGHT, WIDTH)
    np.testing.assert_array_equal(np.asarray(frames[:]), np.concatenate([first, second]))


def test_a_short_chunk_ends_the_array_where_its_frames_end(rig: Rig) -> None:
    data_id = rig.open_stream()
    full, short = make_frames(seed=1), make_frames(1, seed=2)
    rig.send(data_id, 0, full)
    rig.send(data_id, 1, short)
    np.testing.assert_array_equal(np.asarray(rig.server.received(data_id)[:]), np.concatenate([full, short]))


def test_a_short_chunk_in_the_middle_is_followed_by_fill(rig: Rig) -> None:
    data_id = rig.open_stream()
    short, full = make_frames(1, seed=1), make_frames(seed=2)
    rig.send(data_id, 0, short)
    rig.send(data_id, 1, full)
    fill = np.zeros((CHUNK_SIZE - 1, HEIGHT, WIDTH), np.uint8)
    np.testing.assert_array_equal(np.asarray(rig.server.received(data_id)[:]), np.concatenate([short, fill, full]))


def test_chunks_out_of_order_still_make_an_array_that_reads(rig: Rig) -> None:
    data_id = rig.open_stream()
    late, early = make_frames(seed=1), make_frames(seed=2)
    rig.send(data_id, 2, late)
    rig.send(data_id, 0, early)
    frames = np.asarray(rig.server.received(data_id)[:])
    np.testing.assert_array_equal(frames[:CHUNK_SIZE], early)
    np.testing.assert_array_equal(frames[2 * CHUNK_SIZE :], late)
    assert rig.server.state()["streams"][data_id]["received"] == [2, 0]


def test_the_same_bytes_again_are_accepted_and_not_a_change(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames())
    assert rig.send(data_id, 0, make_frames()).status_code == 200
    assert [line["changed"] for line in received(rig, data_id)] == [False, False]


def test_other_bytes_under_the_same_key_are_accepted_and_recorded_as_a_change(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames(seed=1))
    assert rig.send(data_id, 0, make_frames(seed=2)).status_code == 200
    assert [line["changed"] for line in received(rig, data_id)] == [False, True]
    np.testing.assert_array_equal(np.asarray(rig.server.received(data_id)[:]), make_frames(seed=2))


def test_the_log_tells_what_was_accepted_in_order(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames())
    body = encode(make_frames(2, seed=2))
    rig.put(rig.url(data_id, 1, n=2), body)
    lines = received(rig, data_id)
    assert [(line["seq"], line["chunk_idx"]) for line in lines] == [(0, 0), (1, 1)]
    assert lines[1]["bytes"] == len(body)
    assert lines[1]["md5"] == hashlib.md5(body).hexdigest()
    assert lines[1]["sha256"] == hashlib.sha256(body).hexdigest()
    assert lines[1]["received_at_unix_ms"] >= lines[0]["received_at_unix_ms"]
    assert lines[1]["metadata"] == rig.metadata(data_id, n=2)


def test_the_log_tells_the_events_of_a_stream(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.server.set_status(data_id, "stream_paused")
    rig.request("POST", f"/rheed/stream/{data_id}/end")
    events = [line["event"] for line in rig.server.log(data_id)]
    assert events == ["opened", "status", "ended", "status"]


def test_a_body_without_a_length_is_refused_with_411(rig: Rig) -> None:
    def pieces() -> Iterator[bytes]:
        yield encode(make_frames())

    answer = httpx.put(rig.url(rig.open_stream()), content=pieces(), trust_env=False)
    assert answer.status_code == 411
    assert "MissingContentLength" in answer.text


def broken_shards() -> dict[str, bytes]:
    whole = encode(make_frames())
    frames, pairs = whole[: -CHUNK_SIZE * 16 - 4], whole[-CHUNK_SIZE * 16 - 4 : -4]
    outside = pairs[:-16] + struct.pack("<QQ", len(frames) - 1, 2)
    missing = pairs[:-16] + b"\xff" * 16
    return {
        "empty": b"",
        "shorter than its index": whole[-20:],
        "one frame too few": encode(make_frames(CHUNK_SIZE - 1)),
        "one entry too many": frames + with_crc(pairs + b"\xff" * 16),
        "wrong checksum": whole[:-1] + bytes([whole[-1] ^ 1]),
        "an entry outside": frames + with_crc(outside),
        "an entry for nothing": frames + with_crc(missing),
        "html": b"<html>" * 100,
    }


@pytest.mark.parametrize("what", list(broken_shards()))
def test_a_body_that_is_not_the_promised_shard_is_refused_and_leaves_nothing(rig: Rig, what: str) -> None:
    data_id = rig.open_stream()
    answer = rig.put(rig.url(data_id), broken_shards()[what])
    assert answer.status_code == 400
    assert "<Code>InvalidShard</Code>" in answer.text
    assert rig.server.objects(data_id) == {}
    assert received(rig, data_id) == []


def test_a_chunk_of_another_geometry_is_refused(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames())
    answer = rig.put(rig.url(data_id, 1, dims=f"{CHUNK_SIZE},{WIDTH},{HEIGHT}"), encode(make_frames()))
    assert answer.status_code == 400


def test_a_client_that_goes_away_in_the_middle_leaves_nothing(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    data_id = rig.open_stream()
    body = encode(make_frames())
    with rig.connection() as connection:
        connection.sendall(put_head(rig.url(data_id), len(body)) + body[:50])
        while "PUT /staged" not in rig.server.state()["requests"]:
            pass  # until it has arrived; each turn is a request of its own
    rig.server.stop()  # which lets the server finish with the connection
    assert rig.server.objects(data_id) == {}
    assert list((rig.server.root / "incoming").iterdir()) == []


def test_uploads_side_by_side_are_all_received(rig: Rig) -> None:
    data_id = rig.open_stream()
    chunks = {k: make_frames(seed=k) for k in range(8)}
    with ThreadPoolExecutor(8) as side_by_side:
        answers = list(side_by_side.map(lambda k: rig.send(data_id, k, chunks[k]), chunks))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert [line["seq"] for line in received(rig, data_id)] == list(range(8))
    np.testing.assert_array_equal(
        np.asarray(rig.server.received(data_id)[:]), np.concatenate(list(chunks.values()))
    )


def test_a_large_body_arrives_whole(rig: Rig) -> None:
    data_id = rig.open_stream()
    body = encode(make_frames(), between=np.random.default_rng(0).bytes(20_000_000))
    assert rig.put(rig.url(data_id), body).headers["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert rig.server.objects(data_id)[0] == body


def test_no_temporary_file_stays(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames())
    rig.send(data_id, 1, make_frames(1))
    folder = rig.server.root / "received" / data_id
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    names = ["log.jsonl", "frames.zarr/zarr.json", "frames.zarr/frames/zarr.json"]
    names += [f"{where}frames.zarr/frames/c/{k}/0/0" for where in ("", "objects/") for k in (0, 1)]
    assert files == {Path(name) for name in names}
    assert list((rig.server.root / "incoming").iterdir()) == []


def test_the_state_tells_what_was_received(rig: Rig) -> None:
    data_id = rig.open_stream()
    for chunk_idx in (0, 1, 1):
        rig.send(data_id, chunk_idx, make_frames())
    stream = rig.server.state()["streams"][data_id]
    assert stream["status"] == "stream_active"
    assert (stream["chunks"], stream["uploads"], stream["received"]) == (2, 3, [0, 1, 1])
    assert stream["metadata"]["1"] == rig.metadata(data_id)


def test_the_state_counts_requests_by_route(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    data_id = rig.open_stream()
    for chunk_idx in (0, 1):
        rig.send(data_id, chunk_idx, make_frames())
    rig.request("POST", f"/rheed/stream/{data_id}/end")
    assert rig.server.state()["requests"] == {
        "POST /rheed/stream/": 1,
        "POST /data_entries/raw_data/staged/upload_urls/": 2,
        "PUT /staged": 2,
        "POST /rheed/stream/{id}/end": 1,
    }


def received(rig: Rig, data_id: str) -> list[dict[str, Any]]:
    return [line for line in rig.server.log(data_id) if line["event"] == "received"]
