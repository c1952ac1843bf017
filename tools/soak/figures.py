"""What a soak has seen, as numbers."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class Figures:
    """Counted while it runs and when it is judged.

    Attributes:
        pushes: calls of ``push()`` that were begun; ``obligations``: those that returned.
        pushed_again: by a later life, because their producer was killed before ``push()`` returned.
        in_doubt: those that no later life has pushed again: they may be there or not.
        repeated: bodies that the server received more than once.
        healed: bodies that arrived spoiled and were replaced before the next chunk.
        recovery_s: the longest time from the end of a fault to the next acknowledged chunk, by fault.
        violations: in words; empty when every promise was kept.
    """

    seed: int
    seconds: float = 0.0
    streams: int = 0
    pushes: int = 0
    obligations: int = 0
    pushed_again: int = 0
    in_doubt: int = 0
    delivered: int = 0
    repeated: int = 0
    healed: int = 0
    push_ms_p50: float = 0.0
    push_ms_max: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    struck: dict[str, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    recovery_s: dict[str, float] = field(default_factory=dict)
    lost: int = 0
    wrong: int = 0
    extra: int = 0
    out_of_order: int = 0
    audit_differs: int = 0
    hangs: int = 0
    drain_s: float = 0.0
    violations: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing was violated."""
        return not self.violations

    def violate(self, kind: str, words: str) -> None:
        """Count one violation of a kind that is a field, and keep its words."""
        setattr(self, kind, getattr(self, kind) + 1)
        self.violations.append(f"{kind}: {words}")

    def recovered(self, fault: str, seconds: float) -> None:
        """Keep the slowest recovery of each fault."""
        self.recovery_s[fault] = max(round(seconds, 1), self.recovery_s.get(fault, 0.0))

    def to_json(self) -> dict[str, Any]:
        """Everything, for a machine."""
        # Not by asdict(), which makes nonsense of a Counter.
        return {**{name: getattr(self, name) for name in self.__slots__}, "good": self.is_good}

    def table(self) -> str:
        """Everything, for people."""
        lines = []
        for name in self.__slots__:
            value = getattr(self, name)
            if name == "violations":
                continue
            if isinstance(value, dict):
                lines.append(f"{name}:")
                lines += [f"    {key:24} {value[key]:>8}" for key in sorted(value)]
            else:
                lines.append(f"{name:28} {value:>8}")
        lines += [f"VIOLATED {words}" for words in self.violations[:50]]
        lines.append("every promise was kept" if self.is_good else f"{len(self.violations)} violations")
        return "\n".join(lines)
