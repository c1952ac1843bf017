"""A spool that is only looked at, by somebody who must not hold up whoever works on it.

It has an opening of its own: what is read here waits for no thread of the worker, and none waits for it. Where
there is no spool yet, or none any more, each look says so and the next one tries again.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spool import Limits, Spool, SpoolError


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A spool that is to be shown, or told of.

    Attributes:
        name: its label; no two have the same.
        destinations: those that this worker delivers to.
    """

    name: str
    root: Path
    limits: Limits | None
    destinations: tuple[str, ...]


class Onlooker:
    """Looks at one spool; used by one thread at a time.

    Args:
        root: its folder; never made.
        limits: what its room is reckoned with; ``None`` for what its producer has noted.
    """

    def __init__(self, root: Path, limits: Limits | None = None) -> None:
        self.root = root
        self._limits = limits
        self._spool: Spool | None = None

    @contextmanager
    def spool(self) -> Iterator[Spool]:
        """The spool, opened if it is not.

        Raises:
            SpoolError, OSError: it cannot be looked at now.
        """
        if self._spool is None:
            self._spool = Spool(self.root, limits=self._limits, create=False)
        try:
            yield self._spool
        except (SpoolError, OSError):
            self.close()
            raise

    def close(self) -> None:
        """Let it go; the next look opens it again."""
        opened, self._spool = self._spool, None
        if opened is not None:
            opened.close()
