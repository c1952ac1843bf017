"""What arrived at the far end, wherever it is kept: read back, to be held against a proof."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from uploader.errors import ConfigurationError, ServerUnreachable

if TYPE_CHECKING:
    import httpx

_SHARD = re.compile(r"(?:^|/)c[./](\d{1,18})[./]0[./]0$", re.ASCII)
_LAYOUTS = ("c/{}/0/0", "frames/c/{}/0/0", "frames.zarr/frames/c/{}/0/0", "c.{}.0.0", "frames/c.{}.0.0")
_MISSING = (403, 404)  # a bucket that may not be listed says 403 for what is not there
_TIMEOUT_S = 60.0
_HINT = (
    "Check the URL: below it the chunks must be readable without a login. Or fetch them, and name their folder."
)


class Received(Protocol):
    """The chunks of one stream at the far end."""

    def read(self, chunk_idx: int) -> bytes | None:
        """The bytes of a chunk; ``None`` when it is not there."""

    def listed(self) -> list[int] | None:
        """Every chunk that is there; ``None`` where nothing can be listed."""


@contextmanager
def received(where: str) -> Iterator[Received]:
    """What is in a folder, a Zarr store in a folder, or below a URL.

    Raises:
        ConfigurationError: there is no such folder, or it holds several streams.
    """
    if where.startswith(("http://", "https://")):
        import httpx  # noqa: PLC0415 - an audit on this disk starts without the network

        with httpx.Client(timeout=_TIMEOUT_S) as client:
            yield _Url(where, client)
    else:
        yield _Folder(Path(where))


class _Folder:
    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigurationError(f"there is no folder {folder}")
        self._paths: dict[int, Path] = {}
        for root, _, names in os.walk(folder):
            for name in names:
                path = Path(root, name)
                found = _SHARD.search(path.relative_to(folder).as_posix())
                if found is None:
                    continue
                if (other := self._paths.get(int(found[1]))) is not None:
                    raise ConfigurationError(
                        f"{folder} has two chunks {found[1]}: {other.relative_to(folder)} and"
                        f" {path.relative_to(folder)}. Name the folder of one stream"
                    )
                self._paths[int(found[1])] = path
        if not self._paths:
            raise ConfigurationError(f"{folder} holds no chunk: no file is named c/0/0/0 or c.0.0.0")

    def read(self, chunk_idx: int) -> bytes | None:
        path = self._paths.get(chunk_idx)
        return None if path is None else path.read_bytes()

    def listed(self) -> list[int] | None:
        return sorted(self._paths)


class _Url:
    def __init__(self, url: str, client: "httpx.Client") -> None:
        self._url = url.rstrip("/")
        self._client = client
        self._layout: str | None = None

    def read(self, chunk_idx: int) -> bytes | None:
        for layout in (self._layout,) if self._layout else _LAYOUTS:
            content = self._get(layout.format(chunk_idx))
            if content is not None:
                self._layout = layout
                return content
        return None

    def listed(self) -> list[int] | None:
        return None

    def _get(self, path: str) -> bytes | None:
        import httpx  # noqa: PLC0415 - see `received`

        try:
            answer = self._client.get(f"{self._url}/{path}")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ServerUnreachable(f"{path} could not be read ({type(error).__name__})", hint=_HINT) from None
        if answer.status_code in _MISSING:
            return None
        if answer.status_code != httpx.codes.OK:
            raise ServerUnreachable(f"{path} could not be read: {answer.status_code}", hint=_HINT)
        return answer.content
