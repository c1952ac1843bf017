"""The log for machines: one JSON object a line.

Every object has ``time`` (UTC), ``level``, ``event``, ``logger`` and ``message``. A line that is about something
known says so: ``extra=about("acknowledged", stream_id=..., chunk_idx=...)``; any other has the event ``said``.
No key is in anything that is logged. Signed queries are taken out here once more, whoever has let them in.
"""

import json
import logging
from datetime import UTC, datetime
from typing import Any

from uploader.outside import unsigned

SAID = "said"
_TEXT_MAX = 2000
_CHAR_BYTES_MAX = 12
"""An astral character, escaped."""


def about(event: str, **facts: object) -> dict[str, Any]:
    """What a line is about, for ``extra=``.

    Args:
        event: one word for what happened.
        facts: with it; their names end in their units.
    """
    return {"about": {"event": event, **facts}}


class JsonLines(logging.Formatter):
    """Makes such a line.

    Args:
        bytes_max: no line is longer: its texts are cut until it fits.
    """

    def __init__(self, bytes_max: int = 1 << 20) -> None:
        super().__init__()
        self._bytes_max = bytes_max

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": SAID,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        line = json.dumps(_clean(told), default=str)
        if len(line) < self._bytes_max:
            return line
        text_max = max(80, min(_TEXT_MAX, self._bytes_max // (2 * _CHAR_BYTES_MAX * len(told))))
        return json.dumps(_clean(told, text_max), default=str)


def line(event: str, level: str, message: str) -> str:
    """A line of the same kind for what is not logged but said."""
    record = logging.makeLogRecord(
        {"name": "framespool", "levelname": level.upper(), "msg": message, **about(event)}
    )
    return JsonLines().format(record)


def _clean(told: dict[str, Any], text_max: int | None = None) -> dict[str, Any]:
    return {name: _fit(worth, text_max) if isinstance(worth, str) else worth for name, worth in told.items()}


def _fit(text: str, text_max: int | None) -> str:
    # Half a character cannot be read back by everybody.
    whole = unsigned(text).encode("utf-8", "replace").decode()
    if text_max is None or len(whole) <= text_max:
        return whole
    half = text_max // 2
    return f"{whole[:half]} ... {whole[-half:]}"
