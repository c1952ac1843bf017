"""Ed25519 signatures, with the extra ``sign``: who vouches for a proof.

A private key is a PEM file (PKCS #8, without a passphrase) that only its owner can read; a public key is 64
hexadecimal digits, short enough to read out over the telephone.
"""

import os
from pathlib import Path
from typing import Any

from spool.errors import SpoolError

PUBLIC_KEY_DIGITS = 64


class SigningKey:
    """Somebody's private key, in memory.

    Args:
        path: its PEM file.

    Raises:
        SpoolError: it cannot be read, or is no such key.
    """

    def __init__(self, path: Path) -> None:
        serialization, ed25519 = _cryptography()
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except FileNotFoundError:
            raise SpoolError(f"there is no key in {path}", hint="'framespool key' makes one.") from None
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise SpoolError(
                f"{path} is no Ed25519 key in PEM, without a passphrase", hint="'framespool key' makes one."
            )
        self._key = key

    @property
    def public_key(self) -> str:
        """For others, as hexadecimal digits."""
        return str(self._key.public_key().public_bytes_raw().hex())

    def sign(self, message: bytes) -> str:
        """The signature, as hexadecimal digits."""
        return str(self._key.sign(message).hex())


def make_key(path: Path) -> SigningKey:
    """Make a new private key in a file that only its owner can read.

    Raises:
        SpoolError: there is a file of that name already.
        OSError: it cannot be written.
    """
    serialization, ed25519 = _cryptography()
    pem = ed25519.Ed25519PrivateKey.generate().private_bytes(
        encoding=serialization.Encoding.PEM,
        format=serialization.PrivateFormat.PKCS8,
        encryption_algorithm=serialization.NoEncryption(),
    )
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        fd = os.open(path, flags, 0o600)
    except FileExistsError:
        raise SpoolError(
            f"{path} is there already", hint="A key is never overwritten; choose another name."
        ) from None
    with os.fdopen(fd, "wb") as file:
        file.write(pem)
    return SigningKey(path)


def signature_holds(public_key: str, signature: str, message: bytes) -> bool:
    """Whether the owner of a public key has signed a message. Both are hexadecimal digits."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - an extra

    _, ed25519 = _cryptography()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key)).verify(
            bytes.fromhex(signature), message
        )
    except (ValueError, InvalidSignature):
        return False
    return True


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - an extra
        from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415
    except ImportError:
        raise SpoolError(
            "signatures need the library 'cryptography'", hint='Install it with: pip install "framespool[sign]"'
        ) from None
    return serialization, ed25519
