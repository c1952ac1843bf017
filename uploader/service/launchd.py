"""macOS: an agent of the user's own launchd.

Source: launchd.plist(5), launchctl(1).
"""

import plistlib
from pathlib import Path

from uploader.log_file import stderr_beside
from uploader.service import RESTART_S, Command, Service, WorkerCall
from uploader.service.systemd import STOP_S

LABEL = "io.framespool.worker"


def launchd_service(call: WorkerCall, *, home: Path, uid: int) -> Service:
    """The agent; ``call`` has a log file, because launchd keeps none."""
    assert call.log_file is not None
    path = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    domain, target = f"gui/{uid}", f"gui/{uid}/{LABEL}"
    said = {
        "Label": LABEL,
        "ProgramArguments": [str(call.program), *call.arguments],
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": RESTART_S,
        "ExitTimeOut": STOP_S,
        "StandardErrorPath": str(stderr_beside(call.log_file)),
    }
    end = Command(argv=("launchctl", "bootout", target), may_fail=True)
    return Service(
        kind="launchd agent",
        path=path,
        text=plistlib.dumps(said).decode(),
        starts=(end, Command(argv=("launchctl", "bootstrap", domain, str(path)))),
        stops=(end,),
        asks=Command(argv=("launchctl", "print", target), may_fail=True),  # does, of one that is not loaded
        running="state = running",
        remarks=(
            "The API key is not in the agent's file, and launchd has no safe place for one.",
            "Whether a key is found without it: framespool config",
            f"What it says: {call.log_file}",
        ),
    )
