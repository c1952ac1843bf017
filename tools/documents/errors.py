"""``docs/reference/errors.md``: every public error with its hint, and every signal's words."""

import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import spool.errors
import uploader.errors
from tools.documents import MADE, cell
from uploader.faults import Fault, words_of
from uploader.signals import BROKEN, READ, STATUSES
from uploader.sources import SourceError


def errors() -> str:
    """The catalogue of errors."""
    lines = [
        "# What framespool says when something is wrong",
        MADE,
        "Every error carries a `hint`: what to do next. On the command line the hint stands below the message.",
        "None of these errors means that something spooled was lost.",
        "",
        "## Errors of the spool",
        "",
        *_tree(spool.errors),
        *_catalogue(spool.errors),
        "## Errors of the uploader",
        "",
        *_tree(uploader.errors),
        *_catalogue(uploader.errors),
        *_entry(SourceError),
        "## What status says during an outage",
        "",
        "What broke on the way, in the words of `status`, the log and the ledger. PLACE is the address, REASON",
        "what the operating system said. None of these costs a frame, and each is tried again by itself.",
        "",
        "| fault | words |",
        "|---|---|",
        *(f"| {one.value} | {cell(words_of(one, 'PLACE', 'REASON'))} |" for one in Fault),
        "",
        "## What to do about each answer",
        "",
        "By the words that the audit and the log show; the statuses behind them are in [answers](../answers.md).",
        "",
        "| words | class | what we do, and what you can do |",
        "|---|---|---|",
        *dict.fromkeys(
            f"| {cell(row.says)} | {row.meaning.value} | {cell(row.does)} |" for row in (*BROKEN, *STATUSES, *READ)
        ),
        "",
    ]
    return "\n".join(lines)


def _tree(module: ModuleType) -> Iterator[str]:
    _, _, rest = (module.__doc__ or "").partition("::\n\n")
    yield "```text"
    yield inspect.cleandoc(rest.partition("\n\n")[0]).replace("``", "")
    yield "```"
    yield ""


def _catalogue(module: ModuleType) -> Iterator[str]:
    for _, found in inspect.getmembers(module, inspect.isclass):
        if found.__module__ == module.__name__ and issubclass(found, Exception):
            yield from _entry(found)


def _entry(found: type) -> Iterator[str]:
    says, _, facts = inspect.getdoc(found).partition("\n\nAttributes:\n")  # type: ignore[union-attr] # each has one
    yield f"### {found.__name__}"
    yield ""
    yield says
    yield ""
    for name, text in re.findall(r"^ *(\w+): (.*?)(?=^ *\w+: |\Z)", facts, re.MULTILINE | re.DOTALL):
        if name != "hint":
            yield f"* `{name}`: {' '.join(text.split())}"
    if facts and "hint:" not in facts:
        yield ""
    yield f"**What to do:** {found.hint}"  # type: ignore[attr-defined] # each has one
    yield ""
