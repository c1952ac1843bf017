"""The sectors of SQLite's journal whose loss its checksum does not notice.

A record is a page's number, the page and a checksum over every 200th byte of it. Where a sector still holds what
an earlier transaction wrote, and differs in none of those bytes, a journal torn there is played back as if it
were whole. SQLite therefore counts a record only once it is durable, unless ``synchronous`` is NORMAL.
"""

from tools.powerloss.files import SECTOR_BYTES, File, synced, written
from tools.powerloss.volume import Volume

_HEADER_BYTES = 512
_PAGE_BYTES = 4096
_RECORD_BYTES = _PAGE_BYTES + 8
_STRIDE_BYTES = 200


def unnoticed(volume: Volume) -> list[tuple[File, int]]:
    """The unsynced sectors, each of which could be lost unnoticed: the journal, and where they begin."""
    names = {ino: name for entries in volume.live.values() for name, ino in entries.items()}
    journals = [file for ino, file in volume.files.items() if names.get(ino, "").endswith("-journal")]
    return [(file, at) for file in journals if file.pending for at in _unnoticed(synced(file), written(file))]


def _unnoticed(old: bytes, new: bytes) -> list[int]:
    end = min(len(old), len(new)) // SECTOR_BYTES * SECTOR_BYTES
    return [
        start
        for start in range(_HEADER_BYTES, end, SECTOR_BYTES)
        if old[start : start + SECTOR_BYTES] != new[start : start + SECTOR_BYTES]
        and not any(old[at] != new[at] and _counts(at) for at in range(start, start + SECTOR_BYTES))
    ]


def _counts(at: int) -> bool:
    """Whether the byte there is in the checksum, or is part of it or of a page's number."""
    inside = (at - _HEADER_BYTES) % _RECORD_BYTES - 4
    return not 0 <= inside < _PAGE_BYTES or (inside > 0 and (_PAGE_BYTES - inside) % _STRIDE_BYTES == 0)


def without_sector(file: File, start: int) -> bytes:
    """All that was written but one sector, which is as it was."""
    content = bytearray(written(file))
    content[start : start + SECTOR_BYTES] = synced(file)[start : start + SECTOR_BYTES]
    return bytes(content)
