"""The configuration file: one TOML file, read whole and checked whole before any of it is used.

::

    endpoint = "https://api.atomscale.ai"      # a setting, for every spool
    retention_s = 86400

    [[spool]]                                  # one table for each instrument's spool
    dir = "/data/mbe1"
    name = "mbe1"                              # without it the folder's own name
    max_bytes = 200_000_000_000                # for this spool only

A relative path counts from the file's folder, not from wherever a command happens to run.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uploader.errors import ConfigurationError
from uploader.known_settings import BY_NAME, OF_SPOOL, SETTINGS, Setting

_TABLE = "spool"
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}", re.ASCII)
_SECRETS = re.compile(r"api_?key|^key$|secret|password|token")
_BYTES_MAX = 1 << 20
"""Nobody writes so many settings: it is some other file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolTable:
    """One ``[[spool]]``.

    Attributes:
        name: what people call it, on the command line as well.
        root: the folder.
        values: its own settings, checked.
    """

    name: str
    root: Path
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """What the file says, checked.

    Attributes:
        path: ``None`` when there is no file.
        values: the settings for every spool.
        spools: in the order of the file.
    """

    path: Path | None = None
    values: Mapping[str, object] = field(default_factory=dict)
    spools: Sequence[SpoolTable] = ()

    def spool_called(self, name: object) -> SpoolTable | None:
        """The ``[[spool]]`` of this name."""
        return next((one for one in self.spools if one.name == name), None)

    def spool_in(self, root: Path) -> SpoolTable | None:
        """The ``[[spool]]`` with this folder."""
        return next((one for one in self.spools if one.root == root), None)


def read_settings_file(path: Path) -> SettingsFile:
    """Read and check the file.

    Raises:
        ConfigurationError: something in it is not usable; the message names the file and the name or line.
    """
    try:
        return _checked(path, _parsed(path))
    except _Unusable as error:
        raise ConfigurationError(f"{path}: {error}", hint=error.hint or f"Correct {path}.") from error.__cause__


class _Unusable(Exception):
    """What is wrong, without the file's name."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def _parsed(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX + 1)
    except OSError as error:
        raise _Unusable(
            f"it cannot be read: {error.strerror or error}", "Check the path and its permissions."
        ) from error
    if len(content) > _BYTES_MAX:
        raise _Unusable("it is far too long to be a configuration")
    try:
        # Notepad begins a file with a mark that TOML does not know.
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _Unusable("it is not UTF-8 text", "Save it as UTF-8.") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        hint = "In TOML a Windows path stands in single quotes: dir = 'D:\\spool'."
        raise _Unusable(f"it is not TOML: {error}", hint if b"\\" in content else None) from error


def _checked(path: Path, said: dict[str, object]) -> SettingsFile:
    tables = said.pop(_TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
        raise _Unusable(f"{_TABLE} is not a list of tables", f"Write [[{_TABLE}]] with two brackets on each side.")
    values = _values(said, [*(one.name for one in SETTINGS), _TABLE], "", path.parent)
    spools = [_spool(number, one, path.parent) for number, one in enumerate(tables, 1)]
    for what in ("name", "root"):
        worths = [getattr(one, what) for one in spools]
        if twice := [str(one) for one in worths if worths.count(one) > 1]:
            raise _Unusable(
                f"two [[{_TABLE}]] have the {'dir' if what == 'root' else what} {twice[0]}",
                "Give each instrument a folder, and a name, of its own.",
            )
    if spools and "spool_dir" in values:
        raise _Unusable(f"spool_dir and [[{_TABLE}]] cannot both be there", f"Make it one more [[{_TABLE}]].")
    return SettingsFile(path=path, values=values, spools=spools)


def _spool(number: int, said: dict[str, object], home: Path) -> SpoolTable:
    where = f" in [[{_TABLE}]] number {number}"
    if "dir" not in said:
        names = [one for one in said if one != "name"]
        _refuse_unknown(names, ["dir", "name", *OF_SPOOL], where)
        raise _Unusable(f"dir is missing{where}")
    root = _value(BY_NAME["spool_dir"], said.pop("dir"), "dir", where, home)
    assert isinstance(root, Path)
    given = said.pop("name", None)
    name = re.sub(r"[^0-9A-Za-z_-]+", "-", root.name).strip("-_") or f"spool-{number}" if given is None else given
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise _Unusable(f"name is {name!r}{where}, not letters, digits, - and _")
    return SpoolTable(name=name, root=root, values=_values(said, ["dir", "name", *OF_SPOOL], where, home))


def _values(said: Mapping[str, object], known: Sequence[str], where: str, home: Path) -> dict[str, object]:
    _refuse_unknown(said, known, where)
    return {name: _value(BY_NAME[name], worth, name, where, home) for name, worth in said.items()}


def _refuse_unknown(names: Iterable[str], known: Sequence[str], where: str) -> None:
    for name in names:
        if name in known:
            continue
        if _SECRETS.search(name.lower().replace("-", "_")):
            raise _Unusable(
                f"{name}{where}: an API key does not belong in a file that is copied, shared and backed up",
                "Take it out of the file, and take it for known to others. Set AS_API_KEY instead.",
            )
        if name in BY_NAME:
            raise _Unusable(f"{name} cannot be set{where}", "It is one for all spools: write it above them.")
        nearest = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0)
        raise _Unusable(f"{name}{where} is no setting", f"Did you mean {nearest[0]}?" if nearest else None)


def _value(setting: Setting, worth: object, name: str, where: str, home: Path) -> object:
    try:
        return setting.kind.check(setting.kind.in_file(worth, home))
    except ValueError as error:
        raise _Unusable(f"{name} {error}{where}") from error
