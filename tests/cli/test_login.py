"""Storing and removing the API key: ``login``, ``logout``."""

import os
import pty
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shell import CHECKOUT, KEY, PATIENCE_S, Said, Shell, checked
from tests.uploader.rig import status_rule
from uploader.loopback.process import LoopbackServer

WRONG = "a-wrong-key-that-must-not-be-seen"


@pytest.fixture
def visitor(shell: Shell, tmp_path: Path) -> Shell:
    """Somebody whose environment has no key, with a keyring that is a file of the test's own."""
    visitor = shell.without("AS_API_KEY")
    visitor.environment["PYTHON_KEYRING_BACKEND"] = "keyrings.alt.file.PlaintextKeyring"
    visitor.environment["XDG_DATA_HOME"] = str(tmp_path / "data")
    return visitor


@pytest.fixture
def file(visitor: Shell) -> Path:
    return Path(visitor.environment["XDG_CONFIG_HOME"]) / "framespool" / "key"


def login(shell: Shell, *options: str, key: str = KEY) -> Said:
    ended = subprocess.run(
        [sys.executable, "-m", "uploader", "login", *options],
        cwd=CHECKOUT,
        env=shell.environment,
        input=f"{key}\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert WRONG not in ended.stdout + ended.stderr
    return checked(Said(ended.returncode, ended.stdout, ended.stderr))


def test_a_key_in_the_keyring_is_enough_to_record_and_deliver(visitor: Shell, server: LoopbackServer) -> None:
    said = login(visitor)
    assert (said.code, said.out) == (0, f"The key for {server.url} is in the system keyring.\n")
    assert visitor.run("stream", "sim:frames=20,height=48,width=64", "--fast").code == 0
    out = visitor.run("logout")
    assert (out.code, out.out) == (0, f"The key for {server.url} is removed from the system keyring.\n")
    assert "there is no API key" in visitor.run("worker", "--once").err
    assert visitor.run("logout", "--json").json() == {"endpoint": server.url, "removed": []}


def test_a_key_in_the_file_is_private_bound_to_its_server_and_removed_again(
    visitor: Shell, server: LoopbackServer, file: Path
) -> None:
    said = login(visitor, "--file", "--json")
    assert said.json() == {
        "endpoint": server.url,
        "stored_in": "file",
        "checked": True,
        "doubt": None,
        "before_it": None,
    }
    assert file.read_text() == f"{server.url} {KEY}\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert visitor.run("worker", "--once").code == 0
    assert "there is no API key" in visitor.run("worker", "--once", "--endpoint", "http://127.0.0.1:9").err
    assert visitor.run("logout", "--json").json() == {"endpoint": server.url, "removed": ["file"]}
    assert not file.exists()


@pytest.mark.parametrize("options", [(), ("--file",)])
def test_a_key_that_the_server_refuses_is_not_stored(visitor: Shell, options: tuple[str, ...], file: Path) -> None:
    said = login(visitor, *options, key=WRONG)
    assert said.code == 1
    assert "answered 403" in said.err
    assert "was not stored" in said.err
    assert visitor.run("logout", "--json").json()["removed"] == []
    assert not file.exists()


@pytest.mark.parametrize("what", ["away", "503", "portal"])
def test_a_key_that_cannot_be_checked_is_stored_and_that_is_said(
    visitor: Shell, server: LoopbackServer, what: str, file: Path
) -> None:
    if what == "away":
        server.outage(True)
    elif what == "503":
        server.faults([status_rule({"method": "GET", "path": "^/tags/"}, 503)])
    else:
        server.faults([{"match": {"path": "^/tags/"}, "action": "html200"}])
    said = login(visitor, "--file")
    assert said.code == 0
    assert "could not be checked" in said.out
    assert KEY in file.read_text()


def test_what_comes_before_the_stored_key_is_named(visitor: Shell) -> None:
    visitor.environment["ATOMSCALE_API_KEY"] = WRONG
    said = login(visitor)
    assert said.code == 0
    assert "another key comes before it: ATOMSCALE_API_KEY." in said.out


@pytest.mark.parametrize("backend", ["fail", "null"])
def test_a_machine_without_a_keyring_says_to_use_a_file(visitor: Shell, backend: str) -> None:
    visitor.environment["PYTHON_KEYRING_BACKEND"] = f"keyring.backends.{backend}.Keyring"
    said = login(visitor)
    assert said.code == 2
    assert "this machine has no keyring" in said.err
    assert "framespool login --file" in said.err


@pytest.mark.parametrize("key", ["", " \n", "schl\u00fcssel", "two\nlines"])
def test_what_is_no_key_is_refused_before_the_server_is_asked(visitor: Shell, key: str, file: Path) -> None:
    visitor.environment["PYTHONUTF8"] = "1"
    said = login(visitor, "--file", key=key)
    assert said.code == 2
    assert not file.exists()


def test_a_key_typed_at_a_terminal_is_not_shown(visitor: Shell, file: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "uploader", "login", "--file"],
        cwd=CHECKOUT,
        env={**visitor.environment, "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    with process, os.fdopen(ours, "r+b", buffering=0) as terminal:
        while b"(not shown)" not in shown:
            shown += terminal.read(1024)
        terminal.write(f"{KEY}\n".encode())
        try:
            while piece := terminal.read(1024):
                shown += piece
        except OSError:  # Linux says it so when the other end is closed
            pass
        assert process.wait(PATIENCE_S) == 0
    assert b"is in the key file" in shown
    assert KEY.encode() not in shown
    assert KEY in file.read_text()
