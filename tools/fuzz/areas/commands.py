"""The command line with hostile arguments, in hostile spool folders, against a hostile server."""

import contextlib
import json
import logging
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from click.testing import CliRunner, Result

from tools.fuzz.finding import Finding
from tools.fuzz.hostile import TEXTS, damaged_text, odds
from tools.fuzz.network import Network
from tools.fuzz.servers import HostileServer
from tools.fuzz.spools import harmed, whole_spool
from tools.fuzz.strain import Hangs, strained
from uploader.cli import main, screen
from uploader.lines import Lines
from uploader.verbosity import OURS

NAME = "commands"
_KEY = "a-k3y-that-must-not-be-seen"
_PAINT = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\x1b\[2K|\r")
_NUMBERS = (
    "0", "1", "7", "-1", "1e9", "999999999999", "9" * 5000, "nan", "inf", "-inf", "1e999", "x", "", "0x1",
    "\u0661",
)  # fmt: skip
_BYTES_MAX, _CPU_S_MAX = 400 << 20, 20.0

_Options = dict[str, tuple[str, ...] | None]
"""By name: the words that may follow, none of them for a flag, any for ``None``."""
_SHARED: _Options = {"--spool": None, "--json": (), "--help": (), "--no-such": None}
_LIMITS: _Options = {
    "--max-bytes": ("-1", "x"),
    "--min-free-bytes": ("0", "-1"),
    "--retention-s": (*_NUMBERS, "never", "NEVER"),
}
_STREAM: _Options = {
    "--fps": _NUMBERS, "--chunk-size": ("1", "2", "0", "9" * 30, "x"), "--rotations-per-min": _NUMBERS,
    "--name": None, "--sample": None, "--project": None, "--tag": None, "--azimuth": None, "--scaling": None,
    "--endpoint": None, "--worker": ("thread2", ""),
}  # fmt: skip
_SOURCES = ("sim:frames=4,width=40,height=40,fps=2", "sim:frames=0")
_COMMANDS: dict[str, _Options] = {
    "status": _SHARED,
    "streams": _SHARED,
    "audit": {**_SHARED, "--csv": (), "--attempts": (), "--all": ()},
    "prune": {**_SHARED, "--older-than": _NUMBERS},
    "retry": _SHARED,
    "discard": {**_SHARED, "--why": None, "--yes": ()},
    "finalize": {**_SHARED, "--timeout": ("0", "nan", "-1", "x"), "--no-wait": ()},
    "stream": {**_SHARED, **_STREAM, **_LIMITS},
    "worker": {"--spool": None, "--verbosity": _NUMBERS, "--until": ("dry", "x"), "--no-such": None, **_LIMITS},
    "demo": {"--keep": ("/dev/null", "", "nul")},
    "loopback": {"--port": ("65536", "-1", "x")},
    "no-such": {},
}
_OFTEN = {"demo": 0.2, "loopback": 0.2, "no-such": 0.2, "stream": 2.0, "audit": 2.0, "status": 2.0}


def inputs(
    seed: int, count: int, folder: Path, *, only: int | None = None, harms: bool = True
) -> Iterator[Finding | None]:
    """See `tools.fuzz.areas`; ``harms`` says whether half of the spools are damaged as well."""
    spools = [whole_spool(folder / "mild", TEXTS[20]), whole_spool(folder / "odd", *TEXTS)]
    for number in range(count) if only is None else (only,):
        chance = random.Random(f"{NAME}:{seed}:{number}")  # noqa: S311 - chosen to be repeatable
        root = folder / "spool"
        shutil.copytree(chance.choice(spools), root, symlinks=True)
        harm = harmed(chance, root) if harms and odds(chance, 0.5) else "whole"  # half
        arguments = _arguments(chance, root)
        why = _tried(chance, root, arguments)
        shutil.rmtree(root)
        shown = " ".join(repr(one[:60]) for one in arguments)
        yield Finding(area=NAME, number=number, what=f"{harm}: {shown}", why=why) if why else None


def _arguments(chance: random.Random, root: Path) -> list[str]:
    names = list(_COMMANDS)
    command = chance.choices(names, [_OFTEN.get(name, 1.0) for name in names])[0]
    options = _COMMANDS[command]
    found: list[str] = []
    if command == "stream":
        found.append(chance.choice((*_SOURCES, str(root), str(root / "x.npy"))))
    elif command in ("audit", "retry", "discard", "finalize") or odds(chance, 0.2):  # at times
        refs = ("d-1", "d-2", "d-3", "d-", "d", "2")
        found.append(chance.choice(refs) if odds(chance, 0.8) else chance.choice(TEXTS))  # mostly
    if command in ("retry", "discard"):
        found += [chance.choice(("0", "1", "2", "3", *_NUMBERS)) for _ in range(chance.randint(0, 3))]
    if command == "discard" and odds(chance, 0.7):  # else it only refuses
        found += ["--yes", "--why", chance.choice(("because", *TEXTS))]
    for option in chance.sample(sorted(options), min(len(options), chance.choice((0, 1, 1, 2, 3)))):
        worths = options[option]
        found.append(option)
        if worths:
            found.append(chance.choice(worths))
        elif worths is None:
            odd = damaged_text(chance, chance.choice((str(root), "x")))
            # What is made stays below: nothing of it may end up elsewhere on the disk.
            found.append(str(root / odd.replace("/", "_").strip(".")) if option == "--spool" else odd)
    if command not in ("stream", "worker") and odds(chance, 0.1):  # out of order, but never what comes last
        chance.shuffle(found)
    # The last word counts: none of these may wait, deliver for ever, or start a process.
    last = {
        "stream": ["--worker=external", "--drain-timeout=0", "--fast"],
        "worker": ["--endpoint=https://other.example", "--once", "--until=dry"],
        "loopback": ["--port=-1"],
        "demo": [f"--keep={root}"],
    }
    # As the operating system passes them on: without NUL, and bytes that are no text as halves of characters.
    passed = [os.fsdecode(one.replace("\0", "").encode("utf-8", "surrogatepass")) for one in found]
    return [command, *passed, *last.get(command, [])]


def _tried(chance: random.Random, root: Path, arguments: list[str]) -> str | None:
    """Run the command; what it did wrong, if anything."""
    environment: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith(("AS_", "ATOMSCALE_"))
    }
    environment |= {
        "AS_API_ENDPOINT": "https://api.example",
        "AS_API_KEY": None if arguments[0] == "finalize" else _KEY,
        "ATOMSCALE_SPOOL_DIR": str(root),
        "HOME": str(root.parent),
        "COLUMNS": chance.choice(("80", "80", "1", "0", "-5", "9999", "x", "200")),
        "TERM": chance.choice(("xterm", "dumb")),
    }
    is_terminal = odds(chance, 0.3)  # a third of them
    network = Network(HostileServer(chance, honesty=chance.choice((0.5, 0.9, 1.0))))
    try:
        with (
            _as_it_was(),
            contextlib.chdir(root.parent),
            mock.patch.object(Lines, "_client", network.client),
            mock.patch.object(screen, "is_terminal", return_value=is_terminal),
            strained() as strain,
        ):
            result = CliRunner(env=environment).invoke(main, arguments, color=True)
    except Hangs as error:
        return str(error)
    return _judged(result, arguments) or strain.why(bytes_max=_BYTES_MAX, cpu_s_max=_CPU_S_MAX)


def _judged(result: Result, arguments: list[str]) -> str | None:
    error = result.exception
    if error is not None and not isinstance(error, SystemExit):
        return f"raised {type(error).__name__}: {str(error)[:300]} {_place(error)}"
    if result.exit_code not in (0, 1, 2):
        return f"exit code {result.exit_code}"
    for text in (result.stdout, result.stderr):
        if _KEY in text or "Traceback" in text:
            return f"tells the key or a traceback: {text[:300]!r}"
        if not all(one.isprintable() for one in arguments):
            continue  # what a person typed may be said back to them
        plain = _PAINT.sub("", text).replace("\n", "").replace("\t", "")
        if not plain.isprintable():
            at = next(at for at, char in enumerate(plain) if not char.isprintable())
            return f"prints what a terminal would obey: {plain[max(0, at - 60) : at + 20]!r}"
    if "--json" in arguments and "--help" not in arguments and result.exit_code in (0, 1):
        try:
            is_object = isinstance(json.loads(result.stdout), dict)
        except ValueError:
            is_object = not result.stdout and result.exit_code == 1
        if not is_object:
            return f"--json printed {result.stdout[:200]!r}"
    return None


def _place(error: BaseException) -> str:
    """Where it was raised."""
    trace = error.__traceback__
    found = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "/site-packages/" not in code.co_filename:
            found = f"({Path(code.co_filename).name}:{trace.tb_lineno} {code.co_name})"
        trace = trace.tb_next
    return found


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Undo what a command changes in its process for good, because it usually ends with it."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = [logging.getLogger(name) for name in OURS]
    levels = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    try:
        yield
    finally:
        for number, function in signals.items():
            signal.signal(number, function)
        for logger, level, handlers in levels:
            logger.setLevel(level)
            logger.handlers[:] = handlers
