"""Where settings come from: arguments, the environment, the configuration file, defaults. The only reader of them.

What each setting is stands in `uploader.known_settings`, which of several worths counts in `uploader.resolving`.
What programs share, proxies and certificates, is read in `way_out`.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import platformdirs

from uploader.addresses import address_of, is_server
from uploader.errors import ConfigurationError
from uploader.known_settings import BY_NAME
from uploader.resolving import Resolved, Sources, SpoolSettings, one_spool, resolve
from uploader.settings_file import SettingsFile, read_settings_file

KEY_VARIABLES = ("AS_API_KEY", "ATOMSCALE_API_KEY")
KEY_FILE_VARIABLE = "AS_API_KEY_FILE"
ENDPOINT_VARIABLE = BY_NAME["endpoint"].variable
SPOOL_VARIABLE = BY_NAME["spool_dir"].variable
CONFIG_VARIABLE = "FRAMESPOOL_CONFIG"
CONFIG_NAME = "config.toml"
SKIP_CLOCK_VARIABLE = "ATOMSCALE_SKIP_CLOCK_SYNC"
NO_KEY_HINT = (
    f"Set {KEY_VARIABLES[0]} in the environment, pass api_key=, write it to a private file and name that in "
    f"{KEY_FILE_VARIABLE}, or store it with 'framespool login'."
)
UNSAFE_FILE_SYSTEM_VARIABLE = "FRAMESPOOL_UNSAFE_FILE_SYSTEM"


class ApiKey:
    """The secret that opens the server. It prints as stars and reaches only the request header."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "ApiKey('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def reveal(self) -> str:
        """The key itself, for the one place that sends it and for a worker's environment."""
        return self._text

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an API key is not written anywhere")


def api_key(given: str | None = None, environ: Mapping[str, str] = os.environ) -> ApiKey:
    """The API key from the argument or the environment.

    Raises:
        ConfigurationError: there is none, or it cannot be sent as a header.
    """
    key = stated_key(given, environ)
    if key is None:
        raise ConfigurationError("there is no API key", hint=NO_KEY_HINT)
    return key


def stated_key(given: str | None = None, environ: Mapping[str, str] = os.environ) -> ApiKey | None:
    """The same, with ``None`` where there is none."""
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"the API key is of type {type(given).__name__}, not text")
    candidates = (given, *(environ.get(name) for name in KEY_VARIABLES))
    text = next((one for one in candidates if one and one.strip()), None)
    return None if text is None else usable_key(text)


def usable_key(text: str) -> ApiKey:
    """A text as the key, without the space around it.

    Raises:
        ConfigurationError: it cannot be sent as a header; the error does not show it.
    """
    text = text.strip()
    if not text or not text.isascii() or not text.isprintable():
        raise ConfigurationError("the API key has characters that cannot be sent", hint="Copy the key again.")
    return ApiKey(text)


def key_variables(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The variables that hold different keys; the first one's counts."""
    held = {name: environ.get(name, "").strip() for name in KEY_VARIABLES}
    first = {text: name for name, text in reversed(held.items()) if text}
    return tuple(name for name in KEY_VARIABLES if name in first.values())


def key_file(environ: Mapping[str, str] = os.environ) -> tuple[Path, bool]:
    """Where the key file is looked for, and whether somebody has named it."""
    if named := environ.get(KEY_FILE_VARIABLE, "").strip():
        try:
            return Path(named).expanduser().absolute(), True
        except RuntimeError as error:
            raise ConfigurationError(f"the key file cannot be told: {error}") from error
    return Path(platformdirs.user_config_dir("framespool", appauthor=False)) / "key", False


def default_settings_path() -> Path:
    """Where the configuration file is looked for when nobody says where it is."""
    return Path(platformdirs.user_config_dir("framespool", appauthor=False)) / CONFIG_NAME


def settings_file(given: Path | None = None, environ: Mapping[str, str] = os.environ) -> SettingsFile:
    """The configuration file: the one that is named, which must be there, else the user's, which need not.

    Raises:
        ConfigurationError: it cannot be read, or something in it is not usable.
    """
    named = given or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if named is not None:
        return read_settings_file(named.expanduser().absolute())
    usual = default_settings_path()
    return read_settings_file(usual) if usual.exists() else SettingsFile()


def sources(
    given: Mapping[str, object] | None = None,
    environ: Mapping[str, str] = os.environ,
    *,
    file: Path | None = None,
    given_by: str = "argument",
) -> Sources:
    """Everything that settings come from, read once.

    Args:
        given: arguments or options, by the settings' names; ``None`` is as good as absent.
        environ: the environment.
        file: the configuration file, instead of the one that is found.
        given_by: "argument" or "flag".
    """
    return Sources(
        environ=environ,
        file=settings_file(file, environ),
        given=given or {},
        default_root=Path(platformdirs.user_data_dir("framespool", appauthor=False)) / "spool",
        given_by=given_by,
    )


def spool(given: Mapping[str, object] | None = None, environ: Mapping[str, str] = os.environ) -> SpoolSettings:
    """The one spool that is meant, and what counts for it.

    Raises:
        ConfigurationError: something is not usable, or several spools are configured and none is named.
    """
    return one_spool(sources(given, environ))


def setting(name: str, given: object = None, environ: Mapping[str, str] = os.environ) -> Resolved:
    """A setting that is not one spool's."""
    return resolve(name, sources({name: given}, environ))


def endpoint(given: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The server's base URL in its one spelling, without a slash at its end.

    Raises:
        ConfigurationError: it is not an http(s) URL, or carries credentials or a query.
    """
    return str(setting("endpoint", given, environ).value)


def destination(endpoint: str | None, destination: str | os.PathLike[str] | None) -> str | None:
    """Where streams go: what the caller has given, in one of two ways; ``None`` when in neither.

    Raises:
        ConfigurationError: both are given, or the destination is neither a folder nor an address.
    """
    if destination is None:
        return endpoint
    if endpoint is not None:
        raise ConfigurationError(
            "endpoint and destination are both given, and name two places",
            hint="Nothing was begun. Give one of them.",
        )
    try:
        return address_of(destination)
    except ValueError as error:
        raise ConfigurationError(f"destination {error}", hint="Nothing was begun.") from error


def further(endpoint: str, also: Sequence[str | os.PathLike[str]]) -> list[str]:
    """The further destinations of a stream, in their one spelling.

    Raises:
        ConfigurationError: one is not usable, is named twice, or is a second server: there is one API key.
    """
    found: list[str] = []
    for each in also:
        url = destination(None, each)
        assert url is not None
        if url in (endpoint, *found):
            raise ConfigurationError(f"{url} is named twice", hint="Nothing was begun. Name each once.")
        found.append(url)
    servers = [url for url in (endpoint, *found) if is_server(url)]
    if len(servers) > 1:
        raise ConfigurationError(
            f"{' and '.join(servers)} are two servers, and there is one API key",
            hint="Nothing was begun. Besides one server, name folders or buckets.",
        )
    return found


def spool_dir(given: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The spool folder: the argument, the environment, the file, or the user's data directory (never a cache)."""
    return spool({"spool_dir": given}, environ).root


def skips_clock(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the clock is not to be measured."""
    return _is_set(SKIP_CLOCK_VARIABLE, environ)


def takes_unsafe_file_system(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a new spool may begin where its promises cannot be kept: a network share, FAT."""
    return _is_set(UNSAFE_FILE_SYSTEM_VARIABLE, environ)


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    return environ.get(name, "").strip().lower() not in ("", "0", "false", "no")
