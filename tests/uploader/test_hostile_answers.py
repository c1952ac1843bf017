"""Answers that are made to harm: what they cannot do to memory, ledger, logs and terminal."""

import gzip
import json
import logging
import tracemalloc
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tools.fuzz.areas import answers
from tools.fuzz.network import Network
from tools.fuzz.servers import bombs
from uploader.api import AtomscaleApi
from uploader.config import ApiKey
from uploader.errors import RequestRefused
from uploader.exchange import exchange
from uploader.faults import Fault
from uploader.lines import Lines, Patience
from uploader.meanings import Answer
from uploader.opening import _answered

PATIENCE = Patience(connect_s=5, stall_s=5, sending_s=5, answer_s=5)
KEY = "a-k3y-that-must-not-be-seen"
SIGNED = "https://store.example/k?X-Amz-Signature=5ec2e7"
Asks = Callable[..., Answer]


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Asks:
    """One exchange with a server that answers with these bytes."""

    def asked(head: bytes, body: bytes = b"", *, url: str = SIGNED) -> Answer:
        whole = b"HTTP/1.1 200 OK\r\n" + head + b"Content-Length: %d\r\n\r\n" % len(body) + body
        network = Network(lambda _: (whole[at : at + 65536] for at in range(0, len(whole), 65536)))
        monkeypatch.setattr(Lines, "_client", network.client)
        with closing(Lines()) as lines:
            return exchange(lines, "GET", url, patience=PATIENCE)

    return asked


@pytest.mark.parametrize(("encoding", "body"), [bomb for bomb in bombs() if len(bomb[1]) > 1000])
def test_a_small_answer_that_unpacks_to_a_huge_one_takes_no_memory(
    ask: Asks, encoding: bytes, body: bytes
) -> None:
    tracemalloc.start()
    try:
        answer = ask(b"Content-Encoding: " + encoding + b"\r\n", body)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert answer.fault is Fault.OVERSIZE


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip", b"identity, GZIP"])
def test_a_packed_answer_is_read(ask: Asks, encoding: bytes) -> None:
    answer = ask(b"Content-Encoding: " + encoding + b"\r\n", gzip.compress(b'{"ok": true}'))
    assert answer.json() == {"ok": True}


@pytest.mark.parametrize("body", [gzip.compress(b'{"ok": true}', mtime=0)[:-4], b"no gzip"])
def test_a_packed_answer_that_is_damaged_or_cut_off_is_none(ask: Asks, body: bytes) -> None:
    assert ask(b"Content-Encoding: gzip\r\n", body).fault is Fault.UNDECODABLE


def test_headers_are_fit_for_a_terminal_and_of_a_bearable_length(ask: Asks) -> None:
    answer = ask(b"ETag: \x1b]0;title\x07\r\nDate: \x9b31m" + b"x" * 70_000 + b"\r\n")
    assert answer.headers["etag"] == "?]0;title?"
    assert answer.headers["date"].isprintable()
    assert len(answer.headers["date"]) == 1000


def test_words_do_not_grow_with_what_comes_from_outside(ask: Asks) -> None:
    """They stand in the ledger once for each try."""
    unusable = ask(b"", url="https://store.example/" + "x" * (4 << 20))
    assert unusable.fault is Fault.UNUSABLE
    illegal = ask(b"X\x1b: " + b"x" * 60_000 + b"\r\n")
    assert illegal.fault is Fault.GARBLED
    assert max(len(unusable.words), len(illegal.words)) < 1000


def test_an_excerpt_holds_no_signature(ask: Asks) -> None:
    answer = ask(b"", json.dumps([{"url": SIGNED}, {"url": SIGNED}]).encode())
    assert answer.excerpt.startswith('[{"url": "https://store.example/k?***')
    assert "5ec2e7" not in answer.excerpt


def test_an_excerpt_of_a_damaged_answer_holds_no_signature_either(ask: Asks) -> None:
    """Found by fuzzing: the mark that begins the query is what was damaged."""
    answer = ask(b"", json.dumps([{"url": SIGNED.replace("?", "\x7f")}]).encode())
    assert "store.example/k" in answer.excerpt
    assert "5ec2e7" not in answer.excerpt


@pytest.mark.parametrize("quote", ["'", '"'])
def test_a_quote_in_a_query_does_not_bring_the_signature_behind_it_into_the_logs(
    ask: Asks, quote: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ask(b"", url=f"https://store.example/k?a={quote}b&X-Amz-Signature=5ec2e7")
    assert "store.example" in caplog.text
    assert "5ec2e7" not in caplog.text


def test_a_key_that_the_other_side_repeats_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    body = f"<html>your request had X-API-KEY: {KEY}".encode()
    head = f"HTTP/1.1 404 {KEY}\r\nContent-Length: {len(body)}\r\nVia: {KEY}\r\n\r\n".encode()
    network = Network(lambda _: [head + body])
    monkeypatch.setattr(Lines, "_client", network.client)
    with AtomscaleApi("https://api.example", ApiKey(KEY)) as api:
        answer = api.tags()
    assert KEY.encode() in network.sent[0].raw
    assert answer.status == 404
    assert KEY not in f"{answer} {answer.excerpt}"
    assert "X-API-KEY: ***" in answer.excerpt


def test_a_short_key_does_not_take_answers_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(lambda _: [b'HTTP/1.1 404 No\r\nContent-Length: 12\r\n\r\n{"id": "id"}'])
    monkeypatch.setattr(Lines, "_client", network.client)
    with AtomscaleApi("https://api.example", ApiKey("id")) as api:
        answer = api.tags()
    with pytest.raises(RequestRefused, match=r'\{"id": "id"\}'):
        _answered(answer, "looking up the tags")


def test_whatever_a_server_answers_is_one_of_the_known_outcomes(tmp_path: Path) -> None:
    found = list(answers.inputs(20, 150, tmp_path))
    assert len(found) == 150
    assert [one for one in found if one is not None] == []
