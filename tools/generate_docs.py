"""Write the documents that are drawn from code: ``python tools/generate_docs.py [--check]``.

``docs/states.md`` and its pictures come from `spool.states`, ``docs/answers.md`` from `uploader.answers`, and what
is in ``docs/reference`` from the command line, the errors, and the docstrings of the public names. With
``--check`` nothing is written; the exit code is 1 when a document is not what the code says.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from spool.states import CHUNK_MOVES, STREAM_MOVES, Move
from tools.documents import MADE, api, commands, decisions, errors, state_pictures
from uploader.answers import RETRY_AFTER_MAX_S, retry_after_s
from uploader.meanings import Answer, Row
from uploader.server_states import SERVER_STATES, ServerState
from uploader.signals import BROKEN, READ, STATUSES

DOCS = Path(__file__).resolve().parent.parent / "docs"


def states() -> str:
    """The two state machines, as pictures and tables."""
    return "\n".join(
        (
            "# States",
            MADE,
            "Every change of state is one row of the tables in `spool/states.py`; every UPDATE in the index",
            "names the states it expects. The words are those of the [glossary](glossary.md).",
            "",
            "## A chunk",
            "",
            "![The states of a chunk](pictures/states-chunk.svg)",
            "",
            *_moves(CHUNK_MOVES),
            "",
            "A chunk is deleted from the local disk only when it is acknowledged (*prune*) or discarded; its",
            "index row stays for ever.",
            "",
            "## A stream",
            "",
            "![The states of a stream](pictures/states-stream.svg)",
            "",
            *_moves(STREAM_MOVES),
            "",
            "`finalize` also needs that no chunk of the stream is spooled or parked. Beside its state a stream",
            "can be *held*: nothing of it is sent until a person says `framespool retry`.",
            "",
        )
    )


def answers() -> str:
    """The tables of signals."""
    lines = [
        "# What each answer of the server means",
        MADE,
        "*outage*: every stream of the destination waits, one probe at a time, full speed on the first success.",
        "*later*: only this stream tries again. *paused*: a person has to see to the key. *ask*: the catalogue",
        "says whether the stream or the chunk is meant. *refused*: this one chunk is parked, once the refusal was",
        "repeated. Waits grow from 0.5 s to 60 s with full jitter and never end.",
        "",
        "## Nothing, or nothing whole, came back",
        "",
        *_table("step", "signal", "it means", "class", "what we do", rows=map(_cells, BROKEN)),
        "",
        "## An answer came",
        "",
        "The first row that fits counts.",
        "",
        *_table("step", "signal", "it means", "class", "what we do", rows=map(_cells, STATUSES)),
        "",
        "## What a success still has to show",
        "",
        *_table(
            "step", "signal", "class", "what we do", rows=([_steps(r), r.says, r.meaning, r.does] for r in READ)
        ),
        "",
        "## What the catalogue says of a stream whose chunk or end was refused",
        "",
        *_table("`pipeline_status`", "class", "what we do", rows=_states()),
        "",
        "## What `Retry-After` asks for",
        "",
        f"A minimum for the next wait, from 0 up to {RETRY_AFTER_MAX_S:.0f} s; here at {_AT:%Y-%m-%d %H:%M}.",
        "",
        *_table("`Retry-After`", "form", "seconds", rows=_waits()),
    ]
    return "\n".join([*lines, ""])


_AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FORMS = {
    "seconds": "7",
    "no wait": "0",
    "absurdly long": "31536000",
    "negative": "-5",
    "a fraction": "1.5",
    "a date": "Sun, 01 Mar 2026 12:00:30 GMT",
    "a date in the past": "Sat, 01 Mar 2025 12:00:00 GMT",
    "a date far away": "Mon, 01 Mar 2027 12:00:00 GMT",
    "an impossible date": "Fri, 99 Foo 2026 99:99:99 GMT",
    "garbage": "soon",
    "empty": "",
}


def _waits() -> Iterator[Sequence[str]]:
    for form, text in FORMS.items():
        seconds = retry_after_s(Answer(status=503, headers={"retry-after": text}), now=_AT)
        yield f"`{text}`" if text else "", form, f"{seconds:.0f}"


def _states() -> Iterator[Sequence[str]]:
    for status, state in (*SERVER_STATES.items(), ("anything else", ServerState.UNKNOWN)):
        yield status, state.value, state.does


def _cells(row: Row) -> Sequence[str]:
    return _steps(row), _signal(row), row.says, row.meaning.value, row.does


def _steps(row: Row) -> str:
    return ", ".join(row.steps)


def _signal(row: Row) -> str:
    if row.faults:
        return f"fault: {', '.join(row.faults)}"
    spans = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in row.statuses)
    page = " with an HTML page" if row.html else ""
    text = f" with {' or '.join(f'`{one}`' for one in row.texts)} in the body" if row.texts else ""
    return f"{spans}{page}{text}"


def _table(*head: str, rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def _moves(moves: Mapping[str, Move]) -> list[str]:
    rows = [f"| {verb} | {', '.join(m.expects)} | {m.becomes} | `{m.event}` |" for verb, m in moves.items()]
    return ["| verb | from | to | ledger event |", "|---|---|---|---|", *rows]


DRAWN: Mapping[str, Callable[[], str]] = {
    "adr/README.md": decisions.decisions,
    "answers.md": answers,
    "pictures/states-chunk.svg": state_pictures.of_chunks,
    "pictures/states-stream.svg": state_pictures.of_streams,
    "reference/api.md": api.for_scripts,
    "reference/api-spool.md": api.for_readers,
    "reference/cli.md": commands.commands,
    "reference/errors.md": errors.errors,
    "states.md": states,
}


def main() -> int:
    """Write or check every document; the exit code."""
    stale = []
    for name, drawn in DRAWN.items():
        path, text = DOCS / name, drawn()
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
