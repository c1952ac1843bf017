"""OpenStack Swift in the conformance suite, on demand; what it needs is said in `tools.swift.server`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.destinations.rigs import BucketRig
from tests.destinations.s3_server import BUCKET, SECRET
from tools.swift.server import SwiftServer


class SwiftRig(BucketRig):
    """The same as moto's, but it is Swift that speaks S3."""

    @classmethod
    @contextmanager
    def begin(cls, root: Path) -> Iterator[SwiftServer]:
        with SwiftServer(root, secret=SECRET, bucket=BUCKET) as server:
            yield server
