"""``docs/adr/README.md``: the decisions, by the titles of their pages."""

from pathlib import Path

from tools.documents import MADE

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "adr"


def decisions() -> str:
    """The list of decisions."""
    lines = [
        "# Decisions",
        MADE,
        "What somebody may question later: what was decided, why, and what was not chosen.",
        "",
        "| | |",
        "|---|---|",
    ]
    for path in sorted(FOLDER.glob("[0-9]*.md")):
        number, _, title = path.read_text("utf-8").splitlines()[0].removeprefix("# ").partition(". ")
        lines.append(f"| {number} | [{title}]({path.name}) |")
    return "\n".join([*lines, ""])
