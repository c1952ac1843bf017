"""Operations on a volume, and the bytes of one file between what was written and what is durable."""

import random
from dataclasses import dataclass, field
from typing import Literal

SECTOR_BYTES = 512
ROOT = 1
_STALE = bytes(range(7, 256, 3))

Kind = Literal[
    "create", "mkdir", "remove", "rename", "write", "truncate", "fsync", "fsync_dir", "fsync_failed", "note"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One operation on the volume. Files and directories are known by number, so that a name may change.

    Attributes:
        ino: the file or directory that it is about.
        parent: the directory of ``name``.
        to_parent: where a rename leads, with ``to_name``.
        offset: of a write; the new size of a truncate.
        data: of a write; what a note says.
    """

    kind: Kind
    ino: int = 0
    parent: int = 0
    name: str = ""
    to_parent: int = 0
    to_name: str = ""
    offset: int = 0
    data: bytes = b""


@dataclass(slots=True)
class File:
    """The bytes that programs see, those that are durable, and the operations between the two.

    Attributes:
        live: what programs read.
        durable: what was fsynced, before the first operation of ``pending``.
        pending: what has happened since, in order.
        doubtful: so many operations of ``pending`` had their fsync fail: no later one makes them durable.
        settled: where in ``pending`` an operation is durable although a doubtful one before it is not.
    """

    live: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[Op] = field(default_factory=list)
    doubtful: int = 0
    settled: set[int] = field(default_factory=set)

    def sync(self) -> None:
        """Make durable what can be."""
        if self.doubtful:
            self.settled.update(range(self.doubtful, len(self.pending)))
        elif self.pending:
            self.durable, self.pending = bytes(self.live), []

    def doubt(self) -> None:
        """The fsync failed."""
        waiting = [at for at in range(len(self.pending)) if at not in self.settled]
        if waiting:
            # What is durable stays so; its place in the order is kept by the operations before it.
            self.doubtful = max(self.doubtful, waiting[-1] + 1)


def synced(file: File) -> bytes:
    """Nothing of a file survives but what was fsynced."""
    if not file.settled:
        return file.durable
    content = bytearray(file.durable)
    for position in sorted(file.settled):
        carry_out(content, file.pending[position])
    return bytes(content)


def written(file: File) -> bytes:
    """Everything that was written survives."""
    return bytes(file.live)


def sized(file: File) -> bytes:
    """Sizes survive and bytes do not: the new part of a file reads as zeros."""
    content = bytearray(file.durable)
    for position, op in enumerate(file.pending):
        if position in file.settled:
            carry_out(content, op)
        else:
            _resize(content, op)
    return bytes(content)


TORN = ("any", "any", "in order", "all but one", "one")
"""How: which sectors survive. The likelier, the more often."""


def torn(file: File, chance: random.Random, pattern: str = "") -> bytes:
    """Some of the sizes, in their order, and some of the sectors survive.

    Args:
        file: which.
        chance: what decides.
        pattern: one of `TORN`; any of them by default.
    """
    sizes = chance.randint(0, len(file.pending))
    filler = chance.choice((b"\0", _STALE))
    every = [(at, number) for at, op in enumerate(file.pending) for number in range(len(_sectors(op)))]
    pattern = pattern or chance.choice(TORN)
    if pattern == "any":
        kept = chance.choice((0.1, 0.5, 0.9))
        chosen = {one for one in every if chance.random() < kept}
    elif pattern == "in order":
        chosen = set(every[: chance.randint(0, len(every))])
    else:
        # One sector makes the difference: the likeliest to slip through a checksum.
        one = {chance.choice(every)} if every else set()
        chosen = set(every) - one if pattern == "all but one" else one
        sizes = len(file.pending)
    content = bytearray(file.durable)
    for position, op in enumerate(file.pending):
        if position in file.settled:
            carry_out(content, op)
            continue
        if position < sizes:
            _resize(content, op, filler)
        for number, (start, end) in enumerate(_sectors(op)):
            if end <= len(content) and (position, number) in chosen:
                content[start:end] = op.data[start - op.offset : end - op.offset]
    return bytes(content)


def _sectors(op: Op) -> list[tuple[int, int]]:
    if op.kind != "write":
        return []
    end = op.offset + len(op.data)
    first = op.offset - op.offset % SECTOR_BYTES
    return [(max(op.offset, at), min(end, at + SECTOR_BYTES)) for at in range(first, end, SECTOR_BYTES)]


def _resize(content: bytearray, op: Op, filler: bytes = b"\0") -> None:
    if op.kind == "truncate" and op.offset < len(content):
        del content[op.offset :]
    lacking = (op.offset if op.kind == "truncate" else op.offset + len(op.data)) - len(content)
    if lacking > 0:
        content += (filler * (lacking // len(filler) + 1))[:lacking]


def carry_out(content: bytearray, op: Op) -> None:
    """Write or truncate."""
    _resize(content, op)
    if op.kind == "write":
        content[op.offset : op.offset + len(op.data)] = op.data
