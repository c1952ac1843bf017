"""What the workloads do, step by step."""

from dataclasses import dataclass

DATA_IDS = {"a": "data-1", "b": None, "c": None, "d": None}
"""The streams there may be, and what the destination calls them."""

FOLDER_URL = "file:///folder"
"""The name of the folder that a stream may go to, wherever that is."""
SHARE = "share"
"""What it is called; it lies beside the spool."""
DESTINATIONS = {"a": "https://example.invalid", "b": "https://example.invalid", "c": FOLDER_URL, "d": FOLDER_URL}
"""Where they go. Only to a folder there is a worker; one of its streams ends before the next one begins."""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the spool.

    Attributes:
        do: what.
        stream: of which stream.
        idx: which chunk.
        at: at which labelled step of the disk the process dies (``die``, ``deliver``), or the other producer is
            let in; ``label:skip`` is after so many of them. For ``fault``, what breaks:
            ``kind:name:errno:skip:times``.
        inner: what the other producer does in the middle of this step.
    """

    do: str
    stream: str = ""
    idx: int = -1
    at: str = ""
    inner: "Step | None" = None

    @property
    def dies(self) -> bool:
        """Whether the step is taken by a process of its own, which is killed."""
        return self.do == "die" or (self.do == "deliver" and bool(self.at))


def step_of(word: str) -> Step:
    """A step from its word: ``do.stream.idx@at>inner``, all but the first left out where there is none."""
    outer, _, inner = word.partition(">")
    call, _, at = outer.partition("@")
    do, stream, idx, *_ = (*call.split("."), "", "", "")
    return Step(do, stream, int(idx or -1), at, step_of(inner) if inner else None)


def _steps(text: str) -> tuple[str, ...]:
    return tuple(text.split())


WORKLOADS: dict[str, tuple[str, ...]] = {
    # Two streams: dark and short chunks, pushes repeated, a gap, every move of the tables, two openings.
    "life": _steps(
        """
        open
        stream.a push.a.0 push.a.1 push.a.2 push.a.1 clock.a
        stream.b push.b.0 push.a.3
        attempt.a.0 acknowledge.a.0 attempt.a.1 failed.a.1 attempt.a.1 acknowledge.a.1 push.a.1
        park.a.2 retry.a.2 park.a.3 discard.a.3 push.b.1 discard.b.1
        prune push.a.5 hold.b retry.b
        attempt.a.2 acknowledge.a.2 close
        open
        push.a.4 push.b.2 attempt.b.0 acknowledge.b.0 park.b.2
        seal.b retry.b.2 acknowledge.b.2 finalize.b
        acknowledge.a.4 prune push.a.6 acknowledge.a.5
        seal.a acknowledge.a.6 finalize.a prune
        close
        """
    ),
    # Two producers with the spool open; the second one pushes in the very middle of the first one's push.
    "producers": _steps(
        """
        open second
        stream.a stream.b
        push.a.0@shard.create>push.a.1
        push.a.2@shard.write>push.b.0
        push.b.1@shard.fsync>push.b.2
        push.a.3@shard.fsync>push.a.3
        push.a.4@shard.fsync>push.a.5
        push.b.3@shard.create>prune
        push.a.6@shard.fsync>acknowledge.a.0
        push.b.4@shard.write>discard.b.1
        push.a.7@shard.fsync>prune
        seal.a close
        """
    ),
    # The same chunks again: after nothing, after openings, after their file was lost, after a dead push.
    "repush": _steps(
        """
        open stream.a push.a.0 push.a.1 push.a.0 close
        open push.a.0 push.a.1 push.a.3 close
        vanish.a.1 open push.a.1 close
        die.a.4@shard.fsync die.a.5@shard.rename open push.a.4 push.a.5 close
        die.a.6@shard.fsync_dir open push.a.6 close
        die.a.7@push.commit open push.a.7 acknowledge.a.7 push.a.7 close
        """
    ),
    # Chunks of a dead push, taken up by the next opening and never pushed again; and a file that is none.
    "crash": _steps(
        """
        open stream.a push.a.0 close
        die.a.1@shard.fsync_dir open acknowledge.a.0 close
        die.a.3@push.commit open close
        die.a.4@shard.rename open push.a.5 close
        spoil.a.7 open push.a.7 close
        """
    ),
    # The disk fills up or refuses, and the power goes some time after.
    "fault": _steps(
        """
        open stream.a push.a.0 push.a.1
        fault@write:incoming/:28 push.a.3
        fault@fsync:journal:5 push.a.4
        fault@fsync:index.sqlite3:5:1 acknowledge.a.0
        fault@write:index:28 park.a.1
        fault@write:index:28:0:99 push.a.5
        fault acknowledge.a.0 push.a.5
        fault@fsync_dir:frames:5 push.a.6
        fault@rename:c.7:5 push.a.7 close
        open push.a.7
        fault@remove:c.0:5 prune fault close
        open
        fault@create:incoming/:28 push.a.8
        fault@fsync:index:5:2 discard.a.1
        fault@write:index:5:3 seal.a
        fault close
        """
    ),
    # What deletes: prune and discard, over and over, between pushes.
    "delete": _steps(
        """
        open stream.a push.a.0 push.a.1 push.a.2 push.a.3
        acknowledge.a.0 acknowledge.a.2 prune
        discard.a.1 push.a.4 park.a.3 discard.a.3
        acknowledge.a.4 prune close
        open stream.b push.b.0 push.b.1 park.b.0 retry.b discard.b.0 park.b.1
        seal.b discard.b.1 finalize.b
        push.a.5 acknowledge.a.5 push.a.6 acknowledge.a.6 prune
        seal.a finalize.a close
        """
    ),
    # To a folder, by workers of which some are killed: before an object, a document or the proof is durable.
    "folder": _steps(
        """
        open mark stream.c push.c.0 close
        deliver.c@destination.fsync_dir:1 open push.c.1 deliver.c push.c.2 deliver.c prune
        push.c.3 push.c.4 close
        deliver.c@object.fsync_dir:1 deliver.c
        open push.c.5 seal.c close
        deliver.c@object.rename:3 deliver.c@object.fsync_dir:5 deliver.c
        open prune close
        """
    ),
    # A second stream in a folder, whose first worker is killed before the stream's own folder is durable.
    "folder_again": _steps(
        """
        open mark stream.c push.c.0 seal.c deliver.c stream.d push.d.0 close
        deliver.d@destination.fsync_dir deliver.d
        open push.d.1 seal.d deliver.d close
        """
    ),
}
"""The words of the steps, by the name for ``--workload``."""

STEPS = tuple(map(step_of, WORKLOADS["life"]))
"""The life, for those who want one."""
