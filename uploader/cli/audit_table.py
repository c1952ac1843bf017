"""An audit as a table: a row a chunk, on a terminal with long unremarkable stretches as one.

The rows are plain text of fixed widths, so that twenty thousand of them take no time. They come as the chunks do:
the first one before the second is read.
"""

from collections.abc import Iterable, Iterator

from spool import AuditedChunk, Chunk, Stream
from uploader.cli import screen, words
from uploader.cli.audit_view import MARKS, mark_of

FOLDED_ROWS_MIN = 40
"""On a terminal, so many chunks in a row without anything remarkable become one line."""

_DAY_MS = 24 * 3600 * 1000
_LONG_TIME = "%m-%d %H:%M:%S"


class Table:
    """The columns that fit a stream and this terminal.

    Args:
        stream: the stream.
        ends: its first and its last chunk, as far as there are any: they say whether one day is enough.
        attempts: whether every attempt gets a line below its chunk.
    """

    def __init__(self, stream: Stream, ends: Iterable[Chunk], *, attempts: bool) -> None:
        times = [at for c in ends for at in (c.capture_start_ms_utc, c.acknowledged_at_ms) if at is not None]
        times += [stream.finalized_at_ms] if times and stream.finalized_at_ms is not None else []
        self._day = min(times) // _DAY_MS if times else 0
        is_one_day = not times or max(times) // _DAY_MS == self._day
        self._time = "%H:%M:%S" if is_one_day else _LONG_TIME
        self._time_width = 8 if is_one_day else 14
        self._etag_width = max(4, screen.width() - 2 * self._time_width - 50)
        self._attempts = attempts
        self._head = (
            f"  {'CHUNK':>6} {'FRAMES':>6} {'BYTES':>8} {'SHA-256':8} {'CAPTURED':{self._time_width}} "
            f"{'ACKNOWL.':{self._time_width}} {'TRIES':>5} RECEIPT"
        )

    def lines(self, chunks: Iterable[AuditedChunk], *, fold: bool) -> Iterator[str]:
        """A row for each chunk and for each gap.

        Args:
            chunks: in order; read one by one.
            fold: whether long runs without anything remarkable become one line.
        """
        run: _Run | None = None
        expected = 0
        for one in chunks:
            idx = one.chunk.chunk_idx
            if run is None:
                yield screen.bold(self._head)
            elif fold and _continues(run.last, one):
                run.add(one)
                expected = idx + 1
                continue
            else:
                yield from self._rest(run)
            if idx > expected:
                yield screen.painted(f"- {_span(expected, idx - 1):>6} never pushed", "bad")
            expected = idx + 1
            run = _Run(one)
            yield from self._row_lines(one)
        if run is not None:
            yield from self._rest(run)

    def _rest(self, run: "_Run") -> Iterator[str]:
        """What follows the first row of a run. Its last row stays visible too: it says when it ended."""
        if run.count < FOLDED_ROWS_MIN:
            for one in run.following:
                yield from self._row_lines(one)
        else:
            yield run.folded()
            yield from self._row_lines(run.last)

    def _row_lines(self, one: AuditedChunk) -> Iterator[str]:
        yield self._row(one)
        if one.chunk.parked_reason is not None:
            reason = f"because {words.printable(one.chunk.parked_reason)}"
            yield from (f"         {line}" for line in words.wrapped(reason, screen.width() - 9))
        if self._attempts:
            yield from self._attempt_lines(one)

    def _row(self, one: AuditedChunk) -> str:
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

    def _attempt_lines(self, one: AuditedChunk) -> Iterator[str]:
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
        # A row of another day than the stream's ends says so, at the cost of its columns.
        pattern = self._time if at_ms // _DAY_MS == self._day else _LONG_TIME
        return f"{words.moment(at_ms, pattern, digits=digits):{self._time_width}}"


class _Run:
    """Chunks that follow one another and are alike; of many only what they amount to is kept."""

    def __init__(self, first: AuditedChunk) -> None:
        self.last = first
        self.count = 1
        self.following: list[AuditedChunk] = []
        self._first = first
        self._frames = self._bytes = 0  # of those between the first and the last

    def add(self, one: AuditedChunk) -> None:
        """The next one."""
        if self.last is not self._first:
            self._frames += self.last.chunk.n
            self._bytes += self.last.chunk.wire_bytes
        self.last = one
        self.count += 1
        if self.count < FOLDED_ROWS_MIN:
            self.following.append(one)
        else:
            self.following.clear()

    def folded(self) -> str:
        """Those between the first and the last, as one line."""
        mark = mark_of(self.last)
        frames, size = words.count(self._frames, "frame"), words.size(self._bytes)
        span = _span(self._first.chunk.chunk_idx + 1, self.last.chunk.chunk_idx - 1)
        text = f"{span}: {words.count(self.count - 2, 'chunk')} alike, {frames}, {size}, {MARKS[mark][0]}"
        return f"{screen.painted(mark, MARKS[mark][1])} {text}"


def _continues(before: AuditedChunk, one: AuditedChunk) -> bool:
    return (
        mark_of(one) == mark_of(before)
        and mark_of(one) in "=~+"
        and one.chunk.chunk_idx == before.chunk.chunk_idx + 1
        and max(one.chunk.attempts, before.chunk.attempts) <= 1
    )


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
