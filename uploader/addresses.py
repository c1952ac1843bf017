"""Where a destination is: a server's base URL, a folder, or a place in an object store; one spelling for each.

A worker delivers the streams whose destination equals its own, so that two spellings would be two places.
"""

import os
import re
from pathlib import Path, PureWindowsPath
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_PLAIN_URL = re.compile(r"[A-Za-z0-9.:/\[\]_~%+-]+")
_FOLDER = "file"
_OBJECT_STORES = frozenset({"s3", "gs", "az"})
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}", re.ASCII)
_KEY = re.compile(r"(/[0-9A-Za-z!_.*'()=-]+)*", re.ASCII)


def one_spelling(value: object) -> str:
    """An address in its one spelling, without a slash at its end.

    Raises:
        ValueError: it is none; the message goes on after its name.
    """
    if not isinstance(value, str):
        raise ValueError(f"is of type {type(value).__name__}, not text")  # noqa: TRY004 - see uploader.kinds
    url = value.strip()
    try:
        parts = urlsplit(url)
        port, host, scheme = parts.port, (parts.hostname or "").lower(), parts.scheme.lower()
    except ValueError as error:
        raise ValueError("is not a URL") from error
    if "@" in parts.netloc or "?" in url or "#" in url:
        # Not quoted: what stands there may be a secret.
        raise ValueError("must not carry credentials, a query or a fragment")
    if scheme == _FOLDER:
        return _folder_url(url)
    if scheme in _OBJECT_STORES:
        return _bucket_url(scheme, parts.netloc, parts.path.rstrip("/"))
    if scheme not in _DEFAULT_PORTS or not host or port == 0 or not _PLAIN_URL.fullmatch(url):
        raise ValueError(f"is {url!r}, not an http or https URL, nor file:///FOLDER or s3://BUCKET")
    host = f"[{host}]" if ":" in host else host
    where = host if port in (None, _DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    return f"{scheme}://{where}{parts.path.rstrip('/')}"


def address_of(text: str | os.PathLike[str]) -> str:
    """What a person or a script names as a destination, a folder's path or an address, in its one spelling.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(text, str) and "://" in text:
        return one_spelling(text)
    path = Path(text).expanduser()
    if not path.parts or "\0" in str(path):
        raise ValueError(f"is {str(text)!r}, neither a URL nor a folder")
    return _url_of(path.absolute())


def is_server(url: str) -> bool:
    """Whether the address is a server's, which wants a key and gives out ids."""
    return urlsplit(url).scheme in _DEFAULT_PORTS


def folder_of(url: str) -> Path | None:
    """The folder that an address names; ``None`` for any other destination."""
    parts = urlsplit(url)
    if parts.scheme != _FOLDER:
        return None
    from urllib.request import url2pathname  # noqa: PLC0415 - it loads the network, which a reader never needs

    # A share on Windows has its server where other URLs have their host: file://nas/share/folder.
    return Path(url2pathname(f"//{parts.netloc}{parts.path}" if parts.netloc else parts.path))


def is_store(url: str) -> bool:
    """Whether the address is a folder's or a bucket's, where streams lie as files that anybody opens."""
    return not is_server(url)


def is_bucket(url: str) -> bool:
    """Whether the address is a place in an object store."""
    return urlsplit(url).scheme in _OBJECT_STORES


def _bucket_url(scheme: str, bucket: str, prefix: str) -> str:
    parts = prefix.split("/")[1:]
    if not _BUCKET.fullmatch(bucket) or not _KEY.fullmatch(prefix) or {".", ".."} & set(parts):
        raise ValueError(f"is not {scheme}://BUCKET or {scheme}://BUCKET/PREFIX, in plain characters")
    return f"{scheme}://{bucket}{prefix}"


def _folder_url(url: str) -> str:
    folder = folder_of(url)
    if folder is None or not folder.is_absolute() or (urlsplit(url).netloc and os.name != "nt"):
        raise ValueError(f"is {url!r}, not file:///FOLDER with a whole path")
    return _url_of(folder)


def _url_of(folder: Path) -> str:
    plain = Path(os.path.normpath(folder))
    if plain == Path(plain.anchor) and not isinstance(plain, PureWindowsPath):
        raise ValueError("is the root of the file system: name a folder in it")
    return plain.as_uri()
