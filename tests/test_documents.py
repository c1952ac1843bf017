"""The documents say what the code does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import spool
import uploader
from uploader.cli import COMMANDS
from uploader.kinds import in_words
from uploader.known_settings import SETTINGS, Setting
from uploader.settings_file import read_settings_file

ROOT = Path(__file__).resolve().parent.parent


def test_documents_drawn_from_code_are_up_to_date() -> None:
    said = subprocess.run(
        [sys.executable, ROOT / "tools" / "generate_docs.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    unnamed = [name for name in COMMANDS if not re.search(rf"`{name}\b", readme)]
    assert unnamed == []


@pytest.mark.parametrize("package", [spool, uploader])
def test_the_architecture_has_a_line_for_every_module(package: object) -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    folder = Path(str(package.__file__)).parent  # type: ignore[attr-defined] # modules have one
    names = [path.name for path in folder.glob("*.py") if not path.name.startswith("__")]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("package", [spool, uploader])
def test_public_names_are_sorted_and_exist(package: object) -> None:
    names: list[str] = package.__all__  # type: ignore[attr-defined] # both have one
    constants = sorted(name for name in names if name.isupper())
    classes = sorted(name for name in names if name[0].isupper() and not name.isupper())
    functions = sorted(name for name in names if name[0].islower())
    assert names == constants + classes + functions
    for name in names:
        assert getattr(package, name) is not None


def test_every_test_that_a_document_names_exists() -> None:
    named = {
        (page.name, path, name)
        for page in (ROOT / "docs").rglob("*.md")
        for path, name in re.findall(r"`([a-z_0-9/]+\.py)::([a-z_0-9]+)`", page.read_text("utf-8"))
    }
    missing = [
        f"{page}: {path}::{name}"
        for page, path, name in sorted(named)
        if not (ROOT / "tests" / path).exists() or f"def {name}(" not in (ROOT / "tests" / path).read_text("utf-8")
    ]
    assert named
    assert missing == []


def test_every_row_of_what_you_lose_when_names_a_test() -> None:
    text = (ROOT / "docs" / "durability.md").read_text("utf-8")
    table = text.partition("## What you lose when\n")[2].strip().partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) >= 9
    assert [row for row in rows if "::test_" not in row] == []


def test_the_configuration_page_has_the_row_of_every_setting() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [_row(one) for one in SETTINGS]


def _row(one: Setting) -> str:
    default = "" if one.default is None else in_words(one.default)
    cells = [f"`{one.name}`", f"`{one.variable}`", f"`{one.option}`", default, "yes" * one.of_spool, one.says]
    return f"| {' | '.join(cells)} |"


def test_the_example_of_the_configuration_page_is_usable(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "config.toml").write_text(example, encoding="utf-8")
    assert [one.name for one in read_settings_file(tmp_path / "config.toml").spools] == ["mbe1", "pld"]


@pytest.mark.parametrize("package", [spool, uploader])
def test_the_reference_has_every_public_name(package: object) -> None:
    pages = "\n".join(path.read_text("utf-8") for path in (ROOT / "docs" / "reference").glob("*.md"))
    headings = set(re.findall(r"^##+ (\w+)$", pages, re.MULTILINE))
    assert set(package.__all__) - headings == set()  # type: ignore[attr-defined] # both have one
