"""What several tests of stores start from: an S3 server for each file, and a site in a folder or a bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.destinations.s3_server import BUCKET, S3Server, free_port, point_to
from tests.destinations.sites import Site, folder_site
from uploader.destinations.stores.objects import ObjectStore


@pytest.fixture(scope="module")
def shared() -> Iterator[S3Server]:
    """A server that all tests of a file share."""
    server = S3Server(free_port())
    yield server
    server.end()


@pytest.fixture(params=["folder", "bucket"])
def any_site(
    request: pytest.FixtureRequest, tmp_path: Path, shared: S3Server, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """The same, wherever it lies."""
    if request.param == "folder":
        return folder_site(tmp_path, tmp_path / "nas" / "growths")
    point_to(shared.url, monkeypatch)
    return Site(tmp_path / "spool", ObjectStore(f"s3://{BUCKET}/{tmp_path.name}"))
