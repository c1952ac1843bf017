"""Attempts and outages, put together again from the ledger's rows."""

from dataclasses import dataclass

from spool.model import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try at one chunk.

    Attributes:
        started_at_ms: ``None`` when the destination refused the chunk before anything was sent.
        ended_at_ms: ``None`` while under way, and when no answer was ever recorded.
        result: ``acknowledged``, ``failed``, ``parked``, ``unanswered`` (its worker ended before an answer was
            recorded; another attempt followed) or ``started`` (nothing is recorded after it).
        words: what was said about it; ``None`` for nothing.
        mismatch: the destination answered with the ETag or checksum of other bytes.
    """

    started_at_ms: int | None
    ended_at_ms: int | None
    result: str
    words: str | None = None
    mismatch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A time in which the stream could not be delivered; ``ended_at_ms`` is ``None`` while it lasts."""

    began_at_ms: int
    ended_at_ms: int | None
    words: str
    tries: int | None


class History:
    """Attempts and outages, put together again from the ledger's events."""

    def __init__(self) -> None:
        self.attempts: dict[int, list[Attempt]] = {}
        self.outages: list[Outage] = []

    def add(self, event: Event) -> None:
        """Take in the next event of the stream."""
        if event.chunk_idx is not None:
            self._add_attempt(self.attempts.setdefault(event.chunk_idx, []), event)
        elif event.event == "trouble_began" and not self._has_open_outage():
            words = str(event.detail.get("words", ""))
            self.outages.append(Outage(began_at_ms=event.at_ms, ended_at_ms=None, words=words, tries=None))
        elif event.event in ("trouble_ended", "finalized") and self._has_open_outage():
            began = self.outages.pop()
            tries = event.detail.get("tries")
            self.outages.append(
                Outage(
                    began_at_ms=began.began_at_ms,
                    ended_at_ms=event.at_ms,
                    words=began.words,
                    tries=tries if isinstance(tries, int) else None,
                )
            )

    def _has_open_outage(self) -> bool:
        return bool(self.outages) and self.outages[-1].ended_at_ms is None

    @staticmethod
    def _add_attempt(attempts: list[Attempt], event: Event) -> None:
        running = attempts.pop() if attempts and attempts[-1].result == "started" else None
        started_at_ms = running.started_at_ms if running else None
        match event.event:
            case "attempt_started":
                if running is not None:
                    attempts.append(Attempt(started_at_ms=started_at_ms, ended_at_ms=None, result="unanswered"))
                attempts.append(Attempt(started_at_ms=event.at_ms, ended_at_ms=None, result="started"))
            case "attempt_failed" | "acknowledged" | "parked":
                attempts.append(
                    Attempt(
                        started_at_ms=started_at_ms,
                        ended_at_ms=event.at_ms,
                        result=event.event.removeprefix("attempt_"),
                        words=_words(event),
                        mismatch=event.detail.get("mismatch") is True,
                    )
                )
            case _:
                if running is not None:
                    attempts.append(running)


def _words(event: Event) -> str | None:
    if event.event == "acknowledged":
        return f"answered {event.detail['status']}" if "status" in event.detail else None
    words = event.detail.get("words", event.detail.get("why"))
    return None if words is None else str(words)
