"""``framespool key``: a key to sign proofs with."""

from pathlib import Path

import click

from spool import SigningKey, make_key
from uploader.cli import screen
from uploader.cli.common import json_option, plain_errors


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--show", is_flag=True, help="Make nothing: print the public key of the one in FILE.")
@json_option
@plain_errors
def command(file: Path, *, show: bool, as_json: bool) -> None:
    """Make a key in FILE that proofs are signed with, and print its public half.

    Keep FILE to yourself: only you can read it, and it has no passphrase. Publish the public key where an auditor
    finds it without you, so that a proof can be told from somebody else's.
    """
    key = SigningKey(file) if show else make_key(file)
    if as_json:
        screen.print_json({"file": str(file), "public_key": key.public_key})
        return
    if not show:
        screen.say(f"The key is in {file}; sign with it: framespool proof STREAM -o FILE --sign {file}")
    screen.say(f"Public key  {key.public_key}")
