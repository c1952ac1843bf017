"""The time that a camera has noted in an image: EXIF, or TIFF's own tag."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import IO, Final

_EXIF: Final = 0x8769
_MODIFIED, _ORIGINAL = 0x0132, 0x9003
_OFFSET, _OFFSET_ORIGINAL = 0x9010, 0x9011
_FRACTION, _FRACTION_ORIGINAL = 0x9290, 0x9291
_ZONE: Final = re.compile(r"([+-])(\d\d):(\d\d)", re.ASCII)


def recorded_ms(file: IO[bytes]) -> float | None:
    """Milliseconds UTC; without a noted time zone, in this host's. ``None`` when nothing is noted that is a time.

    Args:
        file: an image, or the first page of a stack.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - an extra, and slow to import

    file.seek(0)
    try:
        with Image.open(file) as image:
            exif = image.getexif()
            inner = exif.get_ifd(_EXIF)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return None  # The image itself was decoded already: it is only this that Pillow does not find.
    finally:
        file.seek(0)
    if _ORIGINAL in inner:
        return _moment(inner[_ORIGINAL], inner.get(_FRACTION_ORIGINAL), inner.get(_OFFSET_ORIGINAL))
    return _moment(exif.get(_MODIFIED), inner.get(_FRACTION), inner.get(_OFFSET))


def _moment(text: object, fraction: object, zone: object) -> float | None:
    try:
        moment = datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - it gets one below
    except ValueError:
        return None
    digits = str(fraction or "").strip("\0 ")
    part_ms = 1000 * float(f"0.{digits}") if digits.isascii() and digits.isdigit() else 0.0
    ahead = _ZONE.fullmatch(str(zone or "").strip("\0 "))
    try:
        if ahead is not None:
            minutes = 60 * int(ahead[2]) + int(ahead[3])
            moment = moment.replace(tzinfo=timezone(timedelta(minutes=-minutes if ahead[1] == "-" else minutes)))
        return moment.timestamp() * 1000 + part_ms
    except (OverflowError, OSError, ValueError):
        return None
