"""audit --html: one page that needs nothing but itself, looked at in a real browser."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spool import Spool
from tests.cli.shell import Shell
from tests.cli.test_reading import acknowledge, park, record
from uploader.png import png, shrunk

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""


@pytest.fixture
def page(reader: Shell, spool: Spool, tmp_path: Path) -> Path:
    """Of a stream with something of everything."""
    stream = record(spool, 0, 1, 2, 3, 6, name='<img src=x onerror="alert(1)"> & co')
    for idx in (0, 1):
        acknowledge(spool, stream, idx)
    park(spool, stream, 2)
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    lease.note_trouble("h: <b>gone</b>", event="trouble_began", detail={"words": "h: <b>gone</b>"})
    lease.release()
    path = tmp_path / "audit.html"
    said = reader.run("audit", "data-1", "--html", str(path))
    assert said.code == 1
    assert said.out.startswith("NOT COMPLETE: 2 waiting, 1 parked, 2 never pushed.\n")
    assert said.out.endswith(f"The page is {path}\n")
    return path


class Names(HTMLParser):
    """The elements of a page, and whatever they would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]
        assert not any(name.startswith("on") for name, _ in attrs)


def test_it_loads_and_runs_nothing_and_shows_what_comes_from_elsewhere_as_text(page: Path) -> None:
    text = page.read_text("utf-8")
    found = Names(text)
    assert "script" not in found.names
    assert len(found.loads) == 3
    assert all(load.startswith("data:image/png;base64,") for load in found.loads)
    assert "url(" not in text
    assert "&lt;img src=x onerror=" in text
    assert "default-src 'none'" in text


def test_it_shows_every_chunk_each_outage_and_three_frames(page: Path) -> None:
    text = page.read_text("utf-8")
    cells = re.findall(r'<rect class="(\w+)"[^>]*><title>(chunk \d+)', text)
    assert cells == [
        ("confirmed", "chunk 0"), ("confirmed", "chunk 1"), ("parked", "chunk 2"), ("waiting", "chunk 3"),
        ("gap", "chunk 4"), ("gap", "chunk 5"), ("waiting", "chunk 6"),
    ]  # fmt: skip
    assert text.count('class="outage"') == 2, "in the timeline and in its legend"
    assert text.count("<figure><img") == 3
    assert "h: &lt;b&gt;gone&lt;/b&gt;" in text


def test_frames_that_were_pruned_are_said_to_be(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    stream = record(spool, 0)
    acknowledge(spool, stream, 0)
    spool.prune()
    path = tmp_path / "audit.html"
    assert reader.run("audit", "data-1", "--html", str(path), "--json").json()["complete"] is True
    assert path.read_text("utf-8").count("acknowledged, and pruned here") == 3


def test_a_stream_without_chunks_has_a_page(reader: Shell, spool: Spool, tmp_path: Path) -> None:
    record(spool)
    path = tmp_path / "audit.html"
    assert reader.run("audit", "data-1", "--html", str(path)).code == 1
    assert "nothing has been recorded yet" in path.read_text("utf-8")


def test_a_picture_is_a_png_of_the_same_pixels(tmp_path: Path) -> None:
    frame = np.random.default_rng(1).integers(0, 255, (31, 77), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png(frame))
    with Image.open(tmp_path / "a.png") as opened:
        assert opened.mode == "L"
        np.testing.assert_array_equal(np.asarray(opened), frame)
    np.testing.assert_array_equal(shrunk(frame, longest=20), frame[::4, ::4])


@pytest.mark.parametrize(
    ("scheme", "ground", "parked"), [("1", "#fcfcfb", "#c4362b"), ("0", "#141618", "#e0605a")]
)
def test_a_browser_shows_it_light_and_dark(
    page: Path, tmp_path: Path, scheme: str, ground: str, parked: str
) -> None:
    assert CHROMIUM, "the page is looked at in a real browser: apt-get install chromium"
    picture = tmp_path / "page.png"
    said = subprocess.run(
        [
            *(CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"),
            *("--window-size=1060,2000", f"--blink-settings=preferredColorScheme={scheme}"),
            *(f"--screenshot={picture}", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "CONSOLE" not in said.stderr, said.stderr
    with Image.open(picture) as opened:
        pixels = np.asarray(opened.convert("RGB")).reshape(-1, 3)
    seen = {
        f"#{r:02x}{g:02x}{b:02x}": count
        for (r, g, b), count in zip(*np.unique(pixels, axis=0, return_counts=True), strict=True)
    }
    assert seen[ground] > 0.5 * len(pixels)
    assert seen[parked] > 300, "the parked chunk's cell"
