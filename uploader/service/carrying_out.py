"""Installing, removing and asking for a service: files are written and the system's own commands are run."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace

from uploader.service import Command, Service

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What became of some commands.

    Attributes:
        failed: the one that did not work, ``None`` when all did.
        says: why, in the system's words.
        left: what is still to be typed, that one first.
    """

    failed: Command | None = None
    says: str = ""
    left: Sequence[Command] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a service is.

    Attributes:
        is_installed: its file is there.
        is_current: and is what would be written now; ``False`` after the interpreter or the settings moved.
        is_running: ``None`` when the system cannot be asked.
        says: what the system said.
    """

    is_installed: bool
    is_current: bool
    is_running: bool | None
    says: str


def install(service: Service) -> Done:
    """Write the file and start the service; doing it twice is the same as doing it once.

    Raises:
        OSError: the file cannot be written; nothing was started.
    """
    service.path.parent.mkdir(parents=True, exist_ok=True)
    service.path.write_bytes(service.content)
    return _run_all(service.starts)


def uninstall(service: Service) -> Done:
    """Stop the service and delete its file; the spools stay as they are."""
    done = _run_all(service.stops)
    service.path.unlink(missing_ok=True)
    return replace(done, left=[*done.left, *service.forgets]) if done.failed else _run_all(service.forgets)


def standing(service: Service) -> Standing:
    """Ask how the service is."""
    there = service.path.read_bytes() if service.path.exists() else None
    code, says = _run(service.asks)
    runs = code == 0 and any(service.running == line.strip() for line in says.splitlines())
    return Standing(
        is_installed=there is not None,
        is_current=there == service.content,
        is_running=None if code != 0 and not service.asks.may_fail else runs,
        says=says,
    )


def _run_all(commands: Sequence[Command]) -> Done:
    for number, command in enumerate(commands):
        code, says = _run(command)
        if code != 0 and not command.may_fail:
            return Done(failed=command, says=says, left=commands[number:])
    return Done()


def _run(command: Command) -> tuple[int, str]:
    """The exit code and what was said; a program that is missing or hangs is told as a failure."""
    try:
        done = subprocess.run(  # noqa: S603 - the system's own programs, with words of ours
            command.argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, (done.stdout.strip() or done.stderr.strip())
