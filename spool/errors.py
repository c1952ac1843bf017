"""What can go wrong in a spool, and what to do about it.

::

    SpoolError                      everything below; carries a ``hint``
    ├── FramesRejected              these frames can never be stored as they are
    ├── ChunkConflict               this chunk_idx already holds other frames
    ├── StreamError
    │   ├── UnknownStream           no such stream in this spool
    │   ├── AmbiguousStream         the name or prefix fits several
    │   ├── StreamInUse             another live producer records it
    │   └── StreamSealed            no more chunks can come: finalize() was asked for
    ├── SpoolFull                   a limit or the disk itself leaves no room
    ├── DiskFailed                  the operating system refused a disk operation
    ├── SpoolDamaged                the index cannot be read
    ├── SpoolTooNew                 written by a later framespool
    ├── UnsafeFileSystem            a new spool on a file system that cannot keep its promises
    ├── ShardDamaged                a shard's bytes are not those that were spooled
    ├── ProofBroken                 a proof does not hold
    ├── LeaseLost                   another worker holds the stream now
    └── IllegalTransition           a change of state that the table does not know
        └── ChunkMoved              the chunk is not, or no longer, in the state that this needs

No error of this module means that something spooled was lost. After a raise from ``push()`` the frames are
still the caller's; everything that was spooled before stays spooled.
"""


class SpoolError(Exception):
    """Base of every error of this package.

    Attributes:
        hint: what the operator can do next, one sentence.
    """

    hint = "Run 'framespool status' to see the state of the spool."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        if hint is not None:
            self.hint = hint


class FramesRejected(SpoolError, ValueError):
    """These frames, or this chunk_idx, can never be stored as they are. Nothing was stored."""

    hint = "Nothing was stored; the frames are still yours. Push uint8 frames of shape (n, height, width)."


class ChunkConflict(SpoolError):
    """The chunk_idx is taken by other frames. The first ones stay; the new ones are still the caller's."""

    hint = "Nothing was stored; the first frames stay. Push these frames under the next free chunk_idx."


class StreamError(SpoolError):
    """The stream is not what the call needs."""


class UnknownStream(StreamError, KeyError):
    """No stream of this spool has that id."""

    hint = "Run 'framespool streams' to see what this spool holds, and check --spool."

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return Exception.__str__(self)


class AmbiguousStream(StreamError):
    """The prefix or name fits more than one stream."""

    hint = "Give more of the stream_id, or the whole of it."


class StreamInUse(StreamError):
    """Another live producer has the stream, so it cannot be resumed. Nothing was changed.

    Attributes:
        began_by: who opened or resumed it last, ``host:pid``; ``None`` when the ledger does not say.
    """

    hint = "Let that process finish, or stop it, and resume then. If it is this script's own streamer, close() it."

    def __init__(self, ref: str, *, began_by: str | None = None) -> None:
        by = f"; {began_by} opened or resumed it last" if began_by else ""
        super().__init__(f"stream {ref} is being recorded by another live producer{by}")
        self.began_by = began_by


class StreamSealed(StreamError):
    """finalize() was asked for, so no more chunks can come."""

    hint = "Nothing was stored; the frames are still yours. Start a new stream with initialize()."


class SpoolFull(SpoolError):
    """There is no room for the chunk, even after pruning everything that may be pruned.

    Attributes:
        chunk_bytes: what the chunk needs on disk.
        used_bytes: what the spool holds now.
        free_bytes: what the file system has left.
    """

    hint = (
        "Nothing was stored; the frames are still yours. 'framespool status' shows what waits: room comes back as "
        "it is delivered, for acknowledged chunks are pruned first. Else free disk space, or raise the limits "
        "(spool_max_bytes, spool_min_free_bytes)."
    )

    def __init__(self, message: str, *, chunk_bytes: int = 0, used_bytes: int = 0, free_bytes: int = 0) -> None:
        super().__init__(message)
        self.chunk_bytes = chunk_bytes
        self.used_bytes = used_bytes
        self.free_bytes = free_bytes


class DiskFailed(SpoolError):
    """The operating system refused a disk operation; what was not yet stored is still the caller's."""

    hint = "Check the disk (cable, file system, permissions); what was spooled before is untouched."


class SpoolDamaged(SpoolError):
    """The index cannot be read. Shards are untouched: each describes itself."""

    hint = (
        "The shards hold every frame. 'framespool verify' names what is wrong, and --repair tells the index again."
    )


class SpoolTooNew(SpoolError):
    """The spool was written by a later framespool; this one leaves it alone."""

    hint = "Upgrade framespool, or use another spool folder."


class UnsafeFileSystem(SpoolError):
    """A new spool would begin on a file system that cannot keep its promises. Nothing was made there.

    Attributes:
        type_name: of the file system, as the operating system calls it.
        mount_point: where it begins.
    """

    hint = (
        "Choose a folder on a disk of this machine (NTFS, ext4, XFS, APFS). To take the risk all the same, set "
        "FRAMESPOOL_UNSAFE_FILE_SYSTEM=1."
    )

    def __init__(self, message: str, *, type_name: str = "", mount_point: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.mount_point = mount_point


class ShardDamaged(SpoolError):
    """The bytes of a shard are not those that were spooled. They are never sent and never deleted."""

    hint = "The chunk is parked; 'framespool retry' sends it again if the file has been restored."


class ProofBroken(SpoolError):
    """A proof does not hold: it was changed or damaged after it was made, or never came from a sound ledger."""

    hint = "Ask whoever sent it for another copy; from the same spool 'framespool proof' makes one again."


class LeaseLost(SpoolError):
    """The lease ran out and another worker took the stream; nothing of this call was recorded."""

    hint = "Nothing to do: the other worker carries on."


class IllegalTransition(SpoolError):
    """A state change that the transition table does not know: a bug in framespool."""

    hint = "Nothing was changed. Please report this with the ledger ('framespool audit --json')."


class ChunkMoved(IllegalTransition):
    """The chunk is not, or no longer, in the state that this needs: somebody was quicker, or meant another."""

    hint = "Nothing was changed. 'framespool audit' shows the state of every chunk."
