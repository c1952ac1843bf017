"""The two places that keep an API key beyond one process: a private file, and the system's keyring.

* Neither is written but by ``framespool login``, and neither ever shows what it keeps.
* A key that was stored for one server is given to no other. A line of the file that is nothing but a key is good
  for any server: whoever writes it by hand decides that.
* A file that others can read is refused, not read. On Windows, where files have no such bits, the folder in the
  user's profile inherits an access list of the user, the system and the administrators; that list is not checked.
* A keyring may ask a person to unlock it, and wait: reading one ends after `KEYRING_PATIENCE_S`.
"""

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar

from spool import Disk
from uploader.config import ApiKey, usable_key
from uploader.config import endpoint as spelled
from uploader.errors import ConfigurationError

KEYRING_SERVICE = "framespool"
KEYRING_PATIENCE_S = 30.0
_FILE_BYTES_MAX = 1 << 16
_USE_A_FILE = "Use 'framespool login --file' instead."
_LOCKED = "Unlock it, or use a key file: 'framespool login --file'."

_T = TypeVar("_T")


class KeyStore(Protocol):
    """What the two have in common. Each method raises `ConfigurationError` where the store cannot be used."""

    @property
    def where(self) -> str:
        """The place, for people."""
        ...

    def read(self, endpoint: str) -> ApiKey | None:
        """The key for a server, as it is stored at this moment."""
        ...

    def write(self, endpoint: str, key: ApiKey) -> None:
        """Store a key for a server in the place of the one before."""
        ...

    def remove(self, endpoint: str) -> bool:
        """Remove every key that opens a server; whether there was one."""
        ...


class KeyFile:
    """A private text file: ``ENDPOINT KEY`` on a line, or a key alone for any server.

    Args:
        path: the file.
        must_exist: somebody has named it, so that its absence is an error.
    """

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path
        self._must_exist = must_exist

    @property
    def where(self) -> str:
        """See `KeyStore.where`."""
        return f"the key file {self.path}"

    def read(self, endpoint: str) -> ApiKey | None:
        """See `KeyStore.read`."""
        content = self._content(must_be_private=True)
        if content is None and self._must_exist:
            raise ConfigurationError(
                f"{self.where} is not there", hint="Write the key to it, or correct AS_API_KEY_FILE."
            )
        lines = list(_lines(content or ""))
        texts = [text for url, text in lines if url == endpoint] or [text for url, text in lines if url is None]
        if len(texts) > 1:
            raise ConfigurationError(
                f"{self.where} has {len(texts)} keys for one server", hint="Leave one line with a key in it."
            )
        return usable_key(texts[0]) if texts else None

    def write(self, endpoint: str, key: ApiKey) -> None:
        """See `KeyStore.write`.

        Durability: on return the file is on stable storage, whole, and only its owner can read it.
        """
        others = [one for one in _lines(self._content() or "") if one[0] != endpoint]
        # Private from the start; a folder that is there already is not ours to change.
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._replace([*others, (endpoint, key.reveal())])

    def remove(self, endpoint: str) -> bool:
        """See `KeyStore.remove`; a key for any server opens this one too."""
        lines = list(_lines(self._content() or ""))
        others = [one for one in lines if one[0] not in (endpoint, None)]
        if others and others != lines:
            self._replace(others)
        elif not others:
            self.path.unlink(missing_ok=True)
        return others != lines

    def _content(self, *, must_be_private: bool = False) -> str | None:
        try:
            # Without waiting for a writer, should it be a pipe.
            fd = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"{self.where} cannot be read: {error.strerror}") from error
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size > _FILE_BYTES_MAX:
                raise ConfigurationError(f"{self.path} is no key file")
            if must_be_private:
                self._check_private(found.st_mode)
            return os.read(fd, _FILE_BYTES_MAX).decode("utf-8-sig")
        except UnicodeDecodeError:
            # Not chained: such an error quotes what it could not read.
            raise ConfigurationError(
                f"{self.where} is not UTF-8 text", hint="Write it with 'framespool login --file'."
            ) from None
        finally:
            os.close(fd)

    def _check_private(self, mode: int) -> None:
        # On Windows these bits say nothing, see the top.
        if sys.platform != "win32" and stat.S_IMODE(mode) & (stat.S_IRWXG | stat.S_IRWXO):
            raise ConfigurationError(
                f"{self.where} can be used by others than its owner (mode {stat.S_IMODE(mode):04o})",
                hint=f"Consider whether the key must be replaced, then: chmod 600 {self.path}",
            )

    def _replace(self, lines: list[tuple[str | None, str]]) -> None:
        content = "".join(f"{text}\n" if url is None else f"{url} {text}\n" for url, text in lines)
        disk, new = Disk(), self.path.with_name(f".{self.path.name}.new")
        new.unlink(missing_ok=True)  # one that a crash has left
        disk.write_new(new, [content.encode()], label="key")
        disk.rename(new, self.path, label="key")


class SystemKeyring:
    """The keyring of the user's session, with the extra ``keyring``.

    Its entries have `KEYRING_SERVICE` as their service and the endpoint as their user.
    """

    where = "the system keyring"

    def __init__(self) -> None:
        self._asking: threading.Thread | None = None

    def read(self, endpoint: str) -> ApiKey | None:
        """See `KeyStore.read`; a machine without any keyring has no key in it."""
        ring = _keyring()
        if ring is None or _is_none(ring):
            return None
        text = self._in_time(lambda: ring.get_password(KEYRING_SERVICE, endpoint))
        return usable_key(text) if text else None

    def write(self, endpoint: str, key: ApiKey) -> None:
        """See `KeyStore.write`."""
        ring = self.usable()
        _plainly(lambda: ring.set_password(KEYRING_SERVICE, endpoint, key.reveal()))
        if _plainly(lambda: ring.get_password(KEYRING_SERVICE, endpoint)) != key.reveal():
            raise ConfigurationError("the system keyring has not kept the key", hint=_USE_A_FILE)

    def remove(self, endpoint: str) -> bool:
        """See `KeyStore.remove`."""
        ring = _keyring()
        if (
            ring is None
            or _is_none(ring)
            or self._in_time(lambda: ring.get_password(KEYRING_SERVICE, endpoint)) is None
        ):
            return False
        _plainly(lambda: ring.delete_password(KEYRING_SERVICE, endpoint))
        return True

    def usable(self) -> Any:  # noqa: ANN401 - a module or a backend
        """The keyring to write to.

        Raises:
            ConfigurationError: the extra is not installed, or this machine has no keyring.
        """
        ring = _keyring()
        if ring is None:
            raise ConfigurationError(
                "the system keyring needs the library 'keyring'",
                hint=f'Install it with: pip install "framespool[keyring]". {_USE_A_FILE}',
            )
        if _is_none(ring):
            raise ConfigurationError("this machine has no keyring that can be used", hint=_USE_A_FILE)
        return ring

    def _in_time(self, ask: Callable[[], _T]) -> _T:
        """The keyring's answer, unless it waits for a person for too long: then nobody waits for it any more."""
        if self._asking is not None and self._asking.is_alive():
            raise ConfigurationError("the system keyring still does not answer", hint=_LOCKED)
        answers: list[_T | ConfigurationError] = []

        def run() -> None:
            try:
                answers.append(_plainly(ask))
            except ConfigurationError as error:
                answers.append(error)

        self._asking = threading.Thread(target=run, name="framespool-keyring", daemon=True)
        self._asking.start()
        self._asking.join(KEYRING_PATIENCE_S)
        if not answers:
            raise ConfigurationError("the system keyring does not answer", hint=_LOCKED)
        if isinstance(answers[0], ConfigurationError):
            raise answers[0]
        return answers[0]


def _lines(content: str) -> Iterator[tuple[str | None, str]]:
    """The lines that say something, as endpoint and key; ``None`` for any endpoint."""
    for line in filter(None, map(str.strip, content.splitlines())):
        if line.startswith(("http://", "https://")):
            url, _, text = line.partition(" ")
            yield spelled(url, {}), text.strip()
        else:
            yield None, line


def _keyring() -> ModuleType | None:
    try:
        import keyring  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        return None
    return keyring


def _is_none(ring: ModuleType) -> bool:
    """Whether the library stands in for a keyring that is not there."""
    from keyring.backends import fail, null  # noqa: PLC0415 - an extra

    return isinstance(_plainly(ring.get_keyring), fail.Keyring | null.Keyring)


def _plainly(ask: Callable[[], _T]) -> _T:
    """Ask the keyring; whatever a backend raises, of whatever library, as our own error."""
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - each backend has its own
        # Only the kind: the words of a backend may repeat what it was given.
        kind = type(error).__name__
        raise ConfigurationError(f"the system keyring cannot be used ({kind})", hint=_LOCKED) from None
