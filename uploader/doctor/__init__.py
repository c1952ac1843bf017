"""The examination of a machine: whether recording and delivery can work here, and what to do where not.

* A check is a function from a `Subject` to a `Finding`, and one line in `CHECKS`. It knows no other check.
* A check whose needs have failed is not run: its finding names the failure at the root.
* Every check has a limit of time. What takes longer is a problem of its own, and the rest goes on.
* What is tried on disk is tried in a folder of its own, beside the spool's data, that is removed again.
* Nothing is sent to the server but questions. The key is never part of a finding.
"""

import sqlite3
import threading

from spool import SpoolError
from uploader.addresses import is_server, is_store
from uploader.doctor import disk, durability, folder, index, keys, machine, network, server, state, store, tls
from uploader.doctor.findings import Check, Finding, Subject, Verdict, not_checked, problem
from uploader.errors import UploaderError

__all__ = ["CHECKS", "Check", "Examination", "Finding", "Subject", "Verdict", "checks_of"]

CHECKS = (
    Check(name="python", look=machine.python),
    Check(name="clock", look=machine.clock),
    Check(name="folder", look=folder.folder),
    Check(name="filesystem", look=folder.filesystem),
    Check(name="space", look=disk.space, needs=("folder",)),
    Check(name="durability", look=durability.durability, needs=("folder",)),
    Check(name="renames", look=durability.renames, needs=("folder",)),
    Check(name="locks", look=durability.locks, needs=("folder",)),
    Check(name="sqlite", look=index.sqlite, needs=("folder",)),
    Check(name="speed", look=disk.speed, needs=("space", "durability", "locks", "sqlite")),
    Check(name="spool", look=state.spool, needs=("folder", "locks", "sqlite")),
    Check(name="index", look=index.index, needs=("folder", "sqlite")),
    Check(name="proxy", look=network.proxy, of=is_server),
    Check(name="dns", look=network.dns, needs=("proxy",), asks_network=True, of=is_server),
    Check(name="connection", look=network.connection, needs=("dns",), asks_network=True, of=is_server),
    Check(name="tls", look=tls.tls, needs=("connection",), asks_network=True, of=is_server),
    Check(name="server", look=server.server, needs=("tls",), asks_network=True, of=is_server),
    Check(name="offset", look=server.offset, needs=("server",), asks_network=True, of=is_server),
    Check(name="key", look=keys.key, of=is_server),
    Check(name="access", look=server.access, needs=("key", "server"), asks_network=True, of=is_server),
    Check(name="upload", look=server.upload, of=is_server),
    Check(name="store", look=store.store, asks_network=True, of=is_store),
)
"""In the order in which they are run: a check comes after those that it needs."""

_TIDY_S = 5.0


def checks_of(subject: Subject) -> tuple[Check, ...]:
    """Those that say something of where the subject's streams go."""
    return tuple(check for check in CHECKS if check.of is None or check.of(subject.endpoint))


class Examination:
    """One round of the checks.

    Args:
        subject: what is examined.
        offline: nothing leaves this machine.
    """

    def __init__(self, subject: Subject, *, offline: bool = False) -> None:
        self._subject = subject
        self._offline = offline
        self._roots: dict[str, str] = {}

    def look(self, check: Check) -> Finding:
        """Run a check, unless one that it needs has failed."""
        failed = next((self._roots[name] for name in check.needs if name in self._roots), None)
        if self._offline and check.asks_network:
            finding, root = not_checked("--offline"), None
        elif failed is not None:
            finding, root = not_checked(f"{failed} failed"), failed
        else:
            finding = self._in_time(check)
            root = check.name if finding.verdict is Verdict.PROBLEM else None
        if root is not None:
            self._roots[check.name] = root
        return finding

    def _in_time(self, check: Check) -> Finding:
        """Run it in a thread that is left behind when it takes too long: no timeout reaches into the system."""
        found: list[Finding | BaseException] = []
        thread = threading.Thread(target=_run, args=(check, self._subject, found), daemon=True)
        thread.start()
        try:
            thread.join(check.limit_s)
        except KeyboardInterrupt:
            thread.join(_TIDY_S)  # so that it can remove what it has made
            raise
        if not found:
            what = "network" if check.asks_network else "disk"
            return problem(
                f"no end after {check.limit_s:g} s", f"The {what} may hang: look at it, and at the system's log."
            )
        if isinstance(found[0], BaseException):
            raise found[0]
        return found[0]


def _run(check: Check, subject: Subject, found: list[Finding | BaseException]) -> None:
    try:
        found.append(check.look(subject))
    except (SpoolError, UploaderError) as error:
        found.append(problem(str(error), error.hint))
    except (OSError, sqlite3.Error) as error:
        found.append(problem(str(error), "The system refused what framespool needs: see its own words."))
    except BaseException as error:  # noqa: BLE001 - raised again where somebody waits for it
        found.append(error)
