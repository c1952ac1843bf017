import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.loopback.rig import UPLOAD_URLS, Rig, encode, make_frames


def problem_fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [problem["loc"][-1] for problem in answer.json()["detail"]]


def xml_code(answer: httpx.Response) -> str:
    assert answer.headers["Content-Type"] == "application/xml"
    found = re.search("<Code>(.*)</Code>", answer.text)
    assert found is not None
    return found[1]


def test_a_presign_answers_one_part_with_its_url(rig: Rig) -> None:
    data_id = rig.open_stream()
    (part,) = rig.presign(data_id, 7).json()
    assert part["part"] == 1
    assert part["upload_id"] in part["url"]
    assert urlsplit(part["url"]).path.endswith(f"{data_id}/frames.zarr/frames/c/7/0/0")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("original_filename", "frames.zarr/frames/c/x/0/0"),
        ("original_filename", "frames.zarr/frames/c/01/0/0"),
        ("original_filename", "frames.zarr/frames/c/1/0/0/../../../../../../etc"),
        ("num_parts", "2"),
        ("staging_type", "file"),
    ],
)
def test_a_query_that_is_not_the_protocols_is_refused_by_name(rig: Rig, name: str, value: str) -> None:
    body = rig.metadata(rig.open_stream())
    answer = rig.request("POST", UPLOAD_URLS, params={**rig.query(), name: value}, json=body)
    assert problem_fields(answer) == [name]


NUMBERS = [
    "is_stream",
    "is_rotating",
    "raw_frame_rate",
    "avg_frame_rate",
    "chunk_size",
    "start_unix_ms_utc",
    "end_unix_ms_utc",
    "clock_offset_ms",
    "clock_uncertainty_ms",
]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_json_number_in_the_metadata_is_refused_by_name(rig: Rig, name: str) -> None:
    number: dict[str, Any] = {name: 1}
    assert problem_fields(rig.presign(rig.open_stream(), **number)) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dims", "4,6"),
        ("dims", "4, 6, 8"),
        ("dims", "0,6,8"),
        ("dims", "5,6,8"),
        ("dims", [4, 6, 8]),
        ("data_stream", "video"),
        ("is_rotating", "true"),
        ("chunk_size", "4.0"),
        ("raw_frame_rate", "nan"),
        ("end_unix_ms_utc", "1699999999999"),
        ("start_unix_ms_utc", "1700000000000.0"),
    ],
)
def test_metadata_of_the_wrong_form_is_refused_by_name(rig: Rig, name: str, value: Any) -> None:
    assert problem_fields(rig.presign(rig.open_stream(), **{name: value})) == [name]


@pytest.mark.parametrize("name", ["data_id", "data_stream", "dims", *NUMBERS[:-2]])
def test_missing_metadata_is_refused_by_name(rig: Rig, name: str) -> None:
    body = rig.metadata(rig.open_stream())
    del body[name]
    assert problem_fields(rig.request("POST", UPLOAD_URLS, params=rig.query(), json=body)) == [name]


def test_an_unmeasured_clock_may_be_left_out(rig: Rig) -> None:
    body = rig.metadata(rig.open_stream())
    del body["clock_offset_ms"], body["clock_uncertainty_ms"]
    assert rig.request("POST", UPLOAD_URLS, params=rig.query(), json=body).is_success


def test_an_unknown_stream_answers_404(rig: Rig) -> None:
    assert rig.presign(str(uuid.uuid4())).status_code == 404


@pytest.mark.parametrize("status", ["stream_paused", "stream_interrupted", "stream_error", "stream_finalizing"])
def test_a_stream_that_is_not_active_is_refused_with_its_status(rig: Rig, status: str) -> None:
    data_id = rig.open_stream()
    rig.server.set_status(data_id, status)
    answer = rig.presign(data_id)
    assert answer.status_code == 409
    assert answer.json()["detail"]["status"] == status


def test_a_resumed_stream_takes_chunks_again(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.server.set_status(data_id, "stream_paused")
    rig.server.set_status(data_id, "stream_active")
    assert rig.send(data_id, 0, make_frames()).status_code == 200


def test_an_expired_url_is_refused_as_s3_does(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(url_expiry_s=0)
    answer = rig.put(rig.url(rig.open_stream()), encode(make_frames()))
    assert answer.status_code == 403
    assert xml_code(answer) == "AccessDenied"
    assert "Request has expired" in answer.text


@pytest.mark.parametrize(
    ("pattern", "forged"),
    [
        ("Signature=.{4}", "Signature=0000"),
        ("Expires=1", "Expires=9"),
        ("uploadId=.{4}", "uploadId=0000"),
        ("/c/0/0/0", "/c/1/0/0"),
    ],
)
def test_a_forged_url_is_refused_as_s3_does(rig: Rig, pattern: str, forged: str) -> None:
    data_id = rig.open_stream()
    genuine = rig.url(data_id)
    url = re.sub(pattern, forged, genuine)
    assert url != genuine
    answer = rig.put(url, encode(make_frames()))
    assert answer.status_code == 403
    assert xml_code(answer) == "SignatureDoesNotMatch"
    assert rig.server.objects(data_id) == {}


def test_a_url_without_a_signature_is_refused(rig: Rig) -> None:
    answer = rig.put(rig.url(rig.open_stream()).partition("?")[0], encode(make_frames()))
    assert answer.status_code == 403
    assert xml_code(answer) == "AccessDenied"
