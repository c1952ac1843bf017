"""Where a webhook is: a URL that may be a secret from its first slash on, so it is treated as one.

A chat's webhook is its URL: whoever has it can write there. So it prints as its host alone and reaches only the
request. It is given as the URL, or as ``@FILE`` of a private file that holds it: a configuration file is copied
and shared, and a command line is seen by every user of the machine.
"""

from pathlib import Path
from urllib.parse import urlsplit

from uploader.errors import ConfigurationError

_HINT = "Give it as https://HOST/PATH, or as @FILE, the whole path of a private file with that in it."
_BYTES_MAX = 8192


class WebhookUrl:
    """Such a URL, or the file that it stands in.

    Raises:
        ValueError: it is neither; the error is the end of a sentence and does not show it.
    """

    __slots__ = ("_file", "_text")

    def __init__(self, text: str) -> None:
        text = text.strip()
        self._file = Path(text[1:]).expanduser() if text.startswith("@") else None
        self._text = text
        if self._file is not None:
            if not self._file.is_absolute():
                raise ValueError("is a file without its whole path")
        elif not _host(text):
            raise ValueError("is neither an http(s) URL nor @FILE")

    def __repr__(self) -> str:
        return f"WebhookUrl({str(self)!r})"

    def __str__(self) -> str:
        return self._text if self._file is not None else f"{urlsplit(self._text).scheme}://{_host(self._text)}/***"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a webhook's URL is not written anywhere")

    def reveal(self) -> str:
        """The URL itself, for the one place that posts to it.

        Raises:
            ConfigurationError: the file cannot be read, or holds no such URL.
        """
        if self._file is None:
            return self._text
        try:
            with self._file.open("rb") as file:
                text = file.read(_BYTES_MAX).decode("utf-8-sig").strip()
        except OSError as error:
            raise ConfigurationError(
                f"the webhook's file {self._file} cannot be read: {error.strerror}"
            ) from error
        except UnicodeDecodeError:
            text = ""
        if not _host(text):
            raise ConfigurationError(f"the webhook's file {self._file} holds no http(s) URL", hint=_HINT)
        return text


def webhook_url(value: object) -> WebhookUrl:
    """A setting's worth as such a URL.

    Raises:
        ValueError: as above.
    """
    if isinstance(value, WebhookUrl):
        return value
    if not isinstance(value, str):
        raise ValueError(f"is of type {type(value).__name__}, not a URL")  # noqa: TRY004 - as all checks of settings
    return WebhookUrl(value)


def host_of(url: str) -> str:
    """The part that may be shown."""
    return _host(url)


def secrets_of(url: str) -> tuple[str, ...]:
    """The parts that may be shown nowhere, the longest first."""
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return tuple(one for one in (target, parts.path, parts.password or "") if len(one) > 1)


def _host(url: str) -> str:
    """Host and port of an http(s) URL; empty for anything else."""
    if not url.isascii() or not url.isprintable() or " " in url:
        return ""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.hostname}{port}" if parts.scheme in ("http", "https") and parts.hostname else ""
