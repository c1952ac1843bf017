"""Whether what a ledger from elsewhere tells could be: an unsigned chain can be computed anew by anybody.

What a proof tells becomes rows of an index, names of files and parts of URLs when it is unpacked.
"""

import re

from spool.model import DATA_ID, Chunk, ClockReading, Part, Receipt, StreamSettings

_SHA256 = re.compile("[0-9a-f]{64}")


def is_chunk(chunk: Chunk) -> bool:
    """Each fact is of its kind."""
    numbers: list[object] = [chunk.n, chunk.height, chunk.width, chunk.wire_bytes, chunk.disk_bytes]
    numbers += [chunk.capture_start_ms_utc, chunk.spooled_at_ms]
    return (
        all(map(is_whole, numbers))
        and _is_whole_or_none(chunk.monotonic_ms)
        and all(map(_is_text_or_none, (chunk.parked_reason, chunk.boot_id)))
        and (chunk.receipt is None or _is_receipt(chunk.receipt))
        and _SHA256.fullmatch(chunk.sha256) is not None
    )


def is_part(part: Part) -> bool:
    """Each fact is of its kind, and the data_id is one."""
    moments: list[object] = [part.opened_at_ms, part.closed_at_ms]
    flag: object = part.is_name_free
    return (
        is_whole(part.number)
        and is_whole(part.asked_at_ms)
        and all(map(_is_whole_or_none, moments))
        and all(map(_is_text, (part.name, part.closed_why or "")))
        and isinstance(flag, bool)
        and (part.data_id is None or is_data_id(part.data_id))
    )


def is_reading(reading: ClockReading) -> bool:
    """Each fact is of its kind."""
    numbers: list[object] = [reading.offset_ms, reading.uncertainty_ms]
    return (
        is_whole(reading.at_ms)
        and _is_whole_or_none(reading.monotonic_ms)
        and _is_text_or_none(reading.boot_id)
        and all(isinstance(number, int | float) for number in numbers)
    )


def is_settings(settings: StreamSettings) -> bool:
    """What is text is text."""
    texts = (settings.name, settings.destination, *settings.tags, *settings.copies)
    return all(map(_is_text, texts)) and _is_text_or_none(settings.copy_of)


def is_data_id(text: object) -> bool:
    """Text that may become part of a URL."""
    return isinstance(text, str) and DATA_ID.fullmatch(text) is not None


def is_whole(number: object) -> bool:
    """An integer that a database holds."""
    return isinstance(number, int) and not isinstance(number, bool) and -(2**63) <= number < 2**63


def _is_receipt(receipt: Receipt) -> bool:
    texts: list[object] = [receipt.etag, receipt.server_date, receipt.url_path, receipt.data_id]
    pairs: list[object] = [receipt.checksums, receipt.request_ids]
    numbers: list[object] = [receipt.status, receipt.at_ms]
    flag: object = receipt.confirmed
    return (
        all(map(is_whole, numbers))
        and all(map(_is_text_or_none, texts))
        and all(isinstance(pair, dict) and all(map(_is_text, pair.values())) for pair in pairs)
        and isinstance(flag, bool)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_whole_or_none(value: object) -> bool:
    return value is None or is_whole(value)
