"""The destinations of the conformance suite, each with its far end and what can befall it and the way there.

A rig of one's own is a class with what `Rig` asks for; docs/destinations.md says how to run the suite against it.
"""

import errno
import math
import os
import re
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
import pytest
from obstore.store import from_url

from spool.testing import FaultyDisk
from tests.destinations.s3_server import SECRET, S3Server, free_port, point_to
from tests.uploader.rig import status_rule, wait_until
from tools.fault_proxy import Fault, FaultProxy
from tools.swift.server import SwiftServer
from uploader.config import ApiKey
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Destination
from uploader.destinations.stores.base import StoreTrouble
from uploader.destinations.stores.folder import FolderStore, mark
from uploader.destinations.stores.memory import MemoryStore
from uploader.destinations.stores.objects import ObjectStore
from uploader.destinations.zarr_store import PROOF_SUFFIX, ZarrDestination
from uploader.loopback.process import LoopbackServer

Trouble = Callable[[], AbstractContextManager[object]]
_CHUNK = re.compile(r"/frames/c[./](\d+)[./]0[./]0$", re.ASCII)
_CHUNK_PUT = r"PUT .*/frames/c[./]"


class Rig(ABC):
    """A destination under test; made anew for each test, around a far end that all of them share.

    Args:
        root: a folder of this test's own.
        far_end: what `far_end` gave.

    Attributes:
        url: the name of what `make` gives.
        secrets: what must appear nowhere.
    """

    url: str
    secrets: Sequence[str] = ()

    def __init__(self, root: Path, far_end: Any) -> None:
        self.root = root
        self.far_end = far_end

    @classmethod
    def begin(cls, root: Path) -> AbstractContextManager[Any]:
        """Begin the far end, if that is worth doing once for all tests."""
        del root
        return nullcontext()

    def close(self) -> None:  # noqa: B027 - many hold nothing
        """Let go of everything."""

    @abstractmethod
    def make(self) -> Destination:
        """The destination; each time another one to the same place, as another process would have it."""

    @abstractmethod
    def chunks(self, data_id: str) -> Mapping[int, bytes]:
        """What the far end itself has of a part's chunks, by chunk_idx; whole objects."""

    def proof(self, data_id: str) -> bytes | None:
        """The proof that the far end itself has; ``None`` when it has none."""
        del data_id
        return None

    @abstractmethod
    def away(self) -> AbstractContextManager[None]:
        """The far end is not there, for anybody."""

    @abstractmethod
    def cut(self) -> AbstractContextManager[None]:
        """The next chunk breaks off while it is being sent, and the far end is away from then on."""

    @abstractmethod
    def damaging(self) -> AbstractContextManager[None]:
        """Of each chunk other bytes arrive than were sent."""

    @abstractmethod
    def failing(self) -> AbstractContextManager[Callable[[], int]]:
        """The far end is there, and fails at whatever it is to do; how often it has failed since."""

    def troubles(self) -> Mapping[str, Trouble]:
        """Whatever else may go wrong, by name."""
        return {}


# Over HTTP --------------------------------------------------------------------------------------------------


class HttpRig(Rig):
    """A server with a proxy before it that misbehaves when told to."""

    def __init__(self, root: Path, far_end: Any) -> None:
        super().__init__(root, far_end)
        address = urlsplit(far_end.url)
        self.proxy = FaultProxy(str(address.hostname), address.port or 0)
        self.proxy.__enter__()

    def close(self) -> None:
        self.proxy.close()

    def away(self) -> AbstractContextManager[None]:
        return self._fault("refuse")

    @contextmanager
    def cut(self) -> Iterator[None]:
        # 4 KiB at a time: what the tests send takes some seconds, and is cut after the first of them.
        self.proxy.set("bandwidth", only=_CHUNK_PUT, bytes_per_s=8192)
        before = self.proxy.counters().get("bandwidth", 0)

        def cut() -> None:
            wait_until(lambda: self.proxy.counters().get("bandwidth", 0) > before, within_s=60)
            sent = self.proxy.counters().get("bytes_up", 0)
            wait_until(lambda: self.proxy.counters().get("bytes_up", 0) > sent, within_s=60)
            self.proxy.set("refuse")

        cutting = threading.Thread(target=cut, daemon=True)
        cutting.start()
        try:
            yield
            cutting.join(120)
            assert self.proxy.counters().get("refuse", 0), "nothing was being sent"
        finally:
            self.proxy.clear()

    def damaging(self) -> AbstractContextManager[None]:
        return self._fault("corrupt_request", only=_CHUNK_PUT, body_bytes_min=64)

    @contextmanager
    def failing(self) -> Iterator[Callable[[], int]]:
        before = self.proxy.counters().get("html", 0)
        with self._fault("html", status=503):
            yield lambda: self.proxy.counters().get("html", 0) - before

    def troubles(self) -> Mapping[str, Trouble]:
        faults: dict[str, Trouble] = {
            fault.value: lambda fault=fault: self._fault(fault)  # type: ignore[misc]
            for fault in (
                Fault.RESET,
                Fault.HTML,
                Fault.REDIRECT,
                Fault.GARBAGE_ANSWER,
                Fault.TRUNCATED_ANSWER,
                Fault.LOST_ANSWER,
            )
        }
        statuses = (400, 403, 404, 409, 412, 429, 500, 501, 507)
        portals: dict[str, Trouble] = {
            f"HTTP {status}": lambda status=status: self._fault("html", status=status)  # type: ignore[misc]
            for status in statuses
        }
        return {**faults, **portals}

    @contextmanager
    def _fault(self, fault: str, **how: Any) -> Iterator[None]:
        self.proxy.set(fault, **how)
        try:
            yield
        finally:
            self.proxy.clear()


class AtomscaleRig(HttpRig):
    """The vendor's protocol, spoken with the loopback server."""

    def __init__(self, root: Path, far_end: LoopbackServer) -> None:
        super().__init__(root, far_end)
        self.url = self.proxy.url
        self.secrets = [far_end.api_key]

    @classmethod
    @contextmanager
    def begin(cls, root: Path) -> Iterator[LoopbackServer]:
        with LoopbackServer(root / "server", api_key="very-secret-api-key") as server:
            yield server
            server.kill()  # it survives that by design, and an orderly end takes longer than most tests

    def make(self) -> Destination:
        return AtomscaleDestination(self.url, ApiKey(self.far_end.api_key))

    def chunks(self, data_id: str) -> Mapping[int, bytes]:
        objects: Mapping[int, bytes] = self.far_end.objects(data_id)
        return objects

    def troubles(self) -> Mapping[str, Trouble]:
        echo = f"the key {self.far_end.api_key} is not good"
        return {
            **super().troubles(),
            "a key refused and told": lambda: self._server_says(401, echo),
            "a key told by a failure": lambda: self._server_says(500, echo),
        }

    @contextmanager
    def _server_says(self, status: int, body: str) -> Iterator[None]:
        # Its store never sees the key, and so cannot tell it.
        self.far_end.faults([status_rule({"path": "^(?!/staged)"}, status, body)])
        try:
            yield
        finally:
            self.far_end.clear_faults()


class BucketRig(HttpRig):
    """An S3-compatible store, which is moto's server."""

    secrets = (SECRET,)

    def __init__(self, root: Path, far_end: S3Server | SwiftServer) -> None:
        super().__init__(root, far_end)
        self.url = f"s3://growths/{self.proxy.port}"
        self._environment = pytest.MonkeyPatch()
        point_to(self.proxy.url, self._environment, key_id=far_end.key_id)
        self._bucket: Any = from_url(self.url, endpoint=far_end.url, client_options={"allow_http": True})

    @classmethod
    @contextmanager
    def begin(cls, root: Path) -> Iterator[S3Server | SwiftServer]:
        del root
        server = S3Server(free_port())
        try:
            yield server
        finally:
            server.end()

    def close(self) -> None:
        self._environment.undo()
        super().close()

    def make(self) -> Destination:
        return ZarrDestination(ObjectStore(self.url))

    def chunks(self, data_id: str) -> Mapping[int, bytes]:
        paths = [one["path"] for page in obstore.list(self._bucket, data_id) for one in page]
        return _chunks({path: bytes(obstore.get(self._bucket, path).bytes()) for path in paths}, data_id)

    def proof(self, data_id: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._bucket, f"{data_id}{PROOF_SUFFIX}").bytes())
        except FileNotFoundError:
            return None


# Without a network ------------------------------------------------------------------------------------------


class ShakyDisk(FaultyDisk):
    """A disk that can also stop in the middle of a file, or keep other bytes than it is given."""

    half = False
    lies = False

    def write_new(self, path: Path, pieces: Iterable[bytes | Sequence[bytes]], *, label: str) -> None:
        whole = b"".join(piece if isinstance(piece, bytes) else b"".join(piece) for piece in pieces)
        if self.half:
            path.write_bytes(whole[: len(whole) // 2])
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        super().write_new(path, [whole[::-1] if self.lies else whole], label=label)


class FolderRig(Rig):
    """A folder on a share."""

    def __init__(self, root: Path, far_end: None) -> None:
        super().__init__(root, far_end)
        self.folder = root / "share" / "growths"
        self.folder.parent.mkdir()
        assert mark(self.folder)
        self.url = self.folder.as_uri()
        self.disk = ShakyDisk()

    def make(self) -> Destination:
        return ZarrDestination(FolderStore(self.url, self.folder, self.disk))

    def chunks(self, data_id: str) -> Mapping[int, bytes]:
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return _chunks({path.relative_to(self.folder).as_posix(): path.read_bytes() for path in files}, data_id)

    def proof(self, data_id: str) -> bytes | None:
        path = self.folder / f"{data_id}{PROOF_SUFFIX}"
        return path.read_bytes() if path.exists() else None

    @contextmanager
    def away(self) -> Iterator[None]:
        elsewhere = self.folder.with_name("elsewhere")
        self.folder.rename(elsewhere)
        self.folder.mkdir()  # what a mount point is when nothing is mounted
        try:
            yield
            assert os.listdir(self.folder) == []
        finally:
            self.folder.rmdir()
            elsewhere.rename(self.folder)

    @contextmanager
    def cut(self) -> Iterator[None]:
        self.disk.half = True
        try:
            yield
        finally:
            self.disk.half = False

    @contextmanager
    def damaging(self) -> Iterator[None]:
        self.disk.lies = True
        try:
            yield
        finally:
            self.disk.lies = False

    @contextmanager
    def failing(self) -> Iterator[Callable[[], int]]:
        before = self.disk.labels().count("object.write")
        with self._breaks("object.write", errno.EIO):
            yield lambda: self.disk.labels().count("object.write") - before

    def troubles(self) -> Mapping[str, Trouble]:
        return {
            f"{errno.errorcode[error]} at {label}": lambda label=label, error=error: self._breaks(label, error)  # type: ignore[misc]
            for label in ("object.write", "object.fsync", "object.rename", "object.fsync_dir")
            for error in (errno.EIO, errno.ENOSPC, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT)
        }

    @contextmanager
    def _breaks(self, label: str, error: int) -> Iterator[None]:
        self.disk.fail(label, error=error, times=math.inf)
        try:
            yield
        finally:
            self.disk.mend()


class Shelf(dict[str, bytes]):
    """What a `MemoryStore` keeps its objects in: it keeps other bytes, or breaks, when told to."""

    lies = False
    breaks_at: re.Pattern[str] | None = None
    broke = 0

    def __setitem__(self, key: str, content: bytes) -> None:
        if self.breaks_at is not None and self.breaks_at.search(key):
            self.broke += 1
            raise StoreTrouble(f"{key} broke off", outage=True)
        super().__setitem__(key, content[::-1] if self.lies and "/frames/c." in key else content)


class MemoryRig(Rig):
    """The memory of this process."""

    url = "memory:"

    def __init__(self, root: Path, far_end: None) -> None:
        super().__init__(root, far_end)
        self.shelf = Shelf()
        self.stores: list[MemoryStore] = []

    def make(self) -> Destination:
        self.stores.append(MemoryStore(self.url, self.shelf))
        return ZarrDestination(self.stores[-1])

    def chunks(self, data_id: str) -> Mapping[int, bytes]:
        return _chunks(self.shelf, data_id)

    def proof(self, data_id: str) -> bytes | None:
        return self.shelf.get(f"{data_id}{PROOF_SUFFIX}")

    def away(self) -> AbstractContextManager[None]:
        return self._trouble(StoreTrouble("nobody is there", outage=True, may_be_done=False))

    def cut(self) -> AbstractContextManager[None]:
        return self._breaks("/frames/c[.]")

    @contextmanager
    def damaging(self) -> Iterator[None]:
        self.shelf.lies = True
        try:
            yield
        finally:
            self.shelf.lies = False

    @contextmanager
    def failing(self) -> Iterator[Callable[[], int]]:
        before = self.shelf.broke
        with self._breaks(""):
            yield lambda: self.shelf.broke - before

    def troubles(self) -> Mapping[str, Trouble]:
        return {"it is full": lambda: self._trouble(StoreTrouble("full", outage=True, min_wait_s=600))}

    @contextmanager
    def _breaks(self, pattern: str) -> Iterator[None]:
        self.shelf.breaks_at = re.compile(pattern)
        try:
            yield
        finally:
            self.shelf.breaks_at = None

    @contextmanager
    def _trouble(self, trouble: StoreTrouble) -> Iterator[None]:
        for store in self.stores:
            store.trouble = trouble
        try:
            yield
        finally:
            for store in self.stores:
                store.trouble = None


def _chunks(objects: Mapping[str, bytes], data_id: str) -> Mapping[int, bytes]:
    """The chunks of a group, among all objects of a store."""
    found = {key: _CHUNK.search(key) for key in objects if key.startswith(f"{data_id}/")}
    return {int(match[1]): objects[key] for key, match in found.items() if match is not None}


RIGS: Final[Sequence[type[Rig]]] = (AtomscaleRig, BucketRig, FolderRig, MemoryRig)
