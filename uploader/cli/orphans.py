"""Whether the producers of open streams are still there, and what a person can do where one is gone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from spool import Spool, Stream, StreamState
from uploader.cli import words
from uploader.cli.common import command_line
from uploader.cli.troubles import Concern

OPEN_STAYS = "Nothing is lost. An orphan stays open until it is resumed or finalized."


@dataclass(frozen=True, slots=True, kw_only=True)
class Producer:
    """The producer of an open stream.

    Attributes:
        is_live: its process is there.
        seen_at_ms: when it was last heard of; ``None`` while it lives.
    """

    is_live: bool
    seen_at_ms: int | None


def producers(spool: Spool, streams: Iterable[Stream]) -> dict[str, Producer]:
    """By stream_id, of the streams that are open."""
    found = {}
    for stream in streams:
        if stream.state is StreamState.OPEN and stream.settings.copy_of is None:  # a copy is recorded with it
            is_live = spool.has_live_producer(stream.stream_id)
            seen = None if is_live else spool.last_sign_of_life_ms(stream.stream_id)
            found[stream.stream_id] = Producer(is_live=is_live, seen_at_ms=seen)
    return found


def word(producer: Producer | None) -> str | None:
    """For machines: ``live`` or ``gone``; ``None`` where no producer is expected."""
    if producer is None:
        return None
    return "live" if producer.is_live else "gone"


def orphan_concerns(stream: Stream, producer: Producer | None, root: Path) -> list[Concern]:
    """What to say of a stream whose producer is gone; nothing of one that a person must release first.

    It is no bad news: what was recorded is delivered, and an open stream loses nothing by waiting.
    """
    if producer is None or producer.seen_at_ms is None or stream.held is not None:
        return []
    return [
        Concern(
            words=f"its producer is gone since {words.moment(producer.seen_at_ms)} UTC; the stream stays open",
            advice="Go on recording with streamer.resume() or 'framespool stream SOURCE --resume', or end it:",
            command=command_line(root, "finalize", stream.stream_id),
            needs_person=False,
        )
    ]
