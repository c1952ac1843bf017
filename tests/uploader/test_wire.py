"""What goes over the wire, and what must not; what comes back from a hostile server."""

import hashlib
import json
import logging
from collections.abc import Callable
from contextlib import closing
from typing import Any
from urllib.parse import unquote

import pytest

from tests.uploader.rig import (
    PRESIGN,
    PUT,
    XML,
    Asked,
    Bench,
    Reply,
    ScriptedServer,
    json_reply,
    some_frames,
    status_rule,
    wait_until,
)
from uploader import signals
from uploader.config import ApiKey
from uploader.destinations.atomscale import AtomscaleDestination
from uploader.destinations.base import Delivered, Ticket, TryLater
from uploader.loopback.process import LoopbackServer
from uploader.meanings import Meaning, Row, Step
from uploader.stamps import Stamp


class Relay:
    """Hands out upload URLs that lead to itself, stores nothing, and acknowledges as S3 does."""

    def __init__(self) -> None:
        self.catalogue = json_reply([{"id": "d-1", "pipeline_status": "stream_active"}])
        self.presign: Callable[[str], Reply] = lambda url: json_reply([{"upload_id": "u", "url": url, "part": 1}])
        self.server = ScriptedServer(self._answer)

    def _answer(self, asked: Asked) -> Reply:
        if asked.method == "PUT":
            return Reply(headers={"ETag": f'"{hashlib.md5(asked.body).hexdigest()}"'})
        if asked.path.endswith("/upload_urls/"):
            return self.presign(f"{self.server.url}/bucket/key?X-Amz-Signature=5ec2e7")
        if asked.path == "/data_entries/":
            return self.catalogue
        return json_reply({"ok": True})


@pytest.fixture
def relayed(bench: Bench) -> tuple[Bench, Relay]:
    relay = Relay()
    settings = bench.settings(destination=relay.server.url)
    bench.spool.open_stream(settings, data_id="d-1")
    bench.spool.push("d-1", 0, some_frames(5))
    return bench, relay


def test_the_presigned_put_has_no_key_no_type_and_its_length(relayed: tuple[Bench, Relay]) -> None:
    bench, relay = relayed
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1)
    (put,) = [asked for asked in relay.server.asked if asked.method == "PUT"]
    assert put.headers["content-type"] == ""
    assert put.headers["content-length"] == str(bench.chunk("d-1", 0).wire_bytes)
    assert hashlib.sha256(put.body).hexdigest() == bench.chunk("d-1", 0).sha256
    assert "transfer-encoding" not in put.headers
    assert not {"x-api-key", "authorization", "cookie"} & put.headers.keys()
    assert bench.server.api_key not in str(put.headers)
    (presign,) = [asked for asked in relay.server.asked if asked.path.endswith("/upload_urls/")]
    assert presign.headers["x-api-key"] == bench.server.api_key
    assert presign.query == {
        "original_filename": ["frames.zarr/frames/c/0/0/0"],
        "num_parts": ["1"],
        "staging_type": ["stream"],
    }
    assert all(isinstance(value, str) for value in presign.json().values())


def test_a_bare_object_with_the_url_is_understood_too(relayed: tuple[Bench, Relay]) -> None:
    bench, relay = relayed
    relay.presign = lambda url: json_reply({"url": url})
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1)


HOSTILE_PRESIGNS: dict[str, Reply] = {
    "empty": Reply(),
    "no JSON": Reply(body=b"soon"),
    "null": json_reply(None),
    "number": json_reply(7),
    "text": json_reply("http://127.0.0.1:1/"),
    "empty list": json_reply([]),
    "two": json_reply([{"url": "http://127.0.0.1:1/"}, {"url": "http://127.0.0.1:1/"}]),
    "nested list": json_reply([[{"url": "http://127.0.0.1:1/"}]]),
    "no url": json_reply([{"upload_id": "u", "part": 1}]),
    "null url": json_reply([{"url": None}]),
    "number url": json_reply([{"url": 5}]),
    "list url": json_reply([{"url": ["http://127.0.0.1:1/"]}]),
    "empty url": json_reply([{"url": ""}]),
    "path": json_reply([{"url": "../.."}]),
    "relative": json_reply([{"url": "//127.0.0.1/x"}]),
    "file": json_reply([{"url": "file:///etc/passwd"}]),
    "ftp": json_reply([{"url": "ftp://127.0.0.1/x"}]),
    "javascript": json_reply([{"url": "javascript:alert(1)"}]),
    "no host": json_reply([{"url": "http:///x"}]),
    "bad port": json_reply([{"url": "http://127.0.0.1:99999/x?sig=1"}]),
    "text port": json_reply([{"url": "http://127.0.0.1:http/x"}]),
    "bracket": json_reply([{"url": "http://[::1/x"}]),
    "new line": json_reply([{"url": "http://127.0.0.1:1/x\r\nX-Evil: 1"}]),
    "nul": json_reply([{"url": "http://127.0.0.1:1/\x00"}]),
    "surrogate": json_reply([{"url": "http://127.0.0.1:1/\ud800"}]),
    "surrogate host": json_reply([{"url": "http://\ud800/"}]),
    "long": json_reply([{"url": "http://127.0.0.1:1/" + "x" * 100_000}]),
    "deep": Reply(body=b"[" * 200_000),
    "100 MB": Reply(body=b" " * 100_000_000),
    "no UTF-8": Reply(body=b"\xff\xfe\x00["),
    "bad gzip": Reply(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    "refused with a page": Reply(status=418, body=b"<html>teapot</html>"),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("reply", HOSTILE_PRESIGNS.values(), ids=HOSTILE_PRESIGNS.keys())
def test_a_presign_that_cannot_be_used_is_asked_for_again_without_a_traceback(
    relayed: tuple[Bench, Relay], reply: Reply, caplog: pytest.LogCaptureFixture
) -> None:
    bench, relay = relayed
    told = iter([reply, reply])
    relay.presign = lambda url: next(told, None) or json_reply([{"url": url}])
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1, within_s=5)
    assert not [record.message for record in caplog.records if record.exc_info]
    assert bench.ledger("d-1", "parked", "held") == []
    assert len([asked for asked in relay.server.asked if asked.method == "PUT"]) == 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("place", ["frames.zarr/frames/c/1/0/0", "frames.zarr%2Fframes%2Fc%2F1%2F0%2F0"])
def test_a_chunk_is_never_sent_to_the_place_of_another(relayed: tuple[Bench, Relay], place: str) -> None:
    """A cached answer names chunk 1's place for chunk 0: its bytes there would be overwritten, and lost."""
    bench, relay = relayed
    told = iter([place])
    relay.presign = lambda url: json_reply([{"url": f"{url.partition('?')[0]}/{next(told, 'opaque-key')}?sig=1"}])
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1, within_s=5)
    assert [
        asked.path for asked in relay.server.asked if asked.method == "PUT" and "/c/1" in unquote(asked.path)
    ] == []


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    "status", ["\ud800", "x" * 100_000, ["stream_active"], {"a": 1}, None, 1e300, "\x1b[2J"], ids=ascii
)
def test_a_catalogue_that_tells_nonsense_means_wait_and_tell(
    relayed: tuple[Bench, Relay], status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    bench, relay = relayed
    refusals = iter([json_reply({"detail": "no"}, 422)] * 2)
    relay.presign = lambda url: next(refusals, None) or json_reply([{"url": url}])
    relay.catalogue = json_reply([{"id": "d-1", "pipeline_status": status}])
    with relay.server, bench.delivering(url=relay.server.url):
        wait_until(lambda: bench.acknowledged("d-1") == 1, within_s=5)
    assert not [record.message for record in caplog.records if record.exc_info]
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://store.invalid/x",
        "HTTP://store.invalid/x",
        "//store.invalid/x",
        "ftp://store.invalid/x",
        "file:///x",
    ],
)
def test_a_secure_api_is_never_followed_to_an_insecure_store(url: str) -> None:
    with closing(AtomscaleDestination("https://api.invalid", ApiKey("k"))) as destination:
        assert not destination._is_safe(url)
        assert destination._is_safe("https://store.invalid/x?X-Amz-Signature=1")


def test_a_redirected_put_is_not_followed(relayed: tuple[Bench, Relay]) -> None:
    bench, relay = relayed
    with ScriptedServer(lambda _asked: Reply(headers={"ETag": '"x"'})) as elsewhere:
        redirect = Reply(status=307, headers={"Location": f"{elsewhere.url}/x"})
        with (
            ScriptedServer(lambda _asked: redirect) as portal,
            closing(AtomscaleDestination(relay.server.url, ApiKey("k"))) as destination,
        ):
            ticket = Ticket(url=f"{portal.url}/bucket?sig=1", got_at_s=0.0, data_id="d-1")
            outcome = destination.deliver(bench.chunk("d-1", 0), ticket, b"body")
        assert isinstance(outcome, TryLater)
        assert elsewhere.asked == []
    relay.server._server.server_close()


@pytest.mark.usefixtures("impatient")
def test_neither_the_key_nor_a_signature_is_ever_written_anywhere(
    server: LoopbackServer, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for name in (None, "httpx", "httpcore", "uploader", "spool"):
        caplog.set_level(logging.DEBUG, logger=name)
    data_id = bench.open_stream(4)
    bench.spool.seal(data_id)
    location = "http://127.0.0.1:1/bucket/key?X-Amz-Signature=5ec2e7"
    server.faults(
        [
            status_rule(PUT, 403, XML.format("SignatureDoesNotMatch"), times=1),
            {"match": PUT, "action": "drop", "times": 1},
            {"match": PUT, "action": "lost_answer", "times": 1},
            status_rule(PUT, 307, times=1, headers={"Location": location}),
            status_rule(PRESIGN, 401, {"detail": "no"}, times=1),
            status_rule(PRESIGN, 422, {"detail": "not this one"}, times=3, after=2),
        ]
    )
    with bench.delivering():
        wait_until(lambda: bench.stream(data_id).tally.parked == 1 and bench.acknowledged(data_id) == 3)
        bench.spool.retry(data_id)
        wait_until(lambda: bench.finalized(data_id))
    logged = "\n".join(
        f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text or ''}" for record in caplog.records
    )
    assert "httpcore" in logged
    assert "acknowledged" in logged
    for secret in (server.api_key, "Signature=", "uploadId=", "5ec2e7"):
        assert secret not in logged
        for path in bench.root.rglob("*"):
            if path.is_file():
                assert secret.encode() not in path.read_bytes(), path


SUCCESSES: dict[str, tuple[Row, Reply]] = {
    "no URL": (signals.NO_URL, json_reply([{"upload_id": "u"}])),
    "the place of another": (
        signals.OTHER_PLACE,
        json_reply([{"url": "http://127.0.0.1:1/frames.zarr/frames/c/7/0/0"}]),
    ),
    "no ETag": (signals.NO_ETAG, Reply()),
    "an ETag of a web server": (signals.NOT_A_STORE, Reply(headers={"ETag": '"5f3e-61a"'})),
    "other bytes": (signals.OTHER_BYTES, Reply(headers={"ETag": f'"{"0" * 32}"'})),
    "the same bytes": (signals.CONFIRMED, Reply(headers={"ETag": f'"{hashlib.md5(b"body").hexdigest()}"'})),
    "encrypted": (
        signals.UNCONFIRMED,
        Reply(headers={"ETag": '"opaque"', "x-amz-server-side-encryption": "aws:kms"}),
    ),
    "an end in other words": (signals.NOT_AN_END, Reply(body=b"Please log in.")),
}


@pytest.mark.parametrize(("row", "reply"), SUCCESSES.values(), ids=SUCCESSES)
def test_a_success_is_read_before_it_counts(bench: Bench, row: Row, reply: Reply) -> None:
    stream, chunk = bench.stream(data_id := bench.open_stream(1)), bench.chunk(data_id, 0)
    with (
        ScriptedServer(lambda _asked: reply) as server,
        closing(AtomscaleDestination(server.url, ApiKey("k"))) as destination,
    ):
        ticket = Ticket(url=f"{server.url}/b", got_at_s=0.0, data_id=data_id)
        outcomes: dict[Step, Callable[[], object]] = {
            Step.PRESIGN: lambda: destination.prepare(stream, chunk, Stamp(start_ms=0)),
            Step.PUT: lambda: destination.deliver(chunk, ticket, b"body"),
            Step.END: lambda: destination.finish(stream, bytes),
        }
        (step,) = row.steps
        outcome = outcomes[step]()
    if row.meaning is Meaning.DONE:
        assert isinstance(outcome, Delivered)
        assert outcome.receipt.confirmed == (row is signals.CONFIRMED)
    else:
        assert isinstance(outcome, TryLater)
        assert outcome.words.endswith(f"({row.says})")
        assert outcome.outage == (row.meaning is Meaning.OUTAGE)


def test_every_way_to_read_a_success_is_tried() -> None:
    assert [row for row, _ in SUCCESSES.values()] == list(signals.READ)


def test_the_ledger_and_the_receipts_are_plain_json(bench: Bench) -> None:
    data_id = bench.open_stream(1)
    with bench.delivering():
        wait_until(lambda: bench.acknowledged(data_id) == 1)
    assert all(json.dumps(event.detail) for event in bench.spool.events())
    assert bench.spool.ledger_break() is None
