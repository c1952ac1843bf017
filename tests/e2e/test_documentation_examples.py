"""The vendor's two documentation examples, with only the import line changed, at full size."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spool import Spool, StreamState
from uploader.loopback.process import LoopbackServer

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LoopbackServer]:
    with LoopbackServer(tmp_path / "server") as running:
        yield running


def run_example(name: str, server: LoopbackServer, spool_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, EXAMPLES / name],
        env={
            **os.environ,
            "AS_API_KEY": server.api_key,
            "AS_API_ENDPOINT": server.url,
            "ATOMSCALE_SPOOL_DIR": str(spool_dir),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize(
    ("name", "chunks", "shape"),
    [("callback_mode.py", 5, (240, 300, 500)), ("generator_mode.py", 5, (20, 1038, 1388))],
)
def test_the_example_arrives_bit_for_bit_and_is_finalized(
    name: str, chunks: int, shape: tuple[int, int, int], server: LoopbackServer, tmp_path: Path
) -> None:
    said = run_example(name, server, tmp_path / "spool")
    assert "'finalized': True" in said.stdout, said

    with Spool(tmp_path / "spool", create=False) as spool:
        (stream,) = spool.streams()
        assert stream.state is StreamState.FINALIZED
        assert stream.data_id is not None
        assert [chunk.n for chunk in spool.chunks(stream.stream_id)] == [shape[0]] * chunks

    received = server.received(stream.data_id)
    camera = np.random.default_rng(0)
    for idx in range(chunks):
        captured = camera.integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(received[idx * shape[0] : (idx + 1) * shape[0]], captured)
    order = [line["chunk_idx"] for line in server.log(stream.data_id) if line["event"] == "received"]
    assert order == list(range(chunks))
