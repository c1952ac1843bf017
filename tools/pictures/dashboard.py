"""Take the pictures of docs/how-to/dashboard.md: ``python tools/pictures/dashboard.py [FOLDER]``.

A spool after a night with everything in it is made, the dashboard is started on it as a user would, and Debian's
Chromium looks at its pages, light and dark.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tools.pictures.night import make_night

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
_COLOURS = 256
_LIVE = "#link.live"
_SHOWN_AS = "/home/lab/growths"
_RENAME = """([from, to]) => {
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(from, to);
}"""


@contextmanager
def dashboard(spool: Path) -> Iterator[str]:
    """The address of a dashboard of this spool, started as a user would."""
    command = [sys.executable, "-m", "uploader", "dashboard", "--spool", str(spool), "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.terminate()


@contextmanager
def browser() -> Iterator[Browser]:
    """The system's Chromium."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    assert found is not None, "apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield started
        finally:
            started.close()


def main() -> None:
    """Take them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        spool = Path(scratch) / "growths"
        ids = make_night(spool)
        with dashboard(spool) as url, browser() as started:
            for scheme in ("light", "dark"):
                page = started.new_page(color_scheme=scheme, viewport={"width": 1080, "height": 760})
                page.goto(url)
                page.wait_for_selector(_LIVE)
                page.wait_for_selector("#rows tr:nth-child(4)")
                keep(page, folder / f"dashboard-overview-{scheme}.png", spool)
                page.locator(f"#rows a[href='streams/{ids['live']}']").click()
                page.wait_for_selector("#rates svg")
                page.wait_for_selector("#trend svg")
                page.locator("#map").focus()
                for _ in range(2):
                    page.keyboard.press("n")
                page.wait_for_function("document.getElementById('map-cell').textContent.includes('Chunk')")
                page.evaluate("document.activeElement.scrollIntoView(); scrollTo(0, 0)")
                keep(page, folder / f"dashboard-stream-{scheme}.png", spool)
                page.close()


def keep(page: Page, path: Path, spool: Path) -> None:
    """The whole page, in few colours: small enough for a repository. The folder of this run gets a lab's name."""
    page.evaluate(_RENAME, [str(spool), _SHOWN_AS])
    picture = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    picture.quantize(_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, path.stat().st_size)


if __name__ == "__main__":
    main()
