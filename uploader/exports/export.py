"""Exporting: which frames are there, and how they get into one file."""

import json
import shutil
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spool import Chunk, ChunkState, ShardDamaged, Spool
from uploader.exports.writers import SUFFIXES, WRITERS, ExportError

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of chunks that cannot be exported, and why."""

    first: int
    last: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedChunk:
    """Where a chunk's frames are in the file."""

    chunk_idx: int
    first_frame: int
    n: int
    capture_start_ms_utc: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        path: the file, or the folder of a Zarr store.
        shape: ``(frames, height, width)``.
        chunks: where each chunk's frames are.
        left_out: what is not in it.
    """

    path: Path
    shape: tuple[int, int, int]
    chunks: tuple[ExportedChunk, ...]
    left_out: tuple[Part, ...]

    @property
    def record(self) -> Path:
        """The JSON beside it: which frame is which."""
        return self.path.with_name(f"{self.path.name}.json")


def missing_parts(spool: Spool, ref: str) -> list[Part]:
    """What of a stream is not here: never pushed, pruned, discarded, damaged. Reads every byte of it."""
    return _sorted_out(spool, list(spool.chunks(ref)), lambda _done, _all: None)[1]


def export(
    spool: Spool, ref: str, path: Path, *, leave_out: bool = False, progress: Progress | None = None
) -> Exported:
    """Write a stream's frames, one after the other, and beside them which is which.

    Args:
        spool: an open spool; a worker may be at work meanwhile.
        ref: the stream.
        path: its suffix says the kind, one of `SUFFIXES`.
        leave_out: whether to go on without what is not here; else that is an error.
        progress: hears bytes done, and of how many.

    Raises:
        ExportError: frames are missing, there is a file already, or it cannot be written.
        SpoolError: the spool cannot be read.
    """
    if path.suffix.lower() not in WRITERS:
        raise ExportError(f"{path.name} is none of {', '.join(SUFFIXES)}", hint="The suffix says what to write.")
    for taken in (path, path.with_name(f"{path.name}.json")):
        if taken.exists():
            raise ExportError(
                f"{taken} is there already", hint="Nothing is ever overwritten: choose another name."
            )
    stream = spool.stream(ref)
    chunks, left_out = _sorted_out(spool, list(spool.chunks(ref)), progress or (lambda _done, _all: None))
    if left_out and not leave_out:
        first = left_out[0]
        more = f", and {len(left_out) - 1} more such stretches" if len(left_out) > 1 else ""
        raise ExportError(
            f"chunks {first.first} to {first.last} are not here: {first.why}{more}",
            hint="--leave-out goes on without them; the record beside the file says which frame is which.",
        )
    if not chunks:
        raise ExportError("no frame of this stream is here", hint="See 'framespool audit'.")
    shape = (sum(chunk.n for chunk in chunks), chunks[0].height, chunks[0].width)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part{path.suffix}")
    exported = Exported(path=path, shape=shape, chunks=tuple(_placed(chunks)), left_out=tuple(left_out))
    facts = {"stream_id": stream.stream_id, "data_id": stream.data_id, "name": stream.settings.name}
    try:
        writer = WRITERS[path.suffix.lower()](part, shape, stream.settings.fps, facts)
        try:
            for chunk in chunks:
                writer.add(spool.frames(chunk))
        finally:
            writer.close()
        record = {
            **facts,
            "fps": stream.settings.fps,
            "shape": shape,
            "left_out": [asdict(one) for one in left_out],
        }
        text = json.dumps({**record, "chunks": [asdict(one) for one in exported.chunks]}, indent=1)
        exported.record.write_text(text, "utf-8")
        part.rename(path)
    except BaseException:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
        raise
    return exported


def _sorted_out(spool: Spool, chunks: Sequence[Chunk], progress: Progress) -> tuple[list[Chunk], list[Part]]:
    """What is here, every byte of it checked; and what is not."""
    here: list[Chunk] = []
    parts: list[Part] = []
    expected = done = 0
    whole = sum(chunk.wire_bytes for chunk in chunks if chunk.disk_bytes)
    for chunk in chunks:
        if chunk.chunk_idx > expected:
            parts.append(Part(first=expected, last=chunk.chunk_idx - 1, why="never pushed"))
        expected = chunk.chunk_idx + 1
        why = _why_not(spool, chunk)
        if why is None:
            here.append(chunk)
        elif parts and parts[-1].last == chunk.chunk_idx - 1 and parts[-1].why == why:
            parts[-1] = Part(first=parts[-1].first, last=chunk.chunk_idx, why=why)
        else:
            parts.append(Part(first=chunk.chunk_idx, last=chunk.chunk_idx, why=why))
        done += chunk.wire_bytes if chunk.disk_bytes else 0
        progress(done, whole)
    return here, parts


def _why_not(spool: Spool, chunk: Chunk) -> str | None:
    if chunk.pruned_at_ms is not None:
        return "acknowledged, and pruned here"
    if chunk.state is ChunkState.DISCARDED:
        return "discarded"
    try:
        spool.frames(chunk)
    except ShardDamaged as error:
        return f"damaged ({error})"
    return None


def _placed(chunks: Sequence[Chunk]) -> list[ExportedChunk]:
    placed, first = [], 0
    for chunk in chunks:
        placed.append(
            ExportedChunk(
                chunk_idx=chunk.chunk_idx,
                first_frame=first,
                n=chunk.n,
                capture_start_ms_utc=chunk.capture_start_ms_utc,
                sha256=chunk.sha256,
            )
        )
        first += chunk.n
    return placed
