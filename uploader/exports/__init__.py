"""The frames of a stream, out of the spool and into a file that other programs read.

Invariants:

1. What is written is what was recorded, bit for bit (MP4 alone is lossy: it is for looking), in order.
2. Frames that are not in the spool any more are named before anything is written, and never passed over silently.
3. The file appears under its name when it is whole; one that is there already stays.
"""

from uploader.exports.export import Exported, Part, export, missing_parts
from uploader.exports.writers import SUFFIXES, ExportError

__all__ = ["SUFFIXES", "ExportError", "Exported", "Part", "export", "missing_parts"]
