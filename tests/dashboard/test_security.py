"""Who may look and who may decide: strangers, other sites, other users, other servers, and what they try."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from spool import ChunkState, Spool, Stream
from spool.testing import some_frames
from tests.dashboard.conftest import CHECKOUT, Dashboard, park, record
from uploader.cli import main
from uploader.dashboard.security import POLICY


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dashboard, Spool, Stream]]:
    """One dashboard for all: nobody here should get as far as changing anything."""
    folder = tmp_path_factory.mktemp("security")
    with Spool(folder / "spool") as spool:
        stream = record(spool, 0, 1, 2)
        park(spool, stream, 1)
        running = Dashboard(spool.root, folder)
        yield running, spool, stream
        chunk = spool.chunk("data-1", 1)
        assert chunk is not None
        assert chunk.state is ChunkState.PARKED, "somebody has got through"
        running.stop()
        assert running.complaints.read_text() == ""


@pytest.fixture
def dashboard(scene: tuple[Dashboard, Spool, Stream]) -> Dashboard:
    return scene[0]


@pytest.fixture
def stream_id(scene: tuple[Dashboard, Spool, Stream]) -> str:
    return scene[2].stream_id


@pytest.fixture(scope="module")
def visitor(scene: tuple[Dashboard, Spool, Stream]) -> Iterator[httpx.Client]:
    """Whoever has opened the link."""
    with scene[0].visitor() as client:
        yield client


@pytest.fixture(scope="module")
def stranger() -> Iterator[httpx.Client]:
    """Whoever has not."""
    with httpx.Client(trust_env=False) as client:
        yield client


def raw(dashboard: Dashboard, *lines: str, body: bytes = b"") -> int:
    """The status that a request of exactly these lines gets."""
    with socket.create_connection(("127.0.0.1", dashboard.port), timeout=10) as line:
        line.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        answer = http.client.HTTPResponse(line)
        answer.begin()
        answer.read()
        return answer.status


def place(dashboard: Dashboard) -> str:
    found: str = dashboard.base[len(dashboard.origin) :]
    return found


# Names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example",
        "127.0.0.1@evil.example", "", "127.0.0.1:", "127.0.0.1:80:90", "127.1", "2130706433", "[::1]",
        "0.0.0.0", "localhost.",
    ],
)  # fmt: skip
def test_a_strangers_host_header_is_refused_even_with_a_session(visitor: httpx.Client, host: str) -> None:
    assert visitor.get("", headers={"Host": host}).status_code in (400, 421)
    assert visitor.get("assets/page.js", headers={"Host": host}).status_code in (400, 421)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1:9000"])
def test_this_machine_is_reached_by_its_names_through_a_tunnel_too(visitor: httpx.Client, host: str) -> None:
    assert visitor.get("", headers={"Host": host}).status_code == 200


def test_two_hosts_or_none_are_refused(dashboard: Dashboard) -> None:
    path = f"GET {place(dashboard)}enter HTTP/1.1"
    assert raw(dashboard, path) in (400, 421)
    assert raw(dashboard, path, "Host: 127.0.0.1", "Host: evil.example") in (400, 421)
    assert raw(dashboard, f"GET {place(dashboard)}enter HTTP/1.0") in (400, 421)
    assert raw(dashboard, path, "Host: 127.0.0.1") == 200


# Nobody -----------------------------------------------------------------------------------------------------

READS = [
    "", "streams/{}", "streams/{}/audit.html", "streams/{}/proof.json", "api/feed", "api/streams/{}",
    "api/streams/{}/map", "api/streams/{}/series", "api/streams/{}/parked", "api/streams/{}/chunks/0",
    "api/streams/{}/latest", "api/streams/{}/frames/0",
]  # fmt: skip


@pytest.mark.parametrize("path", READS)
def test_without_a_session_nothing_is_read(
    dashboard: Dashboard, stranger: httpx.Client, stream_id: str, path: str
) -> None:
    url = dashboard.base + path.format(stream_id)
    for cookie in ("", "framespool=", "framespool=" + "x" * 43, f"framespool={dashboard.token}", "a=b; c"):
        answer = stranger.get(url, headers={"Cookie": cookie})
        assert answer.status_code == 401
        assert "has printed" in answer.text


@pytest.mark.parametrize("path", ["/", "/enter", "/favicon.ico", "/api/feed", "/0123456789abcdef/", "//"])
def test_outside_its_path_nothing_is_there_not_even_the_path(
    dashboard: Dashboard, stranger: httpx.Client, path: str
) -> None:
    answer = stranger.get(dashboard.origin + path)
    assert answer.status_code == 401
    assert place(dashboard).strip("/") not in answer.text + str(answer.headers)


@pytest.mark.parametrize("token", ["", "x", 7, None, ["a"], {"b": 1}, "é" * 43, "\ud800"])
def test_another_token_begins_no_session(dashboard: Dashboard, stranger: httpx.Client, token: object) -> None:
    body = json.dumps({"token": token})
    headers = {"Origin": dashboard.origin, "Content-Type": "application/json"}
    answer = stranger.post(f"{dashboard.base}api/session", content=body, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


def test_anothers_cookie_of_our_name_does_not_shut_us_out(
    dashboard: Dashboard, visitor: httpx.Client, stranger: httpx.Client
) -> None:
    (ours,) = visitor.cookies.jar
    for others in ("framespool=theirs; {}", "{}; framespool=theirs", 'a={{"b": "c;"}}; {}; =x;;'):
        cookie = others.format(f"framespool={ours.value}")
        assert stranger.get(dashboard.base, headers={"Cookie": cookie}).status_code == 200


# Other sites ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("came_from", ["cross-site", "same-site", "x"])
def test_another_sites_page_gets_no_answer_even_with_the_session(
    visitor: httpx.Client, stream_id: str, came_from: str
) -> None:
    for path in ("", f"api/streams/{stream_id}", "api/feed", "assets/page.js"):
        assert visitor.get(path, headers={"Sec-Fetch-Site": came_from}).status_code == 403
    assert visitor.get("enter", headers={"Sec-Fetch-Site": came_from}).status_code == 200


FORGED: list[dict[str, str | None]] = [
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": None},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"},
    {"Content-Type": None},
    {"Cookie": "framespool=x"},
]


@pytest.mark.parametrize("verb", ["retry", "discard", "session"])
@pytest.mark.parametrize("forged", FORGED)
def test_a_forged_request_changes_nothing(
    dashboard: Dashboard, visitor: httpx.Client, stream_id: str, forged: dict[str, str | None], verb: str
) -> None:
    path = "api/session" if verb == "session" else f"api/streams/{stream_id}/{verb}"
    bodies: dict[str, dict[str, Any]] = {
        "retry": {"chunks": None},
        "discard": {"chunks": [1], "why": "w", "confirmed": True},
        "session": {"token": dashboard.token},
    }
    body = bodies[verb]
    request = visitor.build_request(
        "POST", path, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    for name, value in forged.items():
        if value is None:
            request.headers.pop(name, None)
        else:
            request.headers[name] = value
    answer = visitor.send(request)
    if "Cookie" in forged and verb == "session":
        assert answer.status_code == 204  # this is how a session begins
    else:
        assert answer.status_code in (401, 403)
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_other_methods_are_refused(visitor: httpx.Client, stream_id: str, method: str) -> None:
    assert visitor.request(method, f"api/streams/{stream_id}/retry").status_code == 405


def test_nothing_changes_by_reading(visitor: httpx.Client, stream_id: str) -> None:
    for verb in ("retry", "discard"):
        assert visitor.get(f"api/streams/{stream_id}/{verb}").status_code == 405


# Paths and names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "assets/../app.py", "assets/..%2fapp.py", "assets/%2e%2e/app.py", "assets/..%5capp.py",
        "assets/overview.html", "assets/%2fetc%2fpasswd", "assets//etc/passwd", "assets/page.js%00.css",
        "assets/Page.js", "assets/.",
        "assets/", "assets/page.js/", "../enter/x", "streams/../../index.sqlite3", "streams/..%2f..", "streams/",
        "streams/data-1", "api/streams/data-1", "api/streams/%00", "api/streams/{}x", "api/streams/{}/frames/99",
        "api/streams/{}/chunks/x", "api/streams/{}/chunks/-1", "api/streams/{}/chunks/99999999999",
        "api/streams/{}/chunks/٣", "api/streams/{}/frames/1e3", "api/streams/" + "x" * 5000,
        "api/streams/{}/../../streams", "streams/{}/audit.html/..", "streams/%ed%a0%80", "api/streams/' OR 1=1 --",
    ],
)  # fmt: skip
def test_bad_paths_and_names_find_nothing(
    dashboard: Dashboard, visitor: httpx.Client, stream_id: str, path: str
) -> None:
    (cookie,) = visitor.cookies.jar
    target = (place(dashboard) + path.format(stream_id)).replace(" ", "%20")
    status = raw(
        dashboard,
        f"GET {target} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Cookie: {cookie.name}={cookie.value}",
    )
    assert status in (400, 401, 404)


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("retry", {}), ("retry", []), ("retry", {"chunks": []}), ("retry", {"chunks": ["1"]}),
        ("retry", {"chunks": [True]}), ("retry", {"chunks": [-1]}), ("retry", {"chunks": [2**70]}),
        ("retry", {"chunks": [1.0]}), ("retry", {"chunks": [1], "more": 1}),
        ("retry", {"chunks": list(range(1001))}),
        ("discard", {"chunks": None, "why": "w", "confirmed": True}),
        ("discard", {"chunks": [1], "why": "", "confirmed": True}),
        ("discard", {"chunks": [1], "why": " \n", "confirmed": True}),
        ("discard", {"chunks": [1], "why": "w" * 1001, "confirmed": True}),
        ("discard", {"chunks": [1], "why": "w", "confirmed": "yes"}),
        ("discard", {"chunks": [1], "why": "w"}),
        ("discard", {"chunks": [0], "why": "it only waits", "confirmed": True}),
        ("discard", {"chunks": [1, 7], "why": "w", "confirmed": True}),
    ],
)  # fmt: skip
def test_a_decision_that_is_not_whole_changes_nothing(
    visitor: httpx.Client, stream_id: str, verb: str, body: object
) -> None:
    answer = visitor.post(f"api/streams/{stream_id}/{verb}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_a_chunk_that_is_not_parked_stops_a_retry(visitor: httpx.Client, stream_id: str) -> None:
    answer = visitor.post(f"api/streams/{stream_id}/retry", json={"chunks": [1, 2]})
    assert answer.status_code == 409
    assert answer.json()["error"] == "cannot retry chunk 2: it is not parked"


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b"[" * 60_000, b'{"chunks": [' + b"1," * 30_000, b"9" * 9000]
)
def test_what_is_not_json_is_refused(visitor: httpx.Client, stream_id: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    assert visitor.post(f"api/streams/{stream_id}/retry", content=body, headers=headers).status_code == 400


def test_a_large_body_is_not_read(visitor: httpx.Client, stream_id: str) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"{" * 100_000

    path, headers = f"api/streams/{stream_id}/retry", {"Content-Type": "application/json"}
    assert visitor.post(path, content=b"{" * 100_000, headers=headers).status_code == 403
    assert visitor.post(path, content=pieces(), headers=headers).status_code == 403  # of no announced length


# What every answer says -------------------------------------------------------------------------------------


def test_every_answer_forbids_what_a_page_does_not_need(
    dashboard: Dashboard, visitor: httpx.Client, stranger: httpx.Client, stream_id: str
) -> None:
    answers = [visitor.get(path.format(stream_id)) for path in READS if path != "api/feed"]
    answers += [
        visitor.get("assets/map.js"),
        visitor.get("enter"),
        visitor.get("nothing"),
        stranger.get(dashboard.origin),
    ]
    with visitor.stream("GET", "api/feed") as feed:
        answers.append(feed)
    for answer in answers:
        headers = answer.headers
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in headers
        assert "access-control-allow-origin" not in headers
        policy = headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        if not answer.request.url.path.endswith("audit.html"):
            assert policy == POLICY


def test_pages_have_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = Path(__file__).parents[2] / "uploader" / "dashboard" / "page"
    texts = {path.name: path.read_text("utf-8") for path in page.iterdir()}
    assert len(texts) > 10
    for name, text in texts.items():
        assert "https://" not in text, name
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), name
        if name.endswith(".js"):
            for sink in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
            ):
                assert sink not in text, (name, sink)
        if name.endswith(".html"):
            assert "style=" not in text
            assert "<style" not in text
            assert " on" + "click" not in text
            assert all("src=" in tag for tag in text.split("<script")[1:]), name


# The token --------------------------------------------------------------------------------------------------


def test_it_listens_on_this_machine_only(dashboard: Dashboard) -> None:
    lines = Path(f"/proc/{dashboard.process.pid}/net/tcp").read_text().splitlines()[1:]
    port = f"{dashboard.port:04X}"
    bound = {line.split()[1] for line in lines if line.split()[3] == "0A" and line.split()[1].endswith(f":{port}")}
    assert bound == {f"0100007F:{port}"}


def test_the_token_stands_in_no_argument_no_environment_and_no_file(
    dashboard: Dashboard, visitor: httpx.Client
) -> None:
    home = Path(f"/proc/{dashboard.process.pid}")
    assert dashboard.token not in (home / "cmdline").read_text()
    assert dashboard.token not in (home / "environ").read_text()
    (cookie,) = visitor.cookies.jar
    assert cookie.value != dashboard.token
    root = Path(dashboard.said["spool"])
    for path in root.rglob("*"):
        if path.is_file():
            assert dashboard.token.encode() not in path.read_bytes(), path
    assert dashboard.complaints.read_text() == ""


def test_a_browser_is_started_with_the_name_of_a_private_file(spool_root: Path, tmp_path: Path) -> None:
    """``--open``: everybody can see what a browser is started with."""
    browser = tmp_path / "browser"
    seen = tmp_path / "seen"
    browser.write_text(
        f'#!/bin/sh\necho "$1" > {seen}.part\ncp "${{1#file://}}" {seen}.page\nmv {seen}.part {seen}\n'
    )
    browser.chmod(0o700)
    os.environ["BROWSER"] = str(browser)
    try:
        running = Dashboard(spool_root, tmp_path, "--open")
    finally:
        del os.environ["BROWSER"]
    try:
        deadline = time.monotonic() + 20
        while not seen.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        url = seen.read_text().strip()
        path = Path(url.removeprefix("file://"))
        assert running.token not in url
        assert running.url in Path(f"{seen}.page").read_text()
        assert path.parent.stat().st_mode & 0o077 == 0
    finally:
        running.stop()
    assert not path.exists()


@pytest.fixture
def spool_root(scene: tuple[Dashboard, Spool, Stream]) -> Path:
    return scene[1].root


# Slow and many ----------------------------------------------------------------------------------------------


def test_those_who_do_not_read_hold_nobody_up_and_are_at_most_so_many(
    dashboard: Dashboard, visitor: httpx.Client, scene: tuple[Dashboard, Spool, Stream]
) -> None:
    (cookie,) = visitor.cookies.jar
    head = f"GET {place(dashboard)}api/feed HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    asked = f"{head}Cookie: {cookie.name}={cookie.value}\r\n\r\n"
    with contextlib.ExitStack() as stack:
        heard = []
        for _ in range(45):
            line = stack.enter_context(socket.create_connection(("127.0.0.1", dashboard.port), timeout=10))
            line.sendall(asked.encode())
            heard.append(line.recv(12))
        assert heard.count(b"HTTP/1.1 200") == 40
        assert heard.count(b"HTTP/1.1 503") == 5
        assert visitor.get(f"api/streams/{scene[2].stream_id}").status_code == 200
    with visitor.stream("GET", "api/feed") as feed:
        assert feed.status_code == 200 or _is_free_soon(visitor)
        scene[1].push("data-1", 9, some_frames(seed=9))


def _is_free_soon(visitor: httpx.Client) -> bool:
    """Those who have gone are noticed when something is sent to them."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with visitor.stream("GET", "api/feed") as feed:
            if feed.status_code == 200:
                return True
        time.sleep(0.1)
    return False


# Starting ---------------------------------------------------------------------------------------------------


def test_without_the_extra_it_says_what_to_install(spool_root: Path) -> None:
    code = "import sys; sys.modules['starlette'] = None; from uploader.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "dashboard", "--spool", str(spool_root)]
    said = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert 'pip install "framespool[dashboard]"' in said.stderr
    assert "Traceback" not in said.stderr


def test_a_port_that_is_taken_and_a_spool_that_is_not_there_are_said(
    spool_root: Path, dashboard: Dashboard
) -> None:
    said = CliRunner().invoke(main, ["dashboard", "--spool", str(spool_root), "--port", str(dashboard.port)])
    assert said.exit_code == 1
    assert f"port {dashboard.port} cannot be had" in said.stderr
    said = CliRunner().invoke(main, ["dashboard", "--spool", str(spool_root / "nowhere")])
    assert said.exit_code == 1
    assert "there is no spool in" in said.stderr
