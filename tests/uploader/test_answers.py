from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.answers import (
    RETRY_AFTER_MAX_S,
    TABLE,
    Meaning,
    Row,
    ServerState,
    Step,
    meaning_of,
    retry_after_s,
    server_state,
)
from uploader.exchange import Answer

FAULTS = ("connect", "timeout", "broken", "oversize", "unusable")
STEPS = tuple(Step)
API_STEPS = (Step.API, Step.PRESIGN, Step.END)
HTML = {"content-type": "text/html; charset=utf-8"}
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def answer(status: int, text: str = "", **headers: str) -> Answer:
    return Answer(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})


def _examples() -> list[tuple[str, Step, Answer, Meaning]]:
    """``(the row's signal, what was asked, what came back, what it means)``."""
    faults = {
        "connect": ("no connection (refused, DNS, TLS, route)", Meaning.OUTAGE),
        "timeout": ("no answer in time", Meaning.OUTAGE),
        "broken": ("the connection broke", Meaning.OUTAGE),
        "oversize": ("an answer far too long to be the server's", Meaning.OUTAGE),
        "unusable": ("an answer or URL that cannot be used", Meaning.LATER),
    }
    found = [(says, step, Answer(fault=f), meaning) for f, (says, meaning) in faults.items() for step in STEPS]
    portal = "success, but with a page for people (captive portal)"
    for step in STEPS:
        found += [
            (portal, step, Answer(status=200, headers=HTML, text="Welcome"), Meaning.OUTAGE),
            (portal, step, answer(200, "\n  <!DOCTYPE html><html>"), Meaning.OUTAGE),
            (portal, step, answer(201, "<html>", content_type="application/json"), Meaning.OUTAGE),
            ("redirected (portal, proxy)", step, answer(302, location="http://portal.invalid/"), Meaning.OUTAGE),
            ("redirected (portal, proxy)", step, answer(307, "<html>"), Meaning.OUTAGE),
            ("redirected (portal, proxy)", step, answer(101), Meaning.OUTAGE),
            ("a proxy or network wants a login", step, answer(407, "<html>"), Meaning.OUTAGE),
            ("a proxy or network wants a login", step, answer(511), Meaning.OUTAGE),
            ("success", step, answer(200, '"a data_id"'), Meaning.DONE),
            ("success", step, answer(204), Meaning.DONE),
            ("too many requests", step, answer(429), Meaning.OUTAGE),
            ("overloaded or down", step, answer(502, "<html>Bad Gateway</html>"), Meaning.OUTAGE),
            ("overloaded or down", step, answer(504), Meaning.OUTAGE),
            ("an error inside the server", step, answer(500), Meaning.LATER),
            ("an error inside the server", step, answer(599), Meaning.LATER),
            ("too slow or too early", step, answer(408), Meaning.LATER),
            ("too slow or too early", step, answer(425), Meaning.LATER),
            ("anything else", step, answer(600), Meaning.LATER),
            ("anything else", step, answer(0), Meaning.LATER),
        ]
    for step in (Step.API, Step.PRESIGN, Step.PUT):
        found.append(("overloaded or down", step, answer(503, "<Error><Code>SlowDown"), Meaning.OUTAGE))
    found.append(("the first analysis still runs", Step.END, answer(503), Meaning.LATER))
    for step in API_STEPS:
        found += [
            ("the API key is not accepted", step, answer(401), Meaning.PAUSED),
            ("the API key is not accepted", step, answer(403, "<html>"), Meaning.PAUSED),
            *(
                ("refused with a page for people (proxy, portal)", step, answer(s, "<html>"), Meaning.OUTAGE)
                for s in (400, 404, 413, 422)
            ),
        ]
    stalled = "<Error><Code>RequestTimeout</Code></Error>"
    found += [
        ("the body stalled for about 20 s", Step.PUT, answer(400, stalled), Meaning.LATER),
        ("the URL has expired or does not fit", Step.PUT, answer(403, "<Error>"), Meaning.LATER),
        ("the shard is too large", Step.PUT, answer(413), Meaning.REFUSED),
        *(
            ("the URL was not accepted", Step.PUT, answer(s), Meaning.LATER)
            for s in (400, 401, 404, 405, 411, 412, 422)
        ),
        *(
            ("the stream or the chunk is refused", Step.PRESIGN, answer(s, "{}"), Meaning.ASK)
            for s in (400, 404, 409, 410, 413, 422)
        ),
        *(("the end is refused", Step.END, answer(s, "{}"), Meaning.ASK) for s in (400, 404, 409, 410, 422)),
        *(("the request is refused", Step.API, answer(s), Meaning.REFUSED) for s in (400, 404, 409, 418, 422)),
        ("anything else", Step.PRESIGN, answer(418), Meaning.LATER),
        ("anything else", Step.END, answer(413), Meaning.LATER),
    ]
    return found


EXAMPLES = _examples()


@pytest.mark.parametrize(
    ("says", "step", "came", "means"),
    EXAMPLES,
    ids=[
        f"{step}-{came.fault or came.status}-{says[:24]}-{n}" for n, (says, step, came, _) in enumerate(EXAMPLES)
    ],
)
def test_an_answer_means_what_its_row_says(says: str, step: Step, came: Answer, means: Meaning) -> None:
    row = meaning_of(step, came)
    assert (row.says, row.meaning) == (says, means)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says)
def test_every_row_of_the_table_has_an_example(row: Row) -> None:
    hit = {step for _, step, came, _ in EXAMPLES if meaning_of(step, came) is row}
    assert hit, "no example reaches this row"
    assert hit <= set(row.steps)


@pytest.mark.parametrize("step", STEPS)
def test_every_status_and_every_fault_has_a_meaning(step: Step) -> None:
    for status in range(1000):
        for page in ({}, HTML):
            assert meaning_of(step, Answer(status=status, headers=page)) in TABLE
    for fault in FAULTS:
        assert meaning_of(step, Answer(fault=fault)) in TABLE


@pytest.mark.parametrize("text", ["", "RequestTimeout", "<html>", '{"detail": "no"}'])
def test_only_413_on_a_put_and_a_refused_presign_can_lead_to_parking(text: str) -> None:
    """`REFUSED` and `ASK` are the only meanings from which a chunk is ever parked."""
    asks = {400, 404, 409, 410, 413, 422}
    for status in range(1000):
        came = answer(status, text)
        assert (meaning_of(Step.PUT, came).meaning is Meaning.REFUSED) == (status == 413)
        assert meaning_of(Step.PUT, came).meaning is not Meaning.ASK
        assert meaning_of(Step.PRESIGN, came).meaning is not Meaning.REFUSED
        if meaning_of(Step.PRESIGN, came).meaning is Meaning.ASK:
            assert status in asks
    for step in (Step.PUT, Step.PRESIGN):
        assert all(meaning_of(step, Answer(fault=f)).meaning in (Meaning.OUTAGE, Meaning.LATER) for f in FAULTS)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_page_for_people_is_never_taken_for_the_refusal_of_a_chunk(status: int) -> None:
    """The API answers in JSON: a proxy's error page says nothing about a chunk."""
    came = Answer(status=status, headers=HTML, text="<html><h1>400 Bad Request</h1><hr>nginx</html>")
    assert meaning_of(Step.PRESIGN, came).meaning in (Meaning.OUTAGE, Meaning.LATER)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("600", 600.0),
        ("601", RETRY_AFTER_MAX_S),
        ("31536000", RETRY_AFTER_MAX_S),
        ("9" * 400, RETRY_AFTER_MAX_S),
        ("9" * 100_000, RETRY_AFTER_MAX_S),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("1e3", 0.0),
        ("inf", 0.0),
        ("nan", 0.0),
        ("0x10", 0.0),
        ("", 0.0),
        ("soon", 0.0),
        ("\u0663", 0.0),  # a decimal digit, but none of HTTP's
        ("\u00b2", 0.0),
        (format_datetime(NOW + timedelta(seconds=30), usegmt=True), 30.0),
        (format_datetime(NOW - timedelta(days=400), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), RETRY_AFTER_MAX_S),
        ("Sun, 01 Mar 2026 12:00:30 -0000", 0.0),  # no zone that can be compared
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0.0),
        ("Fri, 99 Foo 2026 99:99:99 GMT", 0.0),
        ("Sun, 01 Mar 2026 12:00:30 +9999", 0.0),
    ],
)
def test_retry_after_is_honoured_within_reason_and_garbage_counts_as_nothing(text: str, seconds: float) -> None:
    assert retry_after_s(answer(503, retry_after=text), now=NOW) == seconds


def test_no_retry_after_is_no_wait() -> None:
    assert retry_after_s(answer(503)) == 0.0


@given(st.one_of(st.text(max_size=40), st.text('0123456789 :,+-GMTJanSu.()/\\"', max_size=40)))
def test_no_retry_after_whatever_breaks_anything(text: str) -> None:
    assert 0.0 <= retry_after_s(answer(429, retry_after=text)) <= RETRY_AFTER_MAX_S


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("stream_active", ServerState.ACTIVE),
        ("Stream Active", ServerState.ACTIVE),
        (" STREAM_PAUSED ", ServerState.WAIT),
        ("stream_interrupted", ServerState.WAIT),
        ("stream_finalizing", ServerState.ENDED),
        ("Success", ServerState.ENDED),
        ("stored", ServerState.ENDED),
        ("stream_error", ServerState.ERROR),
        ("error", ServerState.ENDED),
        ("stream_melting", ServerState.UNKNOWN),
        ("", ServerState.UNKNOWN),
        (None, ServerState.UNKNOWN),
        (7, ServerState.UNKNOWN),
        ({"stream_active": 1}, ServerState.UNKNOWN),
    ],
)
def test_a_catalogue_status_is_understood_or_it_means_wait(status: object, state: ServerState) -> None:
    assert server_state(status) is state
