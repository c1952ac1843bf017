"""``docs/reference/cli.md``: every command, its arguments and options, from click's own description of them."""

import inspect
from collections.abc import Iterator
from importlib import import_module

import click

from tools.documents import MADE, cell
from uploader.cli import COMMANDS


def commands() -> str:
    """The reference of the command line."""
    lines = [
        "# Commands",
        MADE,
        "`framespool COMMAND --help` says the same. STREAM is a stream_id, a data_id, a name, or the beginning of",
        "one that fits no other. Exit codes: 0; 1, the answer is bad news; 2, the command was not understood.",
        "",
        "| command | |",
        "|---|---|",
        *(f"| [{name}](#framespool-{name}) | {cell(says)} |" for name, says in sorted(COMMANDS.items())),
        "",
    ]
    for name in sorted(COMMANDS):
        lines += _section(name)
    return "\n".join(lines)


def _section(name: str) -> Iterator[str]:
    command: click.Command = import_module(f"uploader.cli.{name}").command
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    yield f"## framespool {name}"
    yield ""
    yield "```text"
    yield " ".join(["framespool", name, "[OPTIONS]", *map(_argument, arguments)])
    yield "```"
    yield ""
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):  # click's sign for lines that keep their ends
            yield "```text"
            yield paragraph.removeprefix("\b\n")
            yield "```"
        else:
            yield paragraph.replace("<", "&lt;")
        yield ""
    if options:
        yield "| option | |"
        yield "|---|---|"
        yield from (f"| {_spelling(one)} | {cell(_says(one))} |" for one in options)
        yield ""


def _argument(argument: click.Argument) -> str:
    name = (argument.metavar or (argument.name or "").upper()).removesuffix("...")
    if isinstance(argument.type, click.Choice):
        name = "{" + ",".join(map(str, argument.type.choices)) + "}"
    name = name if argument.required else f"[{name}]"
    return f"{name}..." if argument.nargs == -1 else name


def _spelling(option: click.Option) -> str:
    takes = "" if option.is_flag or option.count else f" {_worth(option)}"
    return ", ".join(f"`{one}{takes}`" for one in (*option.opts, *option.secondary_opts))


def _worth(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return r"\|".join(map(str, option.type.choices))
    return option.type.name.upper()


def _says(option: click.Option) -> str:
    says = option.help or ""
    if option.multiple:
        says += " May be given several times."
    shows = bool(option.show_default)
    if isinstance(option.show_default, str):
        return f"{says}  [default: {option.show_default}]"
    if shows and option.default is not None and not callable(option.default) and not option.is_flag:
        return f"{says}  [default: {option.default}]"
    return says
