"""The catalogue of a folder or a bucket says what lies there, whatever else lies there too."""

import json
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import obstore
import pytest
import zarr
from obstore.store import from_url

from tests.destinations.s3_server import S3Server, point_to
from tests.destinations.sites import BEGAN_MS, CHUNK_SIZE, CHUNKS, FRAMES, Site, Watched, folder_site, read_only
from uploader.catalog import Catalog, Entry, State
from uploader.destinations.stores.base import Store, StoreTrouble
from uploader.destinations.stores.objects import ObjectStore
from uploader.stored import Check, Stored, spans

BUCKET = "s3://growths"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "nas" / "growths"


@pytest.fixture
def site(tmp_path: Path, folder: Path) -> Site:
    return folder_site(tmp_path, folder)


def entries(store: Store, check: Check = Check.NOTHING) -> dict[str, Entry]:
    return {one.place: one for one in Catalog(store, check=check).entries()}


def checked(store: Store, place: str, check: Check = Check.OBJECTS) -> tuple[State, Stored]:
    found = entries(store, check)[place]
    assert found.stored is not None
    return found.state, found.stored


def change(path: Path, at: int = 100) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_it_tells_what_is_known_of_each_stream(any_site: Site) -> None:
    whole = any_site.grow("GaAs / 7", physical_sample="wafer 7")
    growing = any_site.grow("still", sealed=False)
    found = entries(any_site.store)
    assert list(found) == sorted([whole, growing])
    one = found[whole]
    assert (one.state, one.says) == (State.COMPLETE, "")
    assert (one.name, one.sample, one.began_at_ms) == ("GaAs / 7", "wafer 7", BEGAN_MS)
    assert one.stream_id is not None
    assert whole.endswith(one.stream_id)
    assert (one.frames, one.chunks) == (FRAMES, CHUNKS)
    assert one.size_bytes is not None
    assert (found[growing].state, found[growing].frames) == (State.GROWING, FRAMES)
    assert (found[growing].chunks, found[growing].began_at_ms) == (CHUNKS, BEGAN_MS)


def test_a_check_finds_everything_where_nothing_is_amiss(any_site: Site) -> None:
    whole, growing = any_site.grow("whole"), any_site.grow("growing", sealed=False)
    for check in (Check.OBJECTS, Check.DIGESTS):
        for place, state in ((whole, State.COMPLETE), (growing, State.GROWING)):
            found, stored = checked(any_site.store, place, check)
            assert found is state
            assert stored.is_well
            assert stored.present == CHUNKS
            assert stored.size_bytes > 0


def test_an_empty_place_has_nothing(any_site: Site) -> None:
    assert entries(any_site.store) == {}


@pytest.mark.parametrize(
    ("hurt", "says"),
    [
        (lambda group: change(Path(f"{group}.proof.json")), "its proof does not hold"),
        (lambda group: Path(f"{group}.proof.json").write_bytes(b""), "its proof does not hold"),
        (lambda group: Path(f"{group}.proof.json").write_bytes(b"[" * 100_000), "its proof does not hold"),
        (shutil.rmtree, "its proof is there, and its group is not"),
        (lambda group: (group / "zarr.json").unlink(), "its zarr.json is missing"),
        (lambda group: (group / "zarr.json").write_bytes(b"\xff{"), "its zarr.json is not a stream's"),
        (lambda group: (group / "zarr.json").write_bytes(b"[" * 100_000), "its zarr.json is not a stream's"),
        (lambda group: rewrite(group, shape=FRAMES - 1), f"tells of {FRAMES - 1} frames, its proof of {FRAMES}"),
        (lambda group: rewrite(group, shape=FRAMES + 1), f"tells of {FRAMES + 1} frames, its proof of {FRAMES}"),
        (lambda group: rewrite(group, shape="many"), "tells of None frames"),
        (
            lambda group: rewrite(group, stream_id="20200101t000000-0123456789ab"),
            "its proof is of another stream",
        ),
    ],
)
def test_damage_is_named_and_does_not_hide_the_others(
    site: Site, folder: Path, hurt: Callable[[Path], object], says: str
) -> None:
    place, other = site.grow("hurt"), site.grow("well")
    hurt(folder / place)
    found = entries(site.store)
    assert found[other].state is State.COMPLETE
    assert found[place].state is State.DAMAGED
    assert says in found[place].says


def rewrite(group: Path, shape: Any = None, **attributes: object) -> None:
    document = json.loads((group / "zarr.json").read_bytes())
    document["attributes"].update(attributes)
    if shape is not None:
        document["consolidated_metadata"]["metadata"]["frames"]["shape"][0] = shape
    (group / "zarr.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "attributes",
    [
        {"name": 7, "physical_sample": ["a"], "project_id": {}, "created_at_unix_ms_utc": "now"},
        {"name": "x" * 10_000, "chunk_size": 0},
        {"chunk_size": -3, "created_at_unix_ms_utc": 10**40},
        {"stream_id": None},
    ],
)
def test_attributes_that_make_no_sense_end_nothing(
    site: Site, folder: Path, attributes: dict[str, object]
) -> None:
    place, other = site.grow("odd", sealed=False), site.grow("well")
    rewrite(folder / place, **attributes)
    found = entries(site.store, Check.DIGESTS)
    assert found[other].state is State.COMPLETE
    assert len(found[place].name or "") <= 500


def test_a_stream_that_says_it_is_endless_is_checked_all_the_same(site: Site, folder: Path) -> None:
    place = site.grow("endless", sealed=False)
    rewrite(folder / place, shape=10**18)
    _, stored = checked(site.store, place)
    assert stored.present == CHUNKS
    assert stored.missing == ((CHUNKS, 10**18 // CHUNK_SIZE - 1),)


def test_a_check_names_what_is_missing_and_what_differs(any_site: Site) -> None:
    place = any_site.grow("growth")
    store = any_site.store
    first = store.read(f"{place}/frames/c.0.0.0")
    assert first is not None
    remove(store, f"{place}/frames/c.1.0.0")
    remove(store, f"{place}/time/c.2")
    store.replace(f"{place}/frames/c.0.0.0", first + b"more")
    assert entries(store)[place].state is State.COMPLETE, "nobody looked"
    state, stored = checked(store, place)
    assert state is State.DAMAGED
    assert (stored.present, stored.missing, stored.different) == (2, ((1, 1),), ((0, 0),))
    assert stored.untimed == ((2, 2),)
    assert f"{len(first) + 4} bytes where {len(first)} were delivered" in stored.says


def bare(store: ObjectStore) -> Any:
    return from_url(store.url, client_options={"allow_http": True})


def remove(store: Store, key: str) -> None:
    if isinstance(store, ObjectStore):
        obstore.delete(bare(store), key)
    else:
        Path(store._folder, key).unlink()  # type: ignore[attr-defined] # a folder's


def test_other_bytes_of_the_same_length_are_found_by_their_etag_or_by_reading(any_site: Site) -> None:
    place = any_site.grow("growth")
    key = f"{place}/frames/c.1.0.0"
    content = bytearray(any_site.store.read(key) or b"")
    content[40] ^= 1
    any_site.store.replace(key, bytes(content))
    checks = [Check.DIGESTS, Check.OBJECTS] if isinstance(any_site.store, ObjectStore) else [Check.DIGESTS]
    for check in checks:
        state, stored = checked(any_site.store, place, check)
        assert state is State.DAMAGED
        assert stored.different == ((1, 1),)


def test_the_same_bytes_under_another_etag_are_the_same(
    tmp_path: Path, shared: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(shared.url, monkeypatch)
    store = ObjectStore(f"{BUCKET}/{tmp_path.name}")
    place = Site(tmp_path / "spool", store).grow("copied")
    key = f"{place}/frames/c.1.0.0"
    before = obstore.head(bare(store), key)["e_tag"]
    content = store.read(key)
    assert content is not None
    obstore.put(bare(store), key, content, use_multipart=True)
    assert obstore.head(bare(store), key)["e_tag"] != before
    watched = Watched(store)
    assert checked(watched, place) == (State.COMPLETE, checked(store, place, Check.DIGESTS)[1])
    assert [key for what, key in watched.asked if what == "read" and "/frames/c." in key] == [key]


def test_a_place_is_listed_once_and_a_streams_chunks_only_to_check_them(any_site: Site) -> None:
    streams = [any_site.grow(f"growth {k}") for k in range(3)]
    watched = Watched(any_site.store)
    assert len(entries(watched)) == 3
    assert [one for one in watched.asked if one[0] != "read"] == [("level", "")]
    assert len(watched.asked) == 1 + 2 * len(streams)
    watched.asked.clear()
    entries(watched, Check.OBJECTS)
    assert sum(what == "walk" for what, _ in watched.asked) == 2 * len(streams)


def test_a_thousand_objects_more_are_another_page(
    tmp_path: Path, shared: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(shared.url, monkeypatch)
    store = ObjectStore(f"{BUCKET}/{tmp_path.name}")
    keys = {f"many/c.{k}" for k in range(1100)}
    for key in keys:
        store.replace(key, b"x")
    store.replace("many-more/c.0", b"x")
    pages: list[int] = []
    plain = obstore.list

    def counted(*args: Any, **kwargs: Any) -> Iterator[Any]:
        for page in plain(*args, **kwargs):
            pages.append(len(page))
            yield page

    monkeypatch.setattr(obstore, "list", counted)
    walking = store.walk("many")
    first = next(walking)
    assert pages == [1000], "the others were not asked for yet"
    found = [first, *walking]
    assert {one.key for one in found} == keys
    assert {one.size_bytes for one in found} == {1}
    assert max(pages) == 1000
    assert len(store.level("many").objects) == 1100
    assert list(store.walk("never")) == []


def test_others_groups_are_told_once_and_their_chunks_are_left_alone(site: Site, folder: Path) -> None:
    ours = site.grow("ours")
    theirs = zarr.create_group(folder / "theirs.zarr")
    theirs.create_array("deep/er/array", shape=(4, 4), chunks=(2, 2), dtype="u1")[:] = 1
    np.save(folder / "notes.npy", np.zeros(3))
    zarr.create_array(folder / "alone.zarr", shape=(4,), chunks=(2,), dtype="u1")[:] = 1
    zarr.create_array(folder / "two.zarr", shape=(4, 4), chunks=(2, 2), dtype="u1", zarr_format=2)[:] = 1
    shutil.copytree(folder / ours, folder / "theirs.zarr" / ours)
    watched = Watched(read_only(folder))
    found = entries(watched)
    assert {place: one.state for place, one in found.items()} == {
        "alone.zarr": State.FOREIGN,
        "theirs.zarr": State.FOREIGN,
        f"theirs.zarr/{ours}": State.GROWING,
        ours: State.COMPLETE,
    }
    assert not [key for _, key in watched.asked if "/c" in key.removesuffix("/time/c.0")]


def test_what_is_hidden_and_links_that_lead_in_circles_are_passed_by(site: Site, folder: Path) -> None:
    ours = site.grow("ours")
    (folder / "circle").symlink_to(folder)
    shutil.copytree(folder / ours, folder / ".snapshots" / ours)
    assert list(entries(site.store)) == [ours]


def test_what_the_store_does_not_let_be_read_is_named_and_the_rest_is_listed(site: Site, folder: Path) -> None:
    place, other = site.grow("secret"), site.grow("well")
    for k in range(40):
        (folder / f"private-{k:02}").mkdir()

    def refuse(_what: str, key: str) -> None:
        if key.startswith((place, "private")):
            raise StoreTrouble("not for you", outage=True)

    found = entries(Watched(site.store, refuse))
    assert found[other].state is State.COMPLETE
    assert (found[place].state, found[place].says) == (State.UNREADABLE, "not for you")
    assert sum(one.state is State.UNREADABLE for one in found.values()) == 41


def test_a_store_that_has_gone_away_is_not_asked_for_ever(site: Site, folder: Path) -> None:
    for k in range(200):
        (folder / f"place-{k:03}").mkdir()

    def gone(what: str, key: str) -> None:
        if what == "read" or (key == "" and len(watched.asked) > 1):
            raise StoreTrouble("it is gone", outage=True)

    watched = Watched(site.store, gone)
    with pytest.raises(StoreTrouble, match="gone"):
        entries(watched)
    assert len(watched.asked) < 100


def test_what_lies_too_deep_is_said(site: Site, folder: Path) -> None:
    deep = folder.joinpath(*["d"] * 40)
    deep.mkdir(parents=True)
    (found,) = entries(site.store).values()
    assert found.state is State.UNREADABLE
    assert "too deep" in found.says


def test_odd_keys_in_a_bucket_end_nothing(
    tmp_path: Path, shared: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_to(shared.url, monkeypatch)
    place = Site(tmp_path / "spool", ObjectStore(f"{BUCKET}/{tmp_path.name}")).grow("well")
    for odd in ("folder/", "empty//part", "a b/%25/x", "dots/../x", "ü/zarr.json"):
        httpx.put(f"{shared.url}/growths/{tmp_path.name}/{odd}", content=b"{}").raise_for_status()
    found = entries(ObjectStore(f"{BUCKET}/{tmp_path.name}"), Check.OBJECTS)
    assert found.pop(place).state is State.COMPLETE
    assert {one.state for one in found.values()} <= {State.FOREIGN, State.UNREADABLE}


@pytest.mark.parametrize(
    ("indices", "found"),
    [((), ()), ((3,), ((3, 3),)), ((2, 0, 1, 5, 7, 6), ((0, 2), (5, 7)))],
)
def test_indices_as_spans(indices: tuple[int, ...], found: tuple[tuple[int, int], ...]) -> None:
    assert spans(indices) == found


ODD: tuple[Any, ...] = (None, True, -1, 0, 10**4000, 1.5, "", "\ud800", [], [[]], {}, {"shape": []})


@pytest.mark.parametrize("sealed", [True, False])
def test_whatever_is_done_to_a_stream_another_one_is_listed(site: Site, folder: Path, *, sealed: bool) -> None:
    chance = random.Random(7)
    place, other = site.grow("hurt", sealed=sealed), site.grow("well")
    whole = {path: path.read_bytes() for path in folder.glob(f"{place}*/**/*") if path.is_file()}
    whole |= {path: path.read_bytes() for path in folder.glob(f"{place}.*")}
    seen = set()
    for _ in range(60):
        path = chance.choice(sorted(whole))
        path.write_bytes(harmed(chance, whole[path], is_json=path.name.endswith(".json")))
        found = entries(site.store, chance.choice(list(Check)))
        assert found[other].state is State.COMPLETE
        seen.add(found[place].state)
        path.write_bytes(whole[path])
    assert not sealed or State.DAMAGED in seen
    assert entries(site.store, Check.DIGESTS)[place].state in (State.COMPLETE, State.GROWING)


def harmed(chance: random.Random, content: bytes, *, is_json: bool) -> bytes:
    if is_json and chance.random() < 0.7:
        document = node = json.loads(content)
        while True:
            key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
            if not (isinstance(node[key], dict | list) and node[key]) or chance.random() < 0.2:
                node[key] = chance.choice(ODD)
                return json.dumps(document).encode()
            node = node[key]
    at = chance.randrange(len(content))
    return chance.choice((content[:at], content + b"\0", content[:at] + b"\xff" + content[at + 1 :]))


def test_a_slow_store_is_asked_for_several_places_at_once(site: Site) -> None:
    streams = [site.grow(f"growth {k}", sealed=False) for k in range(4)]
    # Nobody gets an answer before four have asked.
    together = threading.Barrier(4)

    def wait(what: str, key: str) -> None:
        if what == "read" and key.endswith("/zarr.json"):
            together.wait(60)

    assert sorted(entries(Watched(site.store, wait))) == sorted(streams)
