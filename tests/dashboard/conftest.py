"""A spool, the dashboard on it as a user starts it, and the system's Chromium."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from spool import Limits, Spool, Stream
from spool.testing import some_frames, some_settings

CHECKOUT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or ""


class Dashboard:
    """A running dashboard.

    Attributes:
        url: what it has printed, with the token.
        base: the address of the overview, without.
    """

    def __init__(self, spool: Path, folder: Path, *options: str) -> None:
        self.complaints = folder / "dashboard.stderr"
        self._command = [sys.executable, "-m", "uploader", "dashboard", "--spool", str(spool), "--json", *options]
        with self.complaints.open("w") as complaints:
            self.process = subprocess.Popen(
                self._command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=complaints, text=True
            )
        assert self.process.stdout is not None
        self.said = json.loads(self.process.stdout.readline())
        self.url: str = self.said["url"]
        self.base = self.url.partition("enter#")[0]
        self.token = self.url.partition("#")[2]
        address = urlsplit(self.url)
        self.origin = f"http://{address.netloc}"
        self.port = address.port or 0

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=20)

    @contextmanager
    def visitor(self) -> Iterator[httpx.Client]:
        """Somebody with a session, who is no browser."""
        with httpx.Client(
            base_url=self.base, headers={"Origin": self.origin}, timeout=20, trust_env=False
        ) as client:
            client.post("api/session", json={"token": self.token}).raise_for_status()
            yield client


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    with Spool(tmp_path / "spool", limits=Limits(min_free_bytes=0)) as opened:
        yield opened


@pytest.fixture
def dashboard(spool: Spool, tmp_path: Path) -> Iterator[Dashboard]:
    running = Dashboard(spool.root, tmp_path)
    yield running
    running.stop()
    assert running.process.returncode == 0
    assert running.complaints.read_text() == ""


def record(spool: Spool, *idxs: int, name: str = "growth", data_id: str = "data-1") -> Stream:
    stream = spool.open_stream(some_settings(name=name), data_id=data_id)
    for idx in idxs:
        spool.push(stream.stream_id, idx, some_frames(seed=idx))
    return stream


def park(spool: Spool, stream: Stream, *idxs: int, why: str = "413: too big") -> None:
    lease = spool.lease(stream.stream_id, "worker", ttl_s=60)
    assert lease is not None
    for idx in idxs:
        chunk = spool.chunk(stream.stream_id, idx)
        assert chunk is not None
        lease.attempt_started(chunk)
        lease.park(chunk, why)
    lease.release()


@pytest.fixture(scope="module")  # no longer: an event loop runs in this thread as long as it lives
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "the dashboard is looked at in a real browser: apt-get install chromium"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--no-proxy-server"], env={**os.environ, "DISPLAY": ""}
        )
        yield started
        started.close()


@dataclass
class Visit:
    """Somebody at the browser, and whatever the browser complains of."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def page(self, url: str) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: self._heard(said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: self._heard("error", f"a dialog: {dialog.message}"))
        page.goto(url)
        return page

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": 1080, "height": 800})
    visiting = Visit(context)
    yield visiting
    context.close()
    assert visiting.complaints == []


@pytest.fixture
def look(dashboard: Dashboard, visit: Visit) -> Callable[[str], Page]:
    """Open a page of the dashboard by its path, with a session."""
    with dashboard.visitor() as visitor:
        (cookie,) = visitor.cookies.jar
    visit.context.add_cookies(
        [{"name": cookie.name, "value": cookie.value or "", "domain": "127.0.0.1", "path": cookie.path}]
    )

    def go(path: str = "") -> Page:
        page = visit.page(dashboard.base + path)
        page.wait_for_selector("#link.live")
        return page

    return go
