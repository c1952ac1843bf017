"""The chunks that a person names, checked before anything is done with them."""

from collections.abc import Sequence

from spool import Chunk, ChunkState, Spool
from uploader.cli.common import fail


def chosen_chunks(
    spool: Spool, ref: str, idxs: Sequence[int], *, allowed: tuple[ChunkState, ...], verb: str
) -> list[Chunk]:
    """The chunks with these indices, each once, in order; ends the command when one is not in an allowed state."""
    found = []
    for idx in sorted(set(idxs)):
        chunk = spool.chunk(ref, idx)
        if chunk is None:
            fail(f"chunk {idx} was never pushed", f"Nothing was {verb}. See 'framespool audit {ref}'.")
        if chunk.state not in allowed:
            fail(
                f"chunk {idx} is {chunk.state.value}; only chunks that are "
                f"{' or '.join('waiting' if s is ChunkState.SPOOLED else s.value for s in allowed)} can be {verb}",
                f"Nothing was {verb}. See 'framespool audit {ref}'.",
            )
        found.append(chunk)
    return found
