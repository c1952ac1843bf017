"""One frame's pixels, compressed and back; the only place that knows zstd.

It is the standard library's, before Python 3.14 its backport. A frame is one zstd frame of its own that tells its
size, without a checksum: the shard's digest covers it.
"""

import sys
import threading

import numpy as np
from numpy.typing import NDArray

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_VERSION = zstd.zstd_version
ZSTD_LEVEL = 1
"""Level 3 is five times slower on shot noise and compresses it worse (measured, docs/adr/0003)."""

_MIN_MATCH = 7
"""The longest there is: repetitions shorter than that are not looked for, and noise has no others."""
_FRAME_OVERHEAD_BYTES = 64
_of_thread = threading.local()


def compress(frames: NDArray[np.uint8]) -> list[bytes]:
    """Frames, each compressed for itself. Releases the interpreter lock; for any number of threads.

    Args:
        frames: uint8 ``(n, height, width)``, any strides, only read.
    """
    # Out of the thread's keeping meanwhile: one that failed amid a frame is never used again.
    compressor = _of_thread.__dict__.pop("compressor", None) or _compressor()
    compressed = [
        compressor.compress(np.ascontiguousarray(frame).data, compressor.FLUSH_FRAME) for frame in frames
    ]
    _of_thread.compressor = compressor
    return compressed


def _compressor() -> zstd.ZstdCompressor:
    parameter = zstd.CompressionParameter
    return zstd.ZstdCompressor(options={parameter.compression_level: ZSTD_LEVEL, parameter.min_match: _MIN_MATCH})


def compressed_bytes_max(frame_bytes: int) -> int:
    """What a frame of so many bytes cannot exceed when it is compressed."""
    # zstd stores what it cannot compress in blocks of up to 128 KiB, each with three bytes before it.
    return frame_bytes + (frame_bytes >> 8) + _FRAME_OVERHEAD_BYTES


def decompress(compressed: bytes | memoryview, *, frame_bytes: int) -> bytes:
    """The pixels of a frame.

    Args:
        compressed: what may be one.
        frame_bytes: how many bytes it must have; no memory is asked for beyond that, whatever it says.

    Raises:
        ValueError: it is not a frame of that size.
    """
    decompressor = zstd.ZstdDecompressor()
    try:
        pixels = decompressor.decompress(compressed, frame_bytes + 1)
    except (zstd.ZstdError, EOFError) as error:
        raise ValueError(str(error)) from error
    if len(pixels) != frame_bytes or not decompressor.eof or decompressor.unused_data:
        raise ValueError(f"it is not one frame of {frame_bytes} bytes")
    return pixels
