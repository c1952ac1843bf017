"""An audit laid out for people: a row a chunk, all chunks at a glance, and the verdict.

The rows are plain text of fixed widths, so that twenty thousand of them take no time.
"""

from collections.abc import Iterator

from spool import AuditedChunk, ChunkState, StreamAudit, StreamState
from uploader.cli import screen, words

FOLDED_ROWS_MIN = 40
"""On a terminal, so many chunks in a row without anything remarkable become one line."""

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

_GRAVITY = "".join(MARKS)
_GAP_CELLS_MAX = 5
_STATE_MARKS = {ChunkState.SPOOLED: "+", ChunkState.PARKED: "!", ChunkState.DISCARDED: "x"}


def mark_of(one: AuditedChunk) -> str:
    """The chunk's state as one character."""
    chunk = one.chunk
    if chunk.state is ChunkState.ACKNOWLEDGED:
        return "=" if chunk.receipt is not None and chunk.receipt.confirmed else "~"
    return "*" if chunk.state is ChunkState.SPOOLED and one.mismatch else _STATE_MARKS[chunk.state]


def table_lines(found: StreamAudit, *, fold: bool, attempts: bool) -> Iterator[str]:
    """A row for each chunk and for each gap.

    Args:
        found: the audit.
        fold: whether long runs without anything remarkable become one line.
        attempts: whether every attempt gets a line below its chunk.
    """
    layout = _Layout(found)
    if found.chunks:
        yield screen.bold(layout.head)
    gaps = dict(found.gap_spans)
    expected = 0
    for run in _runs(found.chunks, fold=fold):
        first = run[0].chunk.chunk_idx
        if first > expected:
            yield screen.painted(f"- {_span(expected, gaps[expected]):>6} never pushed", "bad")
        expected = run[-1].chunk.chunk_idx + 1
        if len(run) > 1:
            yield _folded(run)
            continue
        yield layout.row(run[0])
        if run[0].chunk.parked_reason is not None:
            reason = f"because {words.printable(run[0].chunk.parked_reason)}"
            yield from (f"         {line}" for line in words.wrapped(reason, screen.width() - 9))
        if attempts:
            yield from layout.attempts(run[0])


def summary_lines(found: StreamAudit) -> Iterator[str]:
    """The stream at a glance, its totals, and what it all means."""
    stream = found.stream
    if found.chunks:
        yield ""
        yield from _strip(found)
    yield ""
    yield f"Stream     {words.cut(words.printable(stream.settings.name), screen.width() - 11)}"
    yield f"           {stream.stream_id}, {stream.state.value}"
    yield f"Server     {stream.settings.destination}"
    yield from _parts(found)
    yield f"Recorded   {_totals(found)}"
    if found.chunks:
        yield f"Captured   {_captured(found)}"
    yield f"Watermark  {_watermark(found)}"
    if found.gap_spans:
        text = f"{words.count(found.gap_count, 'chunk')} never pushed: {words.spans(found.gap_spans)}"
        yield from _field("Gaps", text)
    for one in found.outages:
        until = "still going on" if one.ended_at_ms is None else _lasted(one.began_at_ms, one.ended_at_ms)
        yield from _field("Outage", f"{words.moment(one.began_at_ms)}, {until}: {words.printable(one.words)}")
    yield ""
    yield from verdict_lines(found)


def verdict_lines(found: StreamAudit) -> Iterator[str]:
    """The answer to "is everything there?", and what to do when it is not."""
    marks = [mark_of(one) for one in found.chunks]
    missing = [
        (marks.count("+"), "waiting", ""),
        (marks.count("*"), "other at the server than here", "What differs is sent again until it is right."),
        (marks.count("!"), "parked", "'framespool retry' or 'framespool discard' decides about parked chunks."),
        (found.gap_count, "never pushed", ""),
        (
            marks.count("x"),
            "discarded",
            "Discarded chunks are given up for good; the ledger says by whom and why.",
        ),
    ]
    if not found.complete:
        parts = ", ".join(f"{number:,} {what}" for number, what, _ in missing if number)
        yield screen.painted(f"NOT COMPLETE: {parts or 'nothing has been recorded yet'}.", "bad")
        yield from (advice for number, _, advice in missing if number and advice)
        if found.stream.held is not None:
            yield from words.wrapped(f"Held: {words.printable(found.stream.held)}", screen.width(), indent="  ")
        return
    unconfirmed = marks.count("~")
    evidence = (
        "and confirmed by checksum" if not unconfirmed else f"({unconfirmed:,} without a comparable checksum)"
    )
    text = f"COMPLETE: all {words.count(len(marks), 'chunk')} acknowledged {evidence}"
    ends = {
        StreamState.OPEN: "the stream is still open.",
        StreamState.SEALED: "the end is still to be accepted.",
        StreamState.FINALIZED: "finalized.",
    }
    line = f"{text}; {ends[found.stream.state]}" if marks else "COMPLETE: finalized without any chunk."
    yield from (screen.painted(part, "good") for part in words.wrapped(line, screen.width(), indent="  "))


class _Layout:
    """The columns that fit this audit and this terminal."""

    def __init__(self, found: StreamAudit) -> None:
        chunks = [one.chunk for one in found.chunks]
        times = [at for c in chunks for at in (c.capture_start_ms_utc, c.acknowledged_at_ms) if at is not None]
        self._one_day = len({words.day(at) for at in (min(times), max(times))}) == 1 if times else True
        self._time = "%H:%M:%S" if self._one_day else "%m-%d %H:%M:%S"
        self._time_width = 8 if self._one_day else 14
        self._etag_width = max(4, screen.width() - 2 * self._time_width - 50)
        self.head = (
            f"  {'CHUNK':>6} {'FRAMES':>6} {'BYTES':>8} {'SHA-256':8} {'CAPTURED':{self._time_width}} "
            f"{'ACKNOWL.':{self._time_width}} {'TRIES':>5} RECEIPT"
        )

    def row(self, one: AuditedChunk) -> str:
        """One chunk."""
        chunk, mark = one.chunk, mark_of(one)
        acknowledged = "-" if chunk.acknowledged_at_ms is None else self._at(chunk.acknowledged_at_ms)
        if chunk.receipt is not None:
            evidence = f"{chunk.receipt.status} {words.printable(chunk.receipt.etag or '')}"
        else:
            evidence = MARKS[mark][0]
        return (
            f"{screen.painted(mark, MARKS[mark][1])} {chunk.chunk_idx:>6} {chunk.n:>6} "
            f"{words.size(chunk.wire_bytes):>8} {chunk.sha256[:8]} {self._at(chunk.capture_start_ms_utc)} "
            f"{acknowledged:{self._time_width}} {chunk.attempts:>5} {words.cut(evidence, self._etag_width + 4)}"
        ).rstrip()

    def attempts(self, one: AuditedChunk) -> Iterator[str]:
        """Its attempts, a line or more each."""
        for number, attempt in enumerate(one.attempt_history, 1):
            started = (
                "nothing sent" if attempt.started_at_ms is None else self._at(attempt.started_at_ms, digits=3)
            )
            took = ""
            if attempt.started_at_ms is not None and attempt.ended_at_ms is not None:
                took = f" after {words.duration((attempt.ended_at_ms - attempt.started_at_ms) / 1000)}"
            said = f": {words.printable(attempt.words)}" if attempt.words else ""
            line = f"{number}. {started} {attempt.result}{took}{said}"
            for part in words.wrapped(line, screen.width() - 9, indent="   "):
                yield screen.painted(f"         {part}", "dim")

    def _at(self, at_ms: int, *, digits: int = 0) -> str:
        return f"{words.moment(at_ms, self._time, digits=digits):{self._time_width}}"


def _runs(chunks: tuple[AuditedChunk, ...], *, fold: bool) -> Iterator[list[AuditedChunk]]:
    """The chunks one by one, and long unremarkable stretches as one."""
    run: list[AuditedChunk] = []
    for one in chunks:
        if run and (not fold or not _continues(run[-1], one)):
            yield from _closed(run)
            run = []
        run.append(one)
    yield from _closed(run)


def _continues(before: AuditedChunk, one: AuditedChunk) -> bool:
    return (
        mark_of(one) == mark_of(before)
        and mark_of(one) in "=~+"
        and one.chunk.chunk_idx == before.chunk.chunk_idx + 1
        and max(one.chunk.attempts, before.chunk.attempts) <= 1
    )


def _closed(run: list[AuditedChunk]) -> Iterator[list[AuditedChunk]]:
    if len(run) < FOLDED_ROWS_MIN:
        yield from ([one] for one in run)
        return
    # The ends of a stretch stay visible: they say when it began and ended.
    yield from ([run[0]], run[1:-1], [run[-1]])


def _folded(run: list[AuditedChunk]) -> str:
    mark = mark_of(run[0])
    frames = words.count(sum(one.chunk.n for one in run), "frame")
    size = words.size(sum(one.chunk.wire_bytes for one in run))
    span = _span(run[0].chunk.chunk_idx, run[-1].chunk.chunk_idx)
    text = f"{span}: {words.count(len(run), 'chunk')} alike, {frames}, {size}, {MARKS[mark][0]}"
    return f"{screen.painted(mark, MARKS[mark][1])} {text}"


def _strip(found: StreamAudit) -> Iterator[str]:
    """All chunks as one line; where there are more than fit, the gravest of several shows."""
    cells: list[str] = []
    gaps = dict(found.gap_spans)
    expected = 0
    for one in found.chunks:
        if one.chunk.chunk_idx > expected:
            cells += "-" * min(gaps[expected] - expected + 1, _GAP_CELLS_MAX)
        cells.append(mark_of(one))
        expected = one.chunk.chunk_idx + 1
    room = screen.width() - 2
    each = -(-len(cells) // room)
    strip = [max(cells[start : start + each], key=_GRAVITY.index) for start in range(0, len(cells), each)]
    yield f"[{''.join(screen.painted(mark, MARKS[mark][1]) for mark in strip)}]"
    legend = "  ".join(f"{mark} {MARKS[mark][0]}" for mark in _GRAVITY if mark in strip)
    more = f"  (each stands for up to {each:,} chunks)" if each > 1 else ""
    yield from (screen.painted(line, "dim") for line in words.wrapped(f"{legend}{more}", screen.width()))


def _parts(found: StreamAudit) -> Iterator[str]:
    """The server's streams that have the chunks, and what is wrong with their links."""
    if len(found.stream.parts) <= 1:
        yield f"           {found.stream.data_id or 'no data_id yet'}"
    else:
        for part in found.stream.parts:
            has = words.count(len(found.chunks_in(part)), "chunk")
            why = f"; then {words.printable(part.closed_why)}" if part.closed_why else ""
            yield from _field("", f"{part.data_id or 'no data_id yet'}: {has}{why}")
    if found.stream.unlinked is not None:
        yield from _field("Links", f"missing: {words.printable(found.stream.unlinked)}")


def _totals(found: StreamAudit) -> str:
    chunks = [one.chunk for one in found.chunks]
    frames = sum(chunk.n for chunk in chunks)
    recorded = words.duration(frames / found.stream.settings.fps)
    size = words.size(sum(chunk.wire_bytes for chunk in chunks))
    return f"{words.count(len(chunks), 'chunk')}, {words.count(frames, 'frame')} ({recorded}), {size}"


def _captured(found: StreamAudit) -> str:
    starts = [one.chunk.capture_start_ms_utc for one in found.chunks]
    first, last = words.moment(min(starts)), words.moment(max(starts))
    return f"{first} to {last[11:] if last[:10] == first[:10] else last} UTC, like all times here"


def _watermark(found: StreamAudit) -> str:
    if found.watermark < 0:
        return "none: chunk 0 is not acknowledged"
    return f"{found.watermark}: everything up to this chunk is acknowledged"


def _field(name: str, text: str) -> Iterator[str]:
    lines = words.wrapped(text, screen.width() - 11)
    yield from (f"{name if k == 0 else '':10} {line}" for k, line in enumerate(lines))


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _lasted(began_ms: int, ended_ms: int) -> str:
    return f"for {words.duration((ended_ms - began_ms) / 1000)}"
