"""What a spool owes after a cut, as told by the notes of the program that was using it."""

import json
from dataclasses import dataclass

from tools.powerloss.promises import Promised, after, digest, outcomes
from tools.powerloss.steps import DELIVERIES, Step, step_of
from tools.powerloss.volume import Op


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What must hold on whatever a cut has left.

    Attributes:
        states: those that may be found: without, and with each part of what was under way.
        head: the last ledger row that is known to have been durable: its number and its digest in hex.
        has_reserve: the spare bytes must be there, whole.
    """

    states: list[Promised]
    head: tuple[int, str] = (0, "")
    has_reserve: bool = False

    def key(self) -> str:
        """Equal for equal obligations."""
        return "".join((*map(digest, self.states), *map(str, self.head), str(self.has_reserve)))


class Account:
    """Reads the notes of a recording one by one, and says what is owed by then.

    A step that has begun may be found taken or not, or in part. One that has returned is owed. One that has raised
    because the disk refused may be found taken or not for good: the disk may have kept what it refused.

    Args:
        before: what was owed when the recording began; nothing at all for a new spool.
    """

    def __init__(self, before: Owed | None = None) -> None:
        self._owed = before or Owed(states=[{}])
        self._bases = self._owed.states
        self._head = self._owed.head
        self._has_reserve = self._owed.has_reserve
        self._is_faulty = False
        self._open: list[str] = []
        self._maybe: list[str] = []

    @property
    def owed(self) -> Owed:
        """By now."""
        return self._owed

    def take(self, op: Op) -> None:
        """Read one more operation; only notes say anything."""
        if op.kind != "note":
            return
        note = json.loads(op.data)
        self._head = tuple(note.get("head") or self._head)
        if "begun" in note:
            self._open.append(note["begun"])
        elif "returned" in note:
            self._return(note["returned"])
        elif "raised" in note:
            self._open.remove(note["raised"])
            if step_of(note["raised"]).do in DELIVERIES:
                # The next worker goes on from wherever this one died.
                self._bases = each_of(self._bases, [step_of(note["raised"])])
            elif not note["refused"]:
                self._maybe.append(note["raised"])
        elif "fault" in note:
            self._is_faulty, self._has_reserve = bool(note["fault"]), False
        else:
            # A reopened spool has been looked at: from then on it must stay what it was.
            seen = [state for state in self._states() if digest(state) == note["seen"]]
            self._bases = seen or self._bases
        self._owed = Owed(states=self._states(), head=self._head, has_reserve=self._has_reserve)

    def _return(self, word: str) -> None:
        step = step_of(word)
        is_new = step.do == "push" and any(step.idx not in base[step.stream]["chunks"] for base in self._bases)
        if is_new and not self._is_faulty:
            self._has_reserve = True
        self._open.remove(word)
        if step.idx >= 0:
            self._maybe = [other for other in self._maybe if not _same(step_of(other), step)]
        self._bases = [after(base, step) for base in self._bases]

    def _states(self) -> list[Promised]:
        return each_of(self._bases, [step_of(word) for word in (*self._maybe, *self._open)])


def each_of(bases: list[Promised], steps: list[Step]) -> list[Promised]:
    """What any of these steps, in their order, may have made of any of these states."""
    found = {digest(base): base for base in bases}
    for step in steps:
        for state in list(found.values()):
            found |= {digest(one): one for one in outcomes(state, step) if digest(one) not in found}
    return list(found.values())


def _same(one: Step, other: Step) -> bool:
    return (one.stream, one.idx) == (other.stream, other.idx)


def owed_after(ops: list[Op], before: Owed | None = None) -> Owed:
    """What is owed after these operations."""
    account = Account(before)
    for op in ops:
        account.take(op)
    return account.owed
