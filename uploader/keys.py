"""`Keys`: the API key for one server, where it comes from, and another one when it is refused.

In this order:

1. what the caller has given, or else the environment: ``AS_API_KEY``, ``ATOMSCALE_API_KEY``;
2. the key file: ``AS_API_KEY_FILE``, or ``framespool/key`` in the user's configuration folder;
3. the system keyring.

The first counts until the server refuses it. Then any other that differs is tried, at every probe: an environment
cannot change while a process lives, so it must not shadow for ever what a person has put elsewhere since. A given
key does shadow the environment: the two may be meant for different servers.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence

from uploader import config
from uploader.config import ApiKey
from uploader.errors import ConfigurationError
from uploader.key_stores import KeyFile, KeyStore, SystemKeyring

_log = logging.getLogger(__name__)


class Keys:
    """The API keys that there are for one server; safe to ask from any thread.

    Args:
        endpoint: the server, in the spelling of `config.endpoint`.
        given: what the caller was given; shadows the environment.
        environ: read once, here.
        stores: where else a key may lie; ``None`` for key file and keyring.

    Raises:
        ConfigurationError: a key is given that cannot be sent, or the key file's path cannot be told.
    """

    def __init__(
        self,
        endpoint: str,
        given: str | None = None,
        environ: Mapping[str, str] = os.environ,
        *,
        stores: Sequence[KeyStore] | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._stated = config.stated_key(given, environ)
        self._stores = _stores(environ) if stores is None else stores
        self._known: list[ApiKey] = []
        self._in_use: ApiKey | None = None
        self._told = ""
        self._asking = threading.Lock()

    @classmethod
    def only(cls, endpoint: str, key: ApiKey) -> "Keys":
        """This key and no other, whatever lies elsewhere."""
        return cls(endpoint, key.reveal(), {}, stores=())

    def current(self) -> ApiKey:
        """The key in use; looked for once.

        Raises:
            ConfigurationError: there is none, or the first place that may have one cannot be used.
        """
        if self._in_use is None:
            with self._asking:
                self._in_use = self._noted(self._first())
        return self._in_use

    def origin(self) -> str | None:
        """Where the key that counts comes from, for people; ``None`` when there is none. Never the key itself.

        Raises:
            ConfigurationError: the first place that may have one cannot be used.
        """
        if self._stated is not None:
            named = config.key_variables()
            return f"environment {named[0]}" if named else "argument"
        return next((store.where for store in self._stores if store.read(self._endpoint) is not None), None)

    def renewed(self, *refused: ApiKey) -> ApiKey | None:
        """A key that none of the refused ones equals, as file and keyring are now; ``None`` if there is none."""
        with self._asking:
            if self._stated is not None and self._stated not in refused:
                return self._stated
            problems = []
            for store in self._stores:
                try:
                    key = store.read(self._endpoint)
                except ConfigurationError as error:
                    problems.append(f"{error}. {error.hint}")
                    continue
                if key is not None and key not in refused:
                    return self._noted(key)
            self._tell(" ".join(problems))
        return None

    def use(self, key: ApiKey) -> None:
        """Send this one from now on: it was accepted where the one in use was refused."""
        if key != self._in_use:
            _log.warning("another API key is in use from now on: the server has accepted it")
        self._in_use = key

    def secrets(self) -> tuple[str, ...]:
        """Every key that may have been sent, for the one place that strikes them out of answers."""
        return tuple(key.reveal() for key in tuple(self._known))

    def _first(self) -> ApiKey:
        if self._stated is not None:
            return self._stated
        for store in self._stores:
            if (key := store.read(self._endpoint)) is not None:
                return key
        raise ConfigurationError("there is no API key", hint=config.NO_KEY_HINT)

    def _noted(self, key: ApiKey) -> ApiKey:
        if key not in self._known:
            self._known.append(key)
        return key

    def _tell(self, problems: str) -> None:
        """Say once, not at every probe, why a place where a new key may lie cannot be used."""
        if problems and problems != self._told:
            _log.error("no other API key was found: %s", problems)
        self._told = problems


def _stores(environ: Mapping[str, str]) -> Sequence[KeyStore]:
    path, is_named = config.key_file(environ)
    return KeyFile(path, must_exist=is_named), SystemKeyring()
