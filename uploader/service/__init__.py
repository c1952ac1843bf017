"""The worker as a service of this user: what is written where, and what is typed to start, stop and ask for it.

Rendering is pure, so that each system's file is tested on every system; only `uploader.service.carrying_out`
touches anything. No key is in any of the files.
"""

from dataclasses import dataclass
from pathlib import Path

NAME = "framespool"
DESCRIPTION = "framespool: deliver what the spools hold"
RESTART_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Something that is typed.

    Attributes:
        may_fail: nothing is wrong when it does: ending what does not run, asking for what is not there.
    """

    argv: tuple[str, ...]
    may_fail: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service on one system.

    Attributes:
        kind: for people.
        path: the file that describes it to the system.
        text: of that file.
        encoding: likewise.
        starts: after the file was written.
        stops: before it is deleted.
        forgets: after it was deleted.
        asks: says how it is.
        running: a line of what that says of a service that runs.
        remarks: what a person should know or do besides.
    """

    kind: str
    path: Path
    text: str
    encoding: str = "utf-8"
    starts: tuple[Command, ...]
    stops: tuple[Command, ...]
    forgets: tuple[Command, ...] = ()
    asks: Command
    running: str
    remarks: tuple[str, ...]

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        return self.text.encode(self.encoding)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCall:
    """How the service calls the worker: everything absolute, because a service starts in another folder.

    Attributes:
        program: the Python interpreter.
        config_file: the configuration file, if it is not where it is looked for anyway.
        log_file: where it logs, if not to the system's journal.
        is_log_configured: the configuration file says so, and may one day say otherwise.
    """

    program: Path
    config_file: Path | None = None
    log_file: Path | None = None
    is_log_configured: bool = False

    @property
    def arguments(self) -> list[str]:
        """What stands behind the program."""
        words = ["-P", "-m", "uploader", "worker"]
        if self.config_file is not None:
            words += ["--config", str(self.config_file)]
        if self.log_file is not None and not self.is_log_configured:
            words += ["--log-file", str(self.log_file)]
        return words
