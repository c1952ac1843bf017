"""What is read to be sent: how much memory it takes, and for how long."""

import errno
import hashlib
import mmap
import subprocess
import sys
from pathlib import Path

import pytest

from spool import Spool, Stream
from spool.testing import some_frames, wire_sha256

_SCRIPT = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, psutil
from spool import Limits, Spool
from spool.testing import some_settings

memory = psutil.Process().memory_info
noise = np.random.default_rng(0).integers(0, 256, (50, 300, 400), dtype=np.uint8)
with Spool(Path(sys.argv[1]), limits=Limits(min_free_bytes=0)) as spool:
    stream = spool.open_stream(some_settings(chunk_size=50, fps=25), data_id="data-1")
    # Of different lengths, as compressed chunks are.
    chunks = [spool.push(stream.stream_id, idx, noise[: 45 + idx]) for idx in range(6)]
    chunks = list(spool.chunks(stream.stream_id))
    lease = spool.lease(stream.stream_id, "reader", ttl_s=60)
    before, body, held = memory().rss, noise.nbytes, []
    with ThreadPoolExecutor(3) as threads:
        # Now by one thread, now by another, for each has its own heap; two bodies are held at a time.
        for chunk in chunks * 3:
            together = threading.Barrier(3)
            others = [threads.submit(together.wait) for _ in range(2)]
            held.append(threads.submit(lambda: (together.wait(), lease.read(chunk))[1]).result())
            del held[:-2]
            print(round((memory().rss - before) / body, 1))
    held.clear()
    print(round((memory().rss - before) / body, 1))
"""


def test_what_was_read_to_be_sent_leaves_the_memory_when_it_is_sent(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(tmp_path / "spool")], capture_output=True, text=True, check=True
    )
    *reading, idle = map(float, said.stdout.split())
    assert 1.5 < max(reading) < 2.5, reading
    assert idle < 0.3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked for large pages")
def test_a_kernel_without_large_pages_reads_all_the_same(
    spool: Spool, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    class WithoutLargePages(mmap.mmap):
        def madvise(self, *_: object) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("spool.shards.mmap.mmap", WithoutLargePages)
    spool.push(stream.stream_id, 0, some_frames())
    lease = spool.lease(stream.stream_id, "reader", ttl_s=60)
    assert lease is not None
    waiting = lease.next_waiting()
    assert waiting is not None
    assert hashlib.sha256(lease.read(waiting)).hexdigest() == wire_sha256(some_frames())
