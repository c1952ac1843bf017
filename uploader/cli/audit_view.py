"""An audit at a glance, for people: the marks, all chunks as one line, the totals, and the verdict."""

from collections import Counter
from collections.abc import Iterable, Iterator

from spool import AuditedChunk, AuditTotals, ChunkState, StreamAudit, StreamState
from uploader.addresses import is_server
from uploader.cli import screen, words
from uploader.cli.audit_source import source_lines

MARKS = {
    "=": ("confirmed", "good"),
    "~": ("acknowledged, checksum not confirmed", "good"),
    "+": ("waiting", "wait"),
    "-": ("never pushed", "bad"),
    "x": ("discarded", "bad"),
    "*": ("mismatch: the server has other bytes", "bad"),
    "!": ("parked", "bad"),
}
"""By how grave they are, the gravest last: in a compressed strip it wins."""

GRAVITY = "".join(MARKS)
_GAP_CELLS_MAX = 5
_CELLS_MAX = 1 << 16
_STATE_MARKS = {
    ChunkState.SPOOLED: "+",
    ChunkState.ACKNOWLEDGED: "~",
    ChunkState.PARKED: "!",
    ChunkState.DISCARDED: "x",
}


def mark_of(one: AuditedChunk) -> str:
    """The chunk's state as one character."""
    receipt = one.chunk.receipt
    mark = mark_in(one.chunk.state, is_confirmed=receipt is not None and receipt.confirmed)
    return "*" if one.chunk.state is ChunkState.SPOOLED and one.mismatch else mark


def mark_in(state: ChunkState, *, is_confirmed: bool) -> str:
    """A state as one character, for who knows no more of the chunk."""
    return "=" if is_confirmed and state is ChunkState.ACKNOWLEDGED else _STATE_MARKS[state]


class Glance:
    """The marks of chunks, taken in one by one: how many of each, and a strip whose length stays bounded."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._cells = bytearray()
        self._each = 1
        self._pending: list[int] = []
        self._expected = 0

    def add(self, one: AuditedChunk) -> None:
        """Take in the next chunk."""
        idx, mark = one.chunk.chunk_idx, mark_of(one)
        for _ in range(min(idx - self._expected, _GAP_CELLS_MAX)):
            self._add_cell("-")
        self._expected = idx + 1
        self.counts[mark] += 1
        self._add_cell(mark)

    def _add_cell(self, mark: str) -> None:
        self._pending.append(GRAVITY.index(mark))
        if len(self._pending) == self._each:
            self._cells.append(max(self._pending))
            self._pending.clear()
        if len(self._cells) >= _CELLS_MAX:
            self._cells = bytearray(map(max, self._cells[::2], self._cells[1::2]))
            self._each *= 2

    def strip(self) -> tuple[str, int]:
        """All chunks as one line of marks, and how many a mark stands for; of several the gravest shows."""
        cells = bytes(self._cells) + (bytes([max(self._pending)]) if self._pending else b"")
        several = -(-len(cells) // (screen.width() - 2))
        strip = "".join(
            GRAVITY[max(cells[start : start + several])] for start in range(0, len(cells), several or 1)
        )
        return strip, several * self._each


def glance_at(chunks: Iterable[AuditedChunk]) -> Glance:
    """The marks of these."""
    glance = Glance()
    for one in chunks:
        glance.add(one)
    return glance


def whole_summary_lines(found: StreamAudit) -> Iterator[str]:
    """See `summary_lines`; of an audit that is in memory."""
    return summary_lines(found.totals, glance_at(found.chunks))


def summary_lines(totals: AuditTotals, glance: Glance) -> Iterator[str]:
    """The stream at a glance, its totals, and what it all means."""
    stream = totals.stream
    if totals.chunks:
        yield ""
        yield from _strip(glance)
    yield ""
    yield f"Stream     {words.cut(words.printable(stream.settings.name), screen.width() - 11)}"
    yield f"           {stream.stream_id}, {stream.state.value}"
    yield f"{'Server' if is_server(stream.settings.destination) else 'Store':<10} {stream.settings.destination}"
    yield from _parts(totals)
    if stream.settings.copies:
        yield from _field("Copies", f"{', '.join(stream.settings.copies)}: one for each further destination")
    if stream.settings.copy_of is not None:
        yield from _field("Copy of", f"{stream.settings.copy_of}, for this destination")
    yield f"Recorded   {_recorded(totals)}"
    if totals.captured_ms is not None:
        yield f"Captured   {_captured(*totals.captured_ms)}"
    yield from source_lines(totals)
    yield f"Watermark  {_watermark(totals)}"
    if totals.gap_spans:
        text = f"{words.count(totals.gap_count, 'chunk')} never pushed: {words.spans(totals.gap_spans)}"
        yield from _field("Gaps", text)
    for one in totals.outages:
        until = "still going on" if one.ended_at_ms is None else words.lasted(one.began_at_ms, one.ended_at_ms)
        yield from _field("Outage", f"{words.moment(one.began_at_ms)}, {until}: {words.printable(one.words)}")
    yield ""
    yield from verdict_lines(totals, glance)


def verdict_lines(totals: AuditTotals, glance: Glance) -> Iterator[str]:
    """The answer to "is everything there?", and what to do when it is not."""
    marks = glance.counts
    missing = [
        (marks["+"], "waiting", ""),
        (marks["*"], "other at the server than here", "What differs is sent again until it is right."),
        (marks["!"], "parked", "'framespool retry' or 'framespool discard' decides about parked chunks."),
        (totals.gap_count, "never pushed", ""),
        (
            marks["x"],
            "discarded",
            "Discarded chunks are given up for good; the ledger says by whom and why.",
        ),
    ]
    if not totals.complete:
        parts = ", ".join(f"{number:,} {what}" for number, what, _ in missing if number)
        yield screen.painted(f"NOT COMPLETE: {parts or 'nothing has been recorded yet'}.", "bad")
        yield from (advice for number, _, advice in missing if number and advice)
        if totals.stream.held is not None:
            yield from words.wrapped(f"Held: {words.printable(totals.stream.held)}", screen.width(), indent="  ")
        return
    unconfirmed = marks["~"]
    evidence = (
        "and confirmed by checksum" if not unconfirmed else f"({unconfirmed:,} without a comparable checksum)"
    )
    text = f"COMPLETE: all {words.count(totals.chunks, 'chunk')} acknowledged {evidence}"
    ends = {
        StreamState.OPEN: "the stream is still open.",
        StreamState.SEALED: "the end is still to be accepted.",
        StreamState.FINALIZED: "finalized.",
    }
    line = f"{text}; {ends[totals.stream.state]}" if totals.chunks else "COMPLETE: finalized without any chunk."
    yield from (screen.painted(part, "good") for part in words.wrapped(line, screen.width(), indent="  "))


def _strip(glance: Glance) -> Iterator[str]:
    strip, each = glance.strip()
    yield f"[{''.join(screen.painted(mark, MARKS[mark][1]) for mark in strip)}]"
    legend = "  ".join(f"{mark} {MARKS[mark][0]}" for mark in GRAVITY if mark in strip)
    more = f"  (each stands for up to {each:,} chunks)" if each > 1 else ""
    yield from (screen.painted(line, "dim") for line in words.wrapped(f"{legend}{more}", screen.width()))


def _parts(totals: AuditTotals) -> Iterator[str]:
    """The server's streams that have the chunks, and what is wrong with their links."""
    stream = totals.stream
    if len(stream.parts) <= 1:
        yield f"           {stream.data_id or 'no data_id yet'}"
    else:
        for part in stream.parts:
            has = words.count(totals.count_in(part), "chunk")
            why = f"; then {words.printable(part.closed_why)}" if part.closed_why else ""
            yield from _field("", f"{part.data_id or 'no data_id yet'}: {has}{why}")
    if stream.unlinked is not None:
        yield from _field("Links", f"missing: {words.printable(stream.unlinked)}")


def _recorded(totals: AuditTotals) -> str:
    lasting = words.duration(totals.frames / totals.stream.settings.fps)
    frames, size = words.count(totals.frames, "frame"), words.size(totals.wire_bytes)
    return f"{words.count(totals.chunks, 'chunk')}, {frames} ({lasting}), {size}"


def _captured(first_ms: int, last_ms: int) -> str:
    first, last = words.moment(first_ms), words.moment(last_ms)
    return f"{first} to {last[11:] if last[:10] == first[:10] else last} UTC, like all times here"


def _watermark(totals: AuditTotals) -> str:
    if totals.watermark < 0:
        return "none: chunk 0 is not acknowledged"
    return f"{totals.watermark}: everything up to this chunk is acknowledged"


def _field(name: str, text: str) -> Iterator[str]:
    return words.field(name, text, screen.width())
