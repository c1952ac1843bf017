"""Write the documents that are drawn from code: ``python tools/generate_docs.py [--check]``.

``docs/states.md`` comes from `spool.states`, ``docs/answers.md`` from `uploader.answers`. With ``--check``
nothing is written; the exit code is 1 when a document is not what the code says.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

from spool.states import CHUNK_MOVES, STREAM_MOVES, ChunkState, Move, StreamState
from uploader.answers import RETRY_AFTER_MAX_S, TABLE, Row

DOCS = Path(__file__).resolve().parent.parent / "docs"
_MADE = "<!-- Made by tools/generate_docs.py from the code: edit the code, then run it again. -->\n"


def states() -> str:
    """The two state machines as Mermaid diagrams and tables."""
    return "\n".join(
        (
            "# States",
            _MADE,
            "Every change of state is one row of the tables in `spool/states.py`; every UPDATE in the index",
            "names the states it expects. The words are those of the [glossary](glossary.md).",
            "",
            "## A chunk",
            "",
            *_diagram(CHUNK_MOVES, entry=ChunkState.SPOOLED, entry_verb="push"),
            "",
            *_moves(CHUNK_MOVES),
            "",
            "A chunk is deleted from the local disk only when it is acknowledged (*prune*) or discarded; its",
            "index row stays for ever.",
            "",
            "## A stream",
            "",
            *_diagram(STREAM_MOVES, entry=StreamState.OPEN, entry_verb="open"),
            "",
            *_moves(STREAM_MOVES),
            "",
            "`finalize` also needs that no chunk of the stream is spooled or parked. Beside its state a stream",
            "can be *held*: nothing of it is sent until a person says `framespool retry`.",
            "",
        )
    )


def answers() -> str:
    """The table of answers."""
    lines = [
        "# What each answer of the server means",
        _MADE,
        "The first row that fits counts. *outage*: every stream of the destination waits, one probe at a time,",
        "full speed on the first success. *later*: only this stream tries again. *paused*: a person has to see",
        "to the key. *ask*: the catalogue says whether the stream or the chunk is meant. *refused*: this one",
        "chunk is parked, once the refusal was repeated. `Retry-After` is honoured as a minimum, up to",
        f"{RETRY_AFTER_MAX_S:.0f} s. Waits grow from 0.5 s to 60 s with full jitter and never end.",
        "",
        "| step | signal | it means | class | what we do |",
        "|---|---|---|---|---|",
    ]
    for row in TABLE:
        steps = ", ".join(step.value for step in row.steps)
        lines.append(f"| {steps} | {_signal(row)} | {row.says} | {row.meaning.value} | {row.does} |")
    return "\n".join([*lines, ""])


def _signal(row: Row) -> str:
    if row.fault is not None:
        return f"fault: {row.fault}"
    spans = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in row.statuses)
    page = " with an HTML page" if row.html else ""
    text = f" with `{row.text}` in the body" if row.text else ""
    return f"{spans}{page}{text}"


def _diagram(moves: Mapping[str, Move], *, entry: str, entry_verb: str) -> list[str]:
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {entry}: {entry_verb}"]
    lines += [
        f"    {before} --> {move.becomes}: {verb}" for verb, move in moves.items() for before in move.expects
    ]
    return [*lines, "```"]


def _moves(moves: Mapping[str, Move]) -> list[str]:
    rows = [f"| {verb} | {', '.join(m.expects)} | {m.becomes} | `{m.event}` |" for verb, m in moves.items()]
    return ["| verb | from | to | ledger event |", "|---|---|---|---|", *rows]


def main() -> int:
    """Write or check every document; the exit code."""
    stale = []
    for name, text in (("states.md", states()), ("answers.md", answers())):
        path = DOCS / name
        if "--check" in sys.argv[1:]:
            if not path.exists() or path.read_text("utf-8") != text:
                stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"not what the code says: {', '.join(stale)}; run python tools/generate_docs.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
