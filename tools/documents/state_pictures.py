"""``docs/pictures/states-*.svg``: the state machines, drawn from the table in `spool.states`.

Where a state stands is said here; which arrows there are, and their verbs, says the table. A state that has no
place here is an error, so that no picture is drawn without it.
"""

from collections.abc import Iterator, Mapping

from spool.states import CHUNK_MOVES, STREAM_MOVES, ChunkState, Move, StreamState

_WIDE, _HIGH = 140, 44
_PLACES = {
    ChunkState.SPOOLED: (210, 40),
    ChunkState.ACKNOWLEDGED: (520, 40),
    ChunkState.PARKED: (210, 190),
    ChunkState.DISCARDED: (520, 190),
    StreamState.OPEN: (210, 40),
    StreamState.SEALED: (430, 40),
    StreamState.FINALIZED: (650, 40),
}
STYLE = """  <style>
    svg { font: 15px system-ui, sans-serif; background: #ffffff; color: #1d2733; }
    text { fill: currentColor; }
    .box { fill: #eef3f9; stroke: #4a6a8f; stroke-width: 1.5; }
    .end { fill: #e7f4ea; stroke: #2f7d46; }
    .line { fill: none; stroke: #4a6a8f; stroke-width: 1.5; }
    .head, .start { fill: #4a6a8f; }
    .verb, .note { font-size: 13px; fill: #3f5368; }
    @media (prefers-color-scheme: dark) {
      svg { background: #131416; color: #e3e8ee; }
      .box { fill: #1f2b3a; stroke: #7fa3cc; }
      .end { fill: #1b3023; stroke: #6cc08a; }
      .line { stroke: #7fa3cc; }
      .head, .start { fill: #7fa3cc; }
      .verb, .note { fill: #b6c5d6; }
    }
  </style>"""
ARROW_HEAD = (
    '  <defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
    'orient="auto-start-reverse"><path class="head" d="M0 0 10 5 0 10z"/></marker></defs>'
)


def of_chunks() -> str:
    """The states of a chunk."""
    return _picture(tuple(ChunkState), CHUNK_MOVES, "push", wide=700, high=260)


def of_streams() -> str:
    """The states of a stream."""
    return _picture(tuple(StreamState), STREAM_MOVES, "open", wide=820, high=124)


def _picture(
    states: tuple[ChunkState | StreamState, ...], moves: Mapping[str, Move], entry: str, *, wide: int, high: int
) -> str:
    arrows = [(before, move.becomes, verb) for verb, move in moves.items() for before in move.expects]
    says = "; ".join(f"{verb}: {before} to {after}" for before, after, verb in arrows)
    ends = {state for state in states if state not in {before for before, _, _ in arrows}}
    size = f'width="{wide}" height="{high}"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" {size} role="img">',
        "  <!-- Made by tools/generate_docs.py from spool/states.py. -->",
        f"  <title>{entry}: {states[0]}; {says}</title>",
        STYLE,
        ARROW_HEAD,
        *_entry(states[0], entry),
        *(line for one in arrows for line in _arrow(*one, arrows=arrows)),
        *(line for state in states for line in _box(state, is_end=state in ends)),
        "</svg>",
        "",
    ]
    return "\n".join(lines)


def _box(state: str, *, is_end: bool) -> Iterator[str]:
    x, y = _place(state)
    yield f'  <rect class="box{" end" * is_end}" x="{x}" y="{y}" width="{_WIDE}" height="{_HIGH}" rx="8"/>'
    yield f'  <text x="{x + _WIDE // 2}" y="{y + _HIGH // 2 + 5}" text-anchor="middle">{state}</text>'


def _entry(state: str, verb: str) -> Iterator[str]:
    x, y = _place(state)
    middle = y + _HIGH // 2
    yield f'  <circle class="start" cx="40" cy="{middle}" r="8"/>'
    yield f'  <path class="line" d="M48 {middle}H{x - 2}" marker-end="url(#head)"/>'
    yield _verb(verb, (48 + x) // 2, middle - 8)


def _arrow(before: str, after: str, verb: str, *, arrows: list[tuple[str, str, str]]) -> Iterator[str]:
    """A straight arrow from the edge of one box to that of another; beside its return where there is one."""
    (x, y), (to_x, to_y) = _place(before), _place(after)
    has_return = any((one, other) == (after, before) for one, other, _ in arrows)
    if y == to_y:
        middle, start, end = y + _HIGH // 2, x + _WIDE, to_x - 2
        yield f'  <path class="line" d="M{start} {middle}H{end}" marker-end="url(#head)"/>'
        yield _verb(verb, (start + end) // 2, middle - 8)
    elif x == to_x:
        side = (40 if to_y > y else -40) if has_return else 0
        at = x + _WIDE // 2 - side
        start, end = (y + _HIGH, to_y - 2) if to_y > y else (y, to_y + _HIGH + 2)
        anchor = "end" if side > 0 else "start"
        yield f'  <path class="line" d="M{at} {start}V{end}" marker-end="url(#head)"/>'
        yield _verb(verb, at - 8 if side > 0 else at + 8, (start + end) // 2 + 5, anchor)
    else:
        start_x, end_x = x + _WIDE, to_x - 2
        start_y, end_y = (y + _HIGH - 8, to_y + 8) if to_y > y else (y + 8, to_y + _HIGH - 8)
        yield f'  <path class="line" d="M{start_x} {start_y}L{end_x} {end_y}" marker-end="url(#head)"/>'
        yield _verb(verb, (start_x + end_x) // 2 + 10, (start_y + end_y) // 2 - 6, "start")


def _verb(verb: str, x: int, y: int, anchor: str = "middle") -> str:
    return f'  <text class="verb" x="{x}" y="{y}" text-anchor="{anchor}">{verb}</text>'


def _place(state: str) -> tuple[int, int]:
    return _PLACES[state]  # type: ignore[index] # the states are strings
