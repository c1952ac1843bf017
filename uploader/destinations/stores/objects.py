"""An object store as a store: S3 and what speaks like it, Google Cloud Storage, Azure, through obstore.

* Objects are created if absent (``If-None-Match: *``), with a SHA-256 that S3 checks before it answers. A store
  that does not know that header, or takes no notice of it, is given the object after a look at what lies there.
* Where a store was seen to refuse what it has, and a try was not in vain before, there is no look: over a long way
  it takes as long as a chunk. Otherwise there is one, so that what has arrived is not sent again.
* A large object goes in parts (ADR 20), so that a break costs one part. There S3 knows no "if absent" through
  obstore; the look before and the check after stand for it.
* An object is ours when its ETag is the MD5 of our bytes, or S3's MD5 of the MD5s of our parts; where an ETag is
  something else (encryption with a key of its owner, Google, Azure) the object is read back.
* Retries are the worker's business, so obstore makes none, but for single parts.

Credentials are the ecosystem's: environment variables, a role, a metadata service. Nothing of them is kept here,
they are looked for again once they are refused, and errors are shown without what URLs are signed with.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Final, TypeVar

import obstore
from obstore import exceptions
from obstore.store import from_url

from uploader.destinations.stores.base import KeyTaken, Level, Listed, Pieces, Stored, StoreTrouble, sha256_of
from uploader.destinations.stores.object_answers import code_of, no_store, plain, status_of, trouble
from uploader.errors import ConfigurationError

MIB: Final = 1024 * 1024
PARTS_FROM_BYTES: Final = 32 * MIB
PART_BYTES: Final = 8 * MIB
"""S3 takes no part below 5 MiB, and no more than 10,000 of them."""
PARTS_AT_ONCE: Final = 4
REQUEST_TIMEOUT_S: Final = 900.0
"""For a whole request with up to `PARTS_FROM_BYTES`, or `PARTS_AT_ONCE` parts: 37 kB/s will do."""
SMALL_TIMEOUT_S: Final = 60.0
"""Likewise for one with little to carry: a line that stands still is noticed."""
PART_RETRY_S: Final = 240.0
"""A part is tried again for so long. Its signature is made once, and holds for fifteen minutes."""
_SMALL_BYTES = MIB
_CONNECT_TIMEOUT_S = 10.0
_PART_TRIES = 1000
_NOT_IMPLEMENTED = 501
_WITHOUT_A_WORD = frozenset({400, 403})
_PAGE = 1000
"""What the stores themselves tell at once."""
_OF_PARTS = re.compile(r"[0-9a-f]{32}-(\d+)")
_T = TypeVar("_T")


class _Use(Enum):
    """What a client is for: they differ in patience."""

    SMALL = auto()
    LARGE = auto()
    PARTS = auto()


class ObjectStore:
    """A bucket, or a place in one, as `Store`.

    Args:
        url: ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        parts_from_bytes: objects of this size and above go in parts.
        part_bytes: the size of a part.
        request_timeout_s: for a request that carries an object or a part of one.
        small_timeout_s: for any other.
        part_retry_s: how long a part is tried again.
        options: of obstore's store, beside what the environment says.

    Raises:
        ConfigurationError: what the environment says cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        parts_from_bytes: int = PARTS_FROM_BYTES,
        part_bytes: int = PART_BYTES,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        small_timeout_s: float = SMALL_TIMEOUT_S,
        part_retry_s: float = PART_RETRY_S,
        **options: Any,  # noqa: ANN401 - obstore's, passed on
    ) -> None:
        self.url = url
        self._parts_from_bytes = parts_from_bytes
        self._part_bytes = part_bytes
        self._timeouts_s = {
            _Use.SMALL: small_timeout_s,
            _Use.LARGE: request_timeout_s,
            _Use.PARTS: request_timeout_s,
        }
        self._part_retry = {"max_retries": _PART_TRIES, "retry_timeout": timedelta(seconds=part_retry_s)}
        self._options = options
        self._clients: dict[_Use, Any] = {}
        self._spoiled: dict[str, str] = {}
        self._creates_if_absent = True
        # None until it was seen whether this store refuses to create what it has.
        self._refuses_what_it_has: bool | None = None
        self._unsure: set[str] = set()
        try:
            self._client(_Use.SMALL)
        except (exceptions.BaseError, ValueError) as error:
            raise ConfigurationError(
                f"{url} cannot be used: {plain(error)}",
                hint="Nothing was sent, and nothing is lost. See what the environment says of the store.",
            ) from error

    def close(self) -> None:
        """Connections are obstore's own."""

    def make_room(self, key: str) -> None:
        """See `Store.make_room`; an object store has no folders."""

    def create(self, key: str, pieces: Pieces) -> Stored:
        """See `Store.create`."""
        try:
            stored = self._told(key, lambda: self._create(key, pieces))
        except (StoreTrouble, KeyTaken):
            self._unsure.add(key)
            raise
        self._unsure.discard(key)
        return stored

    def replace(self, key: str, content: bytes) -> None:
        """See `Store.replace`; it is what it was meant to be, or this raises."""

        def put() -> None:
            client = self._client(_use(len(content)))
            answer = obstore.put(client, key, content, use_multipart=False)
            is_ours = _plain_etag(answer) == hashlib.md5(content, usedforsecurity=False).hexdigest()
            if not is_ours and self._read(key) != content:
                raise self._other_bytes(key)
            if self._refuses_what_it_has is None:
                self._refuses_what_it_has = self._refuses_to_create(key, content)

        self._told(key, put)

    def read(self, key: str) -> bytes | None:
        """See `Store.read`."""
        return self._told(key, lambda: self._read(key))

    def level(self, place: str) -> Level:
        """See `Store.level`; a request for each thousand places and objects."""

        def look() -> Level:
            found = obstore.list_with_delimiter(self._client(_Use.SMALL), place or None)
            # What some programs leave to show an empty folder has its name.
            objects = [str(one["path"]) for one in found["objects"] if one["path"] != place]
            return Level(places=sorted(found["common_prefixes"]), objects=sorted(objects))

        return self._told(place, look)

    def walk(self, place: str) -> Iterator[Listed]:
        """See `Store.walk`; a request for each thousand objects."""
        pages = obstore.list(self._client(_Use.SMALL), place or None, chunk_size=_PAGE)
        while (page := self._told(place, lambda: next(pages, None))) is not None:
            for one in page:
                yield Listed(key=str(one["path"]), size_bytes=int(one["size"]), etag=_plain_etag(one))

    # One object -----------------------------------------------------------------------------------------

    def _create(self, key: str, pieces: Pieces) -> Stored:
        nbytes = sum(memoryview(piece).nbytes for piece in pieces)
        with ThreadPoolExecutor(2, "framespool-digest") as beside:
            sha256 = beside.submit(sha256_of, pieces)
            in_parts = nbytes >= self._parts_from_bytes
            is_first = not in_parts and key not in self._unsure
            there = None if is_first and self._refuses_what_it_has else self._look(key)
            is_spoiled = there is not None and self._spoiled.get(key) == there["e_tag"]
            was_there = there is not None and not is_spoiled
            if not was_there:
                md5 = beside.submit(_etag_of, pieces, self._part_bytes if in_parts else None)
                try:
                    answer = self._put(key, pieces, nbytes, anew=is_spoiled)
                except exceptions.AlreadyExistsError as error:
                    # Somebody was quicker with the same key, or is at it at this moment.
                    if self._look(key) is None:
                        raise trouble(self.url, key, error) from None
                    was_there = True
                else:
                    if _plain_etag(answer) == md5.result():
                        self._spoiled.pop(key, None)
                        return Stored(was_there=False, etag=_plain_etag(answer), sha256=sha256.result())
            return self._held_against(key, pieces, nbytes, ours=sha256.result(), was_there=was_there)

    def _refuses_to_create(self, key: str, content: bytes) -> bool:
        """Whether the store refuses to create what it has: asked once, with what lies there a moment ago."""
        try:
            obstore.put(self._client(_Use.SMALL), key, content, mode="create", use_multipart=False)
        except exceptions.AlreadyExistsError:
            return True
        except (exceptions.BaseError, NotImplementedError):
            return False  # then everything is looked at, as before
        return False

    def _held_against(self, key: str, pieces: Pieces, nbytes: int, *, ours: str, was_there: bool) -> Stored:
        """What lies there, when the answer did not prove it: by its ETag if that is a digest, else read back."""
        there = self._look(key)
        if there is None:
            raise StoreTrouble(f"{self.url}/{key} is gone again", outage=False)
        etag = _plain_etag(there)
        if not (was_there and self._is_digest_of(etag, pieces, nbytes)):
            # Also where it looks like a digest that differs: with some encryption it only looks so.
            is_ours = there["size"] == nbytes and sha256_of(self._read_back(key, nbytes)) == ours
            if not is_ours and was_there:
                raise KeyTaken(f"{self.url}/{key} is there already, with other bytes")
            if not is_ours:
                # Put there by this call, so that the next one may put another in its place.
                self._spoiled[key] = there["e_tag"]
                raise self._other_bytes(key)
        self._spoiled.pop(key, None)
        return Stored(was_there=was_there, etag=etag, sha256=ours)

    def _put(self, key: str, pieces: Pieces, nbytes: int, *, anew: bool) -> Mapping[str, Any]:
        """Send an object to a key under which nothing was a moment ago, or with ``anew`` what is no good.

        Raises:
            AlreadyExistsError: something is there now.
        """
        if nbytes >= self._parts_from_bytes:
            return obstore.put(
                self._client(_Use.PARTS),
                key,
                list(pieces),
                use_multipart=True,
                chunk_size=self._part_bytes,
                max_concurrency=PARTS_AT_ONCE,
            )
        client = self._client(_use(nbytes))
        if self._creates_if_absent and not anew:
            try:
                return obstore.put(client, key, list(pieces), mode="create", use_multipart=False)
            except (exceptions.BaseError, NotImplementedError) as error:
                if not isinstance(error, NotImplementedError) and status_of(error) != _NOT_IMPLEMENTED:
                    raise
        answer = obstore.put(client, key, list(pieces), use_multipart=False)
        if not anew:
            self._creates_if_absent = False  # it took the same without the header
        return answer

    def _look(self, key: str) -> Mapping[str, Any] | None:
        """What is known of the object; ``None`` when there is none."""
        try:
            found = obstore.head(self._client(_Use.SMALL), key)
        except FileNotFoundError:
            return None
        except exceptions.BaseError as error:
            # An answer to HEAD has no body, so that the reason is not in it.
            if status_of(error) in _WITHOUT_A_WORD:
                self._ask_why(key)
            raise
        if found["e_tag"] is None:
            raise no_store(self.url)
        return found

    def _ask_why(self, key: str) -> None:
        try:
            obstore.get_range(self._client(_Use.SMALL), key, start=0, length=1)
        except FileNotFoundError:
            return

    def _read(self, key: str) -> bytes | None:
        try:
            found = obstore.get(self._client(_Use.SMALL), key)
        except FileNotFoundError as error:
            if code_of(error) == "NoSuchBucket":
                raise
            return None
        if found.meta["e_tag"] is None:
            raise no_store(self.url)
        if found.meta["size"] > _SMALL_BYTES:
            return b"".join(self._read_back(key, found.meta["size"]))
        return bytes(found.bytes())

    def _read_back(self, key: str, nbytes: int) -> Iterator[bytes]:
        """The bytes that lie there, a part a request: none of them takes for ever over a slow line."""
        client = self._client(_use(min(nbytes, self._part_bytes)))
        for start in range(0, nbytes, self._part_bytes):
            length = min(self._part_bytes, nbytes - start)
            yield bytes(obstore.get_range(client, key, start=start, length=length))

    def _is_digest_of(self, etag: str | None, pieces: Pieces, nbytes: int) -> bool:
        """Whether an ETag is what S3 makes of exactly these bytes, whole or in parts of our size."""
        of_parts = _OF_PARTS.fullmatch(etag or "")
        if of_parts is None:
            return etag == _etag_of(pieces, None)
        return int(of_parts[1]) == -(-nbytes // self._part_bytes) and etag == _etag_of(pieces, self._part_bytes)

    def _other_bytes(self, key: str) -> StoreTrouble:
        return StoreTrouble(f"{self.url}/{key} does not read as it was written", outage=False, mismatch=True)

    # The store ------------------------------------------------------------------------------------------

    def _client(self, use: _Use) -> Any:  # noqa: ANN401 - any of obstore's
        """Obstore's store, made when first needed, with what the environment says then."""
        found = self._clients.get(use)
        if found is None:
            client = {
                "timeout": timedelta(seconds=self._timeouts_s[use]),
                "connect_timeout": timedelta(seconds=_CONNECT_TIMEOUT_S),
                "allow_http": True,
            }
            retry = self._part_retry if use is _Use.PARTS else {"max_retries": 0}
            given: dict[str, Any] = {"retry_config": retry, "client_options": client}
            if self.url.startswith("s3:"):
                given["checksum_algorithm"] = "SHA256"
            found = self._clients[use] = from_url(self.url, **{**given, **self._options})
        return found

    def _told(self, key: str, ask: Callable[[], _T]) -> _T:
        """What the store refuses, in words: nothing is lost, the chunk waits in the spool."""
        try:
            return ask()
        except (exceptions.BaseError, OSError, ValueError) as error:
            told = trouble(self.url, key, error)
            if told.key_refused:
                self._clients.clear()  # the next ones look for credentials anew
            raise told from None


def _use(nbytes: int) -> _Use:
    return _Use.SMALL if nbytes <= _SMALL_BYTES else _Use.LARGE


def _plain_etag(answer: Mapping[str, Any]) -> str | None:
    return (answer["e_tag"] or "").removeprefix("W/").strip('"') or None


def _etag_of(pieces: Pieces, part_bytes: int | None) -> str:
    """What S3 calls an object with these bytes: their MD5, or the MD5 of the MD5s of its parts, and how many."""
    if part_bytes is None:
        digest = hashlib.md5(usedforsecurity=False)
        for piece in pieces:
            digest.update(piece)
        return digest.hexdigest()
    of_parts = list(_md5s_of_parts(pieces, part_bytes))
    return f"{hashlib.md5(b''.join(of_parts), usedforsecurity=False).hexdigest()}-{len(of_parts)}"


def _md5s_of_parts(pieces: Pieces, part_bytes: int) -> Iterator[bytes]:
    digest, room = hashlib.md5(usedforsecurity=False), part_bytes
    for piece in pieces:
        left = memoryview(piece).cast("B")
        while left:
            digest.update(left[:room])
            room, left = room - min(room, len(left)), left[room:]
            if not room:
                yield digest.digest()
                digest, room = hashlib.md5(usedforsecurity=False), part_bytes
    if room < part_bytes:
        yield digest.digest()
