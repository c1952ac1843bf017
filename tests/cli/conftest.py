from collections.abc import Iterator
from pathlib import Path

import pytest

from spool import Limits, Spool
from spool.testing import FakeClock
from tests.cli.shell import KEY, Reader, Shell
from uploader.loopback.process import LoopbackServer


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path_factory.mktemp("loopback"), api_key=KEY) as server:
        yield server
    assert server.complaints.read_text() == "", "the server met something that it had not foreseen"


@pytest.fixture
def server(shared_server: LoopbackServer) -> Iterator[LoopbackServer]:
    yield shared_server
    shared_server.clear_faults()
    shared_server.outage(False)


@pytest.fixture
def shell(tmp_path: Path, server: LoopbackServer) -> Shell:
    """Commands that record for real."""
    return Shell(tmp_path / "spool", server.url)


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    """Commands that only read or decide: no server is there."""
    return Reader(tmp_path / "spool", "http://127.0.0.1:9")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spool(tmp_path: Path, clock: FakeClock) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0), clock=clock) as opened:
        yield opened
