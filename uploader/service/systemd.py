"""Linux: a unit of the user's own systemd.

Source: systemd.unit(5), systemd.service(5), systemd.syntax(7): what is quoted, and how.
"""

import re
from pathlib import Path

from uploader.service import DESCRIPTION, NAME, RESTART_S, Command, Service, WorkerCall

UNIT = f"{NAME}.service"
STOP_S = 20
"""The worker takes seven at the most."""
_REFUSED = re.compile(r"[\"'\\\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=@+,-]+")


def systemd_service(call: WorkerCall, *, config_home: Path) -> Service:
    """The unit.

    Args:
        call: of the worker.
        config_home: ``~/.config``, where the user's units and settings are.
    """
    key_file = config_home / NAME / "service.env"
    return Service(
        kind="systemd user unit",
        path=config_home / "systemd" / "user" / UNIT,
        text=_unit(call, key_file),
        starts=(_systemctl("daemon-reload"), _systemctl("enable", UNIT), _systemctl("restart", UNIT)),
        stops=(_systemctl("disable", "--now", UNIT),),
        forgets=(_systemctl("daemon-reload"),),
        asks=_systemctl("show", "--property=ActiveState", "--value", UNIT),
        running="active",
        remarks=(
            f"The API key is not in the unit. Put AS_API_KEY=... into {key_file}, for you alone (chmod 600).",
            "To let it run while you are not logged in: loginctl enable-linger",
            f"What it says: {call.log_file or f'journalctl --user -u {UNIT}'}",
        ),
    )


def quoted(word: str, *, is_program: bool = False) -> str:
    """One word of a command line as systemd reads it back.

    Args:
        word: as the program is to get it.
        is_program: the first one, in which a dollar stands for itself.
    """
    if _PLAIN.fullmatch(word):
        return word
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    return f'"{text if is_program else text.replace("$", "$$")}"'


def _unit(call: WorkerCall, key_file: Path) -> str:
    program = str(call.program)
    # A program with one of these in its name is refused, however it is quoted; as another's argument it is not.
    words = ["/usr/bin/env", program] if _REFUSED.search(program) else [program]
    line = [quoted(words[0], is_program=True), *map(quoted, [*words[1:], *call.arguments])]
    return f"""\
# Made by 'framespool service install', which writes it anew.
[Unit]
Description={DESCRIPTION}
# A worker that cannot start is tried for ever: what it is to deliver exists once.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={" ".join(line)}
# Holds AS_API_KEY, if nothing else does. The minus: it need not be there.
EnvironmentFile=-{str(key_file).replace("%", "%%")}
Restart=always
RestartSec={RESTART_S}
KillSignal=SIGTERM
TimeoutStopSec={STOP_S}

[Install]
WantedBy=default.target
"""


def _systemctl(*words: str) -> Command:
    return Command(argv=("systemctl", "--user", *words))
