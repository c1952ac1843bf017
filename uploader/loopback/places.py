"""Where things lie below the root, and how a file appears there: whole or not at all."""

import contextlib
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_REPLACE_TRIES: Final = 20
_REPLACE_PAUSE_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths below a root; creating it makes the folders and sweeps away what was half-received."""

    root: Path

    def __post_init__(self) -> None:
        self.received.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.incoming, ignore_errors=True)
        self.incoming.mkdir(exist_ok=True)

    @property
    def catalogue(self) -> Path:
        """The SQLite file."""
        return self.root / "catalogue.sqlite3"

    @property
    def secret(self) -> Path:
        """What upload URLs are signed with."""
        return self.root / "presign.secret"

    @property
    def incoming(self) -> Path:
        """Bodies on their way in; on the same file system as where they will lie."""
        return self.root / "incoming"

    @property
    def received(self) -> Path:
        """One folder per stream."""
        return self.root / "received"

    def new_incoming(self) -> Path:
        """A path that nothing else uses."""
        return self.incoming / uuid.uuid4().hex


def write_whole(path: Path, content: bytes) -> None:
    """Write a small file so that a reader sees the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    replace(temporary, path)


def replace(source: Path, target: Path) -> None:
    """`os.replace`, patient with Windows, which refuses while a reader or virus scanner holds the target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(_REPLACE_TRIES):
        with contextlib.suppress(PermissionError):
            source.replace(target)
            return
        time.sleep(_REPLACE_PAUSE_S)
    source.replace(target)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same bytes, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
