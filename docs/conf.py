"""The documentation as a site: ``sphinx-build -W docs build/site``. Nothing is loaded from elsewhere.

The pages are plain Markdown, as a forge shows them. What a forge does not need, the side bar, is made here: the
pages below in their order, and of how-tos and decisions whatever lies in their folder.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

project = "framespool"
author = "the framespool developers"
version = release = re.search(
    r'__version__ = "(.*)"', (ROOT / "uploader" / "__init__.py").read_text("utf-8")
).group(1)

extensions = ["myst_parser", "sphinx_copybutton"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["examples"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]  # an ellipsis in an example is no Python
# The prompt is not what somebody wants to paste, nor is what the command answered.
copybutton_prompt_text = "$ "
copybutton_line_continuation_character = "\\"

smartquotes = False  # quoted commands are copied

html_theme = "furo"
html_title = "framespool"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_copy_source = html_show_copyright = html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}

SIDE_BAR = {
    "index": (
        ("Begin", ("tutorial", "how-to/README")),
        ("Understand", ("architecture", "durability", "ordering", "ledger", "audit", "performance", "adr/README")),
        (
            "Look up",
            (
                "reference/cli",
                "configuration",
                "reference/errors",
                "answers",
                "reference/api",
                "reference/api-spool",
                "states",
                "on-disk-format",
                "destinations",
                "glossary",
            ),
        ),
    ),
    "how-to/README": ((None, ()),),
    "adr/README": ((None, ()),),
}


def _with_side_bar(_app: Sphinx, name: str, source: list[str]) -> None:
    """Append to a page what stands below it in the side bar."""
    for caption, pages in SIDE_BAR.get(name, ()):
        folder = HERE / Path(name).parent
        below = [f"/{page}" for page in pages] or [
            path.stem for path in sorted(folder.glob("*.md")) if path.stem != "README"
        ]
        head = f":caption: {caption}\n" if caption else ""
        source[0] += "\n\n".join(("", f"```{{toctree}}\n:hidden:\n{head}", "\n".join(below), "```", ""))


_FROM_ELSEWHERE = re.compile(
    r"""<(?:script|link|img|iframe|source|video)\b[^>]*\b(?:src|href)=["'](?:https?:)?//|url\(["']?(?:https?:)?//|@import"""
)


def _nothing_from_elsewhere(app: Sphinx, error: Exception | None) -> None:
    """A lab's PC has no network: whatever a page loads must be beside it."""
    if error is None:
        for path in sorted(Path(app.outdir).rglob("*")):
            if path.suffix in {".css", ".html"} and (found := _FROM_ELSEWHERE.search(path.read_text("utf-8"))):
                raise ExtensionError(f"{path} loads something from elsewhere: {found[0]}")


def setup(app: Sphinx) -> None:
    """Take part in the reading of pages, and look at what was written."""
    app.connect("source-read", _with_side_bar)
    app.connect("build-finished", _nothing_from_elsewhere)
