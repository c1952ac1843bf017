"""Where settings come from: arguments, then the environment, then defaults. The only reader of either."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import platformdirs

from uploader.errors import ConfigurationError

DEFAULT_ENDPOINT = "https://api.atomscale.ai"
KEY_VARIABLES = ("AS_API_KEY", "ATOMSCALE_API_KEY")
ENDPOINT_VARIABLE = "AS_API_ENDPOINT"
SPOOL_VARIABLE = "ATOMSCALE_SPOOL_DIR"
SKIP_CLOCK_VARIABLE = "ATOMSCALE_SKIP_CLOCK_SYNC"
UNSAFE_FILE_SYSTEM_VARIABLE = "FRAMESPOOL_UNSAFE_FILE_SYSTEM"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_URL = re.compile(r"[A-Za-z0-9.:/\[\]_~%+-]+")


class ApiKey:
    """The secret that opens the server. It prints as stars and reaches only the request header."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "ApiKey('***')"

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
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"the API key is of type {type(given).__name__}, not text")
    candidates = (given, *(environ.get(name) for name in KEY_VARIABLES))
    text = next((one.strip() for one in candidates if one and one.strip()), None)
    if text is None:
        raise ConfigurationError(
            "there is no API key", hint=f"Set {KEY_VARIABLES[0]} in the environment, or pass api_key=."
        )
    if not text.isascii() or not text.isprintable():
        raise ConfigurationError("the API key has characters that cannot be sent", hint="Copy the key again.")
    return ApiKey(text)


def endpoint(given: str | None = None, environ: Mapping[str, str] = os.environ) -> str:
    """The server's base URL in its one spelling, without a slash at its end.

    Raises:
        ConfigurationError: it is not an http(s) URL, or carries credentials or a query.
    """
    if given is not None and not isinstance(given, str):
        raise ConfigurationError(f"the endpoint is of type {type(given).__name__}, not text")
    url = (given or environ.get(ENDPOINT_VARIABLE) or DEFAULT_ENDPOINT).strip()
    hint = f"Set {ENDPOINT_VARIABLE} or endpoint= to a URL such as {DEFAULT_ENDPOINT}."
    try:
        parts = urlsplit(url)
        port, host, scheme = parts.port, (parts.hostname or "").lower(), parts.scheme.lower()
    except ValueError as error:
        raise ConfigurationError("the endpoint is not a URL", hint=hint) from error
    if "@" in parts.netloc or "?" in url or "#" in url:
        # Not quoted: what stands there may be a secret.
        raise ConfigurationError("the endpoint must not carry credentials, a query or a fragment", hint=hint)
    if scheme not in _DEFAULT_PORTS or not host or port == 0 or not _PLAIN_URL.fullmatch(url):
        raise ConfigurationError(f"the endpoint {url!r} is not an http or https URL", hint=hint)
    # One spelling for one server: a worker delivers the streams whose destination equals its own.
    host = f"[{host}]" if ":" in host else host
    where = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    return f"{scheme}://{where}{parts.path.rstrip('/')}"


def spool_dir(given: str | os.PathLike[str] | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The spool folder: the argument, the environment, or the user's data directory (never a cache)."""
    if given or environ.get(SPOOL_VARIABLE):
        try:
            return Path(given or environ[SPOOL_VARIABLE]).expanduser().absolute()
        except RuntimeError as error:
            raise ConfigurationError(f"the spool folder cannot be told: {error}") from error
    return Path(platformdirs.user_data_dir("framespool", appauthor=False)) / "spool"


def skips_clock(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the clock is not to be measured."""
    return _is_set(SKIP_CLOCK_VARIABLE, environ)


def takes_unsafe_file_system(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a new spool may begin where its promises cannot be kept: a network share, FAT."""
    return _is_set(UNSAFE_FILE_SYSTEM_VARIABLE, environ)


def _is_set(name: str, environ: Mapping[str, str]) -> bool:
    return environ.get(name, "").strip().lower() not in ("", "0", "false", "no")
