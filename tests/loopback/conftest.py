from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.loopback.rig import Rig
from uploader.loopback.process import LoopbackServer


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path_factory.mktemp("loopback")) as server:
        yield server
    assert server.complaints.read_text() == "", "the server met something that it had not foreseen"


@pytest.fixture
def rig(shared_server: LoopbackServer) -> Iterator[Rig]:
    """A client of a well-behaved server that other tests use too."""
    yield Rig(shared_server)
    shared_server.clear_faults()
    shared_server.outage(False)


@pytest.fixture
def own_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Starts a server for this test alone, always on the same root, and gives a client of it."""
    with ExitStack() as running:

        def start(**terms: Any) -> Rig:
            running.close()  # a root has one server at a time
            return Rig(running.enter_context(LoopbackServer(tmp_path / "root", **terms)))

        yield start
