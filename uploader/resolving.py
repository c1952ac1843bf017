"""Which worth of a setting counts, and where it came from. Pure: the environment and the file come in as values.

From the weakest to the strongest: the default, the file, the file's ``[[spool]]`` of the folder in question, the
environment, the argument or option.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from spool import Limits
from uploader.errors import ConfigurationError
from uploader.known_settings import BY_NAME, OF_SPOOL, Setting
from uploader.settings_file import SettingsFile, SpoolTable

_DIR = BY_NAME["spool_dir"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A setting's worth.

    Attributes:
        value: checked, ready for use.
        origin: "flag" or "argument", "environment NAME", "file PATH", "default".
    """

    setting: Setting
    value: object
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where worths come from.

    Attributes:
        environ: the environment.
        file: the configuration file.
        given: by a setting's name; ``None`` is as good as absent. Not checked yet.
        default_root: the spool folder when nobody names one.
        given_by: what a worth of ``given`` is called: "argument" or "flag".
    """

    environ: Mapping[str, str]
    file: SettingsFile
    given: Mapping[str, object]
    default_root: Path
    given_by: str = "argument"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSettings:
    """One spool, and what counts for it.

    Attributes:
        name: of its ``[[spool]]``, else of its folder.
        origin: where the folder comes from, as of a setting.
        of_spool: the name of the spool alone, whichever destination this is about; made from ``name``.
        is_configured: it comes from a ``[[spool]]``, so that nobody has just typed it.
        settings: each of `OF_SPOOL`, with its origin.
    """

    name: str
    root: Path
    origin: str
    is_configured: bool
    settings: Mapping[str, Resolved]
    of_spool: str = ""

    def __post_init__(self) -> None:
        # A frozen value is completed only here.
        object.__setattr__(self, "of_spool", self.of_spool or self.name)

    @property
    def endpoint(self) -> str:
        """Where its streams go."""
        return str(self.settings["endpoint"].value)

    @property
    def also(self) -> tuple[str, ...]:
        """Where they go besides. Whoever has just typed an endpoint means that alone, and what else was typed."""
        also, typed = self.settings["also"], ("flag", "argument")
        if self.settings["endpoint"].origin in typed and also.origin not in typed:
            return ()
        assert isinstance(also.value, tuple | None)
        return also.value or ()

    def going_to(self, url: str) -> Self:
        """The same for what goes elsewhere."""
        settings = {**self.settings, "endpoint": replace(self.settings["endpoint"], value=url)}
        return replace(self, name=f"{self.name}, to {url}", settings=settings)

    @property
    def layout(self) -> str:
        """Where its streams lie there."""
        return str(self.settings["layout"].value)

    @property
    def limits(self) -> Limits:
        """What it is kept within."""
        worth: dict[str, object] = {name: one.value for name, one in self.settings.items()}
        max_bytes, min_free, retention = worth["max_bytes"], worth["min_free_bytes"], worth["retention_s"]
        assert isinstance(max_bytes, int | None)
        assert isinstance(min_free, int)
        assert isinstance(retention, float)
        return Limits(
            max_bytes=max_bytes,
            min_free_bytes=min_free,
            retention_s=None if retention == float("inf") else retention,
        )


def resolve(name: str, sources: Sources, table: SpoolTable | None = None) -> Resolved:
    """One setting.

    Args:
        name: of the table of settings.
        sources: where worths come from.
        table: the ``[[spool]]`` it is asked for, if any.

    Raises:
        ConfigurationError: the worth that counts is not usable.
    """
    setting, file = BY_NAME[name], sources.file
    given = sources.given.get(name)
    if given is not None and given != "":
        return Resolved(setting=setting, value=_checked(setting, given, ""), origin=sources.given_by)
    if text := sources.environ.get(setting.variable, "").strip():
        origin = f"environment {setting.variable}"
        value = _checked(setting, setting.kind.from_text(text), f" ({origin})")
        return Resolved(setting=setting, value=value, origin=origin)
    # What the file says was checked when it was read.
    if table is not None and name in table.values:
        return Resolved(setting=setting, value=table.values[name], origin=f"file {file.path}, spool {table.name}")
    if name in file.values:
        return Resolved(setting=setting, value=file.values[name], origin=f"file {file.path}")
    return Resolved(setting=setting, value=setting.default, origin="default")


def one_spool(sources: Sources) -> SpoolSettings:
    """The spool that a command or a streamer means.

    Raises:
        ConfigurationError: the file has several and nobody says which.
    """
    found = every_spool(sources)
    if len(found) > 1:
        names = ", ".join(one.name for one in found)
        raise ConfigurationError(
            f"the configuration has {len(found)} spools: {names}",
            hint=f"Say which: --spool {found[0].name}, or spool_dir={found[0].name!r} in a script.",
        )
    return found[0]


def every_spool(sources: Sources, named: Sequence[object] = ()) -> list[SpoolSettings]:
    """The spools that a worker is to look after.

    Args:
        sources: where worths come from; ``spool_dir`` of what is given counts as one that is named.
        named: folders, or names of ``[[spool]]``; without any, one in the environment, else all of the file.
    """
    given = sources.given.get("spool_dir")
    named = [*named, *([given] if given else [])]
    if named:
        roots = [_root(one, sources, "") for one in named]
        return [_in(root, sources, sources.given_by) for root in dict.fromkeys(roots)]
    if text := sources.environ.get(_DIR.variable, "").strip():
        origin = f"environment {_DIR.variable}"
        return [_in(_root(text, sources, f" ({origin})"), sources, origin)]
    origin = f"file {sources.file.path}"
    if sources.file.spools:
        return [_in(one.root, sources, origin, is_configured=True) for one in sources.file.spools]
    root = sources.file.values.get("spool_dir")
    if isinstance(root, Path):
        return [_in(root, sources, origin)]
    return [_in(sources.default_root, sources, "default")]


def _root(said: object, sources: Sources, where: str) -> Path:
    table = sources.file.spool_called(str(said))
    root = table.root if table else _checked(_DIR, said, where)
    assert isinstance(root, Path)
    return root


def _in(root: Path, sources: Sources, origin: str, *, is_configured: bool = False) -> SpoolSettings:
    table = sources.file.spool_in(root)
    return SpoolSettings(
        name=table.name if table else root.name,
        root=root,
        origin=origin,
        is_configured=is_configured,
        settings={name: resolve(name, sources, table) for name in OF_SPOOL},
    )


def _checked(setting: Setting, value: object, where: str) -> object:
    try:
        return setting.kind.check(value)
    except ValueError as error:
        hint = f"Correct {setting.variable}, {setting.option} or {setting.name} in the configuration file."
        raise ConfigurationError(f"{setting.name} {error}{where}", hint=hint) from error
