"""A stream's chunks as one line of marks, the latest at its end: read in one page, however long the stream is.

What lies far behind the watermark is left out while all of the backlog fits; a long backlog is drawn coarsely,
from what the index knows without reading a row of it.
"""

from spool import Cell, Spool, Stream
from uploader.cli.audit_view import GRAVITY, MARKS, mark_in

SENDING = ">"
_EXACT_MAX = 2000
"""So many chunks are looked at one by one; `Spool.cells` gives them at once."""


def strip(spool: Spool, stream: Stream, width: int, *, is_sending: bool) -> tuple[str, int]:
    """The marks, and how many chunks each stands for.

    Args:
        spool: an open spool.
        stream: one of it.
        width: the most marks.
        is_sending: whether somebody delivers it at this moment: then its first waiting chunk is on its way.
    """
    end, first_open = stream.next_chunk_idx, stream.watermark + 1
    if not end:
        return "", 1
    backlog = end - first_open
    if backlog + width <= _EXACT_MAX:
        start = max(0, end - max(width, backlog + width // 4))
        if backlog + width // 4 > width:
            start = max(0, first_open - width // 4)
        marks = _exact(spool.cells(stream.stream_id, after_idx=start - 1), start, end)
    else:
        start = 0
        marks = _coarse(stream, spool.parked(stream.stream_id), width)
        return _with_sending(marks, marks.find("+"), is_sending=is_sending), -(-end // width)
    several = -(-len(marks) // width)
    shown = "".join(_gravest(marks[at : at + several]) for at in range(0, len(marks), several))
    return _with_sending(shown, marks.find("+") // several, is_sending=is_sending and "+" in marks), several


def _exact(cells: list[Cell], start: int, end: int) -> str:
    marks = ["-"] * (end - start)
    for cell in cells:
        if cell.chunk_idx < end:
            marks[cell.chunk_idx - start] = mark_in(cell.state, is_confirmed=cell.is_confirmed)
    return "".join(marks)


def _coarse(stream: Stream, parked: list[int], width: int) -> str:
    each = -(-stream.next_chunk_idx // width)
    delivered = (stream.watermark + 1) // each
    marks = ["="] * delivered + ["+"] * (-(-stream.next_chunk_idx // each) - delivered)
    for idx in parked:
        marks[idx // each] = "!"
    return "".join(marks)


def _gravest(marks: str) -> str:
    return max(marks, key=GRAVITY.index)


def _with_sending(marks: str, at: int, *, is_sending: bool) -> str:
    if not is_sending or not 0 <= at < len(marks) or marks[at] != "+":
        return marks
    return f"{marks[:at]}{SENDING}{marks[at + 1 :]}"


def legend(marks: str) -> str:
    """What those that occur mean."""
    said = [f"{mark} {MARKS[mark][0]}" for mark in GRAVITY if mark in marks]
    return "  ".join([*said, *([f"{SENDING} on its way"] if SENDING in marks else [])])
