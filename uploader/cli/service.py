"""``framespool service``: the worker as a service of this user."""

import getpass
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import platformdirs

from uploader import config
from uploader.cli import screen, words
from uploader.cli.common import BAD_NEWS, config_option, fail, json_option, plain_errors
from uploader.known_settings import SETTINGS
from uploader.resolving import Resolved, Sources, every_spool, resolve
from uploader.service import NAME, Service, WorkerCall
from uploader.service.carrying_out import Done, install, standing, uninstall
from uploader.service.launchd import launchd_service
from uploader.service.systemd import systemd_service
from uploader.service.windows_task import windows_service

VERBS = ("install", "uninstall", "status")


@click.command()
@click.argument("verb", type=click.Choice(VERBS))
@click.option("--print", "only_print", is_flag=True, help="Change nothing: print the file that 'install' writes.")
@config_option
@json_option
@plain_errors
def command(verb: str, config_file: Path | None, *, only_print: bool, as_json: bool) -> None:
    """Let a worker run for good: started with the system, started again when it ends.

    A systemd user unit on Linux, a scheduled task on Windows, a launchd agent on macOS. It drains the spools of
    the configuration file and is set up by that file. 'status' exits with 0 only if it runs.
    """
    sources = config.sources({}, file=config_file)
    service = _service(sources)
    if only_print:
        screen.say(service.text.rstrip())
    elif verb == "install":
        _install(service, _unseen(sources), as_json=as_json)
    elif verb == "uninstall":
        _uninstall(service, as_json=as_json)
    else:
        _status(service, as_json=as_json)


def _service(sources: Sources) -> Service:
    journal = WorkerCall(
        program=_interpreter(),
        config_file=None if sources.file.path == config.default_settings_path() else sources.file.path,
    )
    log_file = sources.file.values.get("log_file")
    is_configured = isinstance(log_file, Path)
    if not isinstance(log_file, Path):
        log_file = platformdirs.user_log_path(NAME, appauthor=False) / "worker.log"
    logging = replace(journal, log_file=log_file, is_log_configured=is_configured)
    if sys.platform == "win32":
        folder = platformdirs.user_data_path(NAME, appauthor=False)
        return windows_service(logging, folder=folder, user=getpass.getuser())
    elif sys.platform == "darwin":  # noqa: RET505 - so that type checkers follow either platform
        return launchd_service(logging, home=Path.home(), uid=os.getuid())
    else:
        return systemd_service(logging if is_configured else journal, config_home=platformdirs.user_config_path())


def _interpreter() -> Path:
    """The interpreter that runs now; on Windows the one that opens no console."""
    windowless = Path(sys.executable).with_name("pythonw.exe")
    return windowless if sys.platform == "win32" and windowless.exists() else Path(sys.executable)


def _install(service: Service, unseen: Sequence[Resolved], *, as_json: bool) -> None:
    done = install(service)
    if as_json:
        _print_done(service, done)
    else:
        screen.say(f"Written: the {service.kind} {service.path}")
        if done.failed is None:
            screen.say("It runs, now and after every start.")
        for remark in service.remarks:
            screen.say(f"  {words.printable(remark)}")
        for one in unseen:
            screen.say(f"  {one.setting.name} comes from {one.origin} here, which the service does not see:")
            screen.say("    write it into the configuration file.")
    _end(done, "it was only written, not started")


def _uninstall(service: Service, *, as_json: bool) -> None:
    if not service.path.exists():
        fail(f"it is not installed: there is no {service.path}")
    done = uninstall(service)
    if as_json:
        _print_done(service, done)
    else:
        screen.say(f"Deleted: {service.path}. What waits stays in the spools.")
    _end(done, "its file is deleted, but the system could not be told")


def _end(done: Done, what: str) -> None:
    if done.failed is not None:
        typed = "\n".join(shlex.join(one.argv) for one in done.left)
        fail(f"{what}: {done.failed.argv[0]} says {done.says!r}", f"When the system can be asked, type:\n{typed}")


def _print_done(service: Service, done: Done) -> None:
    left = [list(one.argv) for one in done.left]
    screen.print_json({"kind": service.kind, "file": str(service.path), "done": not left, "left_to_type": left})


def _status(service: Service, *, as_json: bool) -> None:
    found = standing(service)
    state = "cannot be asked" if found.is_running is None else "running" if found.is_running else "not running"
    if as_json:
        screen.print_json(
            {
                "kind": service.kind,
                "file": str(service.path),
                "installed": found.is_installed,
                "up_to_date": found.is_current,
                "running": found.is_running,
            }
        )
    else:
        screen.say(f"{service.kind}  {service.path if found.is_installed else 'not installed'}")
        screen.say(screen.painted(state, "good" if found.is_running else "bad"))
        if found.is_running is None and found.says:
            screen.say(f"  {words.printable(found.says)}")
        if found.is_installed and not found.is_current:
            screen.say("  Its file is not what would be written now: run 'framespool service install' again.")
    if not found.is_running:
        raise SystemExit(BAD_NEWS)


def _unseen(sources: Sources) -> list[Resolved]:
    """What counts here because of the environment, and will not count for the service."""
    common = [resolve(one.name, sources) for one in SETTINGS if not one.of_spool]
    found = [*common, *(one for spool in every_spool(sources) for one in spool.settings.values())]
    by_name = {one.setting.name: one for one in found if one.origin.startswith("environment ")}
    return list(by_name.values())
