"""The parts of a stream at its destination: opening them, never two for one, and linking them.

A part is asked for in two steps, each on record before the next: that it is about to be asked for, and its
data_id. Between the two a crash, or an answer that was lost, leaves a question: does the destination have it?
It is answered by name, where a name can answer it: the destination had no stream of that name before
(`spool.Part.is_name_free`), so the one that it has now is ours. Where another lab PC uses the same name nothing
is taken for ours: an empty part too many is untidy, chunks of two acquisitions in one would be a loss.
"""

import logging
import time
from collections.abc import Callable

from spool import LeasedStream, Part, Stream
from uploader.destinations.base import Destination, Linked, Namesake, Opened, Refused, TryLater
from uploader.json_log import about

SETTLES_S = 25.0
"""A destination that was asked by somebody else, who is gone, has answered after so long, or never will."""
FOUND_WITHIN_S = 600.0
"""Later than this after it was asked for, a part of the name may be anybody's, and is not taken for ours."""
LINK_AGAIN_S = 300.0
LINK_SOON_S = 15.0
NOT_YET = "it is not linked yet"
_NAMESAKE_TRIES = 3

_log = logging.getLogger(__name__)


class Parts:
    """Opens and links the parts of one leased stream; used by one thread at a time.

    Args:
        lease: the stream.
        destination: where it goes.
        proof: makes the stream's proof, for a destination that keeps one.
    """

    def __init__(self, lease: LeasedStream, destination: Destination, proof: Callable[[], bytes]) -> None:
        self._lease = lease
        self._destination = destination
        self._proof = proof
        self._began_s = time.monotonic()
        self._asked_here = False
        self._opened: str | None = None
        self._namesake_tries = 0
        self._next_link_s = 0.0

    def open(self, stream: Stream) -> Opened | TryLater | Refused:
        """Try once to get a part that takes chunks."""
        if self._opened is not None:
            # It was opened before, and the disk did not take its data_id.
            return self._record(stream, self._opened)
        part = stream.asked_part
        is_question = not self._asked_here and not self._destination.capabilities.opens_once
        if part is not None and is_question and (left := self._settles_in_s(part)) > 0:
            return TryLater(words="the server may still be opening the stream asked for before", min_wait_s=left)
        if part is None and stream.parts:
            # Always closed, also after trouble; the answer changes nothing.
            self._destination.finish(stream, self._proof)
        name = part.name if part is not None else part_name(stream)
        found = self._namesakes(name)
        if isinstance(found, TryLater):
            return found
        if part is not None and (ours := _ours(part, found)) is not None:
            _log.warning("%s: the server has it already, as %s", self._lease.stream_id, ours)
            return self._record(stream, ours)
        self._lease.part_asked(name, is_name_free=found == [])
        self._asked_here = True
        outcome = self._destination.open(stream, name)
        if isinstance(outcome, Opened):
            return self._record(stream, outcome.data_id)
        if isinstance(outcome, Refused) or not outcome.may_be_done:
            # It was not opened: what the server has under this name from now on is another's.
            self._lease.part_asked(name, is_name_free=False)
        return outcome

    def link(self, stream: Stream, *, now: bool = False) -> Linked | TryLater | Refused | None:
        """Try once to link the latest part, if that is owed and it is time (or must be now); else ``None``."""
        if stream.unlinked is None or (not now and time.monotonic() < self._next_link_s):
            return None
        outcome = self._destination.link(stream)
        match outcome:
            case Linked(facts=facts):
                self._lease.linked(dict(facts))
            case Refused(words=words):
                self._next_link_s = time.monotonic() + LINK_AGAIN_S
                if words != stream.unlinked:
                    self._lease.link_failed(words)
                    _log.error("%s: it is not linked: %s. Frames go on.", stream.stream_id, words)
            case TryLater(words=words):
                self._next_link_s = time.monotonic() + LINK_SOON_S
                _log.warning("%s: it is not linked yet: %s", stream.stream_id, words)
        return outcome

    def _settles_in_s(self, part: Part) -> float:
        # By the host clock, which may have been set since: never longer than if it was asked for just now.
        asked_for_s = time.time() - part.asked_at_ms / 1000
        waited_s = time.monotonic() - self._began_s
        return SETTLES_S - max(asked_for_s if asked_for_s > 0 else 0.0, waited_s)

    def _namesakes(self, name: str) -> list[Namesake] | TryLater | None:
        """What the destination has under a name and this spool does not know; ``None`` where it cannot be told."""
        if not self._destination.capabilities.can_list:
            return None
        found = self._destination.namesakes(name)
        if isinstance(found, TryLater):
            self._namesake_tries += 1
            # Only asking for the part itself shows whether the destination is there.
            return found if found.outage and self._namesake_tries < _NAMESAKE_TRIES else None
        self._namesake_tries = 0
        if isinstance(found, Refused):
            return None
        return [one for one in found if not self._lease.knows(one.data_id)]

    def _record(self, stream: Stream, data_id: str) -> Opened:
        self._opened = data_id
        settings = stream.settings
        is_to_be_linked = settings.physical_sample is not None or bool(settings.tags)
        self._lease.part_opened(data_id, unlinked=NOT_YET if is_to_be_linked else None)
        self._next_link_s = 0.0
        self._asked_here, self._opened = False, None
        facts = about("part_opened", stream_id=self._lease.stream_id, data_id=data_id)
        _log.info("%s: open at the server as %s", self._lease.stream_id, data_id, extra=facts)
        return Opened(data_id=data_id)


def _ours(part: Part, found: list[Namesake] | None) -> str | None:
    """The data_id of a part that was asked for, if what the destination has under its name must be that."""
    is_recent = time.time() - part.asked_at_ms / 1000 < FOUND_WITHIN_S
    if not part.is_name_free or not is_recent or found is None or len(found) != 1 or found[0].is_linked:
        return None
    return found[0].data_id


def part_name(stream: Stream) -> str:
    """What the destination is to call the stream's next part."""
    number = len(stream.parts) + 1
    return stream.settings.name if number == 1 else f"{stream.settings.name} (continued {number})"
