"""What `spool.verify` names: something that does not fit, and what can be done about it."""

from dataclasses import dataclass
from typing import Any

INDEX = "index"
LEDGER = "ledger"
LEDGER_FILE = "ledger_file"
DISAGREES = "disagrees"
MISSING = "missing"
DAMAGED = "damaged"
UNKNOWN = "unknown"
DERIVED = "derived"

_REPAIRS = {
    INDEX: "the index is set aside, and told again by ledger.jsonl and the shards; without the former receipts and"
    " attempts are forgotten, and what is here is delivered again",
    LEDGER: "where ledger.jsonl holds and tells no less, the index is set aside and told again by it; else not:"
    " the ledger is evidence",
    LEDGER_FILE: "ledger.jsonl is set aside and written again from the index",
    DISAGREES: "the index is set aside, and told again by its ledger",
    MISSING: "a chunk that waits is parked; of one that was acknowledged it is noted that its bytes are gone",
    DAMAGED: "a chunk that waits is parked, never sent and never deleted, unless its frames are whole and only"
    " what is said of them is damaged; an acknowledged one stays as it is",
    UNKNOWN: "a whole shard is taken up, a broken one set aside; other files stay",
    DERIVED: "it is written again",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Something that does not fit.

    Attributes:
        kind: one of this module's constants, fixed for scripts.
        where: a path within the spool folder.
        says: what is wrong, in words.
        stream_id, chunk_idx: whose, where it is somebody's.
    """

    kind: str
    where: str
    says: str
    stream_id: str | None = None
    chunk_idx: int | None = None

    @property
    def repair(self) -> str:
        """What ``--repair`` does about it."""
        return _REPAIRS[self.kind]

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "kind": self.kind,
            "where": self.where,
            "says": self.says,
            "stream_id": self.stream_id,
            "chunk_idx": self.chunk_idx,
            "repair": self.repair,
        }

    def __str__(self) -> str:
        return f"{self.where}: {self.says}"
