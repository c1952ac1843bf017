"""What the workloads do, step by step."""

from dataclasses import dataclass

FOLDER_URL, OTHER_URL = "file:///folder", "file:///other"
"""The names of the folders that a stream may go to, wherever those are."""
SHARE, OTHER = "share", "other"
"""What they are called; they lie beside the spool."""
FOLDERS = {FOLDER_URL: SHARE, OTHER_URL: OTHER}
COPY = "+"
"""What stands behind a stream's name for its copy."""
_SERVER, _SECOND = "https://example.invalid", "https://second.invalid"
DESTINATIONS = {
    **dict.fromkeys("abe", _SERVER),
    **dict.fromkeys("cdfg", FOLDER_URL),
    "e+": _SECOND,
    "f+": OTHER_URL,
}
"""The streams there may be, and where they go; a copy follows its original. Only to a folder there is a worker;
one of its streams ends before the next one begins."""
DATA_IDS = {**dict.fromkeys(DESTINATIONS), "a": "data-1"}
"""What the destination calls them from the beginning."""
LAYOUTS = {"g": ("site/{year}/{stream}", "{host}/{stream}")}
"""Where in its folder a stream lies: as its workers have it, and as one that was set up differently has it."""
DELIVERIES = ("deliver", "garble", "elsewhere")
"""What workers do on the way to a folder; ``elsewhere`` is one with another layout."""


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
        return self.do == "die" or (self.do in DELIVERIES and bool(self.at))


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
    # A stream with a copy: either has its own receipts, end and damage; producers die while a chunk is named.
    "copies": _steps(
        """
        open stream.e push.e.0 push.e.1 push.e.2 push.e.1 clock.e
        attempt.e.0 acknowledge.e.0 prune attempt.e+.0 acknowledge.e+.0 prune
        discard.e.1 acknowledge.e+.1 park.e+.2 hold.e+ close
        die.e.3@copy.link die.e.4@copy.rename open push.e.4 close
        die.e.5@copy.fsync_dir open acknowledge.e.4 prune close
        die.e.6@push.commit open push.e.7 close
        vanish.e.7 open push.e.7 retry.e+ close
        open acknowledge.e.2 push.e.3 push.e.5 push.e.6 acknowledge.e.3 acknowledge.e+.4 acknowledge.e+.5 seal.e
        acknowledge.e.5 acknowledge.e.6 acknowledge.e.7 finalize.e prune
        acknowledge.e+.2 acknowledge.e+.3 acknowledge.e+.6 discard.e+.7 finalize.e+ prune close
        """
    ),
    # To two folders, of which each has a worker that may be killed, and which may be on disks of their own.
    "folders": _steps(
        """
        open mark.f mark.f+ stream.f push.f.0 push.f.1 close
        deliver.f@object.fsync_dir:1 deliver.f deliver.f+@object.rename:4
        open prune push.f.2 close
        deliver.f+@object.fsync_dir:5 deliver.f+
        open push.f.3 prune seal.f close
        deliver.f+ deliver.f@object.fsync_dir:2 deliver.f
        open prune close
        """
    ),
    # A stream that lies where a layout says; workers are killed around its note, and one has another layout.
    "folder_places": _steps(
        """
        open mark stream.g push.g.0 close
        deliver.g@object.rename elsewhere.g@object.fsync_dir deliver.g@destination.fsync_dir:3 elsewhere.g
        open push.g.1 close
        elsewhere.g@object.fsync_dir:1 deliver.g
        open push.g.2 seal.g close
        elsewhere.g open prune close
        """
    ),
}
"""The words of the steps, by the name for ``--workload``."""

STEPS = tuple(map(step_of, WORKLOADS["life"]))
"""The life, for those who want one."""
