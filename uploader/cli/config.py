"""``framespool config``: what is set, and from where."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import click

from uploader import config
from uploader.cli import screen, words
from uploader.cli.common import config_option, json_option, plain_errors
from uploader.cli.setting_options import setting_options
from uploader.errors import ConfigurationError
from uploader.keys import Keys
from uploader.kinds import in_words, shown
from uploader.known_settings import SETTINGS
from uploader.resolving import Resolved, SpoolSettings, every_spool, resolve


@click.command()
@click.option(
    "--spool", "spools", type=click.Path(file_okay=False, path_type=Path), multiple=True, help="As for 'worker'."
)
@config_option
@setting_options(*(one.name for one in SETTINGS if one.name != "spool_dir"))
@json_option
@plain_errors
def command(
    spools: tuple[Path, ...], config_file: Path | None, given: Mapping[str, object], *, as_json: bool
) -> None:
    """Show each setting, its worth, and where that comes from.

    A flag counts before the environment, that before the configuration file, and that before the default. Given
    the flags of a 'framespool worker' it shows what that worker would use.
    """
    sources = config.sources(given, file=config_file, given_by="flag")
    common = [resolve(one.name, sources) for one in SETTINGS if not one.of_spool and one.name != "spool_dir"]
    found = every_spool(sources, spools)
    origin = _key_origin(found[0].endpoint)
    if as_json:
        told: dict[str, object] = {"file": None if sources.file.path is None else str(sources.file.path)}
        told["api_key"] = {"set": origin is not None, "origin": origin}
        screen.print_json({**told, "settings": _json(common), "spools": [_spool_json(one) for one in found]})
        return
    usual = config.default_settings_path()
    screen.say(f"file  {words.printable(str(sources.file.path or f'none: {usual} is not there'))}")
    _print([("api_key", "not set", "") if origin is None else ("api_key", "set", origin), *_rows(common)])
    for one in found:
        screen.say(f"\nspool {words.printable(one.name)}")
        _print([("dir", str(one.root), one.origin), *_rows(one.settings.values())])


def _key_origin(endpoint: str) -> str | None:
    """Where the key for a server comes from; why it cannot be used, where that is so."""
    try:
        return Keys(endpoint).origin()
    except ConfigurationError as error:
        return f"not usable: {error}"


def _spool_json(spool: SpoolSettings) -> dict[str, object]:
    where = {"name": spool.name, "dir": str(spool.root), "origin": spool.origin}
    return {**where, "settings": _json(spool.settings.values())}


def _json(settings: Iterable[Resolved]) -> dict[str, object]:
    return {one.setting.name: {"value": shown(one.value), "origin": one.origin} for one in settings}


def _rows(settings: Iterable[Resolved]) -> Iterator[tuple[str, str, str]]:
    for one in settings:
        yield one.setting.name, "none" if one.value is None else in_words(one.value), one.origin


def _print(rows: Sequence[tuple[str, str, str]]) -> None:
    clean = [[words.printable(cell) for cell in row] for row in rows]
    names, worths = (max(len(row[column]) for row in clean) for column in (0, 1))
    for name, worth, origin in clean:
        screen.say(f"  {name:<{names}}  {worth:<{worths}}  {origin}".rstrip())
