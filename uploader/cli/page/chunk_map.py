"""All chunks at a glance, as an SVG: a cell for each, in reading order, coloured by what became of it."""

from collections.abc import Iterator
from html import escape
from itertools import groupby

from spool import StreamAudit
from uploader.cli.audit_view import MARKS, mark_of

WIDTH = 960
_CELLS = ((40, 30), (400, 19), (3000, 9), (25_000, 5), (10**9, 3))
"""Up to so many cells, each this wide, in pixels."""
_LETTER_MIN = 16
_GAP_CELLS_MAX = 200
_BAD = "-x*!"
_RINGS_MAX = 200
"""So many small cells that somebody should look at get a ring; where there are more they are seen without."""
NAMES = {
    "=": "confirmed",
    "~": "unconfirmed",
    "+": "waiting",
    "-": "gap",
    "x": "discarded",
    "*": "mismatch",
    "!": "parked",
}


def marks(found: StreamAudit) -> Iterator[tuple[str, str]]:
    """For each cell its mark and the chunk it stands for; of a wide gap no more than `_GAP_CELLS_MAX`."""
    gaps = dict(found.gap_spans)
    expected = 0
    for one in found.chunks:
        idx = one.chunk.chunk_idx
        if idx > expected:
            last = gaps[expected]
            shown = min(last - expected + 1, _GAP_CELLS_MAX)
            yield from (("-", str(expected + k)) for k in range(shown - 1))
            yield "-", str(last) if shown == last - expected + 1 else f"up to {last}"
        yield mark_of(one), str(idx)
        expected = idx + 1


def chunk_map(found: StreamAudit) -> str:
    """The map; cells in a line that are alike are one rectangle, so that twenty thousand stay small."""
    cells = list(marks(found))
    size = next(size for most, size in _CELLS if len(cells) <= most)
    gap = 2 if size > 10 else 1 if size > 4 else 0  # noqa: PLR2004 - pixels
    columns = WIDTH // size
    height = -(-len(cells) // columns) * size
    parts = [f'<svg class="map" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="all chunks">']
    rings: list[str] = []
    for line, start in enumerate(range(0, len(cells), columns)):
        row = cells[start : start + columns]
        for k, (mark, first, last, count) in _runs(row, alone=size >= _LETTER_MIN):
            x, y = k * size, line * size
            span = f"chunk {first}" if count == 1 else f"chunks {first} to {last}"
            title = f"<title>{escape(f'{span}: {MARKS[mark][0]}')}</title>"
            side, wide = size - gap, count * size - gap
            box = f'x="{x}" y="{y}" width="{wide}" height="{side}"'
            parts.append(f'<rect class="{NAMES[mark]}" {box}>{title}</rect>')
            if size < _LETTER_MIN and mark in _BAD:
                centre = f'cx="{x + wide / 2:g}" cy="{y + side / 2:g}"'
                rings.append(f'<circle class="ring" {centre} r="{wide / 2 + 6:g}"/>')
            if size >= _LETTER_MIN:
                parts.append(f'<text x="{x + side / 2:g}" y="{y + side / 2:g}">{escape(mark)}</text>')
    # Last, so that no cell lies over them.
    return "".join([*parts, *(rings if len(rings) <= _RINGS_MAX else ()), "</svg>"])


def _runs(row: list[tuple[str, str]], *, alone: bool) -> Iterator[tuple[int, tuple[str, str, str, int]]]:
    """Where in a line each rectangle begins, and its mark, first and last chunk, and how many."""
    if alone:
        yield from ((k, (mark, name, name, 1)) for k, (mark, name) in enumerate(row))
        return
    for mark, run in groupby(enumerate(row), key=lambda one: one[1][0]):
        cells = list(run)
        yield cells[0][0], (mark, cells[0][1][1], cells[-1][1][1], len(cells))
