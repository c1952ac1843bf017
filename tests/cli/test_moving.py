"""pack and unpack as people type them, up to a worker on the other machine."""

from pathlib import Path

from spool import Spool
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, record
from tests.cli.test_streaming import SMALL
from uploader.loopback.process import LoopbackServer


def test_what_waits_is_delivered_from_another_machine_and_its_receipts_come_home(
    shell: Shell, server: LoopbackServer, tmp_path: Path
) -> None:
    usb, back, there = (str(tmp_path / name) for name in ("usb", "back", "there"))
    with shell.running(
        "stream", SMALL, "--name", "growth", "--worker", "external", "--drain-timeout", "0"
    ) as process:
        process.communicate(timeout=30)
    assert shell.run("audit", "growth").code == 1
    said = shell.run("pack", "growth", usb)
    assert said.code == 0, said
    assert "3 chunks" in said.out
    assert "The stream is held here." in said.out
    dry = shell.run("unpack", usb, "--spool", there, "--dry-run")
    assert "Would come in: 3 chunks, 0 receipts." in dry.out
    assert not Path(there).exists()
    unpacked = shell.run("unpack", usb, "--spool", there)
    assert unpacked.code == 0, unpacked
    assert "Came in: 3 chunks, 0 receipts." in unpacked.out
    assert "3 chunks to deliver: framespool worker --endpoint" in unpacked.out
    assert shell.run("worker", "--once", "--spool", there).code == 0
    assert shell.run("audit", "growth", "--spool", there).code == 0
    assert shell.run("pack", "growth", back, "--spool", there).code == 0
    assert shell.run("unpack", back, "--dry-run", "--json").json() == {
        "stream_id": shell.run("audit", "growth", "--json").json()["stream_id"],
        "new": False,
        "chunks": 0,
        "receipts": 3,
        "left": {},
        "dry_run": True,
    }
    home = shell.run("unpack", back)
    assert home.code == 0
    assert "is known here." in home.out
    assert "Came in: 0 chunks, 3 receipts." in home.out
    assert shell.run("audit", "growth").code == 0
    assert len(server.objects(shell.run("audit", "growth", "--json").json()["data_id"])) == 3


def test_a_dry_run_and_what_is_no_pack(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = record(spool, 0, 1, 2)
    acknowledge(spool, stream, 0)
    dry = reader.run("pack", "data-1", str(tmp_path / "usb"), "--dry-run")
    assert dry.out.startswith("Would pack 2 chunks, ")
    assert reader.run("pack", "data-1", str(tmp_path / "usb"), "--dry-run", "--json").json()["held"] is True
    assert not (tmp_path / "usb").exists()
    assert spool.stream("data-1").held is None
    said = reader.run("unpack", str(tmp_path))
    assert said.code == 1
    assert "is no pack" in said.err
