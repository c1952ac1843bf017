"""Telling a URL what happens: outages, refused keys, parked and held work, finalized streams, room that runs out.

::

    ledger ──rows──▶ News ──one event after the other──▶ POST ──told──▶ workers/<webhook>.told
    forecast ──────▶ Fill ──┘                             ▲    not told: again, for a day

* What is to be told is read from the ledger, not handed over by the worker: nothing here can hold up or break a
  delivery, and what happened while nobody could be told is told afterwards, in order, whoever was killed between.
* Each event is told once, or once more where nobody knows whether it was: ``id`` is the same then.
* An event that a day of tries could not tell, or that the receiver says it cannot take, is left out and logged.
* One process tells of a spool, whichever has the lock; the others are silent.
"""

import hashlib
import json
import logging
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spool import ProcessLock, Spool, SpoolError
from uploader.answers import retry_after_s
from uploader.destinations.base import TryLater
from uploader.events import EventKind, StreamerEvent
from uploader.exchange import exchange
from uploader.lines import Lines, Patience
from uploader.log_file import open_private
from uploader.meanings import Answer
from uploader.news import Away, News
from uploader.onlooking import Onlooker, Watched
from uploader.outside import unsigned
from uploader.retry import keep_trying
from uploader.room import Fill, moved, room_news
from uploader.webhook_url import WebhookUrl, host_of, secrets_of

FORMAT = 1
LOOK_S = 1.0
ROOM_EVERY_S = 5.0
TELL_WITHIN_S = 24 * 3600.0
FLUSH_S = 5.0
"""How long the end of a worker waits for what is still to be told; the next worker tells the rest."""
REFUSALS_MAX = 3
OUTCOMES = ("told", "failed", "refused")
_WILL_NOT_DO = frozenset({400, 413, 415, 422})
"""The receiver speaks about this event, and not about the way to it."""
_PATIENCE = Patience(connect_s=5.0, stall_s=5.0, sending_s=5.0, answer_s=5.0)
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.proxy")

_log = logging.getLogger(__name__)


class _Told:
    """The receiver has it."""


class _LeftOut:
    """It will never be told."""


class Webhook:
    """Tells one receiver of some spools, from a thread of its own.

    Args:
        url: the receiver's.
        spools: which.
        now_ms: the host clock, milliseconds UTC.

    Raises:
        ConfigurationError: the URL cannot be read, or the environment names a proxy that cannot be used.
    """

    def __init__(
        self,
        url: WebhookUrl,
        spools: Sequence[Watched],
        *,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._url = url.reveal()
        self._host = host_of(self._url)
        self._now_ms = now_ms
        self._without = _Without(secrets_of(self._url))
        self._lines = Lines()
        self._tellers = [_Teller(one, self._url, self._tell) for one in spools]
        self._ending = threading.Event()
        self._posts = Counter(dict.fromkeys(OUTCOMES, 0))
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="framespool-webhook", daemon=True)

    def start(self) -> None:
        """Tell from now on."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self._without)
        self._thread.start()

    def posts(self) -> Mapping[str, int]:
        """How many posts were tried, by outcome."""
        return dict(self._posts)

    def close(self) -> None:
        """Tell what is still to be told, for a moment, and end."""
        self._ending.set()
        self._thread.join(FLUSH_S)
        self._lines.close()
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(self._without)

    def _run(self) -> None:
        while not self._ending.wait(LOOK_S):
            self._look()
        self._look()
        for teller in self._tellers:
            teller.close()

    def _look(self) -> None:
        for teller in self._tellers:
            try:
                teller.look()
            except (SpoolError, OSError) as error:
                teller.say(f"{error}")
            except Exception:  # noqa: BLE001 - whatever it is, the other spools are told of
                _log.exception("what happens in spool %s could not be told; it is tried again", teller.name)

    def _tell(self, spool: Watched, event: StreamerEvent) -> bool:
        """Post it until it is told or left out; ``False`` when the end comes first."""
        body = json.dumps(as_json_object(event, spool)).encode()
        refusals = 0

        def attempt() -> _Told | _LeftOut | TryLater:
            nonlocal refusals
            answer = exchange(
                self._lines,
                "POST",
                self._url,
                patience=_PATIENCE,
                content=body,
                headers={"Content-Type": "application/json"},
            )
            if 200 <= answer.status < 300 and answer.fault is None and not answer.is_html:  # noqa: PLR2004 - HTTP
                self._posts["told"] += 1
                return _Told()
            is_refused = answer.status in _WILL_NOT_DO
            self._posts["refused" if is_refused else "failed"] += 1
            refusals += is_refused
            if refusals >= REFUSALS_MAX:
                _log.error("the webhook at %s does not take %s: %s", self._host, event.kind, self._words(answer))
                return _LeftOut()
            return TryLater(words=self._words(answer), min_wait_s=retry_after_s(answer))

        def is_over() -> bool:
            return self._ending.is_set() or self._now_ms() - event.at_ms > TELL_WITHIN_S * 1000

        outcome = keep_trying(
            attempt, tries_before=0, sleep=self._sleep, stopped=is_over, before_wait=self._say_failing
        )
        if isinstance(outcome, TryLater):
            if self._ending.is_set():
                return False
            _log.error("the webhook at %s could not be told of %s within a day", self._host, event.kind)
        elif isinstance(outcome, _Told) and self._is_failing:
            self._is_failing = False
            _log.info("the webhook at %s takes what it is told again", self._host)
        return True

    def _sleep(self, seconds: float) -> None:
        self._ending.wait(seconds)

    def _say_failing(self, outcome: TryLater, _wait_s: float) -> None:
        if not self._is_failing:
            self._is_failing = True
            _log.warning("the webhook cannot be told: %s. It is tried again; deliveries go on", outcome.words)

    def _words(self, answer: Answer) -> str:
        """What happened, without the path: it may be the secret."""
        if answer.fault is not None:
            return f"no answer from {self._host} ({answer.fault.value})"
        page = " with a page for people" if answer.is_html else ""
        return f"{self._host} answered {answer.status}{page}"


def as_json_object(event: StreamerEvent, spool: Watched) -> dict[str, Any]:
    """What is posted; ``text`` is what chats show."""
    host = socket.gethostname()
    about = [host, str(spool.root), event.kind.value, event.stream_id, event.at_ms, event.facts.get("chunk_idx")]
    return {
        "text": unsigned(f"{host}, {spool.name}: {event.words}"),
        "format": FORMAT,
        "id": hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32],
        "kind": event.kind.value,
        "at": datetime.fromtimestamp(event.at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "at_ms": event.at_ms,
        "host": host,
        "spool": spool.name,
        "stream_id": event.stream_id,
        "facts": {name: unsigned(one) if isinstance(one, str) else one for name, one in event.facts.items()},
    }


@dataclass(slots=True)
class _Memory:
    """How far was told; what the file holds."""

    seq: int | None = None
    away: dict[str, Away] = field(default_factory=dict)
    fill: Fill = Fill.ROOMY

    @classmethod
    def read(cls, path: Path) -> "_Memory":
        try:
            told = json.loads(path.read_text("utf-8"))
            away = {str(url): Away.of(one) for url, one in told["away"].items()}
            return cls(seq=int(told["seq"]), away=away, fill=Fill(told["fill"]))
        except FileNotFoundError:
            return cls()
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("%s cannot be understood (%s); what happens from now on is told", path, error)
            return cls()

    def write(self, path: Path) -> None:
        away = {url: one.to_json() for url, one in self.away.items()}
        text = json.dumps({"seq": self.seq, "away": away, "fill": int(self.fill)})
        new = path.with_name(f".{path.name}.new")
        with suppress(FileNotFoundError):
            new.unlink()
        with open(open_private(new), "w", encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
            file.write(text)
        new.replace(path)


class _Teller:
    """Tells of one spool, if no other process does."""

    def __init__(self, spool: Watched, url: str, tell: Callable[[Watched, StreamerEvent], bool]) -> None:
        self._watched = spool
        self._onlooker = Onlooker(spool.root, spool.limits)
        # A name that nobody can tell the URL from.
        self._lock_name = f"webhook {hashlib.sha256(url.encode()).hexdigest()}"
        self._tell = tell
        self._lock: ProcessLock | None = None
        self._memory = _Memory()
        self._news: News | None = None
        self._room_at_s = 0.0
        self._said = ""

    @property
    def name(self) -> str:
        return self._watched.name

    def say(self, words: str) -> None:
        """Say once why it cannot be told."""
        if words != self._said:
            _log.warning("what happens in spool %s cannot be told: %s. It is tried again", self.name, words)
        self._said = words

    def look(self) -> None:
        """Tell what is new.

        Raises:
            SpoolError, OSError: the spool cannot be looked at, or not be written to.
        """
        with self._onlooker.spool() as spool:
            if not self._has_lock(spool):
                return
            self._tell_news(self._following(spool))
            if time.monotonic() >= self._room_at_s:
                self._room_at_s = time.monotonic() + ROOM_EVERY_S
                self._tell_room(spool)
        self._said = ""

    def close(self) -> None:
        """Let the next one tell."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._onlooker.close()

    def _has_lock(self, spool: Spool) -> bool:
        if self._lock is None:
            lock = spool.worker_lock(self._lock_name)
            if not lock.acquire(patience_s=0):
                return False
            self._lock = lock
            self._memory = _Memory.read(self._path)
            self._news = None
        return True

    @property
    def _path(self) -> Path:
        assert self._lock is not None
        return self._lock.path.with_suffix(".told")

    def _following(self, spool: Spool) -> News:
        if self._news is None or self._news.spool is not spool:
            self._news = News(spool, after_seq=self._memory.seq, away=self._memory.away)
        return self._news

    def _tell_news(self, news: News) -> None:
        for seq, events in news.look():
            for event in events:
                if not self._tell(self._watched, event):
                    return  # the next worker goes on here
            news.after_seq = seq
            if events or self._memory.seq is None:
                self._remember(news)
        # Written with the next event: looking again costs little.
        self._memory.seq, self._memory.away = news.after_seq, news.away

    def _remember(self, news: News) -> None:
        self._memory.seq, self._memory.away = news.after_seq, news.away
        self._memory.write(self._path)

    def _tell_room(self, spool: Spool) -> None:
        forecast, before = spool.forecast(), self._memory.fill
        fill = moved(before, forecast)
        if fill is before:
            return
        if (news := room_news(before, fill, forecast)) is not None:
            kind, words, facts = news
            at_ms = time.time_ns() // 1_000_000
            event = StreamerEvent(kind=EventKind(kind), words=words, stream_id=None, at_ms=at_ms, facts=facts)
            if not self._tell(self._watched, event):
                return
        self._memory.fill = fill
        self._memory.write(self._path)


class _Without(logging.Filter):
    """Keeps the secret out of the logs: httpx names every URL whole."""

    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """See `logging.Filter`."""
        said = record.getMessage()
        if any(secret in said for secret in self._secrets):
            for secret in self._secrets:
                said = said.replace(secret, "/***")
            record.msg, record.args = said, ()
        return True
