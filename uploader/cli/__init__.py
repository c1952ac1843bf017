"""The command ``framespool``: one module a command, imported when it is used.

Only this package prints or exits. Exit codes: 0, 1 (the answer is bad news), 2 (usage).
"""

from importlib import import_module

import click

from uploader import __version__

# What ``framespool --help`` says of each: listing them must not cost the import of them all.
COMMANDS = {
    "audit": "Show for every chunk what was recorded and acknowledged.",
    "catalog": "List the streams that lie in a folder or a bucket.",
    "check": "Check a proof on any machine.",
    "config": "Show each setting, its worth, and where that comes from.",
    "dashboard": "Show the spool as a page that moves, in a browser.",
    "demo": "Stream a simulated growth to a server on this machine.",
    "discard": "Delete frames that were never delivered.",
    "doctor": "Look at this machine, the network and the key.",
    "export": "Write the frames of a stream to a file or a Zarr store.",
    "finalize": "Ask for the end of a stream.",
    "key": "Make a key that proofs are signed with.",
    "login": "Store an API key.",
    "logout": "Remove an API key.",
    "loopback": "Run a stand-in for the vendor's server on this machine.",
    "monitoring": "Write alert rules and a dashboard for a monitoring system.",
    "pack": "Copy what waits of a stream to a folder, to take it elsewhere.",
    "proof": "Write what the ledger tells of a stream, to check it elsewhere.",
    "prune": "Delete the local frames of acknowledged chunks.",
    "record": "Take frames from a camera or a watched folder, and deliver them.",
    "retry": "Let parked chunks and held streams be delivered again.",
    "service": "Let a worker run for good: started with the system.",
    "sources": "List what frames can be taken from, and what an extra would add.",
    "status": "Say how the spool is doing, or one stream of it.",
    "stream": "Record frames into the spool and deliver them.",
    "streams": "List every stream of the spool, oldest first.",
    "unpack": "Take a packed stream into this spool.",
    "verify": "Hold index, files and ledger against each other.",
    "worker": "Deliver what the spools hold, in order.",
}


class _Commands(click.Group):
    """Loads a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="framespool")
def main() -> None:
    """Never lose a frame: record to disk first, deliver in order, prove what arrived."""
