"""The command ``framespool``: one module a command, imported when it is used.

Only this package prints or exits. Exit codes: 0, 1 (the answer is bad news), 2 (usage).
"""

from importlib import import_module

import click

from uploader import __version__

COMMANDS = {
    "audit": "uploader.cli.audit",
    "check": "uploader.cli.check",
    "config": "uploader.cli.config",
    "demo": "uploader.cli.demo",
    "discard": "uploader.cli.discard",
    "doctor": "uploader.cli.doctor",
    "export": "uploader.cli.export",
    "finalize": "uploader.cli.finalize",
    "key": "uploader.cli.key",
    "login": "uploader.cli.login",
    "logout": "uploader.cli.logout",
    "loopback": "uploader.cli.loopback",
    "pack": "uploader.cli.pack",
    "proof": "uploader.cli.proof",
    "prune": "uploader.cli.prune",
    "retry": "uploader.cli.retry",
    "service": "uploader.cli.service",
    "status": "uploader.cli.status",
    "stream": "uploader.cli.stream",
    "streams": "uploader.cli.streams",
    "unpack": "uploader.cli.unpack",
    "verify": "uploader.cli.verify",
    "worker": "uploader.cli.worker",
}


class _Commands(click.Group):
    """Loads a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="framespool")
def main() -> None:
    """Never lose a frame: record to disk first, deliver in order, prove what arrived."""
