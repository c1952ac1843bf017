"""Row `bucket`: a backlog that waits is sent to an S3 server, against ``rclone copy`` of the same files to it."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial

import httpx

from spool import Limits, Spool, StreamSettings, padded_for_readers
from tools.bench import frames as making
from tools.bench.asked import OURS, Bench
from tools.bench.frames import Frames
from tools.bench.measuring import Comparison, Target, compare, in_turns
from tools.bench.producers import NotMeasured
from uploader.destinations.making import make_destination
from uploader.worker import Until, UploadWorker

_MB = 1e6
_RCLONE, _ALONE = "rclone copy", "rclone copy --transfers 1"
_URL = "s3://bench/growths"
_PATIENCE_S = 60.0


def bucket(bench: Bench) -> list[Comparison]:
    """As rclone comes, four files at a time, and with one at a time as ours: chunks arrive in order."""
    rclone = shutil.which("rclone")
    absent = () if rclone is not None else (f"{_RCLONE} (rclone is not installed)",)
    found = []
    with _server() as url:
        for n, chunks in ((240, 20), (20, 60)) if not bench.quick else ((4, 3),):
            frames = making.poisson(bench.work, n)
            contenders = {OURS: partial(_drained, bench, url, frames, chunks)}
            if rclone is not None:
                for name, transfers in ((_RCLONE, 4), (_ALONE, 1)):
                    contenders[name] = partial(_copied, bench, url, frames, chunks, (rclone, transfers))
            figures = in_turns(contenders, repeats=bench.repeats, warm_ups=bench.warm_ups)
            target = Target(of=OURS, to=(_RCLONE,), at_least=0.9)
            size = f"chunks of {_shard_bytes(bench, frames) / _MB:.3g} MB"
            found.append(compare("bucket", size, "MB/s", figures, target=target, absent=absent))
    return found


def _drained(bench: Bench, url: str, frames: Frames, chunks: int) -> float:
    """MB/s of our worker, from its first attempt to its last acknowledgement."""
    with _backlog(bench, frames, chunks) as (spool, stream_id), _in_environment(url):
        destination = make_destination(_URL, None)
        with closing(destination):
            UploadWorker(spool, destination, until=Until.DRY).run()
        events = [one for one in spool.events(stream_id) if one.chunk_idx is not None]
        began = next(one.at_ms for one in events if one.event == "attempt_started")
        acknowledged = [one.at_ms for one in events if one.event == "acknowledged"]
        if len(acknowledged) != chunks:
            raise NotMeasured(f"{len(acknowledged)} of {chunks} chunks arrived")
        _empty(url)
        return sum(map(len, _objects(spool, stream_id))) / _MB / ((acknowledged[-1] - began) / 1000)


def _copied(bench: Bench, url: str, frames: Frames, chunks: int, rclone: tuple[str, int]) -> float:
    """MB/s of rclone, with so many transfers at once, from its start to its end, of such a backlog's objects."""
    program, transfers = rclone
    with _backlog(bench, frames, chunks) as (spool, stream_id):
        folder = spool.root.parent / "files"
        folder.mkdir()
        size = 0
        for number, content in enumerate(_objects(spool, stream_id)):
            size += (folder / f"c.{number}.0.0").write_bytes(content)
        remote = f":s3,provider=Other,env_auth=true,endpoint='{url}':bench/growths"
        command = [program, "copy", "--config", os.devnull, "--transfers", str(transfers), str(folder), remote]
        began = time.monotonic()
        done = subprocess.run(command, env=_environment(url), check=False, capture_output=True, text=True)
        took_s = time.monotonic() - began
        if done.returncode != 0:
            raise NotMeasured(f"rclone: {done.stderr.strip()}")
        _empty(url)
        return size / _MB / took_s


@contextmanager
def _backlog(bench: Bench, frames: Frames, chunks: int) -> Iterator[tuple[Spool, str]]:
    folder = bench.work / f"bucket-{time.monotonic_ns()}"
    settings = StreamSettings(
        name="bench", destination=_URL, fps=frames.n / 2, rotations_per_min=0, chunk_size=frames.n
    )
    try:
        with Spool(folder / "spool", limits=Limits(min_free_bytes=0)) as spool:
            stream_id, array = spool.open_stream(settings).stream_id, frames.load()
            for chunk_idx in range(chunks):
                spool.push(stream_id, chunk_idx, array)
            yield spool, stream_id
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _objects(spool: Spool, stream_id: str) -> Iterator[bytes]:
    lease = spool.lease(stream_id, "bench", ttl_s=600, take_over=True)
    assert lease is not None
    chunk_size = spool.stream(stream_id).settings.chunk_size
    for chunk in spool.chunks(stream_id):
        yield b"".join(padded_for_readers(lease.read(chunk), n=chunk.n, chunk_size=chunk_size))


def _shard_bytes(bench: Bench, frames: Frames) -> int:
    with _backlog(bench, frames, 1) as (spool, stream_id):
        return next(iter(spool.chunks(stream_id))).wire_bytes


def _empty(url: str) -> None:
    """Let the server forget everything, so that its memory is the same for whoever comes next."""
    httpx.post(f"{url}/moto-api/reset").raise_for_status()
    httpx.put(f"{url}/bench").raise_for_status()


@contextmanager
def _server() -> Iterator[str]:
    """Moto's S3 server as a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(url, process)
            yield url
        finally:
            process.kill()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    patience = time.monotonic() + _PATIENCE_S
    while True:
        try:
            httpx.put(f"{url}/bench").raise_for_status()
        except httpx.TransportError:
            if process.poll() is not None or time.monotonic() > patience:
                raise NotMeasured("no S3 server: install 'moto[server]'") from None
            time.sleep(0.1)
        else:
            return


def _environment(url: str) -> Mapping[str, str]:
    """Ours, with nothing of anybody else's store."""
    return {
        **{name: worth for name, worth in os.environ.items() if not name.startswith("AWS_")},
        "AWS_ACCESS_KEY_ID": "bench",
        "AWS_SECRET_ACCESS_KEY": "bench",
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "us-east-1",
    }


@contextmanager
def _in_environment(url: str) -> Iterator[None]:
    before, wanted = dict(os.environ), _environment(url)
    try:
        os.environ.clear()
        os.environ.update(wanted)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
