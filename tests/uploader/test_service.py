"""The worker as a service: what is written for each system says exactly what is meant, whatever the paths hold."""

import configparser
import os
import plistlib
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.cli.shell import KEY, Shell
from uploader.service import Command, Service, WorkerCall
from uploader.service.launchd import launchd_service
from uploader.service.systemd import quoted, systemd_service
from uploader.service.windows_task import windows_service

AWKWARD = [
    "plain",
    "with space",
    'a "quote"',
    "it's",
    "100%u",
    "back\\slash",
    "$HOME and ${X}",
    "ümlaut",
    "a;b",
    "-",
]
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"


def as_systemd_reads(line: str) -> list[str]:
    """The words of a command line by the rules of systemd.syntax(7): quotes as a shell's, then % and $ doubled."""
    first, *others = shlex.split(line.replace("%%", "%"))
    return [first, *(word.replace("$$", "$") for word in others)]


def unit_of(service: Service) -> configparser.RawConfigParser:
    unit = configparser.RawConfigParser(strict=True)
    unit.optionxform = str  # type: ignore[assignment, method-assign] # names keep their case
    unit.read_string(service.text)
    return unit


@pytest.mark.parametrize("name", AWKWARD)
def test_the_unit_calls_the_worker_whatever_the_paths_hold(name: str, tmp_path: Path) -> None:
    call = WorkerCall(program=tmp_path / name / "python", config_file=tmp_path / name / "c.toml")
    unit = unit_of(systemd_service(call, config_home=tmp_path / name))
    read = as_systemd_reads(unit["Service"]["ExecStart"])
    assert read[-len(call.arguments) - 1 :] == [str(call.program), *call.arguments]
    assert read[0] in (str(call.program), "/usr/bin/env")
    key_file = tmp_path / name / "framespool" / "service.env"
    assert unit["Service"]["EnvironmentFile"].replace("%%", "%") == f"-{key_file}"


def test_a_dollar_stands_for_itself_in_the_program_and_is_doubled_elsewhere() -> None:
    assert quoted("/a$b", is_program=True) == '"/a$b"'
    assert quoted("/a$b") == '"/a$$b"'
    assert quoted("/a\nb") == '"/a\\nb"'


def test_the_unit_restarts_for_ever_and_ends_politely_and_holds_no_key(tmp_path: Path) -> None:
    unit = unit_of(systemd_service(WorkerCall(program=Path("/usr/bin/python3")), config_home=tmp_path))
    assert unit["Service"]["Restart"] == "always"
    assert unit["Unit"]["StartLimitIntervalSec"] == "0"
    assert (unit["Service"]["KillSignal"], unit["Service"]["TimeoutStopSec"]) == ("SIGTERM", "20")
    assert unit["Install"]["WantedBy"] == "default.target"
    assert "Environment" not in unit["Service"]


@pytest.mark.parametrize("name", AWKWARD)
def test_systemd_itself_finds_nothing_wrong_with_the_unit(name: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        return  # the tests above read it as the manual says
    home = tmp_path / name
    home.mkdir()
    program = home / "python"
    program.symlink_to(sys.executable)
    service = systemd_service(WorkerCall(program=program, config_file=home / "c.toml"), config_home=home)
    (tmp_path / "framespool.service").write_bytes(service.content)
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    said = subprocess.run(
        ["systemd-analyze", "--user", "verify", tmp_path / "framespool.service"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("name", AWKWARD)
def test_the_agent_calls_the_worker_whatever_the_paths_hold(name: str, tmp_path: Path) -> None:
    call = WorkerCall(program=tmp_path / name, config_file=tmp_path / name, log_file=tmp_path / name / "w.log")
    service = launchd_service(call, home=tmp_path, uid=501)
    said = plistlib.loads(service.content)
    assert said["ProgramArguments"] == [str(call.program), *call.arguments]
    assert said["KeepAlive"] is said["RunAtLoad"] is True
    assert said["StandardErrorPath"] == str(tmp_path / name / "w.stderr.log")
    assert service.path.name == f"{said['Label']}.plist"


@pytest.mark.parametrize("name", [one for one in AWKWARD if '"' not in one])
def test_the_task_calls_the_worker_whatever_the_paths_hold(name: str, tmp_path: Path) -> None:
    call = WorkerCall(program=tmp_path / name, config_file=tmp_path / name, log_file=tmp_path / "a&b<c>.log")
    service = windows_service(call, folder=tmp_path, user="LAB\\müller & co")
    assert service.content[:2] in (b"\xff\xfe", b"\xfe\xff")
    task = ET.fromstring(service.content)
    action = task.find(f"{TASK}Actions/{TASK}Exec")
    assert action is not None
    assert action.findtext(f"{TASK}Command") == str(call.program)
    assert action.findtext(f"{TASK}Arguments") == subprocess.list2cmdline(call.arguments)
    assert task.findtext(f"{TASK}Principals/{TASK}Principal/{TASK}UserId") == "LAB\\müller & co"


def test_the_task_has_no_time_limit_and_comes_back_by_itself(tmp_path: Path) -> None:
    call = WorkerCall(program=Path("python.exe"), log_file=tmp_path / "w.log")
    task = ET.fromstring(windows_service(call, folder=tmp_path, user="me").content)
    settings = task.find(f"{TASK}Settings")
    assert settings is not None
    worths = {element.tag.removeprefix(TASK): element.text for element in settings}
    assert worths["ExecutionTimeLimit"] == "PT0S"
    assert worths["MultipleInstancesPolicy"] == "IgnoreNew"
    assert worths["Hidden"] == "true"
    assert worths["DisallowStartIfOnBatteries"] == worths["StopIfGoingOnBatteries"] == "false"
    assert settings.findtext(f"{TASK}RestartOnFailure/{TASK}Interval") == "PT1M"
    assert task.findtext(f"{TASK}Triggers/{TASK}LogonTrigger/{TASK}Repetition/{TASK}Interval") == "PT5M"


def test_a_log_that_the_file_names_is_not_fixed_in_the_call(tmp_path: Path) -> None:
    call = WorkerCall(program=Path("p"), log_file=tmp_path / "w.log", is_log_configured=True)
    assert "--log-file" not in call.arguments
    assert plistlib.loads(launchd_service(call, home=tmp_path, uid=1).content)["StandardErrorPath"]


# The command, on this system ----------------------------------------------------------------------------


pytestmark_linux = pytest.mark.skipif(sys.platform != "linux", reason="it would install a service on this machine")


@pytest.fixture
def home(tmp_path: Path, reader: Shell) -> Path:
    """A user's configuration folder, and a system whose ``systemctl`` notes what it is told."""
    tools = tmp_path / "bin"
    tools.mkdir()
    told = tools / "systemctl"
    told.write_text(
        f'#!/bin/sh\necho "$*" >> {tmp_path}/told\n'
        f'case "$*" in *show*) cat {tmp_path}/state;; esac\ntest ! -e {tmp_path}/broken\n'
    )
    told.chmod(0o755)
    (tmp_path / "state").write_text("inactive\n")
    reader.environment |= {"PATH": f"{tools}:{os.environ['PATH']}", "XDG_CONFIG_HOME": str(tmp_path / "home")}
    reader.environment["FRAMESPOOL_CONFIG"] = os.devnull
    del reader.environment["AS_API_ENDPOINT"], reader.environment["ATOMSCALE_SPOOL_DIR"]
    return tmp_path


@pytest.fixture
def reader(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "spool", "http://127.0.0.1:9")


@pytestmark_linux
def test_installing_starts_it_and_uninstalling_leaves_nothing(home: Path, reader: Shell) -> None:
    unit = home / "home" / "systemd" / "user" / "framespool.service"
    said = reader.run("service", "install")
    assert (said.code, said.err) == (0, "")
    assert "enable-linger" in said.out
    assert (home / "told").read_text().splitlines() == [
        "--user daemon-reload",
        "--user enable framespool.service",
        "--user restart framespool.service",
    ]
    assert KEY not in unit.read_text()
    printed = reader.run("service", "install", "--print")
    assert printed.out == unit.read_text()
    assert reader.run("service", "uninstall").code == 0
    assert "--user disable --now framespool.service" in (home / "told").read_text()
    assert not unit.exists()
    again = reader.run("service", "uninstall")
    assert again.code == 1
    assert "not installed" in again.err


@pytestmark_linux
def test_printing_changes_nothing(home: Path, reader: Shell) -> None:
    assert "ExecStart=" in reader.run("service", "install", "--print").out
    assert not (home / "home").exists()
    assert not (home / "told").exists()


@pytestmark_linux
def test_the_unit_keeps_the_configuration_file_that_counts_now(home: Path, reader: Shell) -> None:
    config = home / "my config.toml"
    config.write_text("verbosity = 2\n")
    printed = reader.run("service", "install", "--print", "--config", str(config)).out
    assert f'-m uploader worker --config "{config}"\n' in printed
    config.write_text("verbositi = 2\n")
    assert reader.run("service", "install", "--config", str(config)).code == 2
    assert not (home / "told").exists()


@pytestmark_linux
def test_without_a_systemd_the_unit_is_written_and_what_to_type_is_said(home: Path, reader: Shell) -> None:
    (home / "broken").touch()
    said = reader.run("service", "install")
    assert said.code == 1
    assert "only written, not started" in said.err
    assert "  systemctl --user enable framespool.service\n" in said.err
    assert (home / "home" / "systemd" / "user" / "framespool.service").exists()
    told = reader.run("service", "status", "--json")
    assert told.code == 1
    assert told.json()["running"] is None
    assert reader.run("service", "uninstall", "--json").json()["left_to_type"][-1][-1] == "daemon-reload"


@pytestmark_linux
def test_status_says_whether_it_runs_and_whether_its_file_is_stale(home: Path, reader: Shell) -> None:
    before = reader.run("service", "status", "--json")
    assert before.code == 1
    assert before.json() | {"file": ""} == {
        "kind": "systemd user unit",
        "file": "",
        "installed": False,
        "up_to_date": False,
        "running": False,
    }
    reader.run("service", "install")
    (home / "state").write_text("active\n")
    assert reader.run("service", "status").code == 0
    (home / "home" / "systemd" / "user" / "framespool.service").write_text("[Service]\nExecStart=/gone\n")
    stale = reader.run("service", "status")
    assert stale.code == 0
    assert "service install' again" in stale.out


@pytestmark_linux
def test_what_the_service_will_not_see_of_this_environment_is_said(home: Path, reader: Shell) -> None:
    reader.environment["AS_API_ENDPOINT"] = "http://127.0.0.1:8"
    said = reader.run("service", "install").out
    assert "endpoint comes from environment AS_API_ENDPOINT here" in said
    assert home.exists()


def test_a_program_that_is_not_there_is_no_crash() -> None:
    from uploader.service.carrying_out import _run  # noqa: PLC0415 - private on purpose

    code, says = _run(Command(argv=("no-such-program-anywhere",)))
    assert code != 0
    assert "no-such-program-anywhere" in says
