"""What every test of the spool starts from: a folder, a clock that stands still, a disk that can fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from spool import Limits, Spool, Stream
from spool.testing import FakeClock, FaultyDisk, some_settings


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def disk() -> FaultyDisk:
    return FaultyDisk()


@pytest.fixture
def spool(root: Path, clock: FakeClock, disk: FaultyDisk) -> Iterator[Spool]:
    with Spool(root, limits=Limits(min_free_bytes=0), clock=clock, disk=disk) as opened:
        yield opened


@pytest.fixture
def stream(spool: Spool) -> Stream:
    return spool.open_stream(some_settings(), data_id="data-1")
