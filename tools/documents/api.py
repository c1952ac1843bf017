"""``docs/reference/api.md``: the public names, with the signatures and docstrings of the source.

Read from the source text, so that a signature is written as its author wrote it, by every version of Python.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import spool
import uploader
from tools.documents import MADE

_HEADS = {
    "Args": "Arguments",
    "Returns": "Returns",
    "Raises": "Raises",
    "Attributes": "Attributes",
    "Yields": "Yields",
}


def for_scripts() -> str:
    """The reference of what a lab's script uses."""
    return _page(
        uploader,
        "Python: record and deliver",
        "`from uploader import …`. What `uploader.__all__` names is here; everything else may change. Errors\n"
        "are in [their own catalogue](errors.md), what a reader of spools uses is [on a page of its\n"
        "own](api-spool.md), and a page each says what [a source](../how-to/cameras.md#a-camera-of-your-own) and\n"
        "[a destination](../destinations.md) of your own have to be.",
    )


def for_readers() -> str:
    """The reference of what a reader of spools uses."""
    return _page(
        spool,
        "Python: read a spool",
        "`from spool import …`: disks, never the network. What `spool.__all__` names is here; everything else\n"
        "may change. Errors are in [their own catalogue](errors.md).",
    )


def _page(package: ModuleType, title: str, says: str) -> str:
    lines = [f"# {title}", MADE, says, ""]
    for name in package.__all__:
        lines += _name(package, name)
    return "\n".join(lines)


def _name(package: ModuleType, name: str) -> Iterator[str]:
    found = getattr(package, name)
    if inspect.isclass(found) and issubclass(found, Exception) and not issubclass(found, Warning):
        return
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        if isinstance(found, int | float | str | re.Pattern):
            yield f"## {name}"
            yield ""
            yield f"The pattern `{found.pattern}`." if isinstance(found, re.Pattern) else f"`{found!r}`"
            yield ""
        return
    node = _node(found)
    yield f"## {name}"
    yield ""
    if isinstance(node, ast.ClassDef):
        yield from _class(node)
    else:
        yield from _signature(node, node.name)
        yield from _docstring(node)


def _node(found: Any) -> ast.ClassDef | ast.FunctionDef:  # noqa: ANN401 - a class or a function
    node = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    return node


def _class(node: ast.ClassDef) -> Iterator[str]:
    functions = [one for one in node.body if isinstance(one, ast.FunctionDef)]
    for one in functions:
        if one.name == "__init__":
            yield from _signature(one, node.name)
    yield from _docstring(node)
    worths = list(_worths(node))
    if worths and "Attributes:" not in (ast.get_docstring(node) or ""):
        yield from worths
        yield ""
    for one in functions:
        if one.name.startswith("_") or not ast.get_docstring(one):
            continue
        names = {ast.unparse(decorator) for decorator in one.decorator_list}
        if "property" in names:
            yield f"### {node.name}.{one.name}"
            yield ""
            yield "```python"
            yield f"{one.name}: {ast.unparse(one.returns) if one.returns else 'Any'}"
            yield "```"
            yield ""
        else:
            yield f"### {node.name}.{one.name}()"
            yield ""
            yield from _signature(one, one.name)
        yield from _docstring(one)


def _worths(node: ast.ClassDef) -> Iterator[str]:
    """The fields of a value, or the members of an enumeration, with what stands below them."""
    for one, after in zip(node.body, [*node.body[1:], None], strict=True):
        says = ""
        if (
            isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            says = " ".join(after.value.value.split())
        if (
            isinstance(one, ast.AnnAssign)
            and isinstance(one.target, ast.Name)
            and not one.target.id.startswith("_")
        ):
            yield f"* `{one.target.id}: {ast.unparse(one.annotation)}`" + (f": {_prose(says)}" if says else "")
        elif isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name) and one.targets[0].id.isupper():
            yield f"* `{one.targets[0].id}` = `{ast.unparse(one.value)}`" + (f": {_prose(says)}" if says else "")


def _signature(node: ast.FunctionDef, name: str) -> Iterator[str]:
    given = node.args
    if given.args and given.args[0].arg in {"self", "cls"}:
        given.args = given.args[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns and name == node.name else ""
    flat = f"{name}({ast.unparse(given)}){returns}"
    yield "```python"
    if len(flat) <= _WIDTH:
        yield flat
    else:
        yield f"{name}("
        yield from (f"    {one}," for one in _arguments(given))
        yield f"){returns}"
    yield "```"
    yield ""


_WIDTH = 88


def _arguments(given: ast.arguments) -> Iterator[str]:
    positional = [*given.posonlyargs, *given.args]
    without = len(positional) - len(given.defaults)
    for place, one in enumerate(positional):
        default = f" = {ast.unparse(given.defaults[place - without])}" if place >= without else ""
        yield ast.unparse(one) + default
    if given.vararg:
        yield f"*{ast.unparse(given.vararg)}"
    elif given.kwonlyargs:
        yield "*"
    for one, default_of in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield ast.unparse(one) + (f" = {ast.unparse(default_of)}" if default_of else "")
    if given.kwarg:
        yield f"**{ast.unparse(given.kwarg)}"


def _docstring(node: ast.ClassDef | ast.FunctionDef) -> Iterator[str]:
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        head, colon, rest = paragraph.partition(":\n")
        if colon and head in _HEADS:
            yield f"*{_HEADS[head]}*"
            yield ""
            yield from _items(textwrap.dedent(rest))
        elif paragraph.startswith("    ") or paragraph.rstrip().endswith("::"):
            yield "```text"
            yield textwrap.dedent(paragraph)
            yield "```"
        else:
            yield _prose(paragraph)
        yield ""


def _items(text: str) -> Iterator[str]:
    items = re.split(r"\n(?! )", text)
    for item in items:
        one = " ".join(item.split())
        name, colon, says = one.partition(": ")
        is_named = colon and re.fullmatch(r"[\w*, ]+", name)
        yield f"* `{name}`: {_prose(says)}" if is_named else f"{'* ' * (len(items) > 1)}{_prose(one)}"


def _prose(text: str) -> str:
    return text.replace("``", "`").replace("<", "&lt;")
