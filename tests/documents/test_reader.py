"""The page on the spool's format is enough to write another reader."""

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from spool import Spool, StreamSettings
from tests.documents.blocks import ROOT

READER = ROOT / "docs" / "examples" / "read_spool.py"
CHUNKS = [np.random.default_rng(k).integers(0, 256, (n, 6, 9), np.uint8) for k, n in enumerate((4, 4, 2))]


@pytest.fixture(scope="module")
def reader() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_spool", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path: Path) -> Path:
    settings = StreamSettings(
        name="Bäume / 树", destination="http://127.0.0.1:9", fps=2.0, rotations_per_min=0.0, chunk_size=4
    )
    with Spool(tmp_path / "spool") as spool:
        stream = spool.open_stream(settings)
        for chunk_idx, frames in enumerate(CHUNKS):
            spool.push(stream.stream_id, chunk_idx, frames)
    return tmp_path / "spool"


def shards(root: Path) -> list[Path]:
    return sorted(root.glob("streams/*/frames.zarr/frames/c.*.0.0"))


def test_it_knows_nothing_of_framespool() -> None:
    tree = ast.parse(READER.read_text("utf-8"))
    named = {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    named |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {one.partition(".")[0] for one in named} - sys.stdlib_module_names <= {"backports", "compression"}


def test_it_reads_every_frame_and_the_ledger(reader: ModuleType, root: Path) -> None:
    for path, expected in zip(shards(root), CHUNKS, strict=True):
        about, frames = reader.read_shard(path.read_bytes())
        assert (about["n"], about["height"], about["width"]) == expected.shape
        read = np.frombuffer(b"".join(frames), np.uint8).reshape(expected.shape)
        np.testing.assert_array_equal(read, expected)
    events = [row[4] for row in reader.read_ledger(root / "ledger.jsonl")]
    assert events == ["opened", "spooled", "spooled", "spooled"]


def test_it_finds_what_was_changed(reader: ModuleType, root: Path) -> None:
    whole = shards(root)[0].read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(ValueError, match=r"checksum|bytes"):
            reader.read_shard(bytes(changed))
    ledger = root / "ledger.jsonl"
    ledger.write_text(ledger.read_text("utf-8").replace('"spooled"', '"spoiled"', 1), encoding="utf-8")
    with pytest.raises(ValueError, match="the chain breaks at row 2"):
        list(reader.read_ledger(ledger))


def test_as_a_command_it_says_what_is_there(
    reader: ModuleType, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reader.main(root)
    said = capsys.readouterr().out
    assert "Bäume / 树" in said
    assert "chunk 2: 2 x 6 x 9, mean" in said
    assert said.endswith("4 ledger rows, and the chain holds\n")
