"""A stream lies where the layout says, in one place, whoever goes on with it and whatever their layout."""

import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import obstore
import pytest
import xarray
from obstore.store import from_url
from zarr.storage import LocalStore
from zarr.storage import ObjectStore as ZarrObjectStore

from spool import Stream, audit, read_proof
from spool.testing import some_frames
from tests.destinations.sites import CHUNK_SIZE, CHUNKS, FRAMES, Site, Watched, folder_site, frames
from uploader import RHEEDStreamer
from uploader.catalog import Catalog, Entry, State
from uploader.destinations.base import Opened, TryLater
from uploader.destinations.stores.base import Store, StoreTrouble
from uploader.destinations.stores.folder import FolderStore, mark
from uploader.destinations.stores.objects import ObjectStore
from uploader.destinations.zarr_store import PLACES, ZarrDestination
from uploader.received import received
from uploader.stored import Check

LAYOUT, OTHER = "garching/mbe-3/{sample}/{stream}", "{host}/{date}/{stream}"
LATE = some_frames(CHUNK_SIZE, seed=CHUNKS)


@pytest.fixture
def site(any_site: Site) -> Site:
    return any_site


def the_only(store: Store) -> Entry:
    """The one stream that lies there, with everything that belongs to it, and nothing beside it."""
    (found,) = Catalog(store, check=Check.DIGESTS).entries()
    assert found.says == ""
    stored = found.stored
    assert stored is not None
    assert stored.is_well
    kinds = {key.removeprefix(found.place) for one in store.walk("") if not (key := one.key).startswith(".")}
    assert {kind.partition("/")[0] for kind in kinds} <= {"", ".proof.json"}, kinds
    return found


def stream_of(site: Site, stream_id: str) -> Stream:
    with site.spool() as spool:
        return spool.stream(stream_id)


def read(store: Store, place: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    where: LocalStore | ZarrObjectStore[Any]
    if isinstance(store, ObjectStore):
        there = from_url(f"{store.url}/{place}", client_options={"allow_http": True})
        where = ZarrObjectStore(there, read_only=True)
    else:
        assert isinstance(store, FolderStore)
        where = LocalStore(store._folder / place, read_only=True)
    with xarray.open_zarr(where) as found:
        return np.asarray(found["frames"].values)


def test_a_stream_lies_where_the_layout_says(site: Site) -> None:
    data_id = site.grow("GaAs / 7", layout=LAYOUT, physical_sample="wafer 7")
    place = f"garching/mbe-3/wafer-7/{data_id}"
    found = the_only(site.store)
    assert (found.place, found.state, found.frames) == (place, State.COMPLETE, FRAMES)
    assert "/" not in data_id
    pushed = np.concatenate([frames(idx) for idx in range(CHUNKS)])
    np.testing.assert_array_equal(read(site.store, place), pushed)
    proof = site.store.read(f"{place}.proof.json")
    assert proof is not None
    told = read_proof(proof)
    assert [one.receipt.url_path for one in told.chunks if one.receipt] == [
        f"{place}/frames/c.{idx}.0.0" for idx in range(CHUNKS)
    ]
    with site.spool() as spool:
        assert spool.find(data_id).stream_id == told.audit.stream.stream_id
        assert spool.find("GaAs / 7").data_id == data_id


def test_without_a_layout_nothing_is_noted(site: Site) -> None:
    data_id = site.grow("growth")
    assert the_only(site.store).place == data_id
    assert list(site.store.walk(PLACES)) == []


def test_who_goes_on_with_another_layout_goes_on_in_the_same_place(site: Site) -> None:
    stream_id = site.record("growth", sealed=False, physical_sample="w")
    site.deliver(LAYOUT)
    place = the_only(site.store).place
    for k, layout in enumerate((OTHER, "{stream}")):
        with site.spool() as spool:
            spool.push(stream_id, CHUNKS + k, LATE)
        site.deliver(layout)
    with site.spool() as spool:
        spool.seal(stream_id)
    site.deliver("else/{stream}")
    found = the_only(site.store)
    assert (found.place, found.state, found.chunks) == (place, State.COMPLETE, CHUNKS + 2)
    np.testing.assert_array_equal(read(site.store, place)[-CHUNK_SIZE:], LATE)


@pytest.mark.parametrize("layouts", [(LAYOUT, OTHER), (LAYOUT, "{stream}"), ("{stream}", LAYOUT)])
def test_asking_again_after_a_lost_answer_opens_the_same_place(site: Site, layouts: tuple[str, str]) -> None:
    stream = stream_of(site, site.record("growth"))
    with closing(ZarrDestination(site.store, layout=layouts[0])) as first:
        opened = first.open(stream, "growth")
        assert first.open(stream, "growth") == opened
    assert isinstance(opened, Opened)
    (begun,) = Catalog(site.store).entries()
    with closing(ZarrDestination(site.store, layout=layouts[1])) as second:
        assert second.open(stream, "growth") == opened
    site.deliver(layouts[1])
    found = the_only(site.store)
    assert (found.place, found.state) == (begun.place, State.COMPLETE)
    assert stream_of(site, stream.stream_id).data_id == opened.data_id


@pytest.mark.parametrize("at", range(1, 14))
def test_an_opening_that_breaks_anywhere_is_gone_on_with_whatever_the_layout(site: Site, at: int) -> None:
    stream = stream_of(site, site.record("growth"))
    for did in (False, True):  # it is refused, or its answer is lost
        watched = Watched(site.store)

        def once(_what: str, _key: str, watched: Watched = watched) -> None:
            if len(watched.asked) == at:
                raise StoreTrouble("the line was cut", outage=True)

        setattr(watched, "after" if did else "breaks", once)
        with closing(ZarrDestination(watched, layout=LAYOUT)) as destination:
            outcome = destination.open(stream, "growth")
            assert isinstance(outcome, TryLater | Opened)
            assert isinstance(outcome, TryLater) or len(watched.asked) < at
    site.deliver(OTHER)
    assert the_only(site.store).state is State.COMPLETE


def test_what_was_taken_away_is_said_and_not_begun_anew(site: Site) -> None:
    stream_id = site.record("growth", sealed=False)
    site.deliver(LAYOUT)
    data_id = stream_of(site, stream_id).data_id
    note = site.store.read(f"{PLACES}/{data_id}")
    assert note is not None
    place = the_only(site.store).place
    for broken, says in (
        (None, "does not have"),
        (b"{}", "place of"),
        (b'{"place": "../x"}', "place of"),
    ):
        put(site.store, f"{PLACES}/{data_id}", broken)
        with closing(ZarrDestination(site.store, layout=LAYOUT)) as destination, site.spool() as spool:
            outcome = destination.finish(spool.stream(stream_id), lambda: b"")
            assert isinstance(outcome, TryLater)
            assert says in outcome.words
            assert not outcome.outage, "other streams have their places"
    put(site.store, f"{PLACES}/{data_id}", note)
    with site.spool() as spool:
        spool.push(stream_id, CHUNKS, LATE)
    site.deliver()
    assert (the_only(site.store).place, the_only(site.store).chunks) == (place, CHUNKS + 1)


def put(store: Store, key: str, content: bytes | None) -> None:
    if content is not None:
        store.replace(key, content)
    elif isinstance(store, ObjectStore):
        obstore.delete(from_url(store.url, client_options={"allow_http": True}), key)
    else:
        assert isinstance(store, FolderStore)
        (store._folder / key).unlink()


_WORKER = """
import sys
from pathlib import Path
from spool import Limits, Spool
from spool.testing import FaultyDisk
from uploader.destinations.stores.folder import FolderStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.worker import Until, UploadWorker
spool, url, folder, layout, label, at = sys.argv[1:]
disk = FaultyDisk()
disk.kill(label, at=int(at))
with Spool(Path(spool), limits=Limits(min_free_bytes=0)) as opened:
    destination = ZarrDestination(FolderStore(url, Path(folder), disk), layout=layout)
    UploadWorker(opened, destination, until=Until.DRY).run()
"""


@pytest.mark.parametrize(
    ("label", "at"),
    [
        ("destination.mkdir", 1),
        ("destination.fsync_dir", 1),
        ("object.write", 1),
        ("object.rename", 1),
        ("object.fsync_dir", 1),
        ("destination.mkdir", 4),
        ("object.rename", 2),
        ("object.rename", 5),
    ],
)
def test_a_worker_may_die_at_any_step_and_one_with_another_layout_goes_on(
    tmp_path: Path, label: str, at: int
) -> None:
    folder = tmp_path / "nas" / "growths"
    site = folder_site(tmp_path, folder)
    site.record("growth")
    asked = [sys.executable, "-c", _WORKER, str(site.root), site.store.url, str(folder), LAYOUT, label, str(at)]
    killed = subprocess.run(asked, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    site.deliver(OTHER)
    assert the_only(site.store).state is State.COMPLETE


def test_a_note_is_made_durable_again_by_who_finds_it(tmp_path: Path) -> None:
    # Whoever wrote it may have died before it was.
    site = folder_site(tmp_path, tmp_path / "nas" / "growths")
    stream = stream_of(site, site.record("growth"))
    for _ in range(2):
        watched = Watched(site.store)
        with closing(ZarrDestination(watched, layout=LAYOUT)) as destination:
            assert isinstance(destination.open(stream, "growth"), Opened)
        note = f"{PLACES}/growth-{stream.stream_id}"
        assert watched.asked.index(("create", note)) < watched.asked.index(
            ("make_room", f"garching/mbe-3/no-sample/growth-{stream.stream_id}")
        )


def test_a_streamer_hands_its_layout_to_its_worker_and_the_audit_finds_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AS_API_KEY", raising=False)
    monkeypatch.setenv("FRAMESPOOL_LAYOUT", "never/{stream}")
    folder = tmp_path / "growths"
    with RHEEDStreamer(spool_dir=tmp_path / "spool", destination=folder, layout=LAYOUT) as streamer:
        stream_id = streamer.initialize(2, 0, CHUNK_SIZE, stream_name="GaAs", physical_sample="w 1")
        for idx in range(CHUNKS):
            streamer.push(stream_id, idx, frames(idx))
        assert streamer.finalize(stream_id, drain_timeout_s=60).finalized
    found = the_only(FolderStore(folder.as_uri(), folder))
    assert found.place.startswith("garching/mbe-3/w-1/GaAs-")
    with Site(tmp_path / "spool", FolderStore(folder.as_uri(), folder)).spool() as spool:
        told = audit(spool, stream_id)
    with received(os.fspath(folder / found.place)) as there:
        assert there.listed() == [one.chunk.chunk_idx for one in told.chunks]
    document = json.loads((folder / found.place / "zarr.json").read_bytes())
    assert document["attributes"]["data_id"] == told.stream.data_id


def test_streams_of_two_instruments_share_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "growths"
    assert mark(folder)
    for instrument in ("mbe-1", "mbe-2"):
        site = Site(tmp_path / instrument, FolderStore(folder.as_uri(), folder))
        site.grow("GaAs", layout=f"{instrument}/{{stream}}")
    places = [one.place for one in Catalog(FolderStore(folder.as_uri(), folder)).entries()]
    assert [place.partition("/")[0] for place in places] == ["mbe-1", "mbe-2"]
