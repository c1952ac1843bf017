"""What README, tutorial and how-tos tell people to type is typed here, or they say why not."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from spool import ProcessLock
from tests.destinations.s3_server import free_port
from tests.documents.blocks import PAGES, ROOT, Block, blocks_of, commands_of
from tests.documents.session import PATIENCE_S, Session, assert_says
from uploader import RHEEDStreamer
from uploader.cli import main
from uploader.loopback.process import LoopbackServer

ALL = (*PAGES, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
GROWTH = "growth 42"
NEEDS_A_GROWTH = frozenset({"a-weekend-without-network", "after-a-crash", "by-usb", "disk", "in-a-notebook"})
"""Pages that speak of a stream which is there already, delivered, open and left by its producer."""

NOTEBOOKS = frozenset({"in-a-notebook"})


def typed(page: Path) -> list[Block]:
    return [block for block in blocks_of(page) if block.is_typed]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run_or_says_why_not(page: Path) -> None:
    for block in blocks_of(page):
        if not block.is_typed:
            assert not block.text.startswith("$ "), f"{block}: what is typed is a console"
        elif not block.is_run:
            assert re.fullmatch(r"not run: .{8,}", block.mark), f"{block}: {block.mark!r} is no reason"
            for named in re.findall(r"tests/[\w/.]+", block.mark):
                assert (ROOT / named).exists(), f"{block}: there is no {named}"
        elif block.language:
            assert block.mark == "" or re.match(r"exits with \d|run in the background: ", block.mark), str(block)


def test_most_blocks_are_run() -> None:
    run = sum(block.is_run for page in PAGES for block in typed(page))
    assert run >= 30


@pytest.mark.parametrize("page", ALL, ids=lambda page: page.stem)
def test_every_command_that_a_page_names_is_understood(page: Path) -> None:
    for block, words in commands_of(page):
        if words[0] in {"--help", "--version"}:
            continue
        command = main.get_command(click.Context(main), words[0])
        assert command is not None, f"{block}: there is no command {words[0]}"
        try:
            command.make_context(words[0], words[1:])
        except click.BadParameter as error:
            if "does not exist" not in str(error):
                raise AssertionError(f"{block}: {words}: {error}") from error
        except click.UsageError as error:
            raise AssertionError(f"{block}: {words}: {error}") from error


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(b.is_run and b.language for b in typed(page))],
    ids=lambda page: page.stem,
)
def test_what_a_page_says_works(page: Path, server: LoopbackServer, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    (tmp_path / "home").mkdir()
    places = {"/mnt/nas/growths": str(tmp_path / "nas"), "path/to/images": str(tmp_path / "images")}
    if page.stem == "tutorial":
        places = {"8700": str(free_port())}
        variables = {}
    else:
        spool = folder / "spool"
        variables = {
            "AS_API_KEY": server.api_key,
            "AS_API_ENDPOINT": server.url,
            "ATOMSCALE_SPOOL_DIR": str(spool),
        }
        draw_images(tmp_path / "images")
        if page.stem in NEEDS_A_GROWTH:
            variables["DATA_ID"] = leave_a_growth(spool, server, is_delivered=page.stem != "by-usb")
    with Session(folder, variables, places, is_notebook=page.stem in NOTEBOOKS) as reader:
        assert reader.follow(typed(page))
        assert_no_worker_stays(folder)


def draw_images(folder: Path) -> None:
    folder.mkdir()
    for number in range(12):
        Image.fromarray(np.full((24, 32), 20 * number, np.uint8)).save(folder / f"{number:03}.png")


def leave_a_growth(root: Path, server: LoopbackServer, *, is_delivered: bool) -> str:
    with RHEEDStreamer(server.api_key, server.url, spool_dir=root, worker="external") as streamer:
        data_id = streamer.initialize(120.0, 0.0, 240, stream_name=GROWTH)
        for chunk_idx in range(3):
            streamer.push(data_id, chunk_idx, np.full((240, 8, 8), chunk_idx, np.uint8))
    if is_delivered:
        words = ["worker", "--once", "--spool", str(root), "--endpoint", server.url]
        said = CliRunner(env={"AS_API_KEY": server.api_key}).invoke(main, words)
        assert said.exit_code == 0, said.output
    return data_id


def assert_no_worker_stays(folder: Path) -> None:
    """Nobody left anything open, so the workers that recorders have started end by themselves."""
    deadline = time.monotonic() + PATIENCE_S
    for path in folder.rglob("workers/*.lock"):
        lock = ProcessLock(path)
        while not lock.acquire():
            assert time.monotonic() < deadline, f"a worker still holds {path}"
            time.sleep(0.05)
        lock.release()


def test_what_is_said_is_compared_but_for_what_differs_each_time() -> None:
    expected = ["stream 20261126t131650-73a4986a7ec4, 40 frames", "…", "done in … parts"]
    assert_says("here", ["stream 20270101t000000-0123456789ab,  40 frames", "a", "b", "done in 2 parts"], expected)
    with pytest.raises(AssertionError, match="41 frames"):
        assert_says("here", ["stream 20270101t000000-0123456789ab, 41 frames", "done in 2 parts"], expected)
    with pytest.raises(AssertionError, match="expected"):
        assert_says("here", ["stream 20270101t000000-0123456789ab, 40 frames"], expected)
