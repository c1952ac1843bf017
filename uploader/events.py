"""What is worth telling a person or a program at once: frozen values, handed to one function.

``RHEEDStreamer(on_event=...)`` calls it from the thread that noticed: the one that is inside ``push``, ``run`` or
``finalize``. It should return soon, for the camera's thread waits for it; what it raises is logged and goes no
further. A worker posts the same to a URL: see `uploader.webhook`.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

_log = logging.getLogger(__name__)


class EventKind(StrEnum):
    """What happened. There will be more kinds: a program should let those pass that it does not know."""

    SPOOL_FILLING = "spool_filling"
    """The room for frames is running out: told once at each threshold; see `uploader.room`."""
    SPOOL_FULL = "spool_full"
    """A chunk was refused for want of room; the frames are still the caller's, and ``run`` waits with them."""
    ROOM_AGAIN = "room_again"
    """After either of these there is room again."""
    OUTAGE_BEGAN = "outage_began"
    """Nothing gets through to a destination: told once, whichever and how many streams wait."""
    OUTAGE_ENDED = "outage_ended"
    """Everything that waited for that gets through again, or waits for something else."""
    KEY_REFUSED = "key_refused"
    """In such an outage: the destination does not accept the key, and a person has to act."""
    CHUNK_PARKED = "chunk_parked"
    """A chunk was refused by the destination or is damaged here: kept, waiting for a person."""
    STREAM_HELD = "stream_held"
    """Nothing more of a stream is sent until a person decides."""
    STREAM_FINALIZED = "stream_finalized"
    """The destination has everything of a stream, and has accepted its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamerEvent:
    """Something that happened.

    Attributes:
        kind: what.
        words: the same for people, as one sentence without its stop.
        stream_id: the stream that it was noticed with; ``None`` when it concerns none.
        at_ms: when, milliseconds UTC by the host clock.
        facts: the numbers in ``words``; their names end in their units.
    """

    kind: EventKind
    words: str
    stream_id: str | None
    at_ms: int
    facts: Mapping[str, float | str | None]


OnEvent = Callable[[StreamerEvent], None]


def tell(on_event: OnEvent | None, event: StreamerEvent) -> None:
    """Hand an event over; whatever the function raises is logged here."""
    if on_event is None:
        return
    try:
        on_event(event)
    except Exception:  # noqa: BLE001 - somebody else's program, and recording must go on
        _log.exception("on_event raised when it was told of %s; recording goes on", event.kind)
