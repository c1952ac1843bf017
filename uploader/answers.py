"""What an answer means, by the tables of `uploader.signals`, and how long it asks us to wait."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from uploader.meanings import Answer, Row, Step
from uploader.signals import TABLE

RETRY_AFTER_MAX_S = 600.0
"""A server may ask for patience, within reason: a garbled date must not stop a stream for a year."""


def meaning_of(step: Step, answer: Answer) -> Row:
    """The row that speaks about this answer."""
    return next(row for row in TABLE if row.fits(step, answer))


def retry_after_s(answer: Answer, *, now: datetime | None = None) -> float:
    """How long the server asks us to wait at least, from 0 to `RETRY_AFTER_MAX_S`; garbage counts as 0."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(text)
        seconds = (moment - (now or datetime.now(UTC))).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return max(0.0, min(seconds, RETRY_AFTER_MAX_S))
