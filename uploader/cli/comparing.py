"""What arrived, held against an audit: for ``audit`` beside the spool, for ``check`` without one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import click

from spool import ChunkState, ShardDamaged, StreamAudit, check_received
from uploader.cli import screen, words
from uploader.received import Received, received

_SHOWN_MAX = 20

received_option = click.option(
    "--received",
    "where",
    metavar="DIR|ZARR|URL",
    help="Compare the bytes that arrived: a folder or URL with the chunks as c/0/0/0 or c.0.0.0.",
)


@dataclass(frozen=True, slots=True)
class Compared:
    """A chunk as it arrived: ``=`` the same, ``*`` other bytes, ``-`` missing, ``+`` unknown here."""

    symbol: str
    chunk_idx: int
    says: str = ""

    @property
    def is_same(self) -> bool:
        """Whether exactly what was recorded arrived."""
        return self.symbol == "="


def compare(audit: StreamAudit, where: str, *, quiet: bool) -> list[Compared]:
    """Read back every chunk that an audit knows, and whatever else is there.

    Raises:
        ConfigurationError: nothing that can be compared is there.
        ServerUnreachable: the URL could not be read.
    """
    with received(where) as there, screen.progress("comparing", quiet=quiet) as progress:
        return list(_compare(audit, there, progress))


def compared_lines(compared: list[Compared]) -> Iterator[str]:
    """What differs, and the verdict."""
    wrong = [one for one in compared if not one.is_same]
    yield from (f"{one.symbol} chunk {one.chunk_idx}: {words.printable(one.says)}" for one in wrong[:_SHOWN_MAX])
    if len(wrong) > _SHOWN_MAX:
        yield f"  ... and {words.count(len(wrong) - _SHOWN_MAX, 'more chunk')}"
    same = words.count(len(compared) - len(wrong), "chunk")
    if wrong:
        yield screen.painted(f"DIFFERENT: {same} arrived as recorded, {len(wrong):,} did not.", "bad")
    else:
        yield screen.painted(f"THE SAME: {same} arrived exactly as recorded.", "good")


def _compare(audit: StreamAudit, there: Received, progress: Callable[[int, int], None]) -> Iterator[Compared]:
    known = {one.chunk.chunk_idx: one.chunk for one in audit.chunks}
    done, whole = 0, sum(chunk.wire_bytes for chunk in known.values())
    for idx, chunk in known.items():
        content = there.read(idx)
        done += chunk.wire_bytes
        progress(done, whole)
        if content is not None:
            try:
                check_received(content, chunk, chunk_size=audit.stream.settings.chunk_size)
            except ShardDamaged as error:
                yield Compared("*", idx, str(error))
            else:
                yield Compared("=", idx)
        elif chunk.state is ChunkState.ACKNOWLEDGED:
            yield Compared("-", idx, "it was acknowledged, and is not there")
    for idx in there.listed() or ():
        if idx not in known:
            yield Compared("+", idx, "nothing is known of it here")
