from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.uploader.rig import Bench, end_workers
from uploader import config, retry, worker
from uploader.destinations import atomscale
from uploader.loopback.process import LoopbackServer


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        *config.KEY_VARIABLES,
        config.KEY_FILE_VARIABLE,
        config.ENDPOINT_VARIABLE,
        config.SPOOL_VARIABLE,
        config.SKIP_CLOCK_VARIABLE,
        config.UNSAFE_FILE_SYSTEM_VARIABLE,
        *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"),
    ):
        monkeypatch.delenv(name, raising=False)
    # The keys of whoever runs the tests are not theirs to use.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "server") as running:
        yield running
        running.kill()  # it survives that by design, and an orderly end takes longer than most tests
    assert running.complaints.read_text() == "", "the server met something that it had not foreseen"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """The spool's folder; worker processes that a test left behind are ended."""
    yield tmp_path / "spool"
    end_workers(tmp_path / "spool")


@pytest.fixture
def bench(server: LoopbackServer, root: Path) -> Iterator[Bench]:
    made = Bench(server, root)
    with closing(made.spool):
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter waits of the same shape, so that many tries fit into a test."""
    monkeypatch.setattr(retry, "BASE_S", 0.02)
    monkeypatch.setattr(retry, "CAP_S", 0.5)
    monkeypatch.setattr(atomscale, "KEY_PROBE_S", 0.2)
    monkeypatch.setattr(worker, "KEY_PAUSE_S", 0.2)
