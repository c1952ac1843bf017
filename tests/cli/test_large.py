"""What is printed of a stream of any length: the first rows at once, and never all of it in memory."""

import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import click
import pytest

from spool import Spool, audit
from spool import index as index_module
from tools.bench.large_spools import make_large_spool
from uploader.cli import main

CHUNKS = 3000
FORMS = ["", "--json", "--csv", "--attempts"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("large") / "spool"
    make_large_spool(made, acknowledged=CHUNKS)
    return made


def run(root: Path, *args: str) -> int:
    try:
        main.main(["audit", "large", "--spool", str(root), *args], standalone_mode=False)
    except SystemExit as end:
        return int(str(end.code))
    return 0


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uploader.cli.screen.is_terminal", lambda *_: True)


@pytest.mark.parametrize("form", [*FORMS, "terminal"])
def test_the_first_rows_are_printed_before_the_second_page_is_read(
    form: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []

    def traced(statement: str) -> None:
        if "FROM chunks c JOIN" in statement and "c.chunk_idx > " in statement:
            happened.append("page")

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return connect if name == "connect" else getattr(sqlite3, name)

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        db: sqlite3.Connection = sqlite3.connect(*args, **kwargs)
        db.set_trace_callback(traced)
        return db

    monkeypatch.setattr(index_module, "sqlite3", Watched())
    monkeypatch.setattr(click, "echo", lambda text, **_: happened.append(text))
    if form == "terminal":
        on_terminal(monkeypatch)
    assert run(root, *([form] if form.startswith("--") else [])) == 0
    pages = [at for at, what in enumerate(happened) if what == "page"]
    assert len(pages) > 3
    looked = 1 if form in ("", "--attempts", "terminal") else 0  # at the two ends, for the columns
    before = "".join(what for what in happened[: pages[looked + 1]] if what != "page")
    assert "d5cd5b88" in before, before[-300:]


@pytest.mark.parametrize("form", ["", "--json"])
def test_memory_does_not_grow_with_the_stream(
    form: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large"
    make_large_spool(large, acknowledged=2 * CHUNKS)
    monkeypatch.setattr(click, "echo", lambda _text, **_: None)
    peaks = []
    for one in (root, large):
        run(one, *([form] if form else []))
        tracemalloc.start()
        try:
            assert run(one, *([form] if form else [])) == 0
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0], peaks


@pytest.mark.parametrize("pretty", [False, True])
def test_the_object_that_is_written_piece_by_piece_is_the_whole_one(
    pretty: bool, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if pretty:
        on_terminal(monkeypatch)
    assert run(root, "--json") == 0
    told = capsys.readouterr().out
    with Spool(root) as spool:
        whole = audit(spool, "large-1").to_json()
    assert json.loads(told) == whole
    again = json.dumps(json.loads(told), indent=2 if pretty else None)
    assert told.removesuffix("\n") == again, "laid out as any other JSON"
