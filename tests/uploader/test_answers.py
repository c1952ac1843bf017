from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.generate_docs import FORMS
from uploader.answers import RETRY_AFTER_MAX_S, meaning_of, retry_after_s
from uploader.faults import Fault
from uploader.meanings import Answer, Meaning, Row, Step
from uploader.server_states import SERVER_STATES, ServerState, server_state
from uploader.signals import BROKEN, READ, STATUSES, TABLE

STEPS = tuple(Step)
API_STEPS = (Step.API, Step.PRESIGN, Step.END)
HTML = {"content-type": "text/html; charset=utf-8"}
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
XML = "<?xml version='1.0'?><Error><Code>{}</Code></Error>"


def answer(status: int, text: str = "", **headers: str) -> Answer:
    return Answer(status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})


def page(status: int) -> Answer:
    return Answer(status=status, headers=HTML, text="<html>Welcome")


# For each row its class, and answers that must reach it from every step it names.
EXAMPLES: dict[str, tuple[Meaning, list[Answer]]] = {
    "success, but with a page for people (captive portal)": (
        Meaning.OUTAGE,
        [
            Answer(status=200, headers=HTML, text="Welcome"),
            answer(200, "\n  <!DOCTYPE html><html>"),
            answer(201, "<html>", content_type="application/json"),
        ],
    ),
    "an answer that only announces another": (Meaning.OUTAGE, [answer(101), answer(199)]),
    "redirected (portal, proxy)": (
        Meaning.OUTAGE,
        [answer(302, location="http://portal.invalid/"), answer(307, "<html>"), answer(304)],
    ),
    "the proxy wants a login": (Meaning.OUTAGE, [page(407), answer(407)]),
    "the network wants a login": (Meaning.OUTAGE, [page(511), answer(511)]),
    "refused with a page for people (proxy, portal)": (
        Meaning.OUTAGE,
        [page(s) for s in (400, 403, 404, 413, 422)],
    ),
    "success": (Meaning.DONE, [answer(200, '"a data_id"'), answer(204), answer(200, XML)]),
    "too many requests": (Meaning.OUTAGE, [answer(429), answer(429, retry_after="7")]),
    "the first analysis still runs": (Meaning.LATER, [answer(503, '{"detail": "still running"}')]),
    "the store asks to slow down": (Meaning.OUTAGE, [answer(503, XML.format("SlowDown"))]),
    "the server behind the gateway is down": (Meaning.OUTAGE, [page(502)]),
    "overloaded or down for maintenance": (Meaning.OUTAGE, [answer(503), page(503)]),
    "the gateway got no answer in time": (Meaning.OUTAGE, [page(504)]),
    "the store is full": (Meaning.LATER, [answer(507)]),
    "an error inside the server": (Meaning.LATER, [answer(500), answer(500, XML.format("InternalError"))]),
    "the server does not know the request": (Meaning.LATER, [answer(501, XML.format("NotImplemented"))]),
    "some other error inside the server": (Meaning.LATER, [answer(505), answer(520), answer(599)]),
    "the request took too long": (Meaning.LATER, [answer(408)]),
    "too early for the server": (Meaning.LATER, [answer(425)]),
    "the API key is not accepted": (Meaning.PAUSED, [answer(401, '{"detail": "no"}')]),
    "the API key may not do this": (Meaning.PAUSED, [answer(403, '{"detail": "no"}')]),
    "the body stalled for about 20 s": (Meaning.LATER, [answer(400, XML.format("RequestTimeout"))]),
    "the URL's token has expired": (
        Meaning.LATER,
        [answer(400, XML.format(c)) for c in ("ExpiredToken", "InvalidToken")],
    ),
    "the bytes were damaged on their way": (
        Meaning.LATER,
        [answer(400, XML.format(c)) for c in ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch")],
    ),
    "the store got too few bytes": (Meaning.LATER, [answer(400, XML.format("IncompleteBody"))]),
    "the shard is too large for the store": (Meaning.REFUSED, [answer(400, XML.format("EntityTooLarge"))]),
    "the store does not understand the upload": (
        Meaning.LATER,
        [answer(400), answer(400, XML.format("MalformedXML"))],
    ),
    "the store wants a login": (Meaning.LATER, [answer(401)]),
    "the URL has expired": (Meaning.LATER, [answer(403, XML.format("AccessDenied") + "Request has expired")]),
    "the clocks of signer and store differ": (Meaning.LATER, [answer(403, XML.format("RequestTimeTooSkewed"))]),
    "the URL's signature does not fit": (Meaning.LATER, [answer(403, XML.format("SignatureDoesNotMatch"))]),
    "the store does not let us in": (Meaning.LATER, [answer(403, XML.format("AccessDenied")), page(403)]),
    "the upload's place does not exist": (Meaning.LATER, [answer(404, XML.format("NoSuchBucket"))]),
    "the store does not take uploads here": (Meaning.LATER, [answer(405)]),
    "another upload to the same place is under way": (Meaning.LATER, [answer(409)]),
    "the length was lost on its way": (Meaning.LATER, [answer(411, XML.format("MissingContentLength"))]),
    "a condition was not met": (Meaning.LATER, [answer(412, XML.format("PreconditionFailed"))]),
    "the shard is too large": (Meaning.REFUSED, [answer(413), page(413)]),
    "the upload could not be processed": (Meaning.LATER, [answer(422)]),
    "the upload was not accepted": (Meaning.LATER, [answer(402), answer(416), answer(431), answer(499)]),
    "the stream is not known": (Meaning.ASK, [answer(404, "{}"), answer(410, "{}")]),
    "the stream takes no chunk now": (Meaning.ASK, [answer(409, "{}")]),
    "the chunk is refused": (Meaning.ASK, [answer(s, "{}") for s in (400, 413, 422)]),
    "the end is refused": (Meaning.ASK, [answer(s, "{}") for s in (400, 404, 409, 410, 422)]),
    "the request is refused": (Meaning.REFUSED, [answer(s, "{}") for s in (400, 404, 409, 418, 422)]),
    "anything else": (Meaning.LATER, [answer(600), answer(0), answer(999)]),
}
# Their steps are those of the row, except where a row above takes a part of them away.
ONLY_FOR = {"overloaded or down for maintenance": (Step.API, Step.PRESIGN, Step.PUT)}
FAULT_CLASSES = {fault: Meaning.LATER if fault is Fault.UNUSABLE else Meaning.OUTAGE for fault in Fault}


@pytest.mark.parametrize("row", STATUSES, ids=lambda row: row.says)
def test_an_answer_means_what_its_row_says(row: Row) -> None:
    meaning, answers = EXAMPLES[row.says]
    assert row.meaning is meaning
    for step in ONLY_FOR.get(row.says, row.steps):
        for came in answers:
            assert meaning_of(step, came) is row


@pytest.mark.parametrize("row", BROKEN, ids=lambda row: row.says)
def test_a_break_means_what_its_row_says(row: Row) -> None:
    """How each of them comes about is tried over real sockets in ``test_exchange.py``."""
    assert row.faults
    for fault in row.faults:
        assert row.meaning is FAULT_CLASSES[fault]
        for step in STEPS:
            assert meaning_of(step, Answer(fault=fault)) is row


def test_no_example_is_left_of_a_row_that_is_gone() -> None:
    assert set(EXAMPLES) == {row.says for row in STATUSES}


def test_no_two_rows_say_the_same() -> None:
    """`framespool status` finds the row again by what it says."""
    every = [row.says for row in (*TABLE, *READ)]
    assert len(every) == len(set(every))


def test_the_table_has_grown_to_what_it_should_cover() -> None:
    assert len(TABLE) + len(READ) >= 60


@pytest.mark.parametrize("step", STEPS)
def test_every_status_and_every_fault_has_a_meaning(step: Step) -> None:
    for status in range(1000):
        for headers in ({}, HTML):
            assert meaning_of(step, Answer(status=status, headers=headers)) in TABLE
    for fault in Fault:
        assert meaning_of(step, Answer(fault=fault)) in TABLE


@pytest.mark.parametrize("text", ["", "RequestTimeout", "<html>", '{"detail": "no"}'])
def test_only_a_shard_too_large_and_a_refused_presign_can_lead_to_parking(text: str) -> None:
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
        assert all(meaning_of(step, Answer(fault=f)).meaning in (Meaning.OUTAGE, Meaning.LATER) for f in Fault)


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


def test_every_state_of_the_protocol_is_known() -> None:
    for status, state in SERVER_STATES.items():
        assert server_state(status) is state
        assert state is not ServerState.UNKNOWN


@pytest.mark.parametrize("form", FORMS)
def test_each_documented_form_of_retry_after_is_one_of_those_tried_above(form: str) -> None:
    assert 0.0 <= retry_after_s(answer(503, retry_after=FORMS[form]), now=NOW) <= RETRY_AFTER_MAX_S
