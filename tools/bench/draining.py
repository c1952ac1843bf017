"""Rows `drain` and `line`: a backlog that waits is sent, against curl and against the line's limit.

What is timed is what the sink has noted: from the end of the first chunk's upload to that of the last. So nothing
counts that is done once, such as starting a process, and both sides are timed by the same clock in the same way.
"""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from spool import Chunk, Spool
from tools.bench import frames as making
from tools.bench.asked import OURS, Bench
from tools.bench.frames import Frames
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.producers import NotMeasured
from tools.bench.sessions import FPS, Session

_MB = 1e6
_CURL = "curl -T"
_LINE, _IN_ORDER = "the line", "one answer awaited at a time"
_LINE_BYTES_PER_S = 100e6 / 8
_ROUND_TRIP_S = 0.05
_PROXY = Path(__file__).resolve().parents[1] / "fault_proxy" / "run.py"


def drain(bench: Bench) -> list[Comparison]:
    """Against ``curl -T`` of the same bytes to the same sink, one after the other on one connection."""
    curl = shutil.which("curl")
    frames = making.poisson(bench.work, bench.amount(240, 4))
    chunks = bench.amount(25, 3)
    contenders = {OURS: lambda: _drained(bench, frames, chunks)}
    if curl is not None:
        contenders[_CURL] = lambda: _curled(bench, curl, frames, chunks)
    absent = () if curl is not None else (f"{_CURL} (curl is not installed)",)
    figures = in_turns(contenders, repeats=bench.repeats, warm_ups=bench.warm_ups)
    target = Target(of=OURS, to=(_CURL,), at_least=0.9)
    return [compare("drain", "poisson", "MB/s", figures, target=target, absent=absent)]


def line(bench: Bench) -> list[Comparison]:
    """Through 50 ms of latency and 100 Mbit/s, against the line's limit, for chunks of several sizes."""
    found = []
    for n, chunks in ((10, 25), (80, 6), (240, 4)) if not bench.quick else ((4, 3),):
        # White noise, so that a frame is as large on the line as it was.
        frames = making.white(bench.work, n)

        def rate(frames: Frames = frames, chunks: int = chunks) -> float:
            return _drained(bench, frames, chunks, through_line=True)

        figures = in_turns({OURS: rate}, repeats=min(bench.repeats, 3))
        # In order, each chunk waits for the answer to the one before: no client could be faster than this.
        in_order = frames.raw_bytes / (frames.raw_bytes / _LINE_BYTES_PER_S + _ROUND_TRIP_S)
        limit = {_LINE: [_LINE_BYTES_PER_S / _MB], _IN_ORDER: [in_order / _MB]}
        target = Target(of=OURS, to=(_LINE,), at_least=0.95)
        size = f"chunks of {frames.raw_bytes / _MB:.3g} MB"
        found.append(compare("line", size, "MB/s", figures | limit, target=target))
    return found


def _drained(bench: Bench, frames: Frames, chunks: int, *, through_line: bool = False) -> float:
    """MB/s of our worker, from a backlog that waits."""
    with Session(bench=bench) as session, contextlib.ExitStack() as stack:
        url = session.sink.url
        order = None
        if through_line:
            url, order = stack.enter_context(_line_to(session))
        producer = session.producer(OURS, frames, worker="external", url=url)
        producer.push(chunks)
        producer.ask("seal")
        data_id = _only_stream(session).data_id
        assert data_id is not None
        if order is not None:
            order(f'set line {{"pause_s": {_ROUND_TRIP_S}, "bytes_per_s": {_LINE_BYTES_PER_S}}}')
        worker = session.worker("--once", url=url)
        session.wait_until(lambda: worker.poll() is not None, "the worker's end")
        return _rate(session.arrivals(data_id), chunks)


def _curled(bench: Bench, curl: str, frames: Frames, chunks: int) -> float:
    """MB/s of curl, with the wire forms of such a backlog as files, and their URLs asked for beforehand."""
    with Session(bench=bench) as session:
        producer = session.producer(OURS, frames, worker="external")
        producer.push(chunks)
        producer.ask("seal")
        stream = _only_stream(session)
        assert stream.data_id is not None
        told: list[str] = []
        with Spool(session.spool) as spool, _api(session) as api:
            lease = spool.lease(stream.stream_id, "bench", ttl_s=600)
            assert lease is not None
            for chunk in spool.chunks(stream.stream_id):
                file = session.folder / f"{chunk.chunk_idx}.shard"
                file.write_bytes(lease.read(chunk))
                told += ["-T", str(file), _presigned(api, stream.data_id, chunk, frames.n)]
        done = subprocess.run(
            [curl, "-sS", "--fail-early", "-f", "-H", "Content-Type:", "-H", "Expect:", *told],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise NotMeasured(f"curl: {done.stderr.strip()}")
        return _rate(session.arrivals(stream.data_id), chunks)


def _rate(arrivals: Sequence[dict[str, Any]], chunks: int) -> float:
    if len(arrivals) != chunks:
        raise NotMeasured(f"{len(arrivals)} of {chunks} chunks arrived")
    took_ms = arrivals[-1]["received_at_unix_ms"] - arrivals[0]["received_at_unix_ms"]
    return float(sum(one["bytes"] for one in arrivals[1:]) / _MB / (max(1, took_ms) / 1000))


def _only_stream(session: Session) -> Any:  # noqa: ANN401 - see below
    with Spool(session.spool, create=False) as spool:
        (stream,) = spool.streams()
    return stream


def _api(session: Session) -> httpx.Client:
    return httpx.Client(base_url=session.sink.url, headers={"X-API-KEY": session.sink.api_key}, timeout=60)


def _presigned(api: httpx.Client, data_id: str, chunk: Chunk, chunk_size: int) -> str:
    """A URL for a chunk, asked for as the protocol has it."""
    end_ms = chunk.capture_start_ms_utc + int(chunk.n * 1000 / FPS)
    answer = api.post(
        "/data_entries/raw_data/staged/upload_urls/",
        params={
            "original_filename": f"frames.zarr/frames/c/{chunk.chunk_idx}/0/0",
            "num_parts": 1,
            "staging_type": "stream",
        },
        json={
            "data_id": data_id,
            "data_stream": "rheed",
            "is_stream": "1",
            "is_rotating": "0",
            "raw_frame_rate": str(min(FPS, chunk_size / 2)),
            "avg_frame_rate": str(min(FPS, chunk_size / 2)),
            "chunk_size": str(chunk_size),
            "dims": f"{chunk.n},{chunk.height},{chunk.width}",
            "start_unix_ms_utc": str(chunk.capture_start_ms_utc),
            "end_unix_ms_utc": str(end_ms),
        },
    )
    if not answer.is_success:
        raise NotMeasured(f"no URL for curl: {answer.status_code} {answer.text}")
    return str(answer.json()[0]["url"])


@contextlib.contextmanager
def _line_to(session: Session) -> Iterator[tuple[str, Any]]:
    """The fault proxy in a process of its own, before the sink: its URL, and how to give it an order."""
    address = session.sink.url.removeprefix("http://")
    with subprocess.Popen(
        [sys.executable, str(_PROXY), "--to", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as proxy:
        assert proxy.stdin is not None
        assert proxy.stdout is not None
        said = proxy.stdout

        def order(command: str) -> None:
            assert proxy.stdin is not None
            proxy.stdin.write(command + "\n")
            proxy.stdin.flush()
            if '"ok"' not in (answer := said.readline()):
                raise NotMeasured(f"the fault proxy: {answer}")

        try:
            yield said.readline().strip(), order
        finally:
            proxy.stdin.close()
