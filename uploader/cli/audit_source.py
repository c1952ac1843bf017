"""The audit's line from the source to the server, and what was lost before the spool."""

from collections.abc import Iterator

from spool import AuditTotals, LossCause
from uploader.cli import screen, words

_LISTED = 10
_CAUSES = {
    LossCause.SOURCE: "dropped by the source",
    LossCause.OVERFLOW: "lost here, because the computer was too slow",
}


def source_lines(totals: AuditTotals) -> Iterator[str]:
    """How many frames came from the source, and how far they got; nothing where no source was recorded from."""
    story = totals.source
    if not story.is_told:
        return
    lost = [f"{count:,} {_CAUSES[cause]}{_when(totals, cause)}" for cause, count in story.lost.items() if count]
    acknowledged = f"{totals.frames_acknowledged:,} acknowledged"
    if totals.frames_confirmed == totals.frames_acknowledged:
        acknowledged = f"{totals.frames_confirmed:,} confirmed"
    elif totals.frames_confirmed:
        acknowledged += f" ({totals.frames_confirmed:,} confirmed)"
    steps = ", ".join([f"{story.captured:,} captured", *lost, f"{story.frames:,} spooled", acknowledged])
    yield from _field("Source", f"{words.printable(story.name or 'unnamed')}: {steps}")
    for one in story.pauses[:_LISTED]:
        until = "not seen again" if one.ended_at_ms is None else words.lasted(one.began_at_ms, one.ended_at_ms)
        yield from _field("Away", f"{words.moment(one.began_at_ms)}, {until}: {words.printable(one.words)}")
    yield from _more(story.pause_count - _LISTED, "pause")
    for told in story.notices[:_LISTED]:
        yield from _field("Notice", f"{words.moment(told.at_ms)}: {words.printable(told.words)}")
    yield from _more(story.notice_count - _LISTED, "notice")


def _when(totals: AuditTotals, cause: LossCause) -> str:
    times = [one.at_ms for one in totals.source.losses if one.cause is cause]
    if not times:
        return ""
    if len(times) == 1:
        return f" at {words.moment(times[0])[11:]}"
    return f" at {len(times):,} times from {words.moment(times[0])[11:]} to {words.moment(times[-1])[11:]}"


def _more(count: int, what: str) -> Iterator[str]:
    if count > 0:
        yield from _field("", f"and {words.count(count, f'more {what}')}: --json has them")


def _field(name: str, text: str) -> Iterator[str]:
    return words.field(name, text, screen.width())
