"""What an object store's refusal means, and whose turn it is.

obstore tells little of an answer by its exceptions: many are one kind, and the status, S3's own code and what
broke on the way stand in their text. They are read from there, once, here. What it does not tell at all is a
``Retry-After``: a store that asks for less is given a fixed rest, and the back-off grows from there.

Source: Amazon S3 API reference, "Error responses"; the text is that of object_store's errors, as obstore 0.9 to
0.12 show them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from uploader.destinations.stores.base import StoreTrouble
from uploader.outside import printable, unsigned

REFUSED_PROBE_S: Final = 5.0
"""The least time between two tries where a person has to do something first."""
SLOW_DOWN_S: Final = 2.0
"""The least time to leave a store alone that asks for less."""
_WORDS_MAX = 300
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*([A-Za-z0-9._-]{1,64})\s*</Code>")
_BROKE = re.compile(r"HttpError \{\s+kind: (\w+)")
_TOOK = re.compile(r" in [\d.]+(?:ns|µs|ms|s)\b")
_NO_CREDENTIALS = re.compile(r"/latest/(?:api/token|meta-data)|computeMetadata|/metadata/identity|token file")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    """What one refusal means; the fields are those of `StoreTrouble`."""

    words: str
    todo: str = ""
    outage: bool = True
    key_refused: bool = False
    min_wait_s: float = 0.0
    may_be_done: bool = False
    mismatch: bool = False


_EXPIRED = _Meaning(
    words="the credentials have expired",
    todo="renew them in the environment of the program that delivers, and start that again",
    key_refused=True,
    min_wait_s=REFUSED_PROBE_S,
)
_WRONG = _Meaning(
    words="the credentials are not accepted",
    todo="put right ones into the environment of the program that delivers, and start that again",
    key_refused=True,
    min_wait_s=REFUSED_PROBE_S,
)
_ABSENT = _Meaning(
    words="there are no credentials",
    todo="put them into the environment of the program that delivers, and start that again",
    key_refused=True,
    min_wait_s=REFUSED_PROBE_S,
)
_NOT_ALLOWED = _Meaning(
    words="the credentials do not allow this",
    todo="whoever owns the bucket has to allow reading, writing and listing below this place",
    key_refused=True,
    min_wait_s=REFUSED_PROBE_S,
)
_BLOCKED = _Meaning(
    words="access is refused, and no store says why",
    todo="a proxy on the way, perhaps, or a key that this place does not know",
    min_wait_s=REFUSED_PROBE_S,
)
_CLOCKS = _Meaning(
    words="this computer's clock is not the store's",
    todo="set the clock of this computer",
    min_wait_s=REFUSED_PROBE_S,
)
_NO_BUCKET = _Meaning(
    words="there is no such bucket",
    todo="create it, or correct the destination's name",
    min_wait_s=REFUSED_PROBE_S,
)
_ELSEWHERE = _Meaning(
    words="the bucket is somewhere else",
    todo="set AWS_REGION, or the endpoint, to where it is",
    min_wait_s=REFUSED_PROBE_S,
)
_FULL = _Meaning(words="it is full", todo="make room there", min_wait_s=REFUSED_PROBE_S)
_BUSY = _Meaning(words="it asks for fewer requests", min_wait_s=SLOW_DOWN_S)
_BROKEN = _Meaning(words="it is out of order", may_be_done=True)
_OTHER_BYTES = _Meaning(words="it got other bytes than were sent", outage=False, mismatch=True)
_CUT_SHORT = _Meaning(words="it did not get the whole request", outage=False)
_UNDER_WAY = _Meaning(words="something else is being done to the object", outage=False, may_be_done=True)
_REFUSED = _Meaning(words="it refuses the request", outage=False)
_LOGIN = _Meaning(words="a proxy on the way wants a login", min_wait_s=REFUSED_PROBE_S)

_BY_CODE: Final[Mapping[str, _Meaning]] = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired"), _EXPIRED),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "InvalidToken", "InvalidSecurity", "SignatureDoesNotMatch", "AuthenticationFailed"),
        _WRONG,
    ),
    **dict.fromkeys(("AccessDenied", "AccountProblem", "AllAccessDisabled", "AuthorizationFailure"), _NOT_ALLOWED),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestInTheFuture"), _CLOCKS),
    **dict.fromkeys(("NoSuchBucket", "ContainerNotFound", "InvalidBucketName"), _NO_BUCKET),
    **dict.fromkeys(
        (
            "PermanentRedirect",
            "TemporaryRedirect",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
        ),
        _ELSEWHERE,
    ),
    **dict.fromkeys(("SlowDown", "ServerBusy", "TooManyRequests", "RequestLimitExceeded", "Throttling"), _BUSY),
    **dict.fromkeys(("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull"), _FULL),
    **dict.fromkeys(
        ("BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "Md5Mismatch"),
        _OTHER_BYTES,
    ),
    **dict.fromkeys(("IncompleteBody", "RequestTimeout"), _CUT_SHORT),
    **dict.fromkeys(
        ("ConditionalRequestConflict", "OperationAborted", "PreconditionFailed", "NoSuchKey", "NoSuchUpload"),
        _UNDER_WAY,
    ),
}
_BY_STATUS: Final[Mapping[int, _Meaning]] = {
    401: _WRONG,
    403: _NOT_ALLOWED,
    404: _NO_BUCKET,
    407: _LOGIN,
    409: _UNDER_WAY,
    412: _UNDER_WAY,
    429: _BUSY,
    503: _BUSY,
    507: _FULL,
}
_BY_BREAK: Final[Mapping[str, _Meaning]] = {
    "Connect": _Meaning(words="it cannot be reached"),
    "Timeout": _Meaning(words="there was no answer in time", may_be_done=True),
}
_LINE_BROKE = _Meaning(words="the connection broke", may_be_done=True)
_NO_STORE = _Meaning(
    words="what answers is no object store", todo="a login page of the network, perhaps", may_be_done=True
)


def status_of(error: Exception) -> int | None:
    """The HTTP status that an error of obstore's tells of."""
    found = _STATUS.search(str(error))
    return int(found[1]) if found else None


def code_of(error: Exception) -> str | None:
    """The store's own code for what is wrong, where its answer had one."""
    found = _CODE.search(str(error))
    return found[1] if found else None


def trouble(url: str, key: str, error: Exception) -> StoreTrouble:
    """What it means that the store at ``url`` did not do what it was asked for ``key``, without secrets."""
    status, code = status_of(error), code_of(error)
    meaning = _meaning(status, code, str(error))
    if meaning is None:
        return StoreTrouble(f"{url}/{key}: {plain(error)}", outage=True)
    said = " ".join(str(one) for one in (status, code) if one is not None)
    where = url if meaning.outage else f"{url}/{key}"
    words = f"{where}: {meaning.words}{f' ({said})' if said else ''}{f': {meaning.todo}' if meaning.todo else ''}"
    return StoreTrouble(
        words,
        outage=meaning.outage,
        key_refused=meaning.key_refused,
        min_wait_s=meaning.min_wait_s,
        may_be_done=meaning.may_be_done,
        mismatch=meaning.mismatch,
    )


def no_store(url: str) -> StoreTrouble:
    """Something answers there that does not say what every object store says."""
    return StoreTrouble(f"{url}: {_NO_STORE.words}: {_NO_STORE.todo}", outage=True)


def _meaning(status: int | None, code: str | None, text: str) -> _Meaning | None:
    """The row for a refusal; ``None`` for one that no row is about."""
    if _NO_CREDENTIALS.search(text):
        return _ABSENT
    if code is not None and code in _BY_CODE:
        return _BY_CODE[code]
    return _of_the_way(text) if status is None else _of_status(status, code)


def _of_status(status: int, code: str | None) -> _Meaning:
    if status == 403 and code is None:  # noqa: PLR2004 - a store would say which of its reasons it has
        return _BLOCKED
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    by_class = {3: _ELSEWHERE, 4: _REFUSED}
    return by_class.get(status // 100, _BROKEN)


def _of_the_way(text: str) -> _Meaning | None:
    if "redirect without LOCATION" in text:
        return _ELSEWHERE
    if "missing from response" in text:
        return _NO_STORE
    broke = _BROKE.search(text)
    return None if broke is None else _BY_BREAK.get(broke[1], _LINE_BROKE)


def plain(error: Exception) -> str:
    """The first line of an error, without what a URL is signed with; the rest is obstore's own insides."""
    first = str(error).partition("\n")[0]
    # How long it took is another number each time, and would make it another trouble.
    return printable(unsigned(_TOOK.sub("", first)))[:_WORDS_MAX]
