import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.loopback.rig import Rig, encode, make_frames
from uploader.loopback.process import LoopbackError, LoopbackServer

COMMAND = [sys.executable, "-m", "uploader.loopback"]


def test_the_server_is_a_process_of_its_own(rig: Rig) -> None:
    assert rig.server.pid != os.getpid()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_received_survives_a_restart(own_rig: Callable[..., Rig], end: str) -> None:
    rig = own_rig()
    data_id = rig.open_stream()
    frames = make_frames()
    rig.send(data_id, 0, frames)
    sample_id = rig.request("POST", "/physical_samples/", json={"name": "GaAs"}).json()["physical_sample_id"]
    tag_id = rig.request("POST", "/tags/", json={"name": "night"}).json()["id"]
    before = rig.server.state()
    getattr(rig.server, end)()
    rig.server.start()
    after = rig.server.state()
    assert after["streams"] == before["streams"]
    assert after["samples"] == [{"id": sample_id, "name": "GaAs"}]
    assert after["tags"] == [{"id": tag_id, "name": "night"}]
    np.testing.assert_array_equal(np.asarray(rig.server.received(data_id)[:]), frames)


def test_a_url_given_out_before_a_restart_is_honoured_after_it(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    data_id = rig.open_stream()
    url = rig.url(data_id)
    rig.server.kill()
    rig.server.start()
    assert rig.put(url, encode(make_frames())).status_code == 200


def test_a_restarted_server_continues_its_log(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    data_id = rig.open_stream()
    rig.send(data_id, 0, make_frames(seed=1))
    rig.server.kill()
    log = rig.server.root / "received" / data_id / "log.jsonl"
    with log.open("a") as torn:
        torn.write('{"event": "rece')
    rig.server.start()
    rig.send(data_id, 0, make_frames(seed=2))
    received = [line for line in rig.server.log(data_id) if line["event"] == "received"]
    assert [(line["seq"], line["changed"]) for line in received] == [(0, False), (1, True)]


def test_a_restart_keeps_the_address(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    url, pid = rig.server.url, rig.server.pid
    rig.server.restart()
    assert rig.server.url == url
    assert rig.server.pid != pid
    assert rig.request("GET", "/tags/").status_code == 200


def test_a_killed_server_is_not_there(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    rig.server.kill()
    with pytest.raises(httpx.ConnectError):
        rig.request("GET", "/gateway/time")


def test_stopping_twice_is_nothing_special(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    rig.server.stop()
    rig.server.stop()
    with pytest.raises(LoopbackError, match="not running"):
        _ = rig.server.pid


def test_a_server_stops_in_time_though_a_request_hangs(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    rig.server.faults([{"action": "delay", "seconds": 3600}])
    with rig.connection() as connection:
        connection.sendall(b"GET /gateway/time HTTP/1.1\r\nHost: x\r\n\r\n")
        while rig.server.state()["requests"] == {}:
            pass  # until the request has arrived; each turn is a request of its own
        rig.server.stop()


def test_the_key_is_the_one_given(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig(api_key="another key")
    assert rig.request("GET", "/tags/").status_code == 200
    assert rig.request("GET", "/tags/", headers={"X-API-KEY": "loopback-key"}).status_code == 403


def test_a_root_has_one_server_at_a_time(own_rig: Callable[..., Rig]) -> None:
    rig = own_rig()
    second = LoopbackServer(rig.server.root)
    with pytest.raises(LoopbackError, match="Another loopback server"):
        second.start()


def test_a_port_that_is_taken_is_said_in_one_line(own_rig: Callable[..., Rig], tmp_path: Path) -> None:
    port = httpx.URL(own_rig().server.url).port
    assert port is not None
    with pytest.raises(LoopbackError) as refused:
        LoopbackServer(tmp_path / "other", port=port).start()
    assert "\n" not in str(refused.value)


def test_received_before_the_first_chunk_is_not_found(rig: Rig) -> None:
    with pytest.raises(FileNotFoundError):
        rig.server.received(rig.open_stream())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to stop a process with")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready.json"
    command = [*COMMAND, "--root", str(tmp_path / "root"), "--ready-file", str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert json.loads(ready.read_text()) == {"url": url, "pid": process.pid}
        assert httpx.get(f"{url}/gateway/time", trust_env=False).status_code == 200
        process.send_signal(number)
        rest, complaints = process.communicate(timeout=20)
    assert (process.returncode, rest, complaints) == (0, "", "")


def test_only_loopback_addresses_are_served(tmp_path: Path) -> None:
    refused = subprocess.run(
        [*COMMAND, "--root", str(tmp_path), "--host", "0.0.0.0"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "only loopback addresses" in refused.stderr


@pytest.mark.parametrize("package", ["starlette", "uvicorn"])
def test_without_the_extra_it_says_in_one_line_what_to_install(tmp_path: Path, package: str) -> None:
    program = (
        f"import runpy, sys; sys.modules[{package!r}] = None; "
        f"sys.argv = ['loopback', '--root', {str(tmp_path)!r}]; "
        "runpy.run_module('uploader.loopback', run_name='__main__')"
    )
    refused = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert 'pip install "framespool[demo]"' in refused.stderr


def test_the_server_shares_no_code_with_the_client() -> None:
    program = (
        "import sys, uploader; before = set(sys.modules)\n"
        "import uploader.loopback.__main__, uploader.loopback.app, uploader.loopback.serving\n"
        "new = set(sys.modules) - before\n"
        "ours = [m for m in new if m.split('.')[0] in ('spool', 'uploader')]\n"
        "print([m for m in ours if not m.startswith('uploader.loopback')])"
    )
    shared = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shared.stdout.strip() == "[]"
