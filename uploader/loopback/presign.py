"""Upload URLs that carry their own permission, as S3's presigned ones do.

The signature covers the method, the path, the upload_id and the moment of expiry. The secret lives in the
root, so a server that comes back honours the URLs that it gave out before.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from uploader.loopback.errors import StoreError
from uploader.loopback.places import write_whole

_METHOD: Final = "PUT"


class Presigner:
    """Signs upload URLs and judges the ones that come back."""

    def __init__(self, secret_path: Path, *, expiry_s: float) -> None:
        if not secret_path.exists():
            write_whole(secret_path, secrets.token_hex(32).encode())
        self._secret = secret_path.read_bytes()
        self._expiry_s = expiry_s

    def sign(self, path: str, upload_id: str, *, now: float) -> str:
        """`path` with the query that allows one upload to it until the expiry."""
        expires = f"{now + self._expiry_s:.3f}"
        query = {
            "partNumber": "1",
            "uploadId": upload_id,
            "Expires": expires,
            "Signature": self._signature(_METHOD, path, upload_id, expires),
        }
        return f"{path}?{urlencode(query)}"

    def check(self, method: str, path: str, query: Mapping[str, str], *, now: float) -> str:
        """The `upload_id` of a URL that was really given out and has not expired.

        Raises:
            StoreError: 403, `SignatureDoesNotMatch` or `AccessDenied` with S3's own words.
        """
        upload_id, expires = query.get("uploadId", ""), query.get("Expires", "")
        given = query.get("Signature")
        if given is None:
            raise StoreError(HTTPStatus.FORBIDDEN, "AccessDenied", "Access Denied")
        if not hmac.compare_digest(given.encode(), self._signature(method, path, upload_id, expires).encode()):
            message = "The request signature we calculated does not match the signature you provided."
            raise StoreError(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch", message)
        # Read only now: a signed expiry is one that we wrote.
        if now >= float(expires):
            raise StoreError(HTTPStatus.FORBIDDEN, "AccessDenied", "Request has expired")
        return upload_id

    def _signature(self, method: str, path: str, upload_id: str, expires: str) -> str:
        text = f"{method}\n{path}\n{upload_id}\n{expires}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
