"""What a crowd has been promised, kept outside the spool, and whether the spool still keeps it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spool import ChunkState, Spool, shards
from spool.testing import check_invariants, some_frames
from tools.kills.dying import Ending
from tools.kills.steps import open_quietly
from tools.powerloss.promises import name_of
from tools.powerloss.steps import COPY


def frames_of(stream: str, idx: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """What is pushed as a chunk: always the same."""
    return some_frames(1 + idx % 4 if idx % 5 == 0 else 4, seed=1000 * ord(stream) + idx)


def etag_of(name: str) -> str:
    """What the far end answers for a chunk."""
    return f"etag-{name}"


@dataclass(slots=True)
class Owed:
    """What the spool has promised so far, and what it may have done besides.

    Attributes:
        streams: those whose opening had returned.
        pushed, acknowledged, discarded: ``stream.idx`` of what had returned.
        meant: ``verb stream.idx`` of what had begun.
        sent: the digest of the bytes under which a chunk was first sent.
        wrong: what should never have been sent as it was.
    """

    streams: set[str] = field(default_factory=set)
    pushed: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    discarded: set[str] = field(default_factory=set)
    meant: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def hear(self, ending: Ending) -> None:
        """Take up what a process said before it ended."""
        for word in ending.said:
            verb, _, what = word.partition(" ")
            match verb:
                case "sent":
                    self._hear_sent(*what.split())
                case "stream" | "pushed" | "acknowledged" | "discarded":
                    getattr(self, "streams" if verb == "stream" else verb).add(what)
                case _:
                    self.meant.add(word)

    def _hear_sent(self, name: str, digest: str) -> None:
        if self.sent.setdefault(name, digest) != digest:
            self.wrong.append(f"chunk {name} was sent again with other bytes")
        if name in self.acknowledged:
            self.wrong.append(f"chunk {name} was sent again after its receipt was recorded")


def judged(root: Path, owed: Owed) -> str:
    """What of it is broken; nothing, if all is well."""
    try:
        with open_quietly(root) as spool:
            check_invariants(spool)
            return "; ".join(_broken(spool, owed))
    except Exception as error:  # noqa: BLE001 - whatever keeps a person from the spool is a loss
        return f"{type(error).__name__}: {error}"


def _broken(spool: Spool, owed: Owed) -> Iterator[str]:
    yield from owed.wrong
    streams = {name_of(stream): stream for stream in spool.streams()}
    yield from (f"stream {name} is gone" for name in owed.streams - streams.keys())
    chunks = {
        f"{name}.{chunk.chunk_idx}": chunk
        for name, stream in streams.items()
        for chunk in spool.chunks(stream.stream_id)
    }
    pushed = {
        f"{name}.{idx}"
        for stream, _, idx in (what.partition(".") for what in owed.pushed)
        for name in {stream, stream + COPY} & streams.keys()
    }
    yield from (f"chunk {name} was accepted and is gone" for name in pushed - chunks.keys())
    for name, chunk in chunks.items():
        stream, _, idx = name.replace(COPY, "").partition(".")
        if f"push {stream}.{idx}" not in owed.meant:
            yield f"chunk {name} was never pushed"
        if chunk.state is ChunkState.ACKNOWLEDGED and f"acknowledge {name}" not in owed.meant:
            yield f"chunk {name} is acknowledged, and was never delivered"
        if chunk.state is ChunkState.DISCARDED and f"discard {name}" not in owed.meant:
            yield f"chunk {name} is discarded, and nobody wanted that"
        if name in owed.acknowledged and (chunk.receipt is None or chunk.receipt.etag != etag_of(name)):
            yield f"the receipt of chunk {name} is gone"
        if name in owed.discarded and chunk.state is not ChunkState.DISCARDED:
            yield f"chunk {name} was discarded and is {chunk.state}"
        if chunk.disk_bytes:
            leased = spool.lease(chunk.stream_id, "judge", ttl_s=60, take_over=True)
            assert leased is not None
            sent = shards.decode(leased.read(chunk), n=chunk.n, height=chunk.height, width=chunk.width)
            if not np.array_equal(sent, frames_of(stream, int(idx))):
                yield f"chunk {name} has other frames"
