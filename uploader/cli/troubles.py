"""From what a stream's row says to what a person needs to know: what is wrong, and what to do about it."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from spool import Stream, StreamState
from uploader import config
from uploader.cli.common import command_line
from uploader.cli.words import count, printable
from uploader.meanings import Meaning, Row
from uploader.parts import NOT_YET
from uploader.signals import READ, TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """Something that a person should know about a stream.

    Attributes:
        words: what is wrong.
        advice: what to do, in words; ``command`` is what to type, if anything.
        needs_person: it does not get better by waiting.
    """

    words: str
    advice: str
    needs_person: bool
    command: str | None = None


def concerns(stream: Stream, root: Path) -> list[Concern]:
    """What is wrong with a stream of the spool in ``root``, the gravest first."""
    found = []
    ref = stream.stream_id
    if stream.held is not None:
        found.append(
            Concern(
                words=f"held: {printable(stream.held)}",
                advice="Everything is kept. Settle it with the server, then go on, there or with --in-new-stream:",
                command=command_line(root, "retry", ref),
                needs_person=True,
            )
        )
    if stream.tally.parked:
        found.append(
            Concern(
                words=f"{count(stream.tally.parked, 'chunk')} parked",
                advice="Retry or discard what is parked. See why with:",
                command=command_line(root, "audit", ref),
                needs_person=True,
            )
        )
    if stream.unlinked not in (None, NOT_YET) and stream.state is not StreamState.FINALIZED:
        found.append(
            Concern(
                words=f"not linked: {printable(stream.unlinked or '')}",
                advice="The frames are delivered all the same. Make what is missing, and the worker links it"
                " within five minutes; or link the stream on the server's page.",
                needs_person=True,
            )
        )
    if stream.trouble is not None and stream.state is not StreamState.FINALIZED:
        found.append(_trouble(stream.trouble, stream.settings.destination))
    return found


def in_brief(trouble: str) -> str:
    """The trouble as a few words, such as ``no connection``."""
    row = _row_of(trouble)
    return row.says.partition(" (")[0] if row is not None else printable(trouble)


def is_paused(stream: Stream) -> bool:
    """Whether a worker that lives has the stream in its hands and waits for a key; it holds no lock meanwhile."""
    row = None if stream.trouble is None else _row_of(stream.trouble)
    is_leased = (stream.lease_until_ms or 0) > time.time() * 1000
    return is_leased and row is not None and row.meaning is Meaning.PAUSED


def _trouble(trouble: str, endpoint: str) -> Concern:
    row = _row_of(trouble)
    if row is None:
        return Concern(words=printable(trouble), advice="The worker tries again.", needs_person=False)
    if row.meaning is Meaning.PAUSED:
        return Concern(
            words=printable(trouble),
            advice="Everything is kept. Give the worker a valid key and it goes on by itself: put the key into the"
            f" private file {config.key_file()[0]}, or type it here. (AS_API_KEY counts only for a worker that is"
            " started with it.)",
            command=shlex.join(("framespool", "login", "--endpoint", endpoint)),
            needs_person=True,
        )
    return Concern(words=printable(trouble), advice=f"The worker does this: {row.does}.", needs_person=False)


def _row_of(trouble: str) -> Row | None:
    # The worker ends its words with those of the row in the table of answers.
    return next((row for row in (*TABLE, *READ) if trouble.endswith(f"({row.says})")), None)
