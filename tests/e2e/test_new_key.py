"""A key is revoked while a worker delivers: it pauses, and a new key is all that it needs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.uploader.rig import Bench, end_workers, wait_until
from uploader.loopback.process import LoopbackServer

OLD, NEW = "the-old-key-that-nobody-may-see", "the-new-key-that-nobody-may-see"
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass
class Lab:
    """A spool, a server whose key can be replaced, and commands as a person types them."""

    bench: Bench
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        ours = {name: text for name, text in os.environ.items() if not name.startswith(("AS_", "ATOMSCALE_"))}
        return {
            **ours,
            "AS_API_ENDPOINT": self.bench.server.url,
            "ATOMSCALE_SPOOL_DIR": str(self.bench.root),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "PYTHON_KEYRING_BACKEND": "keyrings.alt.file.PlaintextKeyring",
        }

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def worker(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "uploader", "worker", "--verbosity", "4"],
                cwd=CHECKOUT,
                env={**self.environment, "AS_API_KEY": OLD},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "uploader", *arguments],
            cwd=CHECKOUT,
            env=self.environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with LoopbackServer(tmp_path / "server", api_key=OLD) as server:
        bench = Bench(server, tmp_path / "spool")
        with closing(bench.spool):
            yield Lab(bench, tmp_path)
        end_workers(tmp_path / "spool")


def by_hand(lab: Lab) -> None:
    path = lab.folder / "config" / "framespool" / "key"
    path.parent.mkdir(parents=True)
    path.touch(0o600)
    path.write_text(NEW)


def by_login(lab: Lab) -> None:
    said = lab.run("login", typed=NEW)
    assert said.returncode == 0, said
    assert NEW not in said.stdout + said.stderr


@pytest.mark.parametrize("put", [by_hand, by_login])
def test_a_worker_whose_key_was_revoked_goes_on_by_itself_with_a_new_one(
    lab: Lab, put: Callable[[Lab], None]
) -> None:
    bench = lab.bench
    data_id = bench.open_stream(2)
    with lab.worker() as worker:
        try:
            wait_until(lambda: bench.acknowledged(data_id) == 2)
            assert OLD not in Path(f"/proc/{worker.pid}/cmdline").read_text()
            bench.server.stop()
            with LoopbackServer(bench.server.root, api_key=NEW, port=int(bench.server.url.rpartition(":")[2])):
                bench.push(data_id, 2, 3)  # recording goes on
                wait_until(lambda: "API key" in (bench.stream(data_id).trouble or ""), within_s=30)
                status = lab.run("status")
                assert status.returncode == 1
                assert f"framespool login --endpoint {bench.server.url}" in status.stdout
                assert "1 thing needs a person." in status.stdout
                assert bench.stream(data_id).lease_owner is not None
                put(lab)
                bench.push(data_id, 4)
                bench.spool.seal(data_id)
                wait_until(lambda: bench.finalized(data_id), within_s=60)
                bench.assert_arrived(data_id, 5)
        finally:
            worker.terminate()
            worker.wait(30)
    started = [event.detail["pid"] for event in bench.spool.events() if event.event == "worker_started"]
    assert started == [worker.pid]
    assert [event for event, _ in bench.ledger(data_id, "trouble_began", "trouble_ended", "parked", "held")] == [
        "trouble_began",
        "trouble_ended",
    ]
    assert all(chunk.attempts == 1 for chunk in bench.spool.chunks(data_id))
    assert "another API key is in use" in lab.log.read_text()
    for path in (lab.log, *(one for one in bench.root.rglob("*") if one.is_file())):
        content = path.read_bytes()
        assert OLD.encode() not in content, path
        assert NEW.encode() not in content, path
