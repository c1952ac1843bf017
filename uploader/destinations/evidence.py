"""What a store's answer proves about the bytes that it was sent.

A store says what it has got: an ETag, which on plain S3 is the MD5 of the body, and checksums in headers of
their own. Each that can be computed here is compared; one that differs means other bytes.

Source: Amazon S3 API reference, PutObject, "Checking object integrity": digests are base64, and CRCs are
big-endian; a checksum of parts ends with ``-N``.
"""

import base64
import hashlib
import re
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import google_crc32c

_PREFIX = "x-amz-checksum-"
_DIGESTS: Mapping[str, Callable[[bytes | memoryview], bytes]] = {
    "sha256": lambda body: hashlib.sha256(body).digest(),
    "sha1": lambda body: hashlib.sha1(body, usedforsecurity=False).digest(),
    "crc32": lambda body: zlib.crc32(body).to_bytes(4, "big"),
    "crc32c": lambda body: int(google_crc32c.value(bytes(body))).to_bytes(4, "big"),
}
_WHOLE = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_REQUEST_IDS = ("x-amz-request-id", "x-amz-id-2", "x-ms-request-id", "x-request-id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the answer said, and how it compares.

    Attributes:
        etag: without quotes; ``None`` when there was none.
        checksums: as given, by the name of their algorithm.
        request_ids: the store's own names for the request, by header.
        agrees: what was compared and is equal.
        differs: what was compared and is not: the name, theirs and ours.
        encrypts: the store says that it encrypts what it keeps.
    """

    etag: str | None
    checksums: Mapping[str, str]
    request_ids: Mapping[str, str]
    agrees: tuple[str, ...]
    differs: tuple[str, ...]
    encrypts: bool

    @property
    def confirmed(self) -> bool:
        """Whether the store has exactly these bytes."""
        return bool(self.agrees) and not self.differs

    @property
    def is_a_stores(self) -> bool:
        """Whether a store spoke, and not a web server in between, which may send an ETag of its own."""
        return self.encrypts or "x-amz-request-id" in self.request_ids


class Md5:
    """The MD5 of a body, in one piece or several, computed in a thread of its own while that is being sent."""

    def __init__(self, *pieces: bytes | memoryview) -> None:
        self._pieces = pieces
        self._digest = hashlib.md5(usedforsecurity=False)
        self._thread = threading.Thread(target=self._compute, name="framespool-md5", daemon=True)
        self._thread.start()

    def _compute(self) -> None:
        for piece in self._pieces:
            self._digest.update(piece)

    def hexdigest(self) -> str:
        """It, once it is there."""
        self._thread.join()
        return self._digest.hexdigest()


def evidence(headers: Mapping[str, str], body: bytes | memoryview, md5: Md5 | None = None) -> Evidence:
    """Compare what a store says with what it was sent.

    Args:
        headers: of its answer, names in lower case.
        body: the bytes that were sent.
        md5: of these bytes, if somebody has begun to compute it.
    """
    etag = headers.get("etag", "").removeprefix("W/").strip('"') or None
    encryption = {
        name: value for name, value in headers.items() if name.startswith("x-amz-server-side-encryption")
    }
    checksums = {name.removeprefix(_PREFIX): value for name, value in headers.items() if name.startswith(_PREFIX)}
    agrees: list[str] = []
    differs: list[str] = []
    # Encrypted with a key of its owner, an object has an ETag that only looks like an MD5.
    is_opaque = any(value != "AES256" for value in encryption.values())
    if etag is not None and _MD5.fullmatch(etag.lower()) and not is_opaque:
        ours = (md5 or Md5(body)).hexdigest()
        _compare("ETag", etag.lower(), ours, agrees, differs)
    for name, digest in _DIGESTS.items():
        if name in checksums and _WHOLE.fullmatch(checksums[name]):
            _compare(name, checksums[name], base64.b64encode(digest(body)).decode(), agrees, differs)
    return Evidence(
        etag=etag,
        checksums=checksums,
        request_ids={name: headers[name] for name in _REQUEST_IDS if name in headers},
        agrees=tuple(agrees),
        differs=tuple(differs),
        encrypts=bool(encryption),
    )


def _compare(name: str, theirs: str, ours: str, agrees: list[str], differs: list[str]) -> None:
    if theirs == ours:
        agrees.append(name)
    else:
        differs.append(f"{name} {theirs} where the bytes sent have {ours}")
