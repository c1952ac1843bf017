"""Where a spool lies, how much room it has and how long that lasts: as people read it."""

import pytest

from spool import filesystems
from spool.filesystems import FileSystem, Kind
from tests.cli.shell import Shell

SHARE = FileSystem(type_name="cifs", mount_point="/mnt/nas", kind=Kind.NETWORK)


def test_a_worker_begins_no_spool_on_a_share_unless_the_environment_takes_the_risk(
    reader: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "file_system_of", lambda _: SHARE)
    said = reader.run("worker", "--once")
    assert said.code == 1
    assert "/mnt/nas (cifs) is a network share" in said.err
    assert "FRAMESPOOL_UNSAFE_FILE_SYSTEM=1" in said.err
    assert not reader.spool.exists()
    reader.environment["FRAMESPOOL_UNSAFE_FILE_SYSTEM"] = "1"
    assert reader.run("worker", "--once").code == 0
    assert (reader.spool / "index.sqlite3").exists()
