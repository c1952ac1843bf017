import math
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.loopback.rig import Rig
from tests.uploader.rig import Asked, Bench, Reply, ScriptedServer, json_reply
from uploader.api import AtomscaleApi
from uploader.config import ApiKey
from uploader.errors import KeyRefused, RequestRefused, ServerUnreachable, UploaderError
from uploader.loopback.process import LoopbackServer
from uploader.opening import open_on_server, stream_request

PROJECT = "11111111-2222-3333-4444-555555555555"
NOBODY = "99999999-2222-3333-4444-555555555555"
STEPS: dict[str, dict[str, str]] = {
    "find sample": {"method": "GET", "path": "^/physical_samples/$"},
    "create sample": {"method": "POST", "path": "^/physical_samples/$"},
    "find tags": {"method": "GET", "path": "^/tags/$"},
    "create tag": {"method": "POST", "path": "^/tags/$"},
    "open stream": {"method": "POST", "path": "^/rheed/stream/$"},
    "link sample": {"method": "POST", "path": "^/data_entries/physical_sample$"},
    "link project": {"method": "POST", "path": "tracking_samples$"},
    "attach tags": {"method": "POST", "path": "^/tags/data-items/$"},
}
LINKS = ("link sample", "link project", "attach tags")
EVERYTHING = {"physical_sample": "GaAs 1", "project_id": PROJECT, "tags": ("night",)}


@pytest.fixture
def opened(bench: Bench) -> Iterator[Callable[..., str]]:
    """Opens a stream on the server with these settings."""
    with AtomscaleApi(bench.server.url, ApiKey(bench.server.api_key)) as api:
        yield lambda **changes: open_on_server(api, bench.settings(**changes)).data_id


def create(server: LoopbackServer, what: str, name: str) -> str:
    answer = Rig(server).request("POST", f"/{what}/", json={"name": name}).json()
    return str(answer.get("id") or answer["physical_sample_id"])


def stream(server: LoopbackServer, data_id: str) -> dict[str, Any]:
    found: dict[str, Any] = server.state()["streams"][data_id]
    return found


def test_a_stream_opens_with_what_it_was_given(server: LoopbackServer, opened: Callable[..., str]) -> None:
    data_id = opened(name="growth 7", fps=120.0, rotations_per_min=12.0, chunk_size=240)
    assert stream(server, data_id)["settings"] == {
        "data_item_name": "growth 7",
        "rotational_period": 600.0,
        "rotations_per_min": 12.0,
        "fps_capture_rate": 120.0,
        "project_id": None,
        "azimuth_label": None,
    }
    assert server.state()["samples"] == server.state()["tags"] == []


def test_a_stationary_stream_has_no_period_and_may_have_an_azimuth(
    server: LoopbackServer, opened: Callable[..., str], bench: Bench
) -> None:
    told = stream(server, opened(azimuth="[110]"))["settings"]
    assert told["rotational_period"] is None
    assert told["azimuth_label"] == "[110]"
    request = stream_request(bench.settings(), "growth")
    assert "azimuth_label" not in request
    assert "project_id" not in request


def test_the_period_is_the_frames_per_rotation(bench: Bench) -> None:
    period = stream_request(bench.settings(fps=30.0, rotations_per_min=7.0), "growth")["rotational_period"]
    assert isinstance(period, float)
    assert math.isclose(period, 30 * 60 / 7)


@pytest.mark.parametrize("wanted", ["GaAs 1", "  gaas 1 ", "GAAS 1"])
def test_a_sample_is_found_by_name_trimmed_and_ignoring_case(
    server: LoopbackServer, opened: Callable[..., str], wanted: str
) -> None:
    sample = create(server, "physical_samples", "GaAs 1")
    assert stream(server, opened(physical_sample=wanted))["physical_sample_id"] == sample
    assert len(server.state()["samples"]) == 1


def test_a_sample_that_is_not_there_is_created_under_its_trimmed_name(
    server: LoopbackServer, opened: Callable[..., str]
) -> None:
    data_id = opened(physical_sample=" InP 3 ")
    (sample,) = server.state()["samples"]
    assert sample["name"] == "InP 3"
    assert stream(server, data_id)["physical_sample_id"] == sample["id"]


@pytest.mark.parametrize("spelled", [str, str.upper, lambda one: f" {one} "])
def test_a_sample_is_found_by_its_uuid(
    server: LoopbackServer, opened: Callable[..., str], spelled: Callable[[str], str]
) -> None:
    sample = create(server, "physical_samples", "GaAs 1")
    assert stream(server, opened(physical_sample=spelled(sample)))["physical_sample_id"] == sample


@pytest.mark.parametrize("spelled", ["{{{}}}", "urn:uuid:{}"])
def test_a_uuid_in_another_notation_is_the_same_uuid(
    server: LoopbackServer, opened: Callable[..., str], spelled: str
) -> None:
    sample = create(server, "physical_samples", "GaAs 1")
    assert stream(server, opened(physical_sample=spelled.format(sample)))["physical_sample_id"] == sample


@pytest.mark.parametrize(
    "settings",
    [
        {"physical_sample": NOBODY},
        {"tags": (NOBODY,)},
        {"physical_sample": NOBODY, "tags": ("new",)},
        {"physical_sample": "new", "tags": (NOBODY,)},
        {"tags": ("new", NOBODY)},
    ],
    ids=["sample", "tag", "sample, then a new tag", "a new sample, then a tag", "a new tag, then a tag"],
)
def test_a_uuid_that_does_not_exist_creates_nothing_at_all(
    server: LoopbackServer, opened: Callable[..., str], settings: dict[str, Any]
) -> None:
    with pytest.raises(RequestRefused, match=NOBODY):
        opened(**settings)
    state = server.state()
    assert (state["streams"], state["samples"], state["tags"]) == ({}, [], [])


def test_a_name_that_somebody_else_takes_meanwhile_is_theirs_and_ours(
    server: LoopbackServer, opened: Callable[..., str]
) -> None:
    sample = create(server, "physical_samples", "GaAs 1")
    server.faults([{"match": STEPS["find sample"], "action": "status", "status": 200, "body": "[]", "times": 1}])
    assert stream(server, opened(physical_sample="gaas 1"))["physical_sample_id"] == sample


def test_a_tag_that_somebody_else_creates_meanwhile_is_found_on_the_second_look(
    server: LoopbackServer, opened: Callable[..., str]
) -> None:
    tag = create(server, "tags", "night")
    server.faults([{"match": STEPS["find tags"], "action": "status", "status": 200, "body": "[]", "times": 1}])
    assert stream(server, opened(tags=("NIGHT",)))["tag_ids"] == [tag]


def test_a_tag_that_the_server_will_not_create_is_refused(
    server: LoopbackServer, opened: Callable[..., str]
) -> None:
    server.faults([{"match": STEPS["create tag"], "action": "status", "status": 400, "body": '{"detail": "no"}'}])
    with pytest.raises(RequestRefused) as caught:
        opened(tags=("night",))
    assert caught.value.status == 400
    assert server.state()["streams"] == {}


def test_tags_are_found_by_name_or_uuid_created_when_new_and_attached_once(
    server: LoopbackServer, opened: Callable[..., str]
) -> None:
    night, mbe = create(server, "tags", "Night"), create(server, "tags", "MBE")
    data_id = opened(tags=(" night ", mbe, "new", "NEW", mbe.upper()))
    names = {tag["id"]: tag["name"] for tag in server.state()["tags"]}
    attached = stream(server, data_id)["tag_ids"]
    assert attached[:2] == [night, mbe]
    assert [names[one] for one in attached] == ["Night", "MBE", "new"]


@pytest.mark.parametrize(
    ("settings", "linked"),
    [
        ({"physical_sample": "GaAs", "project_id": PROJECT}, True),
        ({"physical_sample": "GaAs"}, False),
        ({"project_id": PROJECT}, False),
    ],
)
def test_a_project_tracks_the_sample_only_when_both_are_given(
    server: LoopbackServer, opened: Callable[..., str], settings: dict[str, Any], linked: bool
) -> None:
    opened(**settings)
    tracked = server.state()["tracked_samples"]
    if linked:
        sample = server.state()["samples"][0]["id"]
        assert tracked == [{"project_id": PROJECT, "physical_sample_id": sample, "active": True}]
    else:
        assert tracked == []


@pytest.mark.parametrize("step", LINKS)
@pytest.mark.parametrize(("status", "error"), [(422, RequestRefused), (403, KeyRefused), (503, ServerUnreachable)])
def test_a_link_that_fails_ends_the_new_stream_again(
    server: LoopbackServer, opened: Callable[..., str], step: str, status: int, error: type[UploaderError]
) -> None:
    server.faults([{"match": STEPS[step], "action": "status", "status": status, "body": '{"detail": "no"}'}])
    with pytest.raises(error):
        opened(**EVERYTHING)
    (left,) = server.state()["streams"].values()
    assert left["status"] in ("stream_finalizing", "stream_finalized")


@pytest.mark.parametrize("action", ["html200", "drop", "truncated_answer"])
def test_a_portal_or_a_broken_connection_at_any_step_means_the_server_is_unreachable(
    server: LoopbackServer, opened: Callable[..., str], action: str
) -> None:
    for n, (step, match) in enumerate(STEPS.items()):
        before = server.state()["streams"].keys()
        server.faults([{"match": match, "action": action}])
        with pytest.raises(ServerUnreachable):
            opened(physical_sample=f"GaAs {n}", project_id=PROJECT, tags=(f"night {n}",))
        server.clear_faults()
        left = [one["status"] for key, one in server.state()["streams"].items() if key not in before]
        if step in LINKS:
            assert len(left) == 1, step
            assert left[0] in ("stream_finalizing", "stream_finalized"), step
        elif (step, action) != ("open stream", "truncated_answer"):
            assert left == [], step


@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_refused_at_any_step_is_said_so(
    server: LoopbackServer, opened: Callable[..., str], status: int
) -> None:
    for n, match in enumerate(STEPS.values()):
        server.faults([{"match": match, "action": "status", "status": status, "body": '{"detail": "no"}'}])
        with pytest.raises(KeyRefused) as caught:
            opened(physical_sample=f"GaAs {n}", project_id=PROJECT, tags=(f"night {n}",))
        server.clear_faults()
        assert "AS_API_KEY" in caught.value.hint
        assert server.api_key not in str(caught.value)


def test_the_wrong_key_opens_nothing(server: LoopbackServer, bench: Bench) -> None:
    with AtomscaleApi(server.url, ApiKey("wrong")) as api, pytest.raises(KeyRefused):
        open_on_server(api, bench.settings())
    assert server.state()["streams"] == {}


def test_an_overload_a_proxy_or_a_fault_inside_the_server_is_no_refusal(
    server: LoopbackServer, opened: Callable[..., str]
) -> None:
    for status in (302, 407, 429, 500, 502, 503, 504, 511):
        server.faults([{"match": STEPS["open stream"], "action": "status", "status": status, "times": 1}])
        with pytest.raises(ServerUnreachable):
            opened()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"17",
        b'""',
        b'"../../etc/passwd"',
        b'"a/b"',
        b'"a b"',
        b'"a?b"',
        b'"\\u0000"',
        b'"\\ud800"',
        b'"' + b"x" * 129 + b'"',
        b'"' + b"x" * 9_000_000 + b'"',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"data_id": "' + str(uuid.UUID(int=7)).encode() + b'"}',
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_answer_that_is_no_stream_id_is_never_used_as_one(bench: Bench, body: bytes) -> None:
    with ScriptedServer(lambda _asked: Reply(body=body)) as server, AtomscaleApi(server.url, ApiKey("k")) as api:
        with pytest.raises(ServerUnreachable):
            open_on_server(api, bench.settings())
        assert [asked.path for asked in server.asked] == ["/rheed/stream/"]


@pytest.mark.parametrize(
    "listed",
    [
        None,
        17,
        "x",
        {"id": "a", "name": "GaAs 1"},
        [None, 1, "x", [], {"id": 1, "name": "GaAs 1"}, {"id": "a"}, {"name": "GaAs 1"}],
    ],
    ids=repr,
)
def test_a_list_of_the_wrong_shape_matches_nothing_and_breaks_nothing(bench: Bench, listed: object) -> None:
    def answer(asked: Asked) -> Reply:
        return json_reply(listed) if asked.method == "GET" else json_reply({"id": 17})

    with ScriptedServer(answer) as server, AtomscaleApi(server.url, ApiKey("k")) as api:
        with pytest.raises(ServerUnreachable):
            open_on_server(api, bench.settings(physical_sample="GaAs 1"))
        assert not any(asked.path == "/rheed/stream/" for asked in server.asked)


def test_each_request_carries_the_key_in_its_header_and_nowhere_else(bench: Bench) -> None:
    def answer(asked: Asked) -> Reply:
        if asked.method == "GET":
            return json_reply([])
        return json_reply("d-1") if asked.path == "/rheed/stream/" else json_reply({"id": str(uuid.uuid4())})

    with ScriptedServer(answer) as server, AtomscaleApi(server.url, ApiKey("secret-key")) as api:
        open_on_server(api, bench.settings(**EVERYTHING))
        assert len(server.asked) == 8
        for asked in server.asked:
            assert asked.headers["x-api-key"] == "secret-key"
            assert "secret-key" not in f"{asked.path} {asked.query} {asked.body!r}"
