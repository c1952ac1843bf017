"""Settings as options, made from their table."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from uploader.kinds import in_words
from uploader.known_settings import BY_NAME, Setting

_F = TypeVar("_F", bound=Callable[..., Any])


def setting_options(*names: str) -> Callable[[_F], _F]:
    """Add the options of these settings; the command gets ``given``: by name, ``None`` where nothing was said."""

    def add(function: _F) -> _F:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any command
            return function(*args, given={name: kwargs.pop(name) for name in names}, **kwargs)

        wrapped: Any = run
        for name in reversed(names):
            setting = BY_NAME[name]
            wrapped = _option(setting)(wrapped)
        return wrapped  # type: ignore[no-any-return] # click reads the options, not the signature

    return add


def _option(setting: Setting) -> Callable[[Any], Any]:
    if setting.kind.is_flag:
        both = f"{setting.option}/--no-{setting.option.removeprefix('--')}"
        return click.option(both, setting.name, default=None, help=_help(setting))
    return click.option(setting.option, setting.name, type=_Worth(setting), help=_help(setting))


class _Worth(click.ParamType):  # type: ignore[type-arg] # generic only in type checkers' eyes
    """What a setting's own check says is usable."""

    name = "worth"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting

    def get_metavar(self, *_: Any, **__: Any) -> str:  # noqa: ANN401 - click's signature, which has grown
        """See click."""
        return self._setting.kind.metavar

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:  # noqa: ANN401 - click's signature
        """See click."""
        kind = self._setting.kind
        try:
            return kind.check(kind.from_text(value) if isinstance(value, str) else value)
        except ValueError as error:
            self.fail(f"it {error}", param, ctx)


def _help(setting: Setting) -> str:
    default = [] if setting.default is None else [in_words(setting.default)]
    return f"{setting.says}  [default: {', '.join([setting.variable, 'the configuration file', *default])}]"
