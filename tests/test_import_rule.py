"""Arrows point one way: the uploader knows the spool by its public names, the spool knows nobody."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import spool

REPOSITORY = Path(__file__).parents[1]
NETWORK_AND_SCREEN = {"httpx", "tenacity", "click", "rich", "uploader", "starlette", "uvicorn"}


def imports(source: str, *, package: str = "") -> Iterator[tuple[str, str | None]]:
    """Every import, wherever it stands: ``(module, name)``, with no name for ``import module``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(part for part in (package if node.level else "", node.module) if part)
            for alias in node.names:
                yield module, alias.name


def broken_by_spool(source: str) -> list[str]:
    """Imports of a module of ``spool`` that point the wrong way."""
    return [
        module
        for module, _ in imports(source, package="spool")
        if module.partition(".")[0] in NETWORK_AND_SCREEN | {"tests", "tools"}
    ]


def broken_by_uploader(source: str, *, path: str) -> list[str]:
    """Imports of a module of ``uploader`` that reach inside the spool, or retry where they should not."""
    broken = []
    for module, name in imports(source, package="uploader"):
        top = module.partition(".")[0]
        is_public = module == "spool" and name in spool.__all__
        if top == "spool" and not is_public:
            broken.append(f"{module} {name}")
        if top == "tenacity" and path != "uploader/retry.py":
            broken.append(module)
        if top in ("tests", "tools"):
            broken.append(module)
    return broken


def modules(package: str) -> list[str]:
    return [str(path.relative_to(REPOSITORY)) for path in sorted((REPOSITORY / package).rglob("*.py"))]


@pytest.mark.parametrize("path", modules("spool"))
def test_the_spool_knows_neither_network_nor_screen_nor_uploader(path: str) -> None:
    assert broken_by_spool((REPOSITORY / path).read_text("utf-8")) == []


@pytest.mark.parametrize("path", modules("uploader"))
def test_the_uploader_knows_only_public_names_of_the_spool_and_retries_in_one_place(path: str) -> None:
    assert broken_by_uploader((REPOSITORY / path).read_text("utf-8"), path=path) == []


@pytest.mark.parametrize(
    "source",
    ["import httpx", "from tenacity import retry", "def f():\n    import click.core", "from uploader.x import y"],
)
def test_the_rule_notices_a_spool_that_looks_up(source: str) -> None:
    assert broken_by_spool(source)


@pytest.mark.parametrize(
    "source",
    [
        "import spool",
        "import spool.disk",
        "from spool.disk import Disk",
        "from spool import ledger",
        "from spool import *",
        "from spool.testing import FakeClock",
        "try:\n    import tenacity\nexcept ImportError: pass",
    ],
)
def test_the_rule_notices_an_uploader_that_reaches_inside(source: str) -> None:
    assert broken_by_uploader(source, path="uploader/worker.py")


def test_the_rule_lets_public_names_and_the_retry_layer_pass() -> None:
    assert broken_by_uploader("from spool import Spool, Limits", path="uploader/worker.py") == []
    assert broken_by_uploader("import tenacity", path="uploader/retry.py") == []
    assert broken_by_spool("from spool.errors import SpoolError\nimport numpy") == []


def test_the_public_names_of_the_spool_are_sorted_and_exist() -> None:
    capitals = [name for name in spool.__all__ if name.isupper()]
    rest = [name for name in spool.__all__ if not name.isupper()]
    assert spool.__all__ == sorted(capitals) + sorted(rest)
    assert all(hasattr(spool, name) for name in spool.__all__)
