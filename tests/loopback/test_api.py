import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.loopback.rig import Rig, make_frames
from uploader.loopback.lifecycle import FINALIZING_S, Stream, status_by_now
from uploader.loopback.validation import StreamSettings


def problems(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    return {problem["loc"][-1]: problem["msg"] for problem in answer.json()["detail"]}


def test_the_clock_needs_no_key_and_tells_unix_milliseconds(rig: Rig) -> None:
    answer = httpx.get(f"{rig.server.url}/gateway/time", trust_env=False)
    stamps = answer.json()
    assert answer.headers["Cache-Control"] == "no-store"
    assert stamps["receivedAtUnixMs"] <= stamps["transmittedAtUnixMs"]
    assert abs(stamps["receivedAtUnixMs"] - time.time() * 1000) < 60_000


NOBODY = "7d285a3a-ec5d-4c3f-9f2b-0a7a5a1f7c11"
"""An id that nothing has."""


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/physical_samples/"),
        ("POST", "/physical_samples/"),
        ("GET", "/tags/"),
        ("POST", "/tags/"),
        ("POST", "/tags/data-items/"),
        ("POST", "/rheed/stream/"),
        ("POST", f"/rheed/stream/{NOBODY}/end"),
        ("GET", "/data_entries/"),
        ("POST", "/data_entries/physical_sample"),
        ("POST", "/data_entries/raw_data/staged/upload_urls/"),
        ("POST", f"/projects/{NOBODY}/configuration/tracking_samples"),
    ],
)
def test_every_api_route_refuses_a_missing_key_with_401_and_a_wrong_one_with_403(
    rig: Rig, method: str, path: str
) -> None:
    url = rig.server.url + path
    assert httpx.request(method, url, trust_env=False).status_code == 401
    assert httpx.request(method, url, headers={"X-API-KEY": "wrong"}, trust_env=False).status_code == 403


def test_a_path_that_is_nearly_right_is_not_found(rig: Rig) -> None:
    assert rig.request("GET", "/physical_samples").status_code == 404


def test_a_created_sample_is_listed(rig: Rig) -> None:
    name = f"GaAs {uuid.uuid4()}"
    sample_id = rig.request("POST", "/physical_samples/", json={"name": f"  {name} "}).json()["physical_sample_id"]
    assert {"id": sample_id, "name": name} in rig.request("GET", "/physical_samples/").json()


def test_a_sample_name_that_is_taken_answers_409_with_its_id(rig: Rig) -> None:
    name = f"GaAs {uuid.uuid4()}"
    first = rig.request("POST", "/physical_samples/", json={"name": name})
    again = rig.request("POST", "/physical_samples/", json={"name": f" {name.upper()}  "})
    assert again.status_code == 409
    assert again.json()["detail"] == {"physical_sample_id": first.json()["physical_sample_id"]}


def test_a_created_tag_is_listed(rig: Rig) -> None:
    name = f"run {uuid.uuid4()}"
    tag_id = rig.request("POST", "/tags/", json={"name": name}).json()["id"]
    assert {"id": tag_id, "name": name} in rig.request("GET", "/tags/").json()


def test_a_tag_name_that_is_taken_answers_400(rig: Rig) -> None:
    name = f"run {uuid.uuid4()}"
    rig.request("POST", "/tags/", json={"name": name})
    assert rig.request("POST", "/tags/", json={"name": f"{name.upper()} "}).status_code == 400


@pytest.mark.parametrize("body", [{}, {"name": "  "}, {"name": 7}, []])
def test_a_sample_without_a_name_is_refused(rig: Rig, body: object) -> None:
    assert rig.request("POST", "/physical_samples/", json=body).status_code == 422


def test_a_body_that_is_not_json_is_refused(rig: Rig) -> None:
    assert rig.request("POST", "/rheed/stream/", content=b"{").status_code == 422


def test_opening_a_stream_answers_a_bare_json_string(rig: Rig) -> None:
    answer = rig.request("POST", "/rheed/stream/", json=rig.settings())
    assert answer.text == f'"{uuid.UUID(answer.json())}"'


def test_a_stationary_stream_may_have_an_azimuth_and_a_project(rig: Rig) -> None:
    project_id = str(uuid.uuid4())
    parked = {
        "rotational_period": None,
        "rotations_per_min": 0.0,
        "azimuth_label": "[110]",
        "project_id": project_id,
    }
    data_id = rig.open_stream(**parked)
    assert rig.server.state()["streams"][data_id]["settings"] == {**rig.settings(), **parked}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("data_item_name", 5),
        ("rotational_period", "600"),
        ("rotations_per_min", "12"),
        ("rotations_per_min", True),
        ("fps_capture_rate", None),
        ("project_id", "not-a-uuid"),
        ("azimuth_label", "[110]"),
    ],
)
def test_a_setting_of_the_wrong_type_is_refused_by_name(rig: Rig, setting: str, value: object) -> None:
    answer = rig.request("POST", "/rheed/stream/", json={**rig.settings(), setting: value})
    assert list(problems(answer)) == [setting]


@pytest.mark.parametrize(
    "setting", ["data_item_name", "rotational_period", "rotations_per_min", "fps_capture_rate"]
)
def test_a_missing_setting_is_refused_by_name(rig: Rig, setting: str) -> None:
    settings = rig.settings()
    del settings[setting]
    assert problems(rig.request("POST", "/rheed/stream/", json=settings)) == {setting: "is required"}


def test_a_linked_sample_and_attached_tags_are_in_the_catalogue_row(rig: Rig) -> None:
    data_id = rig.open_stream(data_item_name="linked")
    sample_id = rig.request("POST", "/physical_samples/", json={"name": str(uuid.uuid4())}).json()[
        "physical_sample_id"
    ]
    tag_id = rig.request("POST", "/tags/", json={"name": str(uuid.uuid4())}).json()["id"]
    sample = {"data_ids": [data_id], "physical_sample_id": sample_id}
    assert rig.request("POST", "/data_entries/physical_sample", json=sample).is_success
    assert rig.request("POST", "/tags/data-items/", json={"data_ids": [data_id], "tag_ids": [tag_id]}).is_success
    (row,) = rig.request("GET", "/data_entries/", params={"data_ids": data_id}).json()
    assert row["id"] == row["data_id"] == data_id
    assert row["name"] == "linked"
    assert row["pipeline_status"] == "stream_active"
    assert row["physical_sample_id"] == sample_id
    assert row["tag_ids"] == [tag_id]


def test_a_sample_is_tracked_by_a_project(rig: Rig) -> None:
    project_id = str(uuid.uuid4())
    sample_id = rig.request("POST", "/physical_samples/", json={"name": str(uuid.uuid4())}).json()[
        "physical_sample_id"
    ]
    path = f"/projects/{project_id}/configuration/tracking_samples"
    assert rig.request("POST", path, json={"physical_sample_id": sample_id, "set_active": True}).is_success
    link = {"project_id": project_id, "physical_sample_id": sample_id, "active": True}
    assert link in rig.server.state()["tracked_samples"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/data_entries/physical_sample", {"data_ids": "own", "physical_sample_id": "unknown"}),
        ("/data_entries/physical_sample", {"data_ids": "unknown", "physical_sample_id": "own"}),
        ("/tags/data-items/", {"data_ids": "own", "tag_ids": "unknown"}),
    ],
)
def test_linking_what_does_not_exist_answers_404(rig: Rig, path: str, body: dict[str, str]) -> None:
    sample = rig.request("POST", "/physical_samples/", json={"name": str(uuid.uuid4())}).json()[
        "physical_sample_id"
    ]
    own = {"data_ids": rig.open_stream(), "physical_sample_id": sample}
    filled: dict[str, Any] = {
        name: own[name] if value == "own" else str(uuid.uuid4()) for name, value in body.items()
    }
    for plural in ("data_ids", "tag_ids"):
        if plural in filled:
            filled[plural] = [filled[plural]]
    assert rig.request("POST", path, json=filled).status_code == 404


def test_the_catalogue_answers_for_several_streams_at_once(rig: Rig) -> None:
    both = [rig.open_stream(), rig.open_stream()]
    rows = rig.request("GET", "/data_entries/", params={"data_ids": both}).json()
    assert [row["id"] for row in rows] == both


def test_ending_a_stream_finalizes_it(rig: Rig) -> None:
    data_id = rig.open_stream()
    answer = rig.request("POST", f"/rheed/stream/{data_id}/end")
    assert answer.json() == {"data_id": data_id, "pipeline_status": "stream_finalizing"}
    assert rig.status(data_id) in {"stream_finalizing", "stream_finalized"}


def test_ending_an_ended_stream_answers_409_with_its_status(rig: Rig) -> None:
    data_id = rig.open_stream()
    rig.request("POST", f"/rheed/stream/{data_id}/end")
    again = rig.request("POST", f"/rheed/stream/{data_id}/end")
    assert again.status_code == 409
    assert again.json()["detail"]["status"] in {"stream_finalizing", "stream_finalized"}


def test_ending_an_unknown_stream_answers_404(rig: Rig) -> None:
    assert rig.request("POST", f"/rheed/stream/{uuid.uuid4()}/end").status_code == 404


def test_the_end_is_answered_503_while_the_first_analysis_runs(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(analysis_s=3600)
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames())
    busy = rig.request("POST", f"/rheed/stream/{data_id}/end")
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "1")
    assert rig.status(data_id) == "stream_active"


def test_a_stream_without_chunks_has_no_analysis_to_wait_for(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(analysis_s=3600)
    assert rig.request("POST", f"/rheed/stream/{rig.open_stream()}/end").is_success


def test_the_end_is_accepted_once_the_analysis_is_over(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(analysis_s=3600)
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames())
    assert own_rig(analysis_s=0).request("POST", f"/rheed/stream/{data_id}/end").is_success


def test_silence_makes_a_stream_an_error(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(silence_s=0)
    data_id = rig.open_stream()
    assert rig.status(data_id) == "stream_error"
    assert rig.request("POST", f"/rheed/stream/{data_id}/end").status_code == 409
    assert rig.presign(data_id).json()["detail"]["status"] == "stream_error"


def test_an_error_by_silence_stays_when_the_limit_is_lifted(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(silence_s=0)
    data_id = rig.open_stream()
    assert rig.status(data_id) == "stream_error"
    assert own_rig(silence_s=7200).status(data_id) == "stream_error"


def make_stream(**facts: Any) -> Stream:
    settings = StreamSettings(
        data_item_name="growth",
        rotational_period=None,
        rotations_per_min=0.0,
        fps_capture_rate=120.0,
        project_id=None,
        azimuth_label=None,
    )
    opened = {"status": "stream_active", "status_at": 1000.0, "opened_at": 1000.0}
    unheard = {"first_chunk_at": None, "last_chunk_at": None, "physical_sample_id": None}
    return Stream(data_id=str(uuid.uuid4()), settings=settings, **{**opened, **unheard, **facts})


def test_a_chunk_starts_the_silence_anew() -> None:
    stream = make_stream(first_chunk_at=1050.0, last_chunk_at=1050.0)
    assert status_by_now(stream, now=1149.0, silence_s=100) == "stream_active"
    assert status_by_now(stream, now=1150.0, silence_s=100) == "stream_error"


def test_resuming_starts_the_silence_anew() -> None:
    assert status_by_now(make_stream(status_at=1050.0), now=1149.0, silence_s=100) == "stream_active"


def test_a_paused_stream_may_be_silent() -> None:
    assert status_by_now(make_stream(status="stream_paused"), now=1e9, silence_s=100) == "stream_paused"


def test_finalizing_ends_by_itself() -> None:
    stream = make_stream(status="stream_finalizing")
    assert status_by_now(stream, now=1000.0 + FINALIZING_S, silence_s=100) == "stream_finalized"
