"""An object store as a store: S3 and what speaks like it, Google Cloud Storage, Azure, through obstore.

Objects are created if absent (``If-None-Match: *``), with a SHA-256 that S3 checks before it answers. An object is
ours when its ETag is the MD5 of our bytes; where an ETag is something else (encryption with a key of its owner,
Google, Azure) the object is read back once. Retries are the worker's business, so obstore makes none.

Credentials are the ecosystem's: environment variables, a role, a metadata service. Nothing of them is kept here,
and errors are shown without the signatures that their URLs may carry.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import obstore
from obstore import exceptions
from obstore.store import from_url

from uploader.destinations.evidence import Md5
from uploader.destinations.stores.base import KeyTaken, Pieces, Stored, StoreTrouble, sha256_of
from uploader.errors import ConfigurationError
from uploader.outside import printable, unsigned

REFUSED_PROBE_S: Final = 5.0
"""The least time between two tries with credentials that were refused."""
_TIMEOUT: Final = "900s"
"""For a whole request: a chunk over a bad line takes its time."""
_CONNECT_TIMEOUT: Final = "10s"
_WORDS_MAX = 300
_T = TypeVar("_T")


class ObjectStore:
    """A bucket, or a place in one, as `Store`.

    Args:
        url: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        options: of obstore's store, beside what the environment says.

    Raises:
        ConfigurationError: what the environment says cannot be used.
    """

    def __init__(self, url: str, **options: Any) -> None:  # noqa: ANN401 - obstore's, passed on
        self.url = url
        client = {"timeout": _TIMEOUT, "connect_timeout": _CONNECT_TIMEOUT, "allow_http": True}
        given: dict[str, Any] = {"retry_config": {"max_retries": 0}, "client_options": client}
        if url.startswith("s3:"):
            given["checksum_algorithm"] = "SHA256"
        try:
            self._store = from_url(url, **{**given, **options})
        except (exceptions.BaseError, ValueError) as error:
            raise ConfigurationError(
                f"{url} cannot be used: {_words(error)}",
                hint="Nothing was sent, and nothing is lost. See what the environment says of the store.",
            ) from error

    def close(self) -> None:
        """Connections are obstore's own."""

    def make_room(self, key: str) -> None:
        """See `Store.make_room`; an object store has no folders."""

    def create(self, key: str, pieces: Pieces) -> Stored:
        """See `Store.create`."""
        return self._told(key, lambda: self._create(key, pieces))

    def replace(self, key: str, content: bytes) -> None:
        """See `Store.replace`."""
        self._told(key, lambda: obstore.put(self._store, key, content, use_multipart=False))

    def read(self, key: str) -> bytes | None:
        """See `Store.read`."""

        def get() -> bytes | None:
            try:
                return bytes(obstore.get(self._store, key).bytes())
            except FileNotFoundError:
                return None

        return self._told(key, get)

    def _create(self, key: str, pieces: Pieces) -> Stored:
        md5 = Md5(*pieces)
        was_there = False
        try:
            put: Mapping[str, Any] = obstore.put(
                self._store, key, list(pieces), mode="create", use_multipart=False
            )
        except exceptions.AlreadyExistsError:
            was_there = True
            put = obstore.head(self._store, key)
        etag = (put["e_tag"] or "").removeprefix("W/").strip('"') or None
        ours = sha256_of(pieces)
        if etag != md5.hexdigest():
            # It may be no MD5 at all: the bytes themselves tell.
            theirs = hashlib.sha256(obstore.get(self._store, key).bytes()).hexdigest()
            if theirs != ours and was_there:
                raise KeyTaken(f"{self.url}/{key} is there already, with other bytes")
            if theirs != ours:
                raise StoreTrouble(f"{self.url}/{key} does not read as it was written", outage=False)
        return Stored(was_there=was_there, etag=etag, sha256=ours)

    def _told(self, key: str, ask: Callable[[], _T]) -> _T:
        """What the store refuses, in words: nothing is lost, the chunk waits in the spool."""
        try:
            return ask()
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise StoreTrouble(
                f"{self.url} refuses the credentials: {_words(error)}", outage=True, min_wait_s=REFUSED_PROBE_S
            ) from None
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise StoreTrouble(f"{self.url}/{key}: {_words(error)}", outage=True) from None


def _words(error: Exception) -> str:
    """The first line of an error, without what a URL is signed with; the rest is obstore's own insides."""
    first = str(error).partition("\n")[0]
    return printable(unsigned(first))[:_WORDS_MAX]
