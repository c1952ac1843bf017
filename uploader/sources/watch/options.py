r"""What may follow ``watch:``, as in ``watch:D:\\frames?pattern=*.bmp&settle=1s&until=DONE.txt``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import unquote

from uploader.durations import duration
from uploader.sources.base import SourceError

# On Windows a colon leads to a drive, or to another stream of a file's bytes.
_ELSEWHERE: Final = {"\0", "/"} | ({"\\", ":"} if os.name == "nt" else set())
TimeOf = Literal["modified", "recorded"]

_KNOWN: Final = ("pattern", "settle", "growing", "patience", "until", "time")
_HINT: Final = (
    "Options follow the folder, as in watch:FOLDER?pattern=*.bmp&settle=1s&growing=10s&patience=1min"
    "&until=DONE.txt&time=recorded; each may be left out."
)
# A question mark that begins no option is part of the folder's name, as in \\?\C:\frames.
_BEGINS: Final = re.compile(r"\?(?=[a-z]+=)")


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """How a folder is watched.

    Attributes:
        folder: that is watched; not what is below it.
        pattern: which names, with ``*`` and ``?``, without regard to case; among those of known kinds.
        settle_s: how long an image must not have changed to be finished.
        growing_s: likewise a TIFF file or a video, to which more frames may come.
        patience_s: how long a file that is not finished holds back those after it; and how long one that cannot be
            read must not have changed to be given up.
        until: the name of a file; once it is there, the source is over when everything is taken.
        time: whether a frame's time is that of its file, or the one that a camera has noted in it.
    """

    folder: Path
    pattern: str = "*"
    settle_s: float = 0.5
    growing_s: float = 5.0
    patience_s: float = 30.0
    until: str | None = None
    time: TimeOf = "modified"


def parse_options(text: str, settings: Mapping[str, str]) -> WatchOptions:
    """Read what follows ``watch:``; ``settings`` are options by another way, and win.

    Raises:
        SourceError: an option is not known, or its value cannot be meant.
    """
    begins = _BEGINS.search(text)
    folder, written = (text[: begins.start()], text[begins.end() :]) if begins else (text, "")
    if not folder or "\0" in folder:
        raise SourceError("watch: needs a folder", hint=_HINT)
    given: dict[str, str] = {}
    for part in written.split("&") if written else ():
        name, equals, value = part.partition("=")
        if not equals or name in given:
            raise SourceError(f"watch: the option {part!r} has no value, or stands there twice", hint=_HINT)
        given[name] = unquote(value)
    given |= settings
    for name in given:
        if name not in _KNOWN:
            raise SourceError(f"watch: there is no option {name!r}", hint=_HINT)
    times = {
        f"{name}_s": _seconds(name, given[name]) for name in ("settle", "growing", "patience") if name in given
    }
    rest = {name: given[name] for name in ("pattern", "until") if name in given}
    if "until" in given and not is_plain(given["until"]):
        raise SourceError(f"watch: until={given['until']!r} is no name of a file in the folder", hint=_HINT)
    # An absolute path: who watches for days may be moved to another folder meanwhile.
    path = Path(folder).absolute()
    return WatchOptions(folder=path, time=_time_of(given.get("time", "modified")), **times, **rest)  # type: ignore[arg-type] # by their names


def is_plain(name: str) -> bool:
    """Whether it can only name something that is in the folder itself."""
    return name not in ("", ".", "..") and not set(name) & _ELSEWHERE


def _seconds(name: str, text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise SourceError(f"watch: the option {name} {error}", hint=_HINT) from None


def _time_of(text: str) -> TimeOf:
    for one in get_args(TimeOf):
        if text == one:
            found: TimeOf = one
            return found
    raise SourceError(f"watch: time is modified or recorded, and not {text!r}", hint=_HINT)
