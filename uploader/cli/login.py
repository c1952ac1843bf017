"""``framespool login``: store an API key where the workers of this user find it."""

import os
import sys

import click

from uploader import config
from uploader.answers import meaning_of
from uploader.api import AtomscaleApi
from uploader.cli import screen, words
from uploader.cli.common import json_option, plain_errors
from uploader.config import ApiKey
from uploader.errors import ConfigurationError, KeyRefused
from uploader.key_stores import KeyFile, KeyStore, SystemKeyring
from uploader.keys import Keys
from uploader.meanings import Meaning, Step

_TYPED_CHARS_MAX = 10_000

endpoint_option = click.option(
    "--endpoint", help="The server's base URL.  [default: AS_API_ENDPOINT, then the vendor's]"
)


@click.command()
@endpoint_option
@click.option("--file", "to_file", is_flag=True, help="Store it in the private key file, not in the keyring.")
@json_option
@plain_errors
def command(endpoint: str | None, *, to_file: bool, as_json: bool) -> None:
    """Store an API key in the system keyring, or with --file in a file that only you can read.

    The key is typed without being shown, or comes from standard input. The server is asked first: a key that it
    refuses is not stored. A worker that waits for a key takes it up by itself.

    The file is AS_API_KEY_FILE, or framespool/key in your configuration folder.
    """
    url = config.endpoint(endpoint)
    store: KeyStore = KeyFile(config.key_file()[0])
    if not to_file:
        store = keyring = SystemKeyring()
        keyring.usable()  # said before a key is typed in vain
    key = _asked_for(url)
    doubt = _doubt(url, key)
    store.write(url, key)
    first = _what_comes_first(url, key)
    if as_json:
        told = {"checked": doubt is None, "doubt": doubt, "before_it": first}
        screen.print_json({"endpoint": url, "stored_in": "file" if to_file else "keyring", **told})
        return
    screen.say(f"The key for {url} is in {words.printable(store.where)}.")
    if doubt is not None:
        screen.say(screen.painted(f"It could not be checked: {words.printable(doubt)}.", "wait"))
    if first is not None:
        screen.say(screen.painted(f"Until the server refuses it, another key comes before it: {first}.", "wait"))


def _asked_for(url: str) -> ApiKey:
    """The key that a person types, or that a program writes to standard input."""
    if sys.stdin is not None and sys.stdin.isatty():
        text = click.prompt(f"API key for {url} (not shown)", hide_input=True, err=True)
    else:
        text = "" if sys.stdin is None else sys.stdin.read(_TYPED_CHARS_MAX)
    if not text.strip():
        raise ConfigurationError("standard input has no key", hint="Type the key when asked, or pipe it in.")
    return config.usable_key(text)


def _doubt(url: str, key: ApiKey) -> str | None:
    """Why the key could not be checked; ``None`` when the server takes it.

    Raises:
        KeyRefused: the server does not take it.
    """
    with AtomscaleApi(url, key) as api:
        answer = api.tags()
    row = meaning_of(Step.API, answer)
    if row.meaning is Meaning.PAUSED:
        raise KeyRefused(f"{answer.words}: the key was not stored", hint="Check the key, and --endpoint.")
    if row.meaning is Meaning.DONE:
        return None if isinstance(answer.json(), list) else f"{answer.words}, but not as the server does"
    return f"{answer.words} ({row.says})"


def _what_comes_first(url: str, key: ApiKey) -> str | None:
    """The place of another key that is asked before the one just stored."""
    try:
        if Keys(url).current() == key:
            return None
    except ConfigurationError as error:
        return str(error)
    named = (name for name in config.KEY_VARIABLES if os.environ.get(name, "").strip())
    return next(named, "the key file")
