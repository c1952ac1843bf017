"""A spool to look at, as one does in a notebook: its streams, their frames, times, chunks, receipts and ledger.

* Nothing in the folder is changed, not even put right; so it may lie on a disk that cannot be written to, be a
  copy, or have been moved.
* It may be read while it is recorded and delivered: everything is read in short steps that hold nobody up for
  longer than a few milliseconds, and is as it is at that moment.
* Frames come as a Zarr array, which reads what is asked for and no more.

It is a view: all that it tells comes from a `Spool` that is open for reading only, through its public methods.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from html import escape
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from spool.audit import StreamAudit, audit
from spool.cells import Place
from spool.errors import ShardDamaged, SpoolError, UnknownStream
from spool.folder import INDEX_NAME
from spool.model import Chunk, Event, Receipt, Stream, StreamSettings
from spool.spool import Spool
from spool.states import StreamState
from spool.zarr_metadata import ARRAY_NAME

if TYPE_CHECKING:
    import zarr

FRAMES_MAX = 10**9
"""No array of times is longer: a stream with gaps as large as that is read chunk by chunk."""
_SHOWN_MAX = 50
_PARENTS = 4
_MIB = 1 << 20


class FramesMissing(UserWarning):
    """Some of a stream's frames are not on this disk, and read as zeros; `StreamView.is_here` says which."""


def open(root: str | Path) -> SpoolView:  # noqa: A001 - `spool.open` is what one types
    """Open a spool folder to read it.

    Args:
        root: the folder; nothing in it is changed.

    Raises:
        SpoolError: there is no spool, or it cannot be read; the hint says what to do.
    """
    try:
        folder = Path(root).expanduser().absolute()
    except RuntimeError as error:
        raise SpoolError(f"the spool folder cannot be told: {error}") from error
    if not (folder / INDEX_NAME).is_file():
        raise SpoolError(f"there is no spool in {folder}: it has no {INDEX_NAME}", hint=_hint(folder))
    return SpoolView(Spool(folder, read_only=True))


class SpoolView:
    """A spool to look at; also a context manager, and gone through stream by stream.

    Args:
        spool: an open one; only read.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the folder."""
        self._spool.close()

    @property
    def root(self) -> Path:
        """The folder."""
        return self._spool.root

    def streams(self) -> list[StreamView]:
        """Every stream, oldest first.

        Raises:
            SpoolError: the index cannot be read.
        """
        return [StreamView(self._spool, one.stream_id) for one in self._spool.streams()]

    def stream(self, text: str) -> StreamView:
        """The stream with this stream_id, data_id, or unambiguous prefix or name; also ``opened[text]``.

        Raises:
            UnknownStream: none fits.
            AmbiguousStream: several do.
        """
        if not isinstance(text, str):
            raise UnknownStream(f"a stream goes by its name or id, not by {text!r}", hint="streams() lists them.")
        return StreamView(self._spool, self._spool.find(text).stream_id)

    def __getitem__(self, text: str) -> StreamView:
        return self.stream(text)

    def __iter__(self) -> Iterator[StreamView]:
        return iter(self.streams())

    def ledger(self, *, after_seq: int = 0) -> Iterator[Event]:
        """Everything that happened, in order, from after a row on; read in pages.

        Raises:
            SpoolError: the index cannot be read.
        """
        return self._spool.events(after_seq=after_seq)

    def __repr__(self) -> str:
        return f"<spool {str(self.root)!r}: {spool_in_words(self._spool)}>"

    def _repr_html_(self) -> str:
        try:
            streams = self._spool.streams()
        except SpoolError as error:
            return _table(f"Spool {self.root}", [("", f"cannot be read: {error}")])
        lines = [
            (one.settings.name, one.stream_id, one.state.value, _delivered(one), _wrong(one) or "")
            for one in streams[-_SHOWN_MAX:]
        ]
        if len(streams) > _SHOWN_MAX:
            lines.insert(0, (f"… and {len(streams) - _SHOWN_MAX} older", "", "", "", ""))
        head = ("stream", "stream_id", "state", "chunks", "")
        return _table(f"Spool {self.root}", lines, head=head)


class StreamView:
    """One stream to look at, as it is whenever it is asked."""

    def __init__(self, spool: Spool, stream_id: str) -> None:
        self._spool = spool
        self.stream_id = stream_id

    @property
    def now(self) -> Stream:
        """What the index knows of it at this moment: state, counts, trouble.

        Raises:
            SpoolError: the index cannot be read.
        """
        return self._spool.stream(self.stream_id)

    @property
    def name(self) -> str:
        """What people call it."""
        return self.settings.name

    @property
    def data_id(self) -> str | None:
        """The destination's id of it; ``None`` until it has given one."""
        return self.now.data_id

    @property
    def settings(self) -> StreamSettings:
        """What was fixed when it was opened: fps, rotations, chunk_size, sample, tags, destination."""
        return self.now.settings

    @property
    def state(self) -> StreamState:
        """Open, sealed or finalized."""
        return self.now.state

    @property
    def frames(self) -> zarr.Array[Any]:
        """Its frames: a Zarr array, uint8 ``(time, height, width)``, read-only; only what is asked for is read.

        Frame k of chunk i is at ``i * chunk_size + k``. What is not there reads as zeros: frames of a short chunk,
        of a gap, and of chunks that were delivered and then pruned here. `is_here` tells these from dark ones. The
        array is as long as the stream was when this was asked; ask again for what came since. Where some were
        pruned or discarded, or chunks are missing, it warns with `FramesMissing`.

        Raises:
            SpoolError: its Zarr metadata is missing or damaged.
        """
        import zarr  # noqa: PLC0415 - who only looks at chunks does not wait for it

        path = self._spool.zarr_path(self.stream_id)
        try:
            array = zarr.open_group(path, mode="r")[ARRAY_NAME]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SpoolError(
                f"the Zarr metadata in {path} cannot be read: {error}",
                hint="'framespool verify --repair' writes it anew; read(chunk_idx) reads the frames without it.",
            ) from error
        if not isinstance(array, zarr.Array):
            raise SpoolError(
                f"{path / ARRAY_NAME} is no array", hint="'framespool verify --repair' writes it anew."
            )
        gone = self._first_gone()
        if gone is not None:
            message = f"chunk {gone} of {self.name!r} (and perhaps others) is not on this disk: it reads as zeros"
            warnings.warn(f"{message}. is_here says which frames are.", FramesMissing, stacklevel=2)
        return array

    @property
    def capture_times(self) -> NDArray[np.datetime64]:
        """When each frame was captured: ``datetime64[us]`` ``(time,)``, UTC by its host's clock; ``NaT`` for none.

        The clock of the destination is ``now.clock_offset_ms`` ahead of it, as far as that was measured.

        Raises:
            SpoolError: the index cannot be read, or the stream's gaps make it longer than `FRAMES_MAX`.
        """
        length, size, fps = self._length()
        times = np.full(length, "NaT", dtype="datetime64[us]")
        for page in self._pages():
            frame, within, start_ms, _ = _frames_of(page, size, length)
            times[frame] = np.rint(start_ms * 1000 + within * (1e6 / fps)).astype("datetime64[us]")
        return times

    @property
    def is_here(self) -> NDArray[np.bool_]:
        """Which frames are on this disk: bool ``(time,)``.

        Raises:
            SpoolError: as for `capture_times`.
        """
        length, size, _ = self._length()
        here = np.zeros(length, dtype=np.bool_)
        for page in self._pages():
            frame, _, _, is_here = _frames_of(page, size, length)
            here[frame] = is_here
        return here

    def read(self, chunk_idx: int) -> NDArray[np.uint8]:
        """The frames of one chunk, uint8 ``(n, height, width)``, checked against the digest of what was spooled.

        Raises:
            ShardDamaged: it was never pushed, was pruned or discarded, or has other bytes than were spooled.
            SpoolError: it cannot be read.
        """
        chunk = self.chunk(chunk_idx)
        if chunk is None:
            raise ShardDamaged(f"chunk {chunk_idx} was never pushed")
        return self._spool.frames(chunk)

    def chunk(self, chunk_idx: int) -> Chunk | None:
        """What is known of one chunk; ``None`` if that index was never pushed."""
        return self._spool.chunk(self.stream_id, chunk_idx)

    def chunks(self) -> Iterator[Chunk]:
        """What is known of each chunk, in order; read in pages."""
        return self._spool.chunks(self.stream_id)

    def receipts(self) -> Iterator[tuple[int, Receipt]]:
        """The chunk_idx and the receipt of each chunk that is acknowledged, in order."""
        return ((one.chunk_idx, one.receipt) for one in self.chunks() if one.receipt is not None)

    def ledger(self, *, after_seq: int = 0) -> Iterator[Event]:
        """Everything that happened to it, in order, from after a row on; read in pages."""
        return self._spool.events(self.stream_id, after_seq=after_seq)

    def audit(self) -> StreamAudit:
        """Everything that can be said about its delivery; ``audit().complete`` is the answer."""
        return audit(self._spool, self.stream_id)

    def __repr__(self) -> str:
        try:
            stream = self.now
        except SpoolError as error:
            return f"<stream {self.stream_id}: cannot be read: {error}>"
        parts = [stream.state.value, _size(stream), f"{_delivered(stream)} delivered", _wrong(stream)]
        return f"<stream {stream.settings.name!r} {stream.stream_id}: {', '.join(filter(None, parts))}>"

    def _repr_html_(self) -> str:
        try:
            stream, frames = self.now, self._spool.frame_count(self.stream_id)
        except SpoolError as error:
            return _table(f"Stream {self.stream_id}", [("", f"cannot be read: {error}")])
        tally = stream.tally
        facts = [
            ("stream_id", stream.stream_id),
            ("data_id", stream.data_id or "none yet"),
            ("state", stream.state.value),
            ("destination", stream.settings.destination),
            ("frames", f"{frames:,} {_size(stream)}, {stream.settings.fps:g} per second"),
            ("chunks", f"{tally.pushed:,} pushed, {tally.acknowledged:,} acknowledged"),
            ("waiting", f"{tally.spooled:,} ({tally.waiting_bytes / _MIB:,.1f} MiB), {tally.parked:,} parked"),
            ("trouble", _wrong(stream) or "none"),
        ]
        return _table(f"Stream {stream.settings.name}", facts)

    def _length(self) -> tuple[int, int, float]:
        """Of the array along time; the frames of a whole chunk; frames per second."""
        length, settings = self._spool.frame_count(self.stream_id), self.settings
        if length > FRAMES_MAX:
            raise SpoolError(
                f"{self.name!r} reaches over {length:,} frames, nearly all of which are gaps",
                hint="Go through chunks() instead: each has its capture_start_ms_utc.",
            )
        return length, settings.chunk_size, settings.fps

    def _pages(self) -> Iterator[list[Place]]:
        after = -1
        while page := self._spool.places(self.stream_id, after_idx=after):
            yield page
            after = page[-1].chunk_idx

    def _first_gone(self) -> int | None:
        """The first chunk_idx of which the bytes are not here."""
        for expected, place in enumerate(chain.from_iterable(self._pages())):
            if place.chunk_idx != expected or not place.is_here:
                return expected
        return None


def _frames_of(
    page: list[Place], size: int, length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Of each frame of a page: its place in the array, its number in its chunk, the time of that, whether here."""
    # Named, for where numpy's own integers have 32 bits.
    idxs, counts, starts, here = (np.array(column, dtype=np.int64) for column in zip(*page, strict=True))
    within = np.arange(counts.sum(), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
    frame = np.repeat(idxs * size, counts) + within
    has_room = frame < length  # what was pushed since the length was read has none
    start = np.repeat(starts, counts)[has_room]
    return frame[has_room], within[has_room], start, np.repeat(here > 0, counts)[has_room]


def spool_in_words(spool: Spool) -> str:
    """A spool in a few words; never raises."""
    try:
        streams = spool.streams()
    except SpoolError as error:
        return f"cannot be read: {error}"
    waiting = sum(one.tally.spooled for one in streams)
    waiting_bytes = sum(one.tally.waiting_bytes for one in streams)
    unfinished = sum(one.state is not StreamState.FINALIZED for one in streams)
    parts = [f"{len(streams)} streams ({unfinished} not finalized)", f"{waiting:,} chunks waiting"]
    if waiting:
        parts[1] += f" ({waiting_bytes / _MIB:,.1f} MiB)"
    wrong = [said for one in streams if (said := _wrong(one)) is not None]
    return ", ".join([*parts, *wrong[-1:]])


def _size(stream: Stream) -> str:
    return "no frames yet" if stream.height is None else f"{stream.height} x {stream.width}"


def _delivered(stream: Stream) -> str:
    tally = stream.tally
    return f"{tally.acknowledged:,}/{tally.pushed - tally.discarded:,}"


def _wrong(stream: Stream) -> str | None:
    if stream.held is not None:
        return f"held: {stream.held}"
    parked = f"{stream.tally.parked:,} parked" if stream.tally.parked else None
    trouble = None if stream.state is StreamState.FINALIZED else stream.trouble
    return "; ".join(filter(None, (parked, trouble))) or None


def _table(title: str, lines: Sequence[tuple[str, ...]], *, head: tuple[str, ...] = ()) -> str:
    """A table; whatever stands in it was typed by somebody, or came from a server."""

    def row(cells: tuple[str, ...], tag: str) -> str:
        made = "".join(f"<{tag} style='text-align:left'>{escape(_visible(one))}</{tag}>" for one in cells)
        return f"<tr>{made}</tr>"

    rows = [*([row(head, "th")] if head else []), *(row(line, "td") for line in lines)]
    caption = f"<caption style='text-align:left'><b>{escape(_visible(title))}</b></caption>"
    return f"<table>{caption}{''.join(rows)}</table>"


def _visible(text: str) -> str:
    """Nothing in it turns the direction of what stands around, or is not to be seen."""
    return "".join(one if one.isprintable() else "?" for one in text)


def _hint(folder: Path) -> str:
    above = [one for one in folder.parents[:_PARENTS] if (one / INDEX_NAME).is_file()]
    if above:
        return f"It lies within the spool {above[0]}: open that."
    if (folder / "streams").is_dir():
        return "Its index is lost or was not copied. 'framespool status' makes one again, from what else is there."
    return "Name the folder that was given as spool_dir or --spool."
