"""The rule for orphans: a worker ends the streams whose producer has been gone for too long, if it was told to.

Off by default: an open stream costs nothing, and only a person knows whether its producer will come back. A stream
whose producer lives is never ended, however long it is silent (`spool.Spool.seal_orphan`); one that is held waits
for a person in any case.
"""

import logging
import time

from spool import Spool, SpoolError, Stream, StreamState

LOOK_EVERY_S = 30.0

_log = logging.getLogger(__name__)


class OrphanRule:
    """Seals the orphans of one destination.

    Args:
        spool: the worker's opening of the spool.
        destination: the base URL whose streams are looked after.
        after_s: how long a producer must have been silent; ``None`` ends no stream ever.
        who: for the ledger.
    """

    def __init__(self, spool: Spool, destination: str, *, after_s: float | None, who: str) -> None:
        if after_s is not None and not after_s > 0:
            raise ValueError(f"orphans are ended after {after_s!r} s, which is not more than zero")
        self._spool = spool
        self._destination = destination
        self._after_s = after_s
        self._who = f"{who}, told to finalize orphans after {after_s:g} s" if after_s is not None else who
        self._next_look_s = 0.0

    def look(self) -> None:
        """Seal what is due; cheap to ask often."""
        now = time.monotonic()
        if self._after_s is None or now < self._next_look_s:
            return
        self._next_look_s = now + min(LOOK_EVERY_S, self._after_s)
        for stream in self._spool.streams(unfinished_only=True):
            if self._may_end(stream):
                self._end(stream, self._after_s)

    def _may_end(self, stream: Stream) -> bool:
        is_mine = stream.settings.destination == self._destination
        return is_mine and stream.state is StreamState.OPEN and stream.held is None

    def _end(self, stream: Stream, after_s: float) -> None:
        try:
            if self._spool.seal_orphan(stream.stream_id, silent_for_s=after_s, who=self._who):
                _log.warning("%s is sealed: its producer was gone and silent for %g s", stream.stream_id, after_s)
        except SpoolError as error:
            # Delivering goes on, and the next look tries again.
            _log.error("%s could not be sealed: %s. %s", stream.stream_id, error, error.hint)
