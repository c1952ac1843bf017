"""The memory as a store, as somebody uses it who tests a worker or a destination."""

import threading
from pathlib import Path
from typing import NoReturn

import pytest

from spool import Limits, Spool
from spool.testing import some_frames, some_settings
from tests.uploader.rig import wait_until
from uploader.addresses import one_spelling
from uploader.destinations.stores.base import KeyTaken, Level, StoreTrouble
from uploader.destinations.stores.memory import MemoryStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.worker import Until, UploadWorker


def test_no_address_leads_into_the_memory() -> None:
    with pytest.raises(ValueError, match="is 'memory:', not an http"):
        one_spelling(MemoryStore().url)


def test_two_stores_may_be_two_doors_to_one_place() -> None:
    store = MemoryStore()
    other = MemoryStore(objects=store.objects)
    store.create("a", [b"the ", memoryview(b"bytes")])
    assert other.create("a", [b"the bytes"]).was_there
    with pytest.raises(KeyTaken, match="other bytes"):
        other.create("a", [b"other ones"])
    store.close()
    assert other.read("a") == b"the bytes"
    assert other.read("b") is None


def test_what_lies_below_a_place_is_told() -> None:
    store = MemoryStore()
    for key in ("a/b/c", "a/b/d", "a/e", "ab/f"):
        store.create(key, [b"12"])
    assert store.level("") == Level(places=["a", "ab"], objects=[])
    assert store.level("a") == Level(places=["a/b"], objects=["a/e"])
    assert sorted(one.key for one in store.walk("a")) == ["a/b/c", "a/b/d", "a/e"]
    assert {one.size_bytes for one in store.walk("")} == {2}
    assert list(store.walk("b")) == []


class _NamesNobody(ZarrDestination):
    def namesakes(self, name: str) -> NoReturn:
        raise AssertionError(f"it was asked for {name}, though it cannot list")


def test_names_are_not_asked_for_where_they_cannot_be_told(tmp_path: Path) -> None:
    store = MemoryStore()
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0)) as spool:
        stream_id = spool.open_stream(some_settings(destination=store.url)).stream_id
        assert UploadWorker(spool, _NamesNobody(store), until=Until.DRY).run()
        (part,) = spool.stream(stream_id).parts
    assert part.data_id is not None
    assert not part.is_name_free


def test_a_worker_waits_out_the_trouble_that_a_test_makes(tmp_path: Path) -> None:
    store = MemoryStore()
    store.trouble = StoreTrouble("nobody is there", outage=True)
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0)) as spool:
        stream_id = spool.open_stream(some_settings(destination=store.url)).stream_id
        spool.push(stream_id, 0, some_frames(4))
        spool.seal(stream_id)
        worker = UploadWorker(spool, ZarrDestination(store), until=Until.DRY)
        thread = threading.Thread(target=worker.run, daemon=True)
        thread.start()
        wait_until(lambda: spool.stream(stream_id).trouble == "nobody is there")
        assert not store.objects
        store.trouble = None
        thread.join(60)
        assert spool.stream(stream_id).state == "finalized"
