"""``framespool logout``: remove what ``login`` has stored."""

import click

from uploader import config
from uploader.cli import screen, words
from uploader.cli.common import json_option, plain_errors
from uploader.cli.login import endpoint_option
from uploader.key_stores import KeyFile, KeyStore, SystemKeyring


@click.command()
@endpoint_option
@json_option
@plain_errors
def command(endpoint: str | None, *, as_json: bool) -> None:
    """Remove the API key for a server from the key file and from the system keyring.

    A worker that runs keeps the key that it has in memory, and AS_API_KEY stays as it is: to shut a key out,
    revoke it at the server.
    """
    url = config.endpoint(endpoint)
    stores: dict[str, KeyStore] = {"file": KeyFile(config.key_file()[0]), "keyring": SystemKeyring()}
    removed = []
    for name, store in stores.items():
        if store.remove(url):
            removed.append(name)
            if not as_json:  # at once: the next store may not let us
                screen.say(f"The key for {url} is removed from {words.printable(store.where)}.")
    if as_json:
        screen.print_json({"endpoint": url, "removed": removed})
    elif not removed:
        screen.say(f"No key for {url} was stored.")
