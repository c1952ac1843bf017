"""What fails, how, and for how long."""

import errno
import json
from dataclasses import asdict, dataclass

CHANGES = frozenset(
    {"create", "write", "truncate", "mkdir", "rmdir", "unlink", "rename", "fsync", "fsync_dir", "chmod", "utimens"}
)
"""What a read-only file system refuses. An fsync of it does not fail, in fact: it has nothing to write."""

GROWTH = frozenset({"create", "write", "truncate", "mkdir", "rename"})
"""What may need room."""

FOREVER = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Operations that fail.

    Attributes:
        how: the name of an errno; ``flip``: a read answers with one bit wrong; ``hang``: it takes two seconds.
        at: from this operation on (counting from 1 those of every kind).
        times: so many fail.
        kinds: only of these; empty for any.
        name: only where this is in the path.
    """

    how: str
    at: int = 1
    times: int = 1
    kinds: frozenset[str] = frozenset()
    name: str = ""

    def concerns(self, kind: str, path: str) -> bool:
        """Whether such an operation fails, if it is its turn."""
        return (not self.kinds or kind in self.kinds) and self.name in path

    @property
    def errno(self) -> int:
        """The number, for the ways that have one."""
        return int(getattr(errno, self.how))

    def to_json(self) -> str:
        """For the file system's process."""
        return json.dumps({**asdict(self), "kinds": sorted(self.kinds)})

    @classmethod
    def from_json(cls, text: bytes) -> "Fault":
        """From `to_json`."""
        said = json.loads(text)
        return cls(**{**said, "kinds": frozenset(said["kinds"])})
