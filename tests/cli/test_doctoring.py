"""doctor: whether recording and delivery can work here, and what to do where not."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli.shell import KEY, Reader, Shell, until
from uploader.addresses import is_store
from uploader.destinations.stores.folder import MARK_NAME, mark
from uploader.doctor import CHECKS
from uploader.loopback.process import LoopbackServer

NAMES = [check.name for check in CHECKS if check.of is not is_store]


def talking(shell: Shell) -> Reader:
    """The same inside this process, past whatever proxy the machine has."""
    reader = Reader(shell.spool, shell.environment["AS_API_ENDPOINT"])
    reader.environment["NO_PROXY"] = "*"
    return reader


def test_where_all_is_well_every_check_says_so_and_nothing_is_left_behind(shell: Shell, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    said = shell.run("doctor")
    assert said.code == 0, said
    assert said.err == ""
    for name in NAMES:
        assert f" {name} " in said.out
    assert "Nothing keeps recording and delivery from working" in said.out
    assert sorted(tmp_path.rglob("*")) == before


def test_it_fits_a_terminal_of_80_columns(shell: Shell) -> None:
    said = talking(shell).run("doctor")
    body = said.out.partition("\n\n")[2]
    assert all(len(line) <= 80 or "/pytest-" in line for line in body.splitlines())


def test_machines_get_one_object_with_numbers(shell: Shell, server: LoopbackServer) -> None:
    said = talking(shell).run("doctor", "--json")
    told = said.json()
    assert (told["well"], told["spool"], told["endpoint"]) == (True, str(shell.spool), server.url)
    findings = {one["check"]: one for one in told["findings"]}
    assert list(findings) == NAMES
    assert findings["durability"]["numbers"]["durable_s"] > 0
    assert findings["access"]["verdict"] == "ok"


def test_a_refused_key_is_bad_news_with_what_to_do(shell: Shell, server: LoopbackServer) -> None:
    server.faults([{"match": {"path": "^/tags/"}, "action": "status", "status": 401, "body": f"no: {KEY}"}])
    said = talking(shell).run("doctor")
    assert said.code == 1
    assert "problem     access" in said.out
    assert "-> Store a valid key with 'framespool login'" in said.out
    assert "1 problem to solve" in said.out


def test_warnings_alone_are_no_bad_news(shell: Shell) -> None:
    shell.spool.mkdir(mode=0o755)
    said = talking(shell).run("doctor")
    assert said.code == 0, said
    assert "warning     folder" in said.out
    assert "1 warning" in said.out or "2 warnings" in said.out


def test_offline_asks_nothing_of_the_network(shell: Shell, server: LoopbackServer) -> None:
    before = server.state()["requests"]
    said = talking(shell).run("doctor", "--offline", "--json")
    assert said.code == 0, said
    findings = {one["check"]: one for one in said.json()["findings"]}
    asking = {check.name for check in CHECKS if check.asks_network and check.name in NAMES}
    assert {name for name, one in findings.items() if one["seen"] == "--offline"} == asking
    assert server.state()["requests"] == before


def test_a_spool_at_work_is_not_disturbed(shell: Shell) -> None:
    recorder = ("stream", "sim:frames=24", "--fps", "4", "--realtime")
    with shell.running(*recorder) as recording:
        until((shell.spool / "index.sqlite3").exists)
        said = shell.run("doctor")
        assert said.code == 0, said
        assert recording.wait(60) == 0


def test_of_a_folder_it_asks_whether_it_takes_files_and_nothing_of_a_server(reader: Shell, tmp_path: Path) -> None:
    share = tmp_path / "share"
    url = (share / "growths").as_uri()

    def found() -> dict[str, Any]:
        said = reader.run("doctor", "--endpoint", url, "--json")
        findings = {one["check"]: one for one in said.json()["findings"]}
        assert {"proxy", "dns", "tls", "key", "server"}.isdisjoint(findings)
        store: dict[str, Any] = findings["store"]
        assert said.code == (1 if store["verdict"] == "problem" else 0)
        return store

    gone = found()
    assert (gone["verdict"], gone["seen"]) == ("problem", f"{share} is not there")
    share.mkdir()
    assert found()["verdict"] == "warning"
    (share / "growths").mkdir()
    assert "has no mark" in found()["seen"]
    assert mark(share / "growths")
    assert (found()["verdict"], found()["seen"]) == ("ok", f"{share / 'growths'} is marked, and takes files")
    assert [path.name for path in (share / "growths").iterdir()] == [MARK_NAME]


def test_wrong_usage_is_2(reader: Shell) -> None:
    said = reader.run("doctor", "--endpoint", "ftp://somewhere")
    assert said.code == 2
    assert "not an http or https URL" in said.err


def test_whoever_looks_on_sees_what_is_being_checked(shell: Shell) -> None:
    reading, writing = os.openpty()
    seen = b""
    with subprocess.Popen(
        [sys.executable, "-m", "uploader", "doctor", "--offline"],
        env={**shell.environment, "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=writing,
    ):
        os.close(writing)
        with contextlib.suppress(OSError):  # so a terminal says that nobody has its other end any more
            while piece := os.read(reading, 4096):
                seen += piece
    os.close(reading)
    assert b"checking durability" in seen
    assert KEY.encode() not in seen
