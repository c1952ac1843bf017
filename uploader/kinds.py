"""The kinds of settings: how a worth is read from text, checked, and shown.

A check raises `ValueError` with the end of a sentence that begins with the setting's name.
"""

import math
import operator
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, SupportsIndex

from uploader.addresses import address_of, one_spelling
from uploader.durations import EXAMPLES, duration
from uploader.errors import ConfigurationError
from uploader.layout import checked_layout
from uploader.rate import parse_schedule
from uploader.webhook_url import webhook_url

_VERBOSITY_MAX = 4
_LOG_BYTES_MIN = 4096
_COUNT_MAX = 1000
_AT_ONCE_MAX = 64
_PORT_MAX = 65535
_LOOPBACK = "127.0.0.1"


class Listening(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the worths of some settings are treated.

    Attributes:
        check: the worth as it is used, from a Python or TOML value.
        from_text: such a value, from the environment or an option.
        metavar: stands for it in a command's help.
        in_file: such a value as it stands in a file whose folder is given: from there a relative path counts.
        is_flag: its option takes no worth: naming it is enough.
    """

    check: Callable[[object], object]
    from_text: Callable[[str], object] = str
    metavar: str
    in_file: Callable[[object, Path], object] = lambda value, _folder: value
    is_flag: bool = False


def shown(worth: object) -> str | int | float | None:
    """A checked worth for people and for JSON, which knows no infinity."""
    if isinstance(worth, float) and math.isinf(worth):
        return "never"
    if isinstance(worth, float) and worth.is_integer():
        return int(worth)
    if isinstance(worth, Listening):
        return str(worth)
    if isinstance(worth, tuple):
        return " ".join(map(str, worth)) or None
    return worth if isinstance(worth, str | int | float | None) else str(worth)


def in_words(worth: object) -> str:
    """The same for people only; as TOML writes it."""
    told = shown(worth)
    return str(told).lower() if isinstance(told, bool) else str(told)


def _path(value: object) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise ValueError(f"is {value!r}, not a path")  # noqa: TRY004 - see the module
    path = Path(value)
    if not path.parts or "\0" in str(path):
        raise ValueError(f"is {str(value)!r}, not a path")
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"cannot be told: {error}") from error


def _path_in_file(value: object, folder: Path) -> object:
    return folder / value if isinstance(value, str) and value and not value.startswith("~") else value


def _webhook_in_file(value: object, folder: Path) -> object:
    if not isinstance(value, str) or not value.startswith("@"):
        return value
    return f"@{_path_in_file(value[1:], folder)}"


def _addresses_in_file(value: object, folder: Path) -> object:
    named = value.split() if isinstance(value, str) else value
    if not isinstance(named, list):
        return value
    return [one if isinstance(one, str) and "://" in one else _path_in_file(one, folder) for one in named]


def _whole(low: int, high: float) -> Callable[[object], int]:
    within = f"of at least {low}" if high == math.inf else f"from {low} to {high}"

    def check(value: object) -> int:
        real = _real(value)
        # 200e9 is a float, and a usual way to write so many bytes.
        if math.isfinite(real) and real == int(real) and low <= real <= high:
            return int(real)
        raise ValueError(f"is {value!r}, not a whole number {within}")

    return check


def _verbosity(value: object) -> int:
    if type(value) is not int or not 0 <= value <= _VERBOSITY_MAX:
        raise ValueError(f"is {value!r}, not a whole number from 0 to {_VERBOSITY_MAX}")
    return value


def _addresses(value: object) -> tuple[str, ...]:
    named = value.split() if isinstance(value, str) else value
    if not isinstance(named, list | tuple) or not all(isinstance(one, str | os.PathLike) for one in named):
        raise ValueError(f"is {value!r}, not a list of addresses such as s3://BUCKET or file:///FOLDER")
    found = tuple(map(address_of, named))
    if len(set(found)) < len(found):
        raise ValueError(f"is {value!r}, which names one twice")
    return found


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"is {value!r}, not true or false")  # noqa: TRY004 - see the module
    return value


def _flag_from_text(text: str) -> object:
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)


def _listening(value: object) -> Listening:
    """``9464``, ``127.0.0.1:9464``, ``[::1]:9464``; without an address, this machine only."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(value, Listening):
        return value
    host, colon, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not (port.isascii() and port.isdecimal() and int(port) <= _PORT_MAX) or (colon and not host.strip("[]")):
        raise ValueError(f"is {value!r}, not a port or an address with one, such as 9464 or 127.0.0.1:9464")
    return Listening(host.strip("[]") or _LOOPBACK, int(port))


def _prom_file(value: object) -> Path:
    path = _path(value)
    if path.suffix != ".prom":
        raise ValueError(f"is {str(value)!r}, which does not end in .prom: node_exporter would not look at it")
    return path


def _retention(value: object) -> float:
    if value == "never":
        return math.inf
    # Written so that a NaN is refused too.
    if not (real := _real(value)) >= 0:
        raise ValueError(f"is {value!r}, not a number of seconds or 'never'")
    return float(real)


def _real(value: object) -> int | float:
    """A number, also one of NumPy's; NaN for what is none."""
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        return operator.index(value)
    return value if isinstance(value, float) else math.nan


def _number(text: str) -> object:
    """A number from text; what is none is left to the check to name."""
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _seconds(value: object) -> float:
    if not 0 <= (real := _real(value)) < math.inf:
        raise ValueError(f"is {value!r}, not a number of seconds")
    return float(real)


def _duration(value: object) -> float:
    if isinstance(value, str):
        return duration(value)
    if not (real := _real(value)) > 0 or math.isinf(real):
        raise ValueError(f"is {value!r}, not a length of time such as {EXAMPLES}")
    return float(real)


def _rate(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"is {value!r}, not a rate such as 2MB/s")  # noqa: TRY004 - see the module
    try:
        parse_schedule(value)
    except ConfigurationError as error:
        raise ValueError(f"is no rate: {error}. {error.hint}") from error
    return value


def _one_of(*words: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if value not in words:
            raise ValueError(f"is {value!r}, not one of {', '.join(words)}")
        return str(value)

    return check


FLAG = Kind(check=_flag, from_text=_flag_from_text, metavar="", is_flag=True)
LISTENING = Kind(check=_listening, metavar="[ADDRESS:]PORT")
WEBHOOK = Kind(check=webhook_url, metavar="URL|@FILE", in_file=_webhook_in_file)
PROM_FILE = Kind(check=_prom_file, metavar="FILE", in_file=_path_in_file)
ADDRESSES = Kind(check=_addresses, metavar="URLS", in_file=_addresses_in_file)
URL = Kind(check=one_spelling, metavar="URL")
FOLDER = Kind(check=_path, metavar="DIRECTORY", in_file=_path_in_file)
FILE = Kind(check=_path, metavar="FILE", in_file=_path_in_file)
BYTES = Kind(check=_whole(0, math.inf), from_text=_number, metavar="BYTES")
LOG_BYTES = Kind(check=_whole(_LOG_BYTES_MIN, math.inf), from_text=_number, metavar="BYTES")
COUNT = Kind(check=_whole(1, _COUNT_MAX), from_text=_number, metavar="N")
SECONDS = Kind(check=_seconds, from_text=_number, metavar="SECONDS")
ON_CLOSED = Kind(check=_one_of("continue", "hold"), metavar="continue|hold")
LAYOUT = Kind(check=checked_layout, metavar="TEMPLATE")
DURATION = Kind(check=_duration, metavar="TIME")
RATE = Kind(check=_rate, metavar="RATE")
AT_ONCE = Kind(check=_whole(1, _AT_ONCE_MAX), from_text=_number, metavar="N")
RETENTION = Kind(check=_retention, from_text=_number, metavar="SECONDS|never")
VERBOSITY = Kind(check=_verbosity, from_text=_number, metavar=f"0-{_VERBOSITY_MAX}")
