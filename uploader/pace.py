"""How often to look at something that another process changes: often while it changes, seldom while it rests."""

REST_S = 1.0
"""A process that only waits wakes up once a second."""
_LONGER = 1.25


class Pace:
    """The waits between looks: each a quarter longer than the one before, and short again after a change.

    So a change is noticed late by no more than a quarter of the time since the one before it.

    Args:
        least_s: the wait after a change.
    """

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._wait_s = least_s
        self._seen = object()  # equal to nothing that is ever seen

    def wait_s(self, seen: object) -> float:
        """How long to wait after a look that has shown this."""
        if seen != self._seen:
            self._seen, self._wait_s = seen, self._least_s
        else:
            self._wait_s = min(self._wait_s * _LONGER, REST_S)
        return self._wait_s
