"""The dashboard in a real browser: what it shows while things happen, and what a person can do with it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, Response, expect

from spool import ChunkState, Receipt, Spool, person, read_proof
from spool.testing import some_frames
from tests.dashboard.conftest import Dashboard, Visit, park, record
from tools.bench.large_spools import make_large_spool
from tools.fault_proxy import Fault, FaultProxy
from uploader import RHEEDStreamer
from uploader.dashboard.chunk_map import ChunkMap
from uploader.loopback.process import LoopbackServer

Look = Callable[[str], Page]
LARGE = 100_000


def state(spool: Spool, idx: int) -> ChunkState:
    chunk = spool.chunk("data-1", idx)
    assert chunk is not None
    return chunk.state


# Live -------------------------------------------------------------------------------------------------------


def test_an_outage_is_seen_to_begin_and_to_end_without_reloading(visit: Visit, tmp_path: Path) -> None:
    with (
        LoopbackServer(tmp_path / "server") as server,
        FaultProxy("127.0.0.1", int(server.url.rpartition(":")[2])) as proxy,
        RHEEDStreamer(
            server.api_key, proxy.url, spool_dir=tmp_path / "spool", spool_min_free_bytes=0, worker="thread"
        ) as streamer,
    ):
        data_id = streamer.initialize(fps=2.0, rotations_per_min=0.0, chunk_size=4, stream_name="growth 42")
        streamer.push(data_id, 0, some_frames(seed=0))
        dashboard = Dashboard(tmp_path / "spool", tmp_path)
        try:
            page = visit.page(dashboard.url)
            page.get_by_role("link", name="growth 42").click()
            tiles = page.locator("#tiles")
            expect(tiles).to_contain_text("Delivered1 chunk")
            page.evaluate("globalThis.stays = true")

            proxy.set(Fault.REFUSE)
            streamer.push(data_id, 1, some_frames(seed=1))
            streamer.push(data_id, 2, some_frames(seed=2))
            expect(page.locator("#verdict")).to_contain_text("An outage, for")
            expect(page.locator("#verdict")).to_contain_text("no connection to")
            expect(tiles).to_contain_text("Waiting2 chunks")
            expect(page.locator("#legend")).to_contain_text("waiting: 2")
            expect(page.locator("#outage-rows")).to_contain_text("still going on")
            expect(page.locator("#backlog rect.outage")).to_have_count(1)
            expect(page.locator("#frame-said")).to_contain_text("of chunk 2")

            proxy.clear()
            expect(page.locator("#verdict")).to_have_text("Everything that was recorded so far is delivered.")
            expect(page.locator("#legend")).to_have_text("confirmed: 3")
            expect(page.locator("#outage-rows")).not_to_contain_text("still going on")
            assert streamer.finalize(data_id, drain_timeout_s=20).finalized
            expect(page.locator("#verdict")).to_contain_text("the stream is finalized")
            assert page.evaluate("globalThis.stays") is True
            page.close()
        finally:
            dashboard.stop()
        assert dashboard.complaints.read_text() == ""


def test_a_dashboard_that_has_ended_is_said_to_be_gone(look: Look, visit: Visit, dashboard: Dashboard) -> None:
    page = look("")
    dashboard.stop()
    expect(page.locator("#link")).to_contain_text("is 'framespool dashboard' still running?")
    assert all("ERR_" in one for one in visit.complaints)
    visit.complaints.clear()


def test_more_pages_than_a_browser_has_connections_are_all_live(spool: Spool, look: Look) -> None:
    stream = record(spool, 0)
    pages = [look(f"streams/{stream.stream_id}") for _ in range(7)]
    spool.push(stream.stream_id, 1, some_frames(seed=1))
    for page in pages:
        expect(page.locator("#legend")).to_have_text("waiting: 2")


# Decisions --------------------------------------------------------------------------------------------------


def test_a_parked_chunk_is_retried_by_a_click(spool: Spool, look: Look) -> None:
    stream = record(spool, 0, 1, 2)
    park(spool, stream, 0, 2)
    page = look(f"streams/{stream.stream_id}")
    expect(page.locator("#verdict")).to_have_text("2 chunks parked: retry or discard what is parked.")
    expect(page.locator("#parked-rows tr")).to_have_count(2)
    expect(page.locator("#parked-rows")).to_contain_text("413: too big")
    page.get_by_label("chunk 2", exact=True).check()
    page.get_by_role("button", name="Retry chosen").click()
    expect(page.locator("#said")).to_have_text("1 chunk waits for delivery again.")
    expect(page.locator("#parked-rows tr")).to_have_count(1)
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#verdict")).to_have_text("No worker delivers at this moment; what waits is safe here.")
    page.reload()
    expect(page.locator("#parked")).to_be_hidden()
    assert [state(spool, idx) for idx in range(3)] == [ChunkState.SPOOLED] * 3
    told = [(one.chunk_idx, one.detail) for one in spool.events("data-1") if one.event == "retried"]
    assert told == [(2, {"who": person()}), (0, {"who": person()})]


def test_discarding_asks_and_tells_the_ledger_who_and_why(spool: Spool, look: Look) -> None:
    stream = record(spool, 0, 1)
    park(spool, stream, 1)
    before = len(list(spool.events()))
    page = look(f"streams/{stream.stream_id}")
    page.get_by_label("chunk 1", exact=True).check()
    page.get_by_role("button", name="Discard chosen …").click()
    dialog = page.get_by_role("dialog", name="Delete these frames for good?")
    expect(dialog).to_contain_text("1 chunk (1), 4 frames")
    expect(dialog).to_contain_text(f"decided by {person()}")
    dialog.get_by_role("button", name="Delete for good").click()
    expect(dialog).to_be_visible()  # neither a reason nor the tick is there
    dialog.get_by_role("button", name="Keep them").click()
    expect(dialog).to_be_hidden()
    assert len(list(spool.events())) == before
    page.get_by_role("button", name="Discard chosen …").click()
    dialog.get_by_label("Why?").fill("the shutter was closed")
    dialog.get_by_label("Delete the frames of 1 chunk.").check()
    dialog.get_by_role("button", name="Delete for good").click()
    expect(page.locator("#said")).to_have_text(f"1 chunk discarded, decided by {person()}.")
    expect(page.locator("#legend")).to_contain_text("discarded: 1")
    expect(page.locator("#parked")).to_be_hidden()
    assert state(spool, 1) is ChunkState.DISCARDED
    last = list(spool.events("data-1"))[-1]
    assert (last.event, last.detail) == ("discarded", {"who": person(), "why": "the shutter was closed"})


# One chunk, by keyboard -------------------------------------------------------------------------------------


def test_everything_is_reached_by_keyboard_and_told_in_words(spool: Spool, look: Look) -> None:
    stream = record(spool, 0, 1, 3)
    park(spool, stream, 1)
    page = look("")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "growth":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/streams/*")
    expect(page.locator("#legend")).to_contain_text("parked: 1")
    cells = page.get_by_role("slider", name="Chunk map")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "map":
            break
    expect(cells).to_be_focused()
    told = []
    for key in ("Home", "ArrowRight", "ArrowRight", "End", "n"):
        page.keyboard.press(key)
        told.append(cells.get_attribute("aria-valuetext"))
    assert told == [
        "chunk 0: waiting",
        "chunk 1: parked",
        "chunk 2: never pushed",
        "chunk 3: waiting",
        "chunk 1: parked",
    ]
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Chunk 1", exact=True)).to_be_focused()
    expect(page.locator("#chunk-facts")).to_contain_text("Parked, because413: too big")
    expect(page.locator("#attempts")).to_contain_text("parked413: too big")


def test_a_chunk_shows_its_receipt_and_a_gap_that_it_is_one(spool: Spool, look: Look) -> None:
    stream = record(spool, 0, 2)
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    chunk = spool.chunk("data-1", 0)
    assert lease is not None
    assert chunk is not None
    lease.attempt_started(chunk)
    lease.acknowledge(chunk, Receipt(status=200, etag="0123abcd", confirmed=True, at_ms=7, url_path="/staged/x"))
    page = look(f"streams/{stream.stream_id}#chunk=0")
    facts = page.locator("#chunk-facts")
    for words in (chunk.sha256, "status 200 · ETag 0123abcd", "the server's checksum is ours", "/staged/x"):
        expect(facts).to_contain_text(words)
    expect(page.locator("#legend")).to_contain_text("never pushed: 1")
    page.locator("#map").press("ArrowRight")
    page.locator("#map").press("Enter")
    expect(facts).to_contain_text("never pushed: nothing is recorded")


# To keep ----------------------------------------------------------------------------------------------------


def test_the_audit_page_opens_as_it_is_and_the_proof_holds(spool: Spool, look: Look, visit: Visit) -> None:
    stream = record(spool, 0, 1)
    page = look(f"streams/{stream.stream_id}")
    with visit.context.expect_page() as opened:
        page.get_by_role("link", name="The audit page").click(modifiers=["Control"])
    opened.value.on("console", lambda said: visit.complaints.append(said.text))
    expect(opened.value.locator("h1")).to_have_text("growth")
    assert opened.value.evaluate("getComputedStyle(document.querySelector('.verdict')).borderLeftWidth") == "6px"
    with page.expect_download() as download:
        page.get_by_role("link", name="The proof").click()
    assert download.value.suggested_filename == f"{stream.stream_id}.proof.json"
    found = read_proof(Path(download.value.path()).read_bytes())
    assert len(found.audit.chunks) == 2


def test_the_last_frame_is_the_one_that_was_pushed(spool: Spool, look: Look) -> None:
    stream = record(spool)
    frames = some_frames(4, seed=5)
    spool.push(stream.stream_id, 0, frames)
    page = look(f"streams/{stream.stream_id}")
    expect(page.locator("#frame")).to_be_visible()
    pixels = page.evaluate(
        """async () => {
          const picture = document.getElementById("frame");
          await picture.decode();
          const canvas = document.createElement("canvas");
          [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
          const pen = canvas.getContext("2d");
          pen.drawImage(picture, 0, 0);
          return [...pen.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, k) => k % 4 === 0);
        }"""
    )
    np.testing.assert_array_equal(np.array(pixels).reshape(frames[3].shape), frames[3])


# Many -------------------------------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[Dashboard, str]]:
    stream_id = make_large_spool(tmp_path / "large", acknowledged=LARGE - 500, waiting=500)
    running = Dashboard(tmp_path / "large", tmp_path)
    yield running, stream_id
    running.stop()


def test_a_hundred_thousand_chunks_are_few_bytes_few_nodes_and_bounded_work(
    large: tuple[Dashboard, str], visit: Visit
) -> None:
    dashboard, stream_id = large
    page = visit.page(dashboard.url)
    taken: list[tuple[str, int]] = []

    def take(answer: Response) -> None:
        if "/api/" in answer.url:
            taken.append((answer.url.rpartition("/")[2], int(answer.headers.get("content-length", 0))))

    page.on("response", take)
    page.locator("#rows a").click()
    expect(page.locator("#map-said")).to_contain_text(f"{LARGE:,} chunks; each cell stands for up to")
    expect(page.locator("#rates svg")).to_be_visible()
    expect(page.locator("#trend svg")).to_be_visible()
    assert sum(size for name, size in taken if name.startswith("map")) < 2000
    assert sum(size for _, size in taken) < 100_000
    assert page.evaluate("document.querySelectorAll('*').length") < 500
    cells = page.locator("#map")
    each = 0
    for _ in range(12):
        cells.press("+")
    cells.press("End")
    assert cells.get_attribute("aria-valuetext") == f"chunk {LARGE - 1:,}: waiting"
    size = page.evaluate("[document.getElementById('map').width, document.getElementById('map').height]")
    assert size[0] <= 1080 * 2
    assert size[1] <= 300 * 2
    # One more chunk costs what one chunk costs.
    each = len(taken)
    with Spool(dashboard.said["spool"]) as spool:
        spool.push(stream_id, LARGE, some_frames(4))
    expect(page.locator("#map-said")).to_contain_text(f"{LARGE + 1:,} chunks")
    assert 0 < sum(size for name, size in taken[each:] if name.startswith("map?")) < 20


def test_a_page_reads_the_same_map_as_was_written(look: Look) -> None:
    """The two halves of the format, of random streams with gaps, and of what changes in them."""
    page = look("")
    random = np.random.default_rng(8)
    for _ in range(20):
        written = ChunkMap()
        idxs = np.flatnonzero(random.random(400) < 0.7)
        if random.random() < 0.3:
            idxs = np.append(idxs, 999_999_999)
        states = {int(idx): int(code) for idx, code in zip(idxs, random.integers(1, 8, idxs.size), strict=True)}
        take(written, states)
        written.take_page([])
        whole, version = written.runs(), written.version
        later = {int(idx): int(random.integers(1, 8)) for idx in random.integers(0, 500, 30)}
        written.take_changes([cell(idx, code) for idx, code in later.items()])
        changes = written.runs_since(version)
        assert changes is not None
        read = page.evaluate(_READ, {"whole": list(whole), "changes": list(changes)})
        assert {int(idx): code for idx, code in read["pairs"]} == states | later
        assert read["length"] <= 600 + 50 + 1
        assert read["spans"] == read["size"]


_READ = """async ({ whole, changes }) => {
  const { Cells } = await import(new URL("assets/cells.js", location.href));
  const cells = new Cells();
  cells.load(new Uint8Array(whole));
  cells.patch(new Uint8Array(changes));
  const pairs = [];
  for (let at = 0; at < cells.size; at += 1) pairs.push([cells.idxs[at], cells.codes[at]]);
  let spans = 0;
  for (let place = 0; place < cells.length; place += 7) {
    const { counts } = cells.span(place, Math.min(place + 7, cells.length));
    spans += counts.slice(1).reduce((one, other) => one + other, 0);
  }
  return { pairs, length: cells.length, spans, size: cells.size };
}"""


def cell(idx: int, code: int) -> Any:
    from spool import Cell  # noqa: PLC0415

    state, here, confirmed = {
        1: (ChunkState.SPOOLED, True, False),
        2: (ChunkState.ACKNOWLEDGED, True, False),
        3: (ChunkState.ACKNOWLEDGED, True, True),
        4: (ChunkState.PARKED, True, False),
        5: (ChunkState.DISCARDED, False, False),
        6: (ChunkState.ACKNOWLEDGED, False, True),
        7: (ChunkState.ACKNOWLEDGED, False, False),
    }[code]
    return Cell(idx, state, here, confirmed, 1000 * idx, 1000 * idx + 500, 10)


def take(written: ChunkMap, states: dict[int, int]) -> None:
    written.take_page([cell(idx, code) for idx, code in sorted(states.items())])


# For everybody ----------------------------------------------------------------------------------------------


def test_no_rule_of_accessibility_is_broken(spool: Spool, look: Look) -> None:
    stream = record(spool, 0, 1, 2, 5)
    park(spool, stream, 1)
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble("no connection", event="trouble_began", detail={"words": "no connection"})
    for path in ("", f"streams/{stream.stream_id}#chunk=1"):
        page = look(path)
        if path:
            expect(page.locator("#attempts tr")).to_have_count(1)
            expect(page.locator("#trend svg")).to_be_visible()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            found = Axe().run(page).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_text_from_elsewhere_is_only_ever_text_and_never_breaks_the_page(spool: Spool, look: Look) -> None:
    evil = '<img src=x onerror="alert(1)"><script>alert(2)</script>'
    name = f"{evil}\u202e" + "W" * 3000
    stream = record(spool, 0, 1, name=name)
    park(spool, stream, 0, why=f"{evil} 413 \x1b[31m \u2066{'é' * 5000}")
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble(evil * 50, event="trouble_began", detail={"words": evil * 50})
    page = look("")
    expect(page.locator("#rows a")).to_contain_text(evil)
    assert fits(page)
    page.locator("#rows a").click()
    expect(page.locator("h1")).to_contain_text(evil)
    expect(page.locator("#parked-rows")).to_contain_text(evil)
    page.goto(f"{page.url}#chunk=0")
    expect(page.locator("#chunk-facts")).to_contain_text(f"Parked, because{evil}")
    assert fits(page)
    text = page.evaluate("document.body.innerText")
    assert not any(sign in text for sign in "\u202e\u2066\x1b")
    assert page.evaluate("document.querySelectorAll('main img').length") == 1
    assert json.loads(page.evaluate("JSON.stringify(Object.keys(localStorage))")) == []


def fits(page: Page) -> bool:
    """Whether nobody has to scroll sideways, on a desk or in a hand."""
    found = []
    for width in (360, 1080):
        page.set_viewport_size({"width": width, "height": 700})
        found.append(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
    return all(found)


# The address ------------------------------------------------------------------------------------------------


def test_the_token_leaves_the_address_and_no_script_can_read_the_session(
    dashboard: Dashboard, visit: Visit
) -> None:
    page = visit.page(dashboard.url)
    page.wait_for_selector("#link.live")
    assert page.url == dashboard.base
    assert page.evaluate("document.cookie") == ""
    (cookie,) = visit.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    assert cookie["path"] == dashboard.base[len(dashboard.origin) :]
    assert dashboard.token not in json.dumps(visit.context.storage_state())
    page.reload()
    page.wait_for_selector("#link.live")
    stranger = visit.page(f"{dashboard.base}enter#wrong")
    expect(stranger.locator("#said")).to_contain_text("no valid token")
    assert all("403" in one for one in visit.complaints)
    visit.complaints.clear()
