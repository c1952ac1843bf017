"""The on-disk queue: it knows disks and never the network.

`Spool` is the whole of it for a producer or a reader; `LeasedStream`, made by `Spool.lease`, is what a
worker holds while it delivers. Everything else here is a value or an error.
"""

from spool.attempts import Outage
from spool.audit import AuditedChunk, AuditTotals, RunningAudit, StreamAudit, audit, totals_of
from spool.boot import is_same_machine
from spool.capture import Capture, Loss, LossCause, TakenFile
from spool.cells import Cell, Place
from spool.clock import Clock, HostClock, Moment
from spool.decisions import person
from spool.disk import Disk
from spool.errors import (
    AmbiguousStream,
    ChunkConflict,
    ChunkMoved,
    DiskFailed,
    FramesRejected,
    IllegalTransition,
    LeaseLost,
    ProofBroken,
    ShardDamaged,
    SpoolDamaged,
    SpoolError,
    SpoolFull,
    SpoolTooNew,
    StreamError,
    StreamInUse,
    StreamSealed,
    UnknownStream,
    UnsafeFileSystem,
)
from spool.figures import StreamFigures, Sums
from spool.filesystems import FileSystem, file_system_of, objection
from spool.forecast import Forecast
from spool.leased import LeasedStream
from spool.locks import ProcessLock
from spool.looking import audit_chunk, outages_of
from spool.model import DATA_ID, Chunk, ClockReading, Event, Part, Receipt, Stream, StreamSettings, Tally
from spool.packing import Packed, Unpacked, look_into, pack, unpack
from spool.problems import Problem
from spool.proof import Proof, make_proof, read_proof
from spool.reading import FramesMissing, SpoolView, StreamView, open, spool_in_words  # noqa: A004 - spool.open
from spool.repair import Repaired, repair
from spool.retention import DEFAULT_MIN_FREE_BYTES, DEFAULT_RETENTION_S, Limits
from spool.shards import check_received, padded_for_readers
from spool.signing import SigningKey, make_key
from spool.source_story import SourceStory
from spool.spool import Spool, SpoolStatus
from spool.states import ChunkState, StreamState
from spool.verify import Verified, verify
from spool.zarr_metadata import array_document, shard_name

__all__ = [
    "DATA_ID",
    "DEFAULT_MIN_FREE_BYTES",
    "DEFAULT_RETENTION_S",
    "AmbiguousStream",
    "AuditTotals",
    "AuditedChunk",
    "Capture",
    "Cell",
    "Chunk",
    "ChunkConflict",
    "ChunkMoved",
    "ChunkState",
    "Clock",
    "ClockReading",
    "Disk",
    "DiskFailed",
    "Event",
    "FileSystem",
    "Forecast",
    "FramesMissing",
    "FramesRejected",
    "HostClock",
    "IllegalTransition",
    "LeaseLost",
    "LeasedStream",
    "Limits",
    "Loss",
    "LossCause",
    "Moment",
    "Outage",
    "Packed",
    "Part",
    "Place",
    "Problem",
    "ProcessLock",
    "Proof",
    "ProofBroken",
    "Receipt",
    "Repaired",
    "RunningAudit",
    "ShardDamaged",
    "SigningKey",
    "SourceStory",
    "Spool",
    "SpoolDamaged",
    "SpoolError",
    "SpoolFull",
    "SpoolStatus",
    "SpoolTooNew",
    "SpoolView",
    "Stream",
    "StreamAudit",
    "StreamError",
    "StreamFigures",
    "StreamInUse",
    "StreamSealed",
    "StreamSettings",
    "StreamState",
    "StreamView",
    "Sums",
    "TakenFile",
    "Tally",
    "UnknownStream",
    "Unpacked",
    "UnsafeFileSystem",
    "Verified",
    "array_document",
    "audit",
    "audit_chunk",
    "check_received",
    "file_system_of",
    "is_same_machine",
    "look_into",
    "make_key",
    "make_proof",
    "objection",
    "open",
    "outages_of",
    "pack",
    "padded_for_readers",
    "person",
    "read_proof",
    "repair",
    "shard_name",
    "spool_in_words",
    "totals_of",
    "unpack",
    "verify",
]
