"""A greyscale picture as a PNG. Twenty lines, so that no page needs an imaging library.

Source: W3C, Portable Network Graphics (third edition), sections 5 and 11.
"""

import base64
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY_8_BIT = (8, 0, 0, 0, 0)


def png(picture: NDArray[np.uint8], *, effort: int = 9) -> bytes:
    """A uint8 array ``(height, width)`` as a PNG file; ``effort`` from 1, quick, to 9, small."""
    height, width = picture.shape
    lines = np.zeros((height, width + 1), dtype=np.uint8)  # each begins with its filter: none
    lines[:, 1:] = picture
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *_GREY_8_BIT)),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), effort)),
            _chunk(b"IEND", b""),
        )
    )


def shrunk(frame: NDArray[np.uint8], *, longest: int) -> NDArray[np.uint8]:
    """Every k-th pixel of every k-th line, so that no side is longer."""
    step = -(-max(frame.shape) // longest)
    return np.ascontiguousarray(frame[::step, ::step])


def data_url(picture: NDArray[np.uint8]) -> str:
    """For an ``img`` of a page that needs nothing but itself."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
