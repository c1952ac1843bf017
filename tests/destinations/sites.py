"""Streams in a store, as a site has them: recorded, and delivered by a real worker."""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spool import Limits, Spool
from spool.testing import some_frames, some_settings
from uploader.destinations.stores.base import Level, Listed, Pieces, Store, Stored
from uploader.destinations.stores.folder import FolderStore, mark
from uploader.destinations.zarr_store import ZarrDestination
from uploader.layout import DEFAULT_LAYOUT
from uploader.worker import Until, UploadWorker

CHUNK_SIZE, CHUNKS, LAST = 4, 3, 2
FRAMES = CHUNK_SIZE * (CHUNKS - 1) + LAST
BEGAN_MS = 1_700_000_000_000
_T = TypeVar("_T")


class Site:
    """A spool, and the store that its streams go to."""

    def __init__(self, root: Path, store: Store) -> None:
        self.store = store
        self.root = root

    def spool(self) -> Spool:
        return Spool(self.root, limits=Limits(min_free_bytes=0))

    def record(self, name: str, *, sealed: bool = True, began_ms: int = BEGAN_MS, **settings: Any) -> str:
        """Record a stream; its stream_id."""
        with self.spool() as spool:
            plain = some_settings(name=name, destination=self.store.url, chunk_size=CHUNK_SIZE)
            stream = spool.open_stream(replace(plain, **settings)).stream_id
            for idx in range(CHUNKS):
                spool.push(stream, idx, frames(idx), capture_start_ms_utc=began_ms + 400 * idx)
            if sealed:
                spool.seal(stream)
        return stream

    def deliver(self, layout: str = DEFAULT_LAYOUT) -> None:
        """Until nothing can be delivered."""
        with self.spool() as spool, closing(ZarrDestination(self.store, layout=layout)) as destination:
            assert UploadWorker(spool, destination, until=Until.DRY).run()

    def grow(self, name: str, *, layout: str = DEFAULT_LAYOUT, **more: Any) -> str:
        """Record a stream, deliver it, and say what it is called there."""
        stream = self.record(name, **more)
        self.deliver(layout)
        with self.spool() as spool:
            now = spool.stream(stream)
        assert now.tally.acknowledged == CHUNKS
        assert now.data_id is not None
        return now.data_id


def frames(chunk_idx: int) -> NDArray[np.uint8]:
    """Of a chunk; the last one is short."""
    return some_frames(CHUNK_SIZE if chunk_idx < CHUNKS - 1 else LAST, seed=chunk_idx)


def folder_site(root: Path, folder: Path) -> Site:
    """One in a folder, which is made."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    assert mark(folder)
    return Site(root / "spool", FolderStore(folder.as_uri(), folder))


def read_only(folder: Path) -> FolderStore:
    """A folder as the catalogue reads it."""
    return FolderStore(folder.as_uri(), folder, is_marked=False)


@dataclass
class Watched:
    """A store that notes what it is asked for, and in which anything may break, before it is done or after."""

    store: Store
    url: str = field(init=False)
    breaks: Callable[[str, str], None] = lambda _what, _key: None
    after: Callable[[str, str], None] = lambda _what, _key: None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.url = self.store.url

    def _ask(self, what: str, key: str, ask: Callable[[], _T]) -> _T:
        self.asked.append((what, key))
        self.breaks(what, key)
        found = ask()
        self.after(what, key)
        return found

    def make_room(self, key: str) -> None:
        self._ask("make_room", key, lambda: self.store.make_room(key))

    def create(self, key: str, pieces: Pieces) -> Stored:
        return self._ask("create", key, lambda: self.store.create(key, pieces))

    def replace(self, key: str, content: bytes) -> None:
        self._ask("replace", key, lambda: self.store.replace(key, content))

    def read(self, key: str) -> bytes | None:
        return self._ask("read", key, lambda: self.store.read(key))

    def level(self, place: str) -> Level:
        return self._ask("level", place, lambda: self.store.level(place))

    def walk(self, place: str) -> Iterator[Listed]:
        return self._ask("walk", place, lambda: self.store.walk(place))

    def close(self) -> None:
        self.store.close()
