"""A bucket behind everything that goes wrong: moto's server, a front with S3's errors, a proxy that breaks lines.

obstore ──▶ `FaultProxy` (TCP) ──▶ `Front` (HTTP) ──▶ moto. Whatever they do, the whole stream arrives, each object
is put once, in order, confirmed, and nothing that the spool or the log keeps holds a secret.
"""

import json
import logging
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import obstore
import pytest
import xarray
import zarr
from numpy.typing import NDArray
from obstore.store import from_url
from zarr.storage import ObjectStore as ZarrObjectStore

from spool import Event, Limits, Spool, Stream, check_received, read_proof
from spool.testing import check_invariants, some_frames, some_settings
from tests.destinations.s3_front import (
    LOST,
    Answer,
    Asked,
    Front,
    PassOn,
    Rule,
    drops,
    first_somebody_else,
    hides_digests,
    ignores_if_none_match,
    loses_the_answer,
    says,
    stores_other_bytes,
    wants_token,
)
from tests.destinations.s3_server import BUCKET, SECRET, S3Server, free_port, point_to
from tools.fault_proxy import Fault, FaultProxy
from uploader import RHEEDStreamer
from uploader.destinations.stores.base import KeyTaken, StoreTrouble
from uploader.destinations.stores.object_answers import REFUSED_PROBE_S, SLOW_DOWN_S
from uploader.destinations.stores.objects import ObjectStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.worker import Until, UploadWorker

NO_LIMITS = Limits(min_free_bytes=0)
URL = f"s3://{BUCKET}/lab-1"
CHUNKS = 4
FRAME = (48, 64)
PATIENCE_S = 120.0
TIMEOUT_S = 3.0
CHUNK_PUT = r"PUT .*/frames/c\."
CHUNK_LOOK = r"HEAD .*/frames/c\."
SECOND_PUT = r"PUT .*/frames/c\.1\.0\.0"
HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"
KNOWN = {"Authorization": "AWS4-HMAC-SHA256 Credential=an-access-key/20260101/us-east-1/s3/aws4_request"}
TOKEN = "a-session-token-that-nobody-may-see"


def frames(chunk_idx: int, seed: int = 0) -> NDArray[np.uint8]:
    """A chunk of four frames; the last one of a stream has three."""
    return some_frames(4 if chunk_idx < CHUNKS - 1 else 3, *FRAME, seed=100 * seed + chunk_idx)


class Bench:
    """A spool, and a bucket behind a front and a proxy."""

    def __init__(self, root: Path, server: S3Server, front: Front, proxy: FaultProxy) -> None:
        self.root = root / "spool"
        self.server, self.front, self.proxy = server, front, proxy
        self.spool = Spool(self.root, limits=NO_LIMITS)

    def record(self, *, url: str = URL, seed: int = 0) -> Stream:
        """A whole stream with a short last chunk, as a producer leaves it."""
        stream = self.spool.open_stream(some_settings(name="GaAs / 7", destination=url))
        for idx in range(CHUNKS):
            self.spool.push(stream.stream_id, idx, frames(idx, seed), capture_start_ms_utc=1_700_000_000_000 + idx)
        self.spool.seal(stream.stream_id)
        return stream

    @contextmanager
    def delivering(self, url: str = URL, **options: Any) -> Iterator[None]:
        """A real worker at work; it has ended with nothing left to do when this is left."""
        store = ObjectStore(url, **{"small_timeout_s": TIMEOUT_S, "request_timeout_s": TIMEOUT_S, **options})
        with Spool(self.root, limits=NO_LIMITS) as spool, closing(ZarrDestination(store)) as destination:
            worker = UploadWorker(spool, destination, until=Until.DRY)
            thread = threading.Thread(target=worker.run, daemon=True)
            thread.start()
            try:
                yield
                thread.join(PATIENCE_S)
                assert not thread.is_alive(), [one.trouble for one in spool.streams()]
            finally:
                worker.stop()
                thread.join(PATIENCE_S)

    def deliver(self, url: str = URL, **options: Any) -> None:
        with self.delivering(url, **options):
            pass

    def wait_for_trouble(self, stream: Stream, words: str) -> str:
        """Wait until the stream says so."""
        wait_until(lambda: words in (self.spool.stream(stream.stream_id).trouble or ""))
        return str(self.spool.stream(stream.stream_id).trouble)

    def events(self, stream: Stream, name: str) -> list[Event]:
        return [event for event in self.spool.events(stream.stream_id) if event.event == name]

    def far_end(self, prefix: str = URL) -> Any:
        """The bucket itself, with nothing in between."""
        return from_url(prefix, endpoint=self.server.url, client_options={"allow_http": True})

    def assert_arrived(self, stream: Stream, *, url: str = URL, seed: int = 0, puts: int | None = 1) -> None:
        """Everything lies there: once, in order, confirmed, the same to every judge.

        Args:
            stream: the one.
            url: its destination.
            seed: of its frames.
            puts: how often the far end took each chunk's bytes; ``None`` when that cannot be known.
        """
        now = self.spool.stream(stream.stream_id)
        assert now.state == "finalized"
        assert now.data_id is not None
        self._assert_in_order(stream)
        far = self.far_end(url)
        found = {entry["path"] for page in obstore.list(far, prefix=now.data_id) for entry in page}
        found |= {entry["path"] for page in obstore.list(far) for entry in page if now.data_id in entry["path"]}
        chunk_keys = {f"{now.data_id}/frames/c.{idx}.0.0" for idx in range(CHUNKS)}
        time_keys = {f"{now.data_id}/time/c.{idx}" for idx in range(CHUNKS)}
        documents = {f"{now.data_id}/{part}zarr.json" for part in ("", "frames/", "time/")}
        assert found == chunk_keys | time_keys | documents | {f"{now.data_id}.proof.json"}
        for chunk in self.spool.chunks(stream.stream_id):
            assert chunk.receipt is not None
            assert chunk.receipt.confirmed
            key = f"{now.data_id}/frames/c.{chunk.chunk_idx}.0.0"
            check_received(bytes(obstore.get(far, key).bytes()), chunk, chunk_size=4)
            if puts is not None:
                taken = [seen for seen in self.front.seen(rf"PUT .*/{key}($|\?)") if seen.behind == 200]
                assert len(taken) == puts, key
        pushed = np.concatenate([frames(idx, seed) for idx in range(CHUNKS)])
        group = ZarrObjectStore[Any](self.far_end(f"{url}/{now.data_id}"), read_only=True)
        with xarray.open_zarr(group) as opened:
            np.testing.assert_array_equal(opened["frames"].values, pushed)
            assert opened["time"].values[0] == np.datetime64(1_700_000_000_000, "ms")
        array = zarr.open_group(group, mode="r")["frames"]
        assert isinstance(array, zarr.Array)
        np.testing.assert_array_equal(np.asarray(array[:]), pushed)
        proof = read_proof(bytes(obstore.get(far, f"{now.data_id}.proof.json").bytes()))
        assert proof.audit.stream.stream_id == stream.stream_id
        assert len(proof.audit.chunks) == CHUNKS
        check_invariants(self.spool)

    def _assert_in_order(self, stream: Stream) -> None:
        """Each chunk is acknowledged once, before anything of the next one is tried."""
        told = [
            (event.event, event.chunk_idx)
            for event in self.spool.events(stream.stream_id)
            if event.event in ("attempt_started", "acknowledged")
        ]
        assert [idx for name, idx in told if name == "acknowledged"] == list(range(CHUNKS))
        done = 0
        for name, idx in told:
            assert idx == done
            done += name == "acknowledged"

    def everything_kept(self, log: pytest.LogCaptureFixture) -> str:
        """All that the spool's files and the log say."""
        files = [path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()]
        return b"\n".join(files).decode("latin-1") + log.text


def wait_until(holds: Callable[[], bool]) -> None:
    patience = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < patience, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def server(shared: S3Server) -> S3Server:
    return shared


@pytest.fixture
def bench(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[Bench]:
    caplog.set_level(logging.DEBUG)
    # What nobody asks for is waited for less; what a refusal asks for, as long as ever.
    monkeypatch.setattr("uploader.retry.BASE_S", 0.1)
    monkeypatch.setattr("uploader.retry.CAP_S", 2.0)
    with Front(server.port) as front, FaultProxy("127.0.0.1", front.port) as proxy:
        point_to(proxy.url, monkeypatch)
        made = Bench(tmp_path, server, front, proxy)
        with made.spool:
            yield made
        assert SECRET not in made.everything_kept(caplog)
        assert "Signature" not in made.everything_kept(caplog)


# The line ---------------------------------------------------------------------------------------------------

OF_THE_LINE: dict[str, dict[str, Any]] = {
    "reset": {"fault": Fault.RESET, "times": 3},
    "swallowed": {"fault": Fault.BLACK_HOLE, "times": 1},
    "stalls in the body": {"fault": Fault.STALL, "where": "request", "after_bytes": 1000, "times": 1},
    "stalls before the answer": {"fault": Fault.STALL, "where": "head", "times": 1},
    "answer lost": {"fault": Fault.LOST_ANSWER, "times": 2},
    "answer cut": {"fault": Fault.TRUNCATED_ANSWER, "times": 2},
    "answer garbled": {"fault": Fault.GARBAGE_ANSWER, "times": 2},
    "one bit of the answer": {"fault": Fault.CORRUPT_ANSWER, "times": 2, "seed": 5},
    "one bit of the body": {"fault": Fault.CORRUPT_REQUEST, "times": 1},
    "answer drips": {"fault": Fault.DRIP, "bytes_each": 20, "pause_s": 0.01, "times": 2},
    "trickles": {"fault": Fault.BANDWIDTH, "bytes_per_s": 20_000},
    "login page": {"fault": Fault.HTML, "times": 2},
    "gateway's page": {"fault": Fault.HTML, "status": 502, "times": 2},
    "redirected": {"fault": Fault.REDIRECT, "times": 2},
}


@pytest.mark.parametrize("only", [SECOND_PUT, ""], ids=["a chunk", "anything"])
@pytest.mark.parametrize("what", OF_THE_LINE)
def test_a_line_that_misbehaves_costs_time_and_nothing_else(bench: Bench, what: str, only: str) -> None:
    stream = bench.record()
    setting = bench.proxy.set(**OF_THE_LINE[what], only=only)
    bench.deliver()
    assert bench.proxy.counters()[setting.fault.value] > 0
    # A bit that turns on its way to the far end is stored there, and then put right.
    bench.assert_arrived(stream, puts=None if setting.fault is Fault.CORRUPT_REQUEST else 1)


def test_a_store_that_nobody_can_reach_is_waited_for(bench: Bench) -> None:
    stream = bench.record()
    bench.proxy.set(Fault.REFUSE)
    with bench.delivering():
        told = bench.wait_for_trouble(stream, "cannot be reached")
        assert told == f"{URL}: it cannot be reached"
        bench.proxy.clear()
    bench.assert_arrived(stream)


def test_a_line_cut_in_the_middle_of_a_body_leaves_nothing_half_there(bench: Bench) -> None:
    stream = bench.record()
    bench.proxy.set(Fault.STALL, only=SECOND_PUT, where="request", after_bytes=2000)
    with bench.delivering(small_timeout_s=600):
        wait_until(lambda: bench.proxy.counters().get("stall", 0) > 0)
        bench.front.set(Rule(act=says(500)))  # while we look
        bench.proxy.set(Fault.RESET, only="nothing more")  # only what stands
        bench.wait_for_trouble(stream, "out of order")
        assert "the connection broke" in str(bench.events(stream, "attempt_failed")[0].detail["words"])
        data_id = bench.spool.stream(stream.stream_id).data_id
        with pytest.raises(FileNotFoundError):
            obstore.head(bench.far_end(), f"{data_id}/frames/c.1.0.0")
        bench.front.set()
    bench.assert_arrived(stream)


def test_a_worker_process_brings_it_there_through_all_of_it(bench: Bench, tmp_path: Path) -> None:
    bench.front.set(
        Rule(only=CHUNK_PUT, after=1, times=1, act=loses_the_answer),
        Rule(only=CHUNK_PUT, after=1, times=1, act=says(503, "SlowDown")),
        Rule(only=r"PUT .*zarr\.json", after=4, times=2, act=says(500, "InternalError")),
    )
    with RHEEDStreamer(spool_dir=tmp_path / "spool", destination=URL) as streamer:
        stream_id = streamer.initialize(2, 0, 4, stream_name="GaAs / 7")
        for idx in range(CHUNKS):
            streamer.push(stream_id, idx, frames(idx), capture_start_ms_utc=1_700_000_000_000 + idx)
            if idx == 1:
                bench.proxy.set(Fault.REFUSE)
        assert not streamer.finalize(stream_id, drain_timeout_s=1).finalized
        bench.proxy.clear()
        assert streamer.finalize(stream_id, drain_timeout_s=PATIENCE_S).finalized
    stream = bench.spool.stream(stream_id)
    bench.assert_arrived(stream)
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    for idx in range(CHUNKS):
        content = obstore.get(bench.far_end(), f"{stream.data_id}/frames/c.{idx}.0.0").bytes()
        (fetched / f"c.{idx}.0.0").write_bytes(content)
    said = subprocess.run(
        [
            sys.executable,
            "-m",
            "uploader",
            "audit",
            stream_id,
            *("--spool", str(bench.root), "--received", str(fetched)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


# What the store says ----------------------------------------------------------------------------------------

SAID: dict[str, tuple[list[Rule], str]] = {
    "503 SlowDown": ([Rule(only=CHUNK_PUT, times=2, act=says(503, "SlowDown"))], "it asks for fewer requests"),
    "503 with Retry-After": (
        [Rule(only=CHUNK_PUT, times=1, act=says(503, "SlowDown", headers={"retry-after": "1"}))],
        "it asks for fewer requests (503 SlowDown)",
    ),
    "429": ([Rule(times=1, act=says(429, "TooManyRequests"))], "it asks for fewer requests"),
    "500": ([Rule(times=3, act=says(500, "InternalError"))], "it is out of order (500 InternalError)"),
    "502 with a page": ([Rule(only=CHUNK_PUT, times=2, act=says(502, body=HTML))], "it is out of order (502)"),
    "200 with a page": (
        [Rule(only=CHUNK_PUT, times=1, act=says(200, body=HTML))],
        "what answers is no object store",
    ),
    "200 with a page to a look": (
        [
            Rule(only=CHUNK_PUT, times=1, act=loses_the_answer),  # so that there is a look
            Rule(only=CHUNK_LOOK, times=1, act=says(200, body=HTML)),
        ],
        "what answers is no object store",
    ),
    "dropped": ([Rule(times=2, act=drops)], "the connection broke"),
    "lost": ([Rule(only=CHUNK_PUT, act=loses_the_answer, times=3)], "the connection broke"),
    "clocks": (
        [Rule(times=1, act=says(403, "RequestTimeTooSkewed"))],
        "this computer's clock is not the store's (403 RequestTimeTooSkewed): set the clock of this computer",
    ),
    "full": ([Rule(times=1, act=says(507, "XMinioStorageFull"))], "it is full"),
    "409": (
        [Rule(only=CHUNK_PUT, times=1, act=says(409, "ConditionalRequestConflict"))],
        "something else is being done to the object (409 ConditionalRequestConflict)",
    ),
    "412 and nothing there": (
        [Rule(only=CHUNK_PUT, times=1, act=says(412, "PreconditionFailed"))],
        "something else is being done to the object",
    ),
    "got other bytes": ([Rule(only=CHUNK_PUT, times=4, act=says(400, "BadDigest"))], "it got other bytes"),
    "got other bytes, signed": (
        [Rule(only=CHUNK_PUT, times=1, act=says(400, "XAmzContentSHA256Mismatch"))],
        "it got other bytes than were sent",
    ),
    "a proxy says no": (
        [Rule(only=CHUNK_PUT, times=1, act=says(403, body=HTML))],
        "access is refused, and no store says why (403)",
    ),
    "a proxy wants a login": (
        [Rule(only=CHUNK_PUT, times=1, act=says(407, body=HTML))],
        "a proxy on the way wants a login (407)",
    ),
    "only half": ([Rule(only=CHUNK_PUT, times=1, act=says(400, "IncompleteBody"))], "the whole request"),
    "a refusal of no sense": ([Rule(times=4, act=says(418, "Teapot"))], "it refuses the request (418 Teapot)"),
}


@pytest.mark.parametrize("what", SAID)
def test_what_the_store_says_is_told_and_costs_time_and_nothing_else(bench: Bench, what: str) -> None:
    rules, words = SAID[what]
    bench.front.set(*(Rule(act=one.act, only=one.only, times=one.times) for one in rules))
    stream = bench.record()
    bench.deliver()
    bench.assert_arrived(stream)
    told = [str(event.detail.get("words")) for event in bench.spool.events(stream.stream_id)]
    assert any(words in one for one in told), told
    assert bench.events(stream, "parked") == []


def test_a_lost_answer_is_found_and_not_sent_again(bench: Bench) -> None:
    stream = bench.record()
    lost = Rule(only=CHUNK_PUT, act=loses_the_answer)
    bench.front.set(lost)
    bench.deliver()
    bench.assert_arrived(stream)
    assert lost.struck == CHUNKS
    assert len(bench.front.seen(CHUNK_PUT)) == CHUNKS  # whoever finds it there sends it no more
    assert len(bench.front.seen(CHUNK_LOOK)) >= CHUNKS


def test_a_store_seen_to_refuse_what_it_has_is_sent_chunks_without_a_look(bench: Bench) -> None:
    stream = bench.record()
    bench.deliver()
    bench.assert_arrived(stream)
    assert len(bench.front.seen(CHUNK_PUT)) == CHUNKS
    assert bench.front.seen(CHUNK_LOOK) == []
    # It was asked once, with an object it had.
    assert [seen.status for seen in bench.front.seen("PUT ") if seen.status == 412] == [412]


def test_a_chunk_that_lay_there_before_is_found_without_a_look_and_left_as_it_is(bench: Bench) -> None:
    store = ObjectStore(URL)
    store.replace("first", b"1")  # by which it is seen that the store refuses what it has
    obstore.put(bench.far_end(), "ours", b"ours")
    obstore.put(bench.far_end(), "theirs", b"theirs")
    assert store.create("ours", [b"ours"]).was_there
    with pytest.raises(KeyTaken, match="other bytes"):
        store.create("theirs", [b"ours"])
    assert [obstore.get(bench.far_end(), key).bytes() for key in ("ours", "theirs")] == [b"ours", b"theirs"]


def test_a_store_that_asks_for_less_is_left_alone_for_a_while_by_all_streams(bench: Bench) -> None:
    streams = [bench.record(seed=seed) for seed in range(3)]
    busy = Rule(act=says(503, "SlowDown"))
    bench.front.set(busy)
    with bench.delivering():
        wait_until(lambda: busy.struck >= 6)
        bench.front.set()
    for seed, stream in enumerate(streams):
        bench.assert_arrived(stream, seed=seed)
    asked = [seen.at_s for seen in bench.front.seen() if seen.status == 503]
    # Three streams begin side by side; from then on each waits at least so long.
    assert asked[5] - asked[0] > SLOW_DOWN_S * 0.9
    assert bench.events(streams[0], "trouble_began")[0].detail["outage"] is True


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (400, "ExpiredToken", "the credentials have expired (400 ExpiredToken): renew them"),
        (403, "ExpiredToken", "the credentials have expired (403 ExpiredToken): renew them"),
        (403, "InvalidAccessKeyId", "the credentials are not accepted (403 InvalidAccessKeyId): put right ones"),
        (403, "AccessDenied", "the credentials do not allow this (403 AccessDenied): whoever owns the bucket"),
    ],
)
def test_refused_credentials_say_who_has_to_do_what(bench: Bench, status: int, code: str, words: str) -> None:
    bench.front.set(Rule(act=says(status, code)))
    store = ObjectStore(URL)
    asks: list[Callable[[], object]] = [
        lambda: store.read("a"),
        lambda: store.replace("a", b"x"),
        lambda: store.create("a", [b"x"]),
    ]
    for ask in asks:
        with pytest.raises(StoreTrouble) as refused:
            ask()
        assert str(refused.value).startswith(f"{URL}: {words}")
        assert refused.value.key_refused
        assert refused.value.outage
        assert refused.value.min_wait_s == REFUSED_PROBE_S


def test_refused_credentials_are_tried_slowly(bench: Bench) -> None:
    stream = bench.record()
    refuses = Rule(act=says(400, "ExpiredToken"))
    bench.front.set(refuses)
    with bench.delivering():
        bench.wait_for_trouble(stream, "the credentials have expired")
        wait_until(lambda: refuses.struck >= 2)
        bench.front.set()
    bench.assert_arrived(stream)
    asked = [seen.at_s for seen in bench.front.seen() if seen.status == 400]
    assert asked[1] - asked[0] > REFUSED_PROBE_S * 0.9
    assert bench.events(stream, "trouble_began")[0].detail["key_refused"] is True


def test_a_look_has_no_words_and_so_the_reason_is_asked_for(bench: Bench) -> None:
    bench.front.set(Rule(act=says(400, "ExpiredToken")))
    with pytest.raises(StoreTrouble, match="expired") as refused:
        ObjectStore(URL).create("a", [b"x"])
    assert refused.value.key_refused
    assert not refused.value.may_be_done
    assert [seen.line.split()[0] for seen in bench.front.seen()] == ["HEAD", "GET"]


def test_credentials_that_are_renewed_in_the_environment_are_taken_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_SESSION_TOKEN", f"{TOKEN}-old")
    stream = bench.record()
    bench.front.set(Rule(act=wants_token(f"{TOKEN}-new")))
    with bench.delivering():
        bench.wait_for_trouble(stream, "the credentials have expired")
        monkeypatch.setenv("AWS_SESSION_TOKEN", f"{TOKEN}-new")
    bench.assert_arrived(stream)
    assert TOKEN not in bench.everything_kept(caplog)


_WORKER = """
import json
import sys
from pathlib import Path
from spool import Limits, Spool
from uploader.destinations.stores.objects import ObjectStore
from uploader.destinations.zarr_store import ZarrDestination
from uploader.worker import Until, UploadWorker
spool, url, options = sys.argv[1:]
with Spool(Path(spool), limits=Limits(min_free_bytes=0)) as opened:
    UploadWorker(opened, ZarrDestination(ObjectStore(url, **json.loads(options))), until=Until.DRY).run()
"""


def test_a_worker_with_expired_credentials_lets_one_with_better_ones_go_ahead(bench: Bench) -> None:
    stream = bench.record()
    bench.front.set(Rule(act=wants_token(f"{TOKEN}-new")))
    asked = [sys.executable, "-c", _WORKER, str(bench.root), URL, "{}"]
    old = subprocess.Popen(asked, env={**os.environ, "AWS_SESSION_TOKEN": f"{TOKEN}-old"})
    try:
        bench.wait_for_trouble(stream, "the credentials have expired")
        new = subprocess.Popen(asked, env={**os.environ, "AWS_SESSION_TOKEN": f"{TOKEN}-new"})
        assert new.wait(PATIENCE_S) == 0
        wait_until(lambda: bench.spool.stream(stream.stream_id).state == "finalized")
        assert old.wait(PATIENCE_S) == 0
    finally:
        old.kill()
        old.wait()
    bench.assert_arrived(stream)


def test_no_credentials_at_all_are_said_to_be_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreTrouble, match="there are no credentials: put them into the environment") as refused:
        ObjectStore(URL).replace("a", b"x")
    assert refused.value.key_refused
    assert bench.front.seen() == []


def test_a_bucket_that_is_made_later_is_waited_for(bench: Bench) -> None:
    name = f"later-{free_port()}"
    url = f"s3://{name}/lab-1"
    stream = bench.record(url=url)
    with bench.delivering(url):
        told = bench.wait_for_trouble(stream, "no such bucket")
        assert (
            told
            == f"{url}: there is no such bucket (404 NoSuchBucket): create it, or correct the destination's name"
        )
        bench.server.make_bucket(name)
    bench.assert_arrived(stream, url=url)


def test_a_bucket_that_is_gone_has_not_lost_its_objects(bench: Bench) -> None:
    store = ObjectStore(URL)
    store.replace("document", b"{}")
    bench.front.set(Rule(act=says(404, "NoSuchBucket")))
    with pytest.raises(StoreTrouble, match="no such bucket"):
        store.read("document")
    bench.front.set(Rule(act=says(200, body=HTML)))
    with pytest.raises(StoreTrouble, match="no object store"):
        store.read("document")
    bench.front.set()
    assert store.read("document") == b"{}"
    assert store.read("none") is None


# Who else writes --------------------------------------------------------------------------------------------


def test_somebody_who_is_quicker_with_the_same_bytes_is_believed(bench: Bench) -> None:
    stream = bench.record()
    quicker = Rule(only=CHUNK_PUT, act=first_somebody_else)
    bench.front.set(quicker)
    bench.deliver()
    bench.assert_arrived(stream, puts=None)
    assert quicker.struck == CHUNKS


def test_somebody_who_is_quicker_with_other_bytes_keeps_them(bench: Bench) -> None:
    def quicker(asked: Asked, pass_on: PassOn) -> Answer:
        obstore.put(bench.far_end(), "quick", b"theirs")
        return pass_on(asked)

    bench.front.set(Rule(only="PUT .*/quick", times=1, act=quicker))
    with pytest.raises(KeyTaken, match="other bytes"):
        ObjectStore(URL).create("quick", [b"ours"])
    assert bytes(obstore.get(bench.far_end(), "quick").bytes()) == b"theirs"
    obstore.delete(bench.far_end(), "quick")


@pytest.mark.parametrize("act", [says(501, "NotImplemented"), ignores_if_none_match], ids=["refuses", "ignores"])
def test_a_store_that_does_not_know_if_none_match_is_looked_at_first(bench: Bench, act: Any) -> None:
    stream = bench.record()
    bench.front.set(Rule(header="if-none-match", act=act))
    bench.deliver()
    bench.assert_arrived(stream)
    store = ObjectStore(URL)
    assert not store.create("taken", [b"theirs"]).was_there
    assert store.create("taken", [b"theirs"]).was_there
    with pytest.raises(KeyTaken, match="other bytes"):
        store.create("taken", [b"ours"])
    assert store.read("taken") == b"theirs"
    obstore.delete(bench.far_end(), "taken")


def test_a_store_that_says_no_to_the_header_is_asked_with_it_once(bench: Bench) -> None:
    bench.record()
    bench.front.set(Rule(header="if-none-match", act=says(501, "NotImplemented")))
    bench.deliver()
    assert [seen.status for seen in bench.front.seen(CHUNK_PUT)] == [501, *[200] * CHUNKS]


def test_an_object_with_other_bytes_is_never_replaced(bench: Bench) -> None:
    store = ObjectStore(URL)
    for size in (6, 5):
        obstore.put(bench.far_end(), "theirs", b"x" * size)
        with pytest.raises(KeyTaken, match="other bytes"):
            store.create("theirs", [b"y" * 6])
        assert store.read("theirs") == b"x" * size


# What the store has -----------------------------------------------------------------------------------------


def test_a_store_that_keeps_other_bytes_is_not_believed_and_what_it_has_is_put_right(bench: Bench) -> None:
    stream = bench.record()
    spoils = Rule(only=SECOND_PUT, times=2, act=stores_other_bytes)
    bench.front.set(spoils)
    bench.deliver()
    assert spoils.struck == 2
    bench.assert_arrived(stream, puts=None)
    failed = bench.events(stream, "attempt_failed")
    assert [event.detail["mismatch"] for event in failed] == [True, True]
    assert "does not read as it was written" in str(failed[0].detail["words"])


def test_a_document_that_is_kept_as_something_else_is_written_again(bench: Bench) -> None:
    stream = bench.record()
    spoils = Rule(only=r"PUT .*(proof|zarr|time/c).*", times=6, act=stores_other_bytes)
    bench.front.set(spoils)
    bench.deliver()
    assert spoils.struck == 6
    bench.assert_arrived(stream)


def test_where_no_etag_is_a_digest_everything_is_read_back(bench: Bench) -> None:
    stream = bench.record()
    bench.front.set(Rule(act=hides_digests))
    bench.deliver()
    bench.assert_arrived(stream)
    read = {seen.line.rpartition("/")[2] for seen in bench.front.seen("GET .*/frames/c")}
    assert read == {f"c.{idx}.0.0" for idx in range(CHUNKS)}
    assert ObjectStore(URL).create("twice", [b"x"]).was_there is False
    assert ObjectStore(URL).create("twice", [b"x"]).was_there
    obstore.delete(bench.far_end(), "twice")


# Large chunks -----------------------------------------------------------------------------------------------

IN_PARTS: dict[str, Any] = {"parts_from_bytes": 4096, "part_bytes": 2048}
A_PART = r"PUT .*/frames/c\..*partNumber="
SECOND_PART = r"PUT .*/frames/c\.1\.0\.0\?partNumber=2&"
COMPLETE = r"POST .*/frames/c\.1\.0\.0\?uploadId="


def parts_of(nbytes: int) -> list[int]:
    """How large the parts of an object are."""
    return [min(2048, nbytes - start) for start in range(0, nbytes, 2048)]


def part_puts(bench: Bench, key: str) -> dict[int, list[int]]:
    """The bytes of each request with a part of the object, by the part's number."""
    found: dict[int, list[int]] = {}
    for seen in bench.front.seen(rf"PUT .*/{key}\?partNumber="):
        found.setdefault(int(seen.line.split("partNumber=")[1].split("&")[0]), []).append(seen.nbytes)
    return found


def uploads_left(bench: Bench) -> int:
    """How many uploads in parts the far end holds that are neither complete nor given up."""
    return httpx.get(f"{bench.server.url}/{BUCKET}?uploads", headers=KNOWN).text.count("<UploadId>")


def test_large_chunks_go_in_parts_and_are_confirmed_without_being_read_back(bench: Bench) -> None:
    stream = bench.record()
    bench.deliver(**IN_PARTS)
    bench.assert_arrived(stream, puts=None)
    for chunk in bench.spool.chunks(stream.stream_id):
        assert chunk.receipt is not None
        key = f"{chunk.receipt.url_path}"
        nbytes = obstore.head(bench.far_end(), key)["size"]
        expected = parts_of(nbytes)
        assert len(expected) > 3
        assert part_puts(bench, key) == {number: [size] for number, size in enumerate(expected, start=1)}
        assert str(chunk.receipt.etag).endswith(f"-{len(expected)}")
    assert bench.front.seen(r"GET .*/frames/c\.") == []
    assert uploads_left(bench) == 0


@pytest.mark.parametrize(
    "act",
    [drops, loses_the_answer, says(503, "SlowDown"), says(500, body=HTML)],
    ids=["drops", "lost", "503", "500"],
)
def test_a_break_in_one_part_repeats_that_part_only(bench: Bench, act: Any) -> None:
    stream = bench.record()
    breaks = Rule(only=SECOND_PART, times=2, act=act)
    bench.front.set(breaks)
    bench.deliver(**IN_PARTS)
    assert breaks.struck == 2
    bench.assert_arrived(stream, puts=None)
    key = f"{bench.spool.stream(stream.stream_id).data_id}/frames/c.1.0.0"
    expected = parts_of(obstore.head(bench.far_end(), key)["size"])
    sent = {number: [size] for number, size in enumerate(expected, start=1)}
    assert part_puts(bench, key) == {**sent, 2: [2048] * 3}
    assert bench.events(stream, "attempt_failed") == []  # it is one attempt


def test_a_line_cut_in_the_middle_of_a_part_repeats_that_part_only(bench: Bench) -> None:
    stream = bench.record()
    bench.proxy.set(Fault.STALL, only=SECOND_PART, where="request", after_bytes=1000)
    with bench.delivering(**IN_PARTS, request_timeout_s=600):
        wait_until(lambda: bench.proxy.counters().get("stall", 0) > 0)
        key = f"{bench.spool.stream(stream.stream_id).data_id}/frames/c.1.0.0"
        # All others come through; only then is the line cut.
        wait_until(lambda: {1, 3, 4} <= part_puts(bench, key).keys())
        bench.proxy.set(Fault.RESET, only="nothing more")
    bench.assert_arrived(stream, puts=None)
    assert all(len(sizes) == 1 for sizes in part_puts(bench, key).values())
    assert bench.events(stream, "attempt_failed") == []


def test_a_far_end_that_dies_between_two_parts_leaves_no_object(bench: Bench) -> None:
    stream = bench.record()
    left = uploads_left(bench)

    def dies(_asked: Asked, _pass_on: PassOn) -> Answer:
        bench.proxy.set(Fault.REFUSE)
        return LOST

    bench.front.set(Rule(only=SECOND_PART, times=1, act=dies))
    with bench.delivering(**IN_PARTS, part_retry_s=0.5):
        bench.wait_for_trouble(stream, "cannot be reached")
        data_id = bench.spool.stream(stream.stream_id).data_id
        with pytest.raises(FileNotFoundError):
            obstore.head(bench.far_end(), f"{data_id}/frames/c.1.0.0")
        assert uploads_left(bench) == left + 1  # nobody could give it up: what the lifecycle rule is for
        bench.proxy.clear()
    bench.assert_arrived(stream, puts=None)


def test_an_upload_in_parts_that_fails_is_given_up(bench: Bench) -> None:
    stream = bench.record()
    left = uploads_left(bench)
    bench.front.set(Rule(only=SECOND_PART, times=1, act=says(403, "ExpiredToken")))
    bench.deliver(**IN_PARTS)
    bench.assert_arrived(stream, puts=None)
    assert uploads_left(bench) == left
    assert len(bench.front.seen(r"DELETE .*uploadId=")) == 1


def test_a_completed_upload_whose_answer_is_lost_is_found_and_not_sent_again(bench: Bench) -> None:
    stream = bench.record()
    bench.front.set(
        Rule(only=COMPLETE, times=1, act=loses_the_answer),
        Rule(only=COMPLETE, times=1, act=says(404, "NoSuchUpload")),  # what S3 may say of one that is complete
    )
    bench.deliver(**IN_PARTS)
    bench.assert_arrived(stream, puts=None)
    key = f"{bench.spool.stream(stream.stream_id).data_id}/frames/c.1.0.0"
    assert all(len(sizes) == 1 for sizes in part_puts(bench, key).values())
    assert len(bench.events(stream, "attempt_failed")) == 1
    assert bench.front.seen(rf"GET .*{key}") == []  # its ETag says what it is


def test_a_part_that_is_kept_as_other_bytes_is_noticed_and_put_right(bench: Bench) -> None:
    stream = bench.record()
    spoils = Rule(only=SECOND_PART, times=1, act=stores_other_bytes)
    hides = Rule(only=COMPLETE, times=1, act=hides_digests)
    bench.front.set(spoils, hides)
    bench.deliver(**IN_PARTS)
    assert spoils.struck == 1
    bench.assert_arrived(stream, puts=None)


def test_a_large_object_with_other_bytes_is_never_replaced(bench: Bench) -> None:
    theirs, ours = os.urandom(9000), os.urandom(9000)
    store = ObjectStore(URL, **IN_PARTS)
    assert not store.create("large", [theirs[:5000], memoryview(theirs)[5000:]]).was_there
    assert store.create("large", [theirs]).was_there
    assert ObjectStore(URL).create("large", [theirs]).was_there  # whatever its own parts would be
    with pytest.raises(KeyTaken, match="other bytes"):
        store.create("large", [ours])
    assert store.read("large") == theirs
    obstore.delete(bench.far_end(), "large")


def test_a_worker_that_is_killed_between_two_parts_leaves_no_object_and_the_next_one_goes_on(bench: Bench) -> None:
    stream = bench.record()
    is_there, goes_on = threading.Event(), threading.Event()

    def holds(_asked: Asked, _pass_on: PassOn) -> Answer:
        is_there.set()
        goes_on.wait(PATIENCE_S)
        return LOST

    bench.front.set(Rule(only=SECOND_PART, times=1, act=holds))
    asked = [sys.executable, "-c", _WORKER, str(bench.root), URL, json.dumps(IN_PARTS)]
    killed = subprocess.Popen(asked)
    try:
        assert is_there.wait(PATIENCE_S)
    finally:
        killed.kill()
        killed.wait()
        goes_on.set()
    data_id = bench.spool.stream(stream.stream_id).data_id
    with pytest.raises(FileNotFoundError):
        obstore.head(bench.far_end(), f"{data_id}/frames/c.1.0.0")
    bench.deliver(**IN_PARTS)
    bench.assert_arrived(stream, puts=None)


# At random --------------------------------------------------------------------------------------------------

ANY_RULE: list[Callable[[], Rule]] = [
    lambda: Rule(act=says(503, "SlowDown"), times=2),
    lambda: Rule(act=says(500, "InternalError"), times=3),
    lambda: Rule(act=says(502, body=HTML), times=3),
    lambda: Rule(act=says(200, body=HTML), times=2),
    lambda: Rule(act=says(400, "BadDigest"), times=2),
    lambda: Rule(act=says(409, "OperationAborted"), only="PUT", times=2),
    lambda: Rule(act=says(400, "RequestTimeout"), times=2),
    lambda: Rule(act=loses_the_answer, only="PUT", times=4),
    lambda: Rule(act=drops, times=4),
    lambda: Rule(act=hides_digests, times=8),
    lambda: Rule(act=first_somebody_else, only=CHUNK_PUT, times=1),
    lambda: Rule(act=says(501, "NotImplemented"), header="if-none-match"),
]
ANY_FAULT: list[dict[str, Any]] = [
    {"fault": Fault.REFUSE},
    {"fault": Fault.RESET, "times": 4},
    {"fault": Fault.LOST_ANSWER, "times": 4},
    {"fault": Fault.TRUNCATED_ANSWER, "times": 3},
    {"fault": Fault.GARBAGE_ANSWER, "times": 2},
    {"fault": Fault.BLACK_HOLE, "times": 1},
    {"fault": Fault.HALF_OPEN},
    {"fault": Fault.STALL, "where": "request", "after_bytes": 500, "times": 1},
    {"fault": Fault.BANDWIDTH, "bytes_per_s": 50_000},
    {"fault": Fault.HTML, "times": 2},
]


@pytest.mark.parametrize("seed", range(int(os.environ.get("FRAMESPOOL_BUCKET_SEEDS", "1"))))
def test_whatever_happens_in_whatever_order_all_streams_arrive(bench: Bench, seed: int) -> None:
    dice = random.Random(seed)
    streams = [bench.record(seed=number) for number in range(6)]
    with bench.delivering(**(IN_PARTS if seed % 2 else {}), part_retry_s=1.0):
        for _ in range(8):
            bench.front.set(*(make() for make in dice.sample(ANY_RULE, 2)))
            bench.proxy.set(**dice.choice(ANY_FAULT))
            time.sleep(dice.uniform(0.1, 1.0))  # as faults come and go
        bench.front.set()
        bench.proxy.clear()
    for number, stream in enumerate(streams):
        bench.assert_arrived(stream, seed=number, puts=None)
