"""Arguments and spools that are made to harm: two lines and an exit code, and nothing that a terminal obeys."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spool import Receipt, Spool
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, record
from tools.fuzz.areas import commands
from uploader.cli import main

TITLE = "\x1b]0;title\x07"


def told(*arguments: str) -> Result:
    """What the command says, with the codes that click takes away where nobody looks."""
    result = CliRunner().invoke(main, arguments, color=True)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "\x1b" not in result.output
    assert "\x07" not in result.output
    return result


def test_an_error_that_quotes_a_files_name_cannot_steer_the_terminal(tmp_path: Path) -> None:
    (tmp_path / f"{TITLE}1.png").write_bytes(b"no image")
    result = told("stream", str(tmp_path), "--fps", "2", "--spool", str(tmp_path / "spool"))
    assert result.exit_code == 1
    assert "?]0;title?1.png: cannot be read" in result.stderr


def test_the_csv_for_spreadsheets_cannot_steer_the_terminal(tmp_path: Path, spool: Spool) -> None:
    stream = record(spool, 0)
    receipt = Receipt(status=200, etag=TITLE, checksums={"crc32": TITLE}, confirmed=False, at_ms=7)
    acknowledge(spool, stream, 0, receipt=receipt)
    result = told("audit", stream.stream_id, "--csv", "--spool", str(tmp_path / "spool"))
    assert "crc32=?]0;title?" in result.stdout


@pytest.mark.parametrize("command", ["status", "streams", "audit d-1", "retry d-1", "prune"])
def test_a_path_that_no_disk_takes_is_said_without_a_traceback(command: str) -> None:
    result = told(*command.split(), "--spool", "x" * 5000)
    assert result.exit_code == 1
    assert result.stderr.startswith("framespool: ")


@pytest.mark.parametrize(
    "command",
    [
        "prune --older-than nan",
        "finalize d-1 --timeout nan",
        "stream sim: --fps nan",
        "stream sim: --rotations-per-min nan",
        "stream sim: --drain-timeout nan",
    ],
)
def test_what_is_not_a_number_is_wrong_usage(reader: Shell, command: str) -> None:
    said = reader.run(*command.split())
    assert said.code == 2
    assert "'nan' is not a number" in said.err


@pytest.mark.parametrize("command", ["worker --max-rate 2Mb/s", "stream sim: --max-rate 2"])
def test_a_rate_that_cannot_be_read_is_wrong_usage_with_an_example(reader: Shell, command: str) -> None:
    said = reader.run(*command.split())
    assert said.code == 2
    assert "2MB/s,18:00-07:00=unlimited" in " ".join(said.err.split())


def test_certificates_that_are_not_there_are_wrong_usage_too(reader: Shell, tmp_path: Path) -> None:
    reader.environment["SSL_CERT_FILE"] = str(tmp_path / "nothing.pem")
    said = reader.run("worker", "--once")
    assert said.code == 2
    assert said.err.startswith("framespool: SSL_CERT_FILE names ")


def test_hostile_arguments_meet_plain_answers(tmp_path: Path) -> None:
    found = list(commands.inputs(7, 40, tmp_path, harms=False))
    assert len(found) == 40
    assert [one for one in found if one is not None] == []
