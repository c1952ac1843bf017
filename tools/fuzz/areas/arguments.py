"""What people and programs write: names, rates, sizes, keys, endpoints, folders."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from spool import Limits, Spool, SpoolError, UnknownStream
from spool.testing import some_settings
from tools.fuzz.finding import Finding
from tools.fuzz.hostile import TEXTS, VALUES, damaged_text, odds
from tools.fuzz.strain import Hangs, strained
from uploader.config import api_key, endpoint, spool_dir
from uploader.errors import UploaderError
from uploader.settings import stream_settings

NAME = "arguments"
_GOOD: dict[str, Any] = {
    "fps": 10.0, "rotations_per_min": 0.0, "chunk_size": 20, "stream_name": "growth", "physical_sample": "s-1",
    "project_id": "00000000-0000-0000-0000-000000000000", "tags": ["a", "b"], "azimuth": "[110]",
}  # fmt: skip
_SEPARATORS = ("/", "\\")


def inputs(seed: int, count: int, folder: Path, *, only: int | None = None) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`."""
    with Spool(folder / "a" / "b" / "spool", limits=Limits(min_free_bytes=0)) as spool:
        spool.open_stream(some_settings(name="known"), data_id="d-1")
        for number in range(count) if only is None else (only,):
            chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
            entry = chance.choice((_settings, _settings, _settings, _found, _endpoint, _key, _folder))
            what, act = entry(chance, spool)
            why = _tried(act) or _escaped(folder)
            yield Finding(area=NAME, number=number, what=f"{entry.__name__} {what}", why=why) if why else None


def _tried(act: Callable[[], str | None]) -> str | None:
    try:
        with strained() as strain:
            why = act()
    except Hangs as error:
        return str(error)
    except (SpoolError, UploaderError) as error:
        told = len(str(error)) + len(str(getattr(error, "hint", "")))
        return f"its error has {told} characters" if told > 150_000 else None  # noqa: PLR2004 - what was given, once
    except Exception as error:  # noqa: BLE001 - any other is the finding
        return f"raised {type(error).__name__}: {str(error)[:300]}"
    return why or strain.why(bytes_max=300 << 20, cpu_s_max=20.0)


def _escaped(folder: Path) -> str | None:
    strange = [path.name for path in folder.iterdir() if path.name != "a"]
    strange += [path.name for path in (folder / "a").iterdir() if path.name != "b"]
    return f"made {strange} outside of the spool" if strange else None


def _value(chance: random.Random, good: object) -> Any:  # noqa: ANN401 - anything at all
    if odds(chance, 0.5) and isinstance(good, str):  # half of them
        return damaged_text(chance, good)
    return chance.choice((*VALUES, *TEXTS))


def _settings(chance: random.Random, spool: Spool) -> tuple[str, Callable[[], str | None]]:
    given = dict(_GOOD)
    for name in chance.sample(sorted(given), chance.choice((1, 1, 2, 3))):
        given[name] = _value(chance, given[name])
        if name == "tags" and odds(chance, 0.5):  # half of them
            given[name] = [_value(chance, "a") for _ in range(chance.randrange(4))]

    def act() -> str | None:
        settings = stream_settings(endpoint="https://api.example", **given)
        stream = spool.open_stream(settings)
        kept = spool.stream(stream.stream_id).settings
        if kept != settings:
            return f"{settings!r:.300} became {kept!r:.300}"
        if any(mark in stream.stream_id for mark in _SEPARATORS):
            return f"the stream_id is {stream.stream_id}"
        return None

    return f"{ {name: value for name, value in given.items() if value != _GOOD[name]}!r:.200}", act


def _found(chance: random.Random, spool: Spool) -> tuple[str, Callable[[], str | None]]:
    text = damaged_text(chance, chance.choice(("d-1", "known", "", "2")))

    def act() -> str | None:
        for ask in (spool.find, spool.stream, spool.zarr_path, lambda ref: spool.chunk(ref, 0)):
            try:
                ask(text)
            except UnknownStream:
                continue
        return None

    return f"{text!r:.100}", act


def _endpoint(chance: random.Random, _spool: Spool) -> tuple[str, Callable[[], str | None]]:
    text = damaged_text(chance, "https://api.example:8443/base")
    return f"{text!r:.100}", lambda: _checked_endpoint(endpoint(text, {}))


def _checked_endpoint(found: str) -> str | None:
    is_web = found.startswith(("http://", "https://"))
    return None if is_web and found.isprintable() and "@" not in found else f"{found!r:.200} is taken"


def _key(chance: random.Random, _spool: Spool) -> tuple[str, Callable[[], str | None]]:
    text = damaged_text(chance, "ak-0123456789")

    def act() -> str | None:
        key = api_key(text, {})
        return "the key is shown" if key.reveal() in repr(key) else None

    return f"{text!r:.100}", act


def _folder(chance: random.Random, _spool: Spool) -> tuple[str, Callable[[], str | None]]:
    text = damaged_text(chance, "spool")

    def act() -> str | None:
        return None if spool_dir(text, {}).is_absolute() else "the folder is not absolute"

    return f"{text!r:.100}", act
