"""What stands in the documents to be typed: fenced blocks, with the comments that say how they are to be tried.

A comment before a block is one of:

``<!-- not run: WHY -->``               it is not tried; its framespool commands are parsed all the same
``<!-- exits with N -->``               the exit code that is right, where it is not 0
``<!-- run in the background: NAME -->``  it is started, and goes on
``<!-- run: NAME is stopped -->``       (or started) is no block, but what the text tells the reader to do
``<!-- run: VARIABLE is WORTH -->``     likewise: the reader is at another machine
"""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md")))
TYPED = frozenset({"bash", "console", "python", "sh"})

_FENCE = re.compile(r"^ *```(\S*)$")
_MARK = re.compile(r"^ *<!-- (.*) -->$")
_ENDS = frozenset({"|", "||", "&&", "&", ";", ">"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One fenced block, or a lonely mark (then ``language`` is empty)."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    @property
    def is_typed(self) -> bool:
        """Whether it is for the reader to type, or to do."""
        return self.language in TYPED or self.mark.startswith("run: ")

    @property
    def is_run(self) -> bool:
        return not self.mark.startswith("not run")

    @property
    def exit_code(self) -> int:
        found = re.fullmatch(r"exits with (\d)(: .*)?", self.mark)
        return int(found[1]) if found else 0

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def exchanges(self) -> list[tuple[str, list[str]]]:
        """Of a console: each command, and the lines that it answers."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith("$ "):
                found.append((line.removeprefix("$ "), []))
            else:
                assert found, f"{self}: a console begins with a command"
                found[-1][1].append(line)
        return found


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block and every mark of a page, in its order."""
    found: list[Block] = []
    inside: list[str] | None = None
    language, mark, began = "", "", 0
    for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
        fence, comment = _FENCE.match(line), _MARK.match(line)
        if inside is not None:
            if line.strip() == "```":
                text = textwrap.dedent("\n".join(inside))
                found.append(Block(page=page, line=began, language=language, text=text, mark=mark))
                inside, mark = None, ""
            else:
                inside.append(line)
        elif fence:
            inside, language, began = [], fence[1], number
        elif comment and comment[1].startswith("run: "):
            found.append(Block(page=page, line=number, language="", text="", mark=comment[1]))
        elif comment and re.match("not run: |exits with |run in the background: ", comment[1]):
            mark = comment[1]
        elif line.strip() and not comment:
            mark = ""
    assert inside is None, f"{page}: a block without an end"
    return found


def commands_of(page: Path) -> Iterator[tuple[Block, list[str]]]:
    """Every framespool command that a page names in a block, run or not, as its words."""
    for block in blocks_of(page):
        if block.language in {"bash", "console", "sh"}:
            lines = re.sub(r"\\\n\s*", " ", block.text).splitlines()
            if block.language == "console":
                lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            for line in lines:
                words = shlex.split(line, comments=True)
                for place, word in enumerate(words):
                    if word.rpartition("/")[2] == "framespool" and place + 1 < len(words):
                        yield block, _until_its_end(words[place + 1 :])
                        break


def _until_its_end(words: list[str]) -> list[str]:
    ends = [place for place, word in enumerate(words) if word in _ENDS]
    return words[: ends[0]] if ends else words
